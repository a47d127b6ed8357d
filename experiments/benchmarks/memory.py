"""The memory of a training step: measured, with and without recomputation, beside the estimate."""

import dataclasses
import multiprocessing
import os
import resource
import time
from multiprocessing.connection import Connection

import numpy as np

from experiments import _main
from experiments.benchmarks import timing
from keras_transfer.core.config import ModelConfig, RunConfig, RuntimeConfig, TrainConfig
from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, LabelSpace

_CLASSES = 1000
_GIB = 1024**3


@dataclasses.dataclass(frozen=True)
class _Case:
    """A training step; ``recompute`` tells the variants apart."""

    model: str
    batch: int
    size: int
    accumulation: int
    precision: str
    recompute: bool = False

    @property
    def config(self) -> RunConfig:
        """As a run would have it: SGD with momentum and AGC."""
        return RunConfig(
            model=ModelConfig(name=self.model, head_init="uniform"),
            train=TrainConfig(global_batch_size=self.batch, accumulation=self.accumulation),
            runtime=RuntimeConfig(
                precision=self.precision, recompute=self.recompute, steps_per_call=1
            ),
        )


@dataclasses.dataclass(frozen=True)
class _Measured:
    """Bytes of main memory, seconds per step, and the first loss and norm of the gradient."""

    started: int
    built: int
    peak: int
    estimate: int
    seconds: list[float]
    loss: float
    grad_norm: float


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _measure(channel: Connection, case: _Case, steps: int) -> None:
    """Runs steps in a process of its own: a peak cannot be taken back."""
    try:
        channel.send(_run(case, steps))
    except Exception as error:  # of any kind: the parent says which
        channel.send(UserError(f"The step does not run here: {error}"))


def _run(case: _Case, steps: int) -> _Measured:
    _main.training()  # starts TensorFlow quietly
    import tensorflow as tf

    from keras_transfer.training import memory
    from keras_transfer.training.step import Engine, Shape

    started = _peak()
    config = case.config
    labels = LabelSpace(MULTICLASS, tuple(f"class {i}" for i in range(_CLASSES)))
    engine = Engine(Shape.of(config, labels), config.runtime)
    engine.reset(config.seed, config.model.head_init)
    built = _peak()
    rng = np.random.default_rng(0)
    pieces = case.batch // case.accumulation
    batch = {
        "image": rng.uniform(-1, 1, (pieces, case.size, case.size, 3)).astype(np.float32),
        "label": rng.integers(0, _CLASSES, pieces).astype(np.int32),
        "weight": np.ones(pieces, np.float32),
    }
    iterator = engine.iterate(lambda: tf.data.Dataset.from_tensors(batch).repeat())
    rates = np.full(1, 1e-3)
    first = engine.train(iterator, rates)
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        engine.train(iterator, rates)
        seconds.append(time.perf_counter() - start)
    estimate = memory.estimate(config, _CLASSES, (case.size, case.size)).total
    values = float(first["loss"][0]), float(first["grad_norm"][0])
    return _Measured(started, built, _peak(), estimate, seconds, *values)


def memory(
    model: str,
    batch: int,
    size: int,
    steps: int,
    *,
    accumulation: int = 1,
    precision: str = "float32",
    variants: tuple[str, ...] = ("plain", "recomputed"),
) -> None:
    """Prints peak memory and seconds per step of each variant, and the estimate beside them.

    Variants run one after another, each in a fresh process, so that the largest network that fits
    alone can be measured; seconds of a noisy machine are therefore only a rough guide.

    Args:
        model: Architecture.
        batch: Images per step.
        size: Their side in pixels.
        steps: Timed steps of each variant, after one that compiles.
        accumulation: Micro-batches that a step is split into.
        precision: As in ``runtime.precision``.
        variants: ``plain``, ``recomputed`` or both.
    """
    unknown = [name for name in variants if name not in ("plain", "recomputed")]
    if unknown or not variants:
        raise UserError(f"--variants={','.join(variants)}: choose from plain, recomputed.")
    if batch % accumulation:
        raise UserError(f"--batch={batch} cannot be cut into --accumulation={accumulation}.")
    print(
        f"{model}, batch {batch} in {accumulation} part(s), {size} px, {precision}, "
        f"{os.cpu_count()} CPU(s), TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS')}"
    )
    print(
        f"{'variant':<12}{'peak GiB':>9}{'of plain':>9}{'estimate':>9}{'est./peak':>10}"
        f"{'s/step':>26}{'loss':>10}{'grad_norm':>12}"
    )
    plain = None
    for name in variants:
        case = _Case(model, batch, size, accumulation, precision, name == "recomputed")
        found = _spawn(case, steps)
        plain = found.peak if name == "plain" else plain
        share = f"{found.peak / plain:.3f}" if plain else "-"
        # The estimate is of the step; Python and TensorFlow were there before.
        estimate = found.started + found.estimate
        print(
            f"{name:<12}{found.peak / _GIB:>9.2f}{share:>9}{estimate / _GIB:>9.2f}"
            f"{estimate / found.peak:>10.2f}{timing.spread(found.seconds):>26}"
            f"{found.loss:>10.5f}{found.grad_norm:>12.6g}",
            flush=True,
        )
        print(
            f"{'':<12}{found.started / _GIB:.2f} GiB were there before the network, "
            f"{found.built / _GIB:.2f} GiB before the first step"
        )


def _spawn(case: _Case, steps: int) -> _Measured:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_measure, args=(there, case, steps), daemon=True)
    process.start()
    there.close()
    try:
        found = here.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"{case.model}: the process ended with code {process.exitcode} (-9: the system was out "
            "of memory)."
        ) from None
    process.join()
    if isinstance(found, UserError):
        raise found
    return found
