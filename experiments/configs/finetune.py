"""Fine-tunes with the BiT-HyperRule on a target of the paper, or on any dataset folder.

    python -m experiments.finetune --workdir=runs/pets --shots=1,5,10,full --seeds=0,1,2,3,4 \
        --config=experiments/configs/finetune.py:target=pets,init=runs/imagenet21k-r50x1
    python -m experiments.finetune --workdir=runs/transfer \
        --config=experiments/configs/finetune.py:data=data/digits,init=runs/smoke,model=bit-r14x0.25

Cost: 500 steps of 128 images below 20,000 training images, 10,000 or 20,000 steps above; --dry_run
says how long that takes on your machine. Steps are full batches, however few the examples are.

Training ends with the last step, and the test split is read once, after it: nothing is chosen. To
choose the best weights on a validation split, add --config.train.select=best
--config.train.eval_every='100 steps' --config.data.val_split=val (or, where there is none,
--config.data.val_fraction=0.1).

``variant=authors`` does what the authors' code does where it differs from the paper's text
(../shared/spec/upstream.md, sections 1.4 and 4):

* a new head of random values instead of zeros, and Nesterov momentum (rows 13 and 4)
* training images keep their aspect ratio when resized (section 1.1, bit)
* Flowers-102 is trained on the official test split and tested on the others (row 17)
* the split of Tuberculosis, COVIDx and PadChest(-Cl) is theirs (section 3); PadChest(-Cl) is read
  at 224 pixels with the augmentation of pre-training (row 12)
* the test split is looked at every 100 steps (row 20); the last look is what is reported

Not followed: they normalise PadChest as X-rays even for weights of photographs (section 4).
"""

from dataclasses import dataclass

from experiments.configs import datasets
from experiments.configs.common import parse_arg
from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    TransferConfig,
)
from keras_transfer.core.errors import UserError, did_you_mean

PAPER, AUTHORS = "paper", "authors"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is special about a target.

    Attributes:
        metric: The metric reported; "" is the task's own.
        oversample: Whether classes are drawn equally often in full shot (paper, section 3.2).
        like_sources: Whether the authors read it as in pre-training, at 224 pixels.
    """

    metric: str = ""
    oversample: bool = False
    like_sources: bool = False


TARGETS = {
    "cifar10": Target(),
    "cifar100": Target(),
    "flowers102": Target(oversample=True),
    "pets": Target(),
    "covidx": Target(oversample=True),
    "tuberculosis": Target(),
    "padchest_cl": Target(metric="mean_auc", like_sources=True),
    # The poster's, with several findings per image.
    "mimic": Target(),
    "chexpert": Target(),
    "padchest": Target(like_sources=True),
    "nih": Target(),
}

# The authors' pipelines, training and evaluation (spec: upstream.md, section 1.1): their resolution
# goes by the target's name.
_SQUARE = "decode|central_crop|resize(224, method='area')|as_weights"
_AS_SOURCES = f"{_SQUARE}|random_affine(shift=0.25)|random_flip", _SQUARE
_BIT = (
    "decode|resize_small({resize}, antialias=True)|random_crop({crop})|random_flip|as_weights",
    "decode|resize({crop}, antialias=True)|as_weights",
)


def make(
    target: str = "",
    data: str = "",
    init: str = "",
    model: str = "bit-r50x1",
    variant: str = PAPER,
    shots: str = "full",
    seed: int = 0,
) -> TransferConfig:
    """Returns the config of one transfer.

    Args:
        target: A key of `TARGETS`; "" for any dataset.
        data: Without a target the dataset's folder; with one, the folder below which the datasets
            were built, by default ``data``.
        init: Run directory, BiT ``.npz``, or "" for scratch.
        model: Architecture.
        variant: ``paper`` or ``authors``.
        shots: Training examples per class, or ``full``.
        seed: Seed of the run.

    Raises:
        UserError: If the target or the variant is unknown.
    """
    if variant not in (PAPER, AUTHORS):
        raise UserError(f"variant={variant}: choose {PAPER} or {AUTHORS}.")
    if target and target not in TARGETS:
        raise UserError(f"target={target}: unknown.{did_you_mean(target, TARGETS)}")
    chosen = TARGETS[target] if target else Target()
    authors = variant == AUTHORS
    folder = datasets.folder(target, data or "data", authors=authors) if target else data
    config = TransferConfig(
        name=target,
        metric=chosen.metric,
        seed=seed,
        shots=shots,
        data=DataConfig(
            dirs=(folder,) if folder else (),
            val_split="",
            test_split="test",
            oversample=chosen.oversample,
        ),
        model=ModelConfig(name=model, init=init),
    )
    return _as_authors(config, chosen) if authors else config


def _as_authors(config: TransferConfig, target: Target) -> TransferConfig:
    resize, crop = (160, 128) if config.name.startswith("cifar") else (512, 480)
    pipelines = _AS_SOURCES if target.like_sources else _BIT
    config.data.train, config.data.eval = (p.format(resize=resize, crop=crop) for p in pipelines)
    config.name = f"{config.name}:{AUTHORS}" if config.name else ""
    config.data.val_split = "test"
    config.train = TrainConfig(eval_every="100 steps")
    config.model.head_init = "uniform"
    config.optim = OptimConfig(nesterov=True)
    return config


def get_config(arg: str | None = None) -> TransferConfig:
    """Returns the config; see `make` for the arguments."""
    defaults = {"target": "", "data": "", "init": "", "model": "bit-r50x1", "variant": PAPER}
    return make(**vars(parse_arg(arg, **defaults, shots="full", seed=0)))
