"""Measures speed: of the training step, of reading, and of building datasets.

    python -m experiments.benchmark train_step --model=bit-r50x1 --batch=8 --size=128
    python -m experiments.benchmark input_pipeline
    python -m experiments.benchmark read
    python -m experiments.benchmark build
    python -m experiments.benchmark plan
    python -m experiments.benchmark scaling --workers=1,2 --model=bit-r26x1 --batch=32 --size=64
    python -m experiments.benchmark predict
    python -m experiments.benchmark memory --model=bit-r50x1 --batch=32 --size=224
    python -m experiments.benchmark sweep

Machines are noisy, so variants run interleaved and ratios are taken round by round.
"""

import sys
from pathlib import Path

from absl import flags

from experiments import _main
from keras_transfer.core.errors import UserError

_MODEL = flags.DEFINE_string("model", "bit-r50x1", "train_step: architecture.")
_BATCH = flags.DEFINE_integer("batch", 8, "train_step: images per step.", 1)
_SIZE = flags.DEFINE_integer("size", 128, "train_step: image side in pixels.", 32)
_COMPARE = flags.DEFINE_list("compare", ["stock"], "train_step: beside ours: stock, timm.")
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Measurements of each variant.", 7)
_IMAGES = flags.DEFINE_integer("images", 512, "The others: different images.", 64)
_WORKERS = flags.DEFINE_list("workers", ["1", "2"], "scaling: numbers of workers.")
_THREADS = flags.DEFINE_integer(
    "threads_per_worker", 1, "scaling: threads and CPU cores of each worker.", 1
)
_STEPS = flags.DEFINE_integer(
    "steps", 6, "scaling, memory: optimisation steps of a measurement.", 1
)
_PACK = flags.DEFINE_integer(
    "pack_mib", None, "scaling, predict: runtime.pack_mib; by default as in training.", 0
)
_OUT = flags.DEFINE_string("out", None, "scaling: folder for scaling.csv and its figure.")
_MEASURED = flags.DEFINE_string("measured", None, "predict: a scaling.csv to calibrate by.")
_STEP_SECONDS = flags.DEFINE_float(
    "step_seconds", None, "predict: seconds per step of one GPU at --model, --batch, --size.", 0
)
_IMAGES_PER_SECOND = flags.DEFINE_float(
    "images_per_second", None, "predict: the same as a rate; give one of the two.", 0
)
_VARIANTS = flags.DEFINE_list("variants", ["plain", "recomputed"], "memory: what to measure.")
_ACCUMULATION = flags.DEFINE_integer("accumulation", 1, "memory: parts of a batch.", 1)
_PRECISION = flags.DEFINE_string("precision", "float32", "memory: or mixed_bfloat16.")
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


def scaling() -> None:
    """Training on several workers of this machine."""
    from experiments.benchmarks import scaling, scaling_worker

    try:
        workers = [int(text) for text in _WORKERS.value]
    except ValueError:
        raise UserError(f"--workers={','.join(_WORKERS.value)}: numbers, such as 1,2.") from None
    task = scaling_worker.Task(
        model=_MODEL.value,
        batch=_BATCH.value,
        size=_SIZE.value,
        steps=_STEPS.value,
        pack_mib=_PACK.value,
        data="",
    )
    scaling.scaling(
        workers,
        task,
        threads=_THREADS.value,
        rounds=_ROUNDS.value,
        images=_IMAGES.value,
        out=Path(_OUT.value) if _OUT.value else None,
    )


def predict() -> None:
    """What to expect of many GPUs."""
    _main.training()
    from experiments.benchmarks import predicting
    from keras_transfer.training import cluster

    seconds, rate = _STEP_SECONDS.value, _IMAGES_PER_SECOND.value
    given = [value for value in (_MEASURED.value, seconds, rate) if value is not None]
    if len(given) > 1:
        raise UserError("predict: give one of --measured, --step_seconds, --images_per_second.")
    if 0 in given:
        raise UserError("--step_seconds and --images_per_second must be positive.")
    case = None
    if rate := _BATCH.value / seconds if seconds else rate:
        case = predicting.Case(_MODEL.value, _BATCH.value, _SIZE.value, rate, "the flags")
    measured = Path(_MEASURED.value) if _MEASURED.value else None
    pack = cluster.PACK_MIB["NCCL"] if _PACK.value is None else _PACK.value
    predicting.run(measured, case, pack)


def memory() -> None:
    """The memory of a training step."""
    from experiments.benchmarks import memory

    memory.memory(
        _MODEL.value,
        _BATCH.value,
        _SIZE.value,
        _STEPS.value,
        accumulation=_ACCUMULATION.value,
        precision=_PRECISION.value,
        variants=tuple(_VARIANTS.value),
    )


def sweep() -> None:
    """Many transfers in one process."""
    from experiments.benchmarks import sweeping

    sweeping.sweep()


_ALL = (train_step, input_pipeline, read, build, plan, scaling, predict, memory, sweep)
_BENCHMARKS = {f.__name__: f for f in _ALL}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _BENCHMARKS:
        known = " | ".join(_BENCHMARKS)
        print(f"error: usage: python -m experiments.benchmark {known} [--flags]", file=sys.stderr)
        sys.exit(_main.USER_ERROR_EXIT_CODE)
    _main.run(_BENCHMARKS[sys.argv.pop(1)])
