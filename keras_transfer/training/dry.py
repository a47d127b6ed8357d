"""The verb that builds everything and trains nothing: what a run would be and would cost."""

import json
import math
import resource
import time
from collections.abc import Generator, Iterator

import numpy as np

from keras_transfer import models
from keras_transfer.core import config as config_lib
from keras_transfer.core.config import RunConfig
from keras_transfer.training import cluster, memory
from keras_transfer.training.setup import Setup, prepare
from keras_transfer.training.step import Engine

_TIMED_STEPS = 3
_GIB = 1024**3


def dry_run(config: RunConfig) -> Iterator[str]:
    """Builds data, network and compiled step, runs a few steps, and writes nothing.

    Memory is estimated first. A step that would not fit is not built: the system would end the
    process, or the machine would stand still.

    Yields:
        Lines for a person: the resolved config, data, memory, parameters, one batch and time.

    Raises:
        UserError: Whatever would stop the run before its first step.
    """
    setup = prepare(config)
    yield json.dumps(config_lib.to_dict(setup.config), indent=1)
    yield from _describe_data(setup)
    problem = yield from _describe_memory(setup)
    if problem:
        yield f"warning: {problem}"
        if cluster.team().size == 1:  # of several workers, none may go on without the others
            return
    engine = Engine(setup.shape, setup.config.runtime)
    engine.reset(setup.config.seed, setup.config.model.head_init)
    if setup.init_file is not None:
        yield f"weights: {models.load_npz(engine.model, setup.init_file, head='skip')}"
    yield f"devices: {cluster.describe(engine.strategy)}"
    yield from _describe_parameters(engine)
    part = engine.slice(setup.config.train.global_batch_size, training=True)
    batches = setup.train_batches(part)
    yield from _describe_batch(next(iter(batches.as_numpy_iterator())))
    yield from _measure(engine, engine.iterate(lambda: batches), setup)


def _describe_data(setup: Setup) -> Iterator[str]:
    labels = setup.labels
    for split, examples in setup.examples.items():
        counts = zip(labels.names, examples.positives())
        shown = ", ".join(f"{n} {c}" for n, c in list(counts)[:12])
        more = f", ... ({labels.num_classes} in all)" if labels.num_classes > 12 else ""
        yield f"split {split}: {len(examples)} examples; {shown}{more}"
    yield f"train pipeline: {setup.train_pipeline.text}"
    yield f"eval pipeline: {setup.eval_pipeline.text}"
    first, last = setup.learning_rate(np.array([0, setup.total_steps - 1]))
    peak = setup.learning_rate(np.arange(setup.total_steps)).max()
    epochs = setup.total_steps * setup.config.train.global_batch_size / len(setup.train)
    yield (
        f"schedule: {setup.total_steps} steps = {epochs:.1f} epochs; learning rate "
        f"{first:.3g} at the first step, {peak:.3g} at the peak, {last:.3g} at the last step"
    )


def _describe_memory(setup: Setup) -> Generator[str, None, str | None]:
    """Yields the estimate; returns what to do if the step does not fit, or None."""
    config = setup.config
    cluster.configure(config.runtime)
    strategy = cluster.strategy(config.runtime)
    size = setup.train_pipeline.output_size
    assert size is not None  # `prepare` refuses images of no fixed size
    step = config, setup.labels.num_classes, size, strategy.num_replicas_in_sync
    yield from memory.estimate(*step).lines()
    available = memory.capacity(strategy)
    if available is None:
        return None
    yield f"  {'there is':<45}{available / _GIB:>8.2f} GiB"
    return memory.advice(*step, available)


def _describe_parameters(engine: Engine) -> Iterator[str]:
    stages: dict[str, int] = {}
    for variable in engine.model.trainable_variables:
        stage = variable.path.split("/")[0].split(".")[0]
        stages[stage] = stages.get(stage, 0) + math.prod(variable.shape)
    for stage, count in stages.items():
        yield f"  {stage:<12}{count:>14,}"
    yield f"  {'parameters':<12}{sum(stages.values()):>14,}"


def _describe_batch(batch: dict[str, np.ndarray]) -> Iterator[str]:
    image, label = batch["image"], batch["label"]
    yield (
        f"batch per replica: image {image.dtype}{list(image.shape)} in "
        f"[{image.min():.3f}, {image.max():.3f}], mean {image.mean():.3f}; "
        f"label {label.dtype}{list(label.shape)}; {int((batch['weight'] == 0).sum())} unknown"
    )


def _measure(engine: Engine, iterator: Iterator, setup: Setup) -> Iterator[str]:
    """Times steps at a learning rate of 0."""
    start = time.perf_counter()
    engine.train(iterator, np.zeros(1))
    compiled = time.perf_counter() - start
    start = time.perf_counter()
    values = engine.train(iterator, np.zeros(_TIMED_STEPS))
    seconds = (time.perf_counter() - start) / _TIMED_STEPS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _GIB
    rate = setup.config.train.global_batch_size / seconds
    yield f"first loss: {values['loss'][0]:.4f}"
    yield (
        f"time: {seconds:.3g} s per step ({rate:.0f} images/s), first step {compiled:.0f} s; "
        f"about {_clock(compiled + seconds * setup.total_steps)} for {setup.total_steps} steps, "
        "without evaluation"
    )
    yield f"memory: {peak:.2f} GiB of this process's main memory at the peak"


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
