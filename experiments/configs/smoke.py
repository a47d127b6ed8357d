"""Pre-trains a small BiT network on handwritten digits for 20 steps: does everything work here?

    python -m tfrecords_builders.build --source=digits --output_dir=data
    python -m experiments.pretrain --config=experiments/configs/smoke.py --workdir=runs/smoke

Cost: about half a minute on 2 CPU cores, most of it the start of TensorFlow.
Expect: the loss falls from 2.3 (= ln 10).
"""

from experiments.configs.common import parse_arg
from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    ScheduleConfig,
    TrainConfig,
)


def get_config(arg: str | None = None) -> PretrainConfig:
    """Returns the config; ``data`` is the dataset folder."""
    chosen = parse_arg(arg, data="data/digits", seed=0, steps=20)
    return PretrainConfig(
        seed=chosen.seed,
        data=DataConfig(
            dirs=(chosen.data,),
            train="decode|resize(36)|random_crop(32)|value_range(-1, 1)",
            eval="decode|resize(32)|value_range(-1, 1)",
            mixup=0.0,
        ),
        model=ModelConfig(name="bit-r14x0.25"),
        optim=OptimConfig(base_lr=0.1),
        schedule=ScheduleConfig(
            name="cosine", duration=f"{chosen.steps} steps", warmup="10 percent"
        ),
        train=TrainConfig(global_batch_size=32, log_every="5 steps", checkpoint_every="10 steps"),
    )
