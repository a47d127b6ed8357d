"""Small runs that take a second once the step is compiled."""

import pytest

from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RunConfig,
    ScheduleConfig,
    TrainConfig,
    TransferConfig,
)
from keras_transfer.training.step import EngineCache


def small(kind: type[RunConfig], folder: str, **changes: object) -> RunConfig:
    """Returns a config of a few steps; ``changes`` are ``group__field=value``."""
    config = kind(
        data=DataConfig(
            dirs=(folder,),
            val_split="val",
            train="decode|resize(36)|random_crop(32)|random_flip|value_range(-1, 1)",
            eval="decode|resize(32)|value_range(-1, 1)",
            mixup=0.0,
        ),
        model=ModelConfig(name="bit-r14x0.25"),
        optim=OptimConfig(base_lr=0.05),
        schedule=ScheduleConfig(name="cosine", duration="6 steps", warmup="2 steps"),
        train=TrainConfig(global_batch_size=16, log_every="2 steps", checkpoint_every="100 steps"),
    )
    for name, value in changes.items():
        group, _, field = name.rpartition("__")
        setattr(getattr(config, group) if group else config, field, value)
    return config


@pytest.fixture
def pretraining(digits):
    """Makes pre-training configs on digits 0-4."""
    return lambda folder=digits, **changes: small(PretrainConfig, folder, **changes)


@pytest.fixture
def transfer(digits):
    """Makes transfer configs on digits 0-4."""
    return lambda folder=digits, **changes: small(TransferConfig, folder, **changes)


@pytest.fixture(scope="session")
def engines():
    """One cache for all tests: runs of one shape are compiled once."""
    return EngineCache()
