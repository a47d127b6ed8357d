"""Measures speed: of the training step, of reading, and of building datasets.

    python -m experiments.benchmark train_step --model=bit-r50x1 --batch=8 --size=128
    python -m experiments.benchmark input_pipeline
    python -m experiments.benchmark read
    python -m experiments.benchmark build
    python -m experiments.benchmark plan

Machines are noisy, so variants run interleaved and ratios are taken round by round.
"""

import sys

from absl import flags

from experiments import _main

_MODEL = flags.DEFINE_string("model", "bit-r50x1", "train_step: architecture.")
_BATCH = flags.DEFINE_integer("batch", 8, "train_step: images per step.", 1)
_SIZE = flags.DEFINE_integer("size", 128, "train_step: image side in pixels.", 32)
_COMPARE = flags.DEFINE_list("compare", ["stock"], "train_step: beside ours: stock, timm.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Measurements of each variant.", 7)
_IMAGES = flags.DEFINE_integer("images", 512, "The others: different images.", 64)
_ROWS = flags.DEFINE_integer("rows", 14_200_000, "plan: images of the imagined dataset.", 1)


def train_step() -> None:
    """The optimisation step."""
    from experiments.benchmarks import training

    arguments = (_MODEL.value, _BATCH.value, _SIZE.value, _ROUNDS.value, _COMPARE.value)
    training.train_step(*arguments)


def read() -> None:
    """Reading for training, at several stored sizes."""
    _main.training()  # starts TensorFlow quietly
    from experiments.benchmarks import reading

    reading.read(_IMAGES.value, _ROUNDS.value)


def input_pipeline() -> None:
    """Reading for training, files as they are."""
    _main.training()
    from experiments.benchmarks import reading

    reading.read(_IMAGES.value, _ROUNDS.value, ("500 px colour",))


def build() -> None:
    """Building a dataset from files."""
    from experiments.benchmarks import building

    building.build(_IMAGES.value, _ROUNDS.value)


def plan() -> None:
    """Planning a very large dataset."""
    from experiments.benchmarks import planning

    planning.plan(_ROWS.value)


_BENCHMARKS = {f.__name__: f for f in (train_step, input_pipeline, read, build, plan)}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _BENCHMARKS:
        known = " | ".join(_BENCHMARKS)
        print(f"error: usage: python -m experiments.benchmark {known} [--flags]", file=sys.stderr)
        sys.exit(_main.USER_ERROR_EXIT_CODE)
    _main.run(_BENCHMARKS[sys.argv.pop(1)])
