"""The networks, sources and targets of ``make demo``: the paper's question on a laptop.

    python -m experiments.demo --workdir=demo

Near and far sources for two targets: handwritten digits 0-4 and procedural chest X-rays (a small
and a large set of one site) are pre-trained on; digits 5-9 and films of another site are
transferred to. Cost: about 6 minutes on 2 CPU cores.
"""

from dataclasses import dataclass

from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    ScheduleConfig,
    TrainConfig,
    TransferConfig,
)

SIZE = 32
BATCH = 32

_SHIFT = f"decode|resize({SIZE + 4})|random_crop({SIZE})|value_range(-1, 1)"
_EVAL = f"decode|resize({SIZE})|value_range(-1, 1)"


@dataclass(frozen=True)
class DemoData:
    """A dataset of the demo: the name results carry, and the builder's arguments."""

    name: str
    source: str
    options: str
    seed: int = 0


SOURCES = (
    DemoData("digits 0-4", "digits", "classes=0-4"),
    DemoData("X-rays small", "phantom", "num_patients=120,site=a"),
    DemoData("X-rays large", "phantom", "num_patients=1200,site=a"),
)
TARGETS = (
    DemoData("digits 5-9", "digits", "classes=5-9"),
    # Another seed: other patients, not the source's at another site.
    DemoData("X-rays of another site", "phantom", "num_patients=500,site=b", seed=1),
)
SHOTS = ("1", "5", "10", "full")
SEEDS = (0, 1, 2)


def pretrain(data: DemoData, folder: str, steps: int) -> PretrainConfig:
    """Returns the pre-training run on one source; every source gets the same number of steps."""
    return PretrainConfig(
        name=data.name,
        data=DataConfig(dirs=(folder,), train=_SHIFT, eval=_EVAL, mixup=0.0),
        model=ModelConfig(name="bit-r14x0.25"),
        optim=OptimConfig(base_lr=0.1),
        schedule=ScheduleConfig(name="cosine", duration=f"{steps} steps", warmup="10 percent"),
        train=TrainConfig(
            global_batch_size=BATCH,
            log_every="5 percent",
            checkpoint_every="25 percent",
        ),
    )


def transfer(
    data: DemoData, folder: str, init: str, shots: str, seed: int, steps: int
) -> TransferConfig:
    """Returns one transfer run; the learning rate moves as the BiT-HyperRule says."""
    return TransferConfig(
        name=data.name,
        seed=seed,
        shots=shots,
        data=DataConfig(
            dirs=(folder,), val_split="", test_split="test", train=_SHIFT, eval=_EVAL, mixup=0.0
        ),
        model=ModelConfig(name="bit-r14x0.25", init=init),
        optim=OptimConfig(base_lr=0.1),
        schedule=ScheduleConfig(name="bit", duration=f"{steps} steps"),
        train=TrainConfig(global_batch_size=BATCH, log_every="25 percent"),
    )


def get_config(arg: str | None = None) -> PretrainConfig:
    """Returns the pre-training run on the near source, for ``experiments.pretrain``."""
    return pretrain(SOURCES[0], arg or "demo/data/digits", steps=400)
