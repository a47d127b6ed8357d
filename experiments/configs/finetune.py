"""Fine-tunes on any dataset folder with the BiT-HyperRule.

    python -m experiments.finetune --workdir=runs/transfer \
        --config=experiments/configs/finetune.py:data=data/digits,init=runs/smoke,model=bit-r14x0.25

Cost: 500 steps of 128 images below 20,000 training images, 10,000 or 20,000 steps above; --dry_run
says how long that takes on your machine.
"""

from experiments.configs.common import parse_arg
from keras_transfer.core.config import DataConfig, ModelConfig, TransferConfig


def get_config(arg: str | None = None) -> TransferConfig:
    """Returns the config.

    ``data`` is the target's folder, ``init`` a run directory, a BiT .npz or empty for scratch.
    """
    chosen = parse_arg(arg, data="", init="", model="bit-r50x1", shots="full", seed=0)
    return TransferConfig(
        seed=chosen.seed,
        shots=chosen.shots,
        data=DataConfig(
            dirs=(chosen.data,) if chosen.data else (), val_split="", test_split="test"
        ),
        model=ModelConfig(name=chosen.model, init=chosen.init),
    )
