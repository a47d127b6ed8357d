"""Pre-trains with images of NaN in some batches, on one worker only.

Like `experiments.pretrain`, with the steps in SPOILED_STEPS (from 0) and the rank in SPOILED_RANK.
"""

import os
from collections.abc import Callable

import tensorflow as tf

from keras_transfer.training import setup


def spoil(make: Callable[..., tf.data.Dataset], steps: set[int]) -> Callable[..., tf.data.Dataset]:
    """Returns ``Setup.train_batches`` with images of NaN in some steps.

    Each step must be one batch: no accumulation, one replica per worker.
    """

    def spoiled(index: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        chosen = tf.reduce_any(index == tf.constant(sorted(steps), tf.int64))
        return batch | {"image": tf.where(chosen, float("nan"), batch["image"])}

    def train_batches(self, part, start_step: int = 0) -> tf.data.Dataset:
        batches = make(self, part, start_step)
        return batches.enumerate(start_step).map(spoiled)

    return train_batches


if __name__ == "__main__":
    from experiments import _main, pretrain  # whose flags must not meet those of other scripts

    if os.environ["RANK"] == os.environ["SPOILED_RANK"]:
        wanted = {int(step) for step in os.environ["SPOILED_STEPS"].split(",")}
        setup.Setup.train_batches = spoil(setup.Setup.train_batches, wanted)
    _main.run(pretrain.main)
