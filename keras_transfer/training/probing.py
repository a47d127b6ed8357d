"""The verb that probes: features once, then simple classifiers for all shots and seeds.

A result is a run directory of kind ``transfer``, ``<workdir>/<method>.shots_<k>.seed_<s>``, whose
architecture is called ``r50x1 linear probe`` or ``r50x1 k-NN``: in tables it is a column of its
own, beside fine-tuning of ``r50x1``. Its config says what was done: everything up to stage 4 is
frozen, training images went through the evaluation string, and the schedule is the method, 0 steps
long. So no command takes it for a fine-tuning that could go on.
"""

import copy
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_transfer.core import config as config_lib
from keras_transfer.core import runs
from keras_transfer.core.config import (
    FULL,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    TransferConfig,
)
from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.sampling import few_shot
from keras_transfer.training import cluster
from keras_transfer.training.features import Features, splits_of
from keras_transfer.training.probe_results import TITLES, Job, Solver
from keras_transfer.training.saving import on_chief
from keras_transfer.training.setup import Setup, prepare
from keras_transfer.training.step import EngineCache

FEATURES_DIR = "features"


def probe(
    config: TransferConfig,
    workdir: Path,
    shots: Sequence[str],
    seeds: Sequence[int],
    *,
    methods: Sequence[str] = tuple(TITLES),
    engines: EngineCache | None = None,
) -> tuple[list[runs.ResultRow], str]:
    """Probes the frozen network that a transfer would start from.

    The training examples are those that fine-tuning takes for the same shots and seed. Every
    example counts once: there is no oversampling, and no mixture of datasets by weight. From
    scratch, all seeds share the features of the one network of ``config.seed``.

    Args:
        config: The transfer; its optimiser, schedule and training string do not matter.
        workdir: Folder of ``features/`` and one run directory per method, shots and seed. What is
            finished, and of the same features, stays as it is.
        shots: Training examples per class, as text, or ``full``.
        seeds: Seeds of the selection and of the part that settings are chosen on.
        methods: Of ``linear`` and ``knn``.
        engines: Shares the network between calls.

    Returns:
        All rows of all results, and the name of the metric that counts; no rows on workers other
        than the chief.

    Raises:
        UserError: If anything is wrong that can be known before the first image.
    """
    cluster.start(config.runtime)
    try:
        return _probe_here(config, Path(workdir), shots, seeds, methods, engines or EngineCache())
    except tf.errors.OpError as error:
        raise cluster.lost(error) or error from None


def probe_plan(
    config: TransferConfig,
    workdir: Path,
    shots: Sequence[str],
    seeds: Sequence[int],
    *,
    methods: Sequence[str] = tuple(TITLES),
    engines: EngineCache | None = None,
) -> Iterator[str]:
    """Checks all that `probe` would check, runs the network on one batch, and writes nothing.

    Yields:
        Lines for a person.
    """
    setup = _prepare(config)
    jobs = _jobs(setup, Path(workdir), shots, seeds, methods)
    yield json.dumps(config_lib.to_dict(jobs[0].config), indent=1)
    yield f"eval pipeline: {setup.eval_pipeline.text}"
    features = Features(setup, Path(workdir) / FEATURES_DIR, engines or EngineCache())
    width, seconds = _try(features.batches(setup.config.data.train_split))
    for split in splits_of(setup):
        count = len(setup.examples[split])
        state = f"about {count * seconds:.0f} s" if split in features.missing else "there"
        size = count * width * 4 / 2**20
        yield f"split {split}: {count} examples x {width} features, {size:.1f} MiB, {state}"
    sizes = {job.config.shots: len(job.chosen) for job in jobs}
    for shot, size in sizes.items():
        yield f"shots {shot}: {size} training examples"
    yield f"results: {len(jobs)} in {workdir}, {', '.join(methods)}"


def _try(batches: Iterator[np.ndarray]) -> tuple[int, float]:
    """Returns the number of features and seconds per image, of the second batch if there is one."""
    width = next(batches).shape[1]
    start = time.perf_counter()
    second = next(batches, None)
    spent = time.perf_counter() - start
    return width, float("nan") if second is None else spent / len(second)


def _probe_here(
    config: TransferConfig,
    workdir: Path,
    shots: Sequence[str],
    seeds: Sequence[int],
    methods: Sequence[str],
    engines: EngineCache,
) -> tuple[list[runs.ResultRow], str]:
    setup = _prepare(config)
    jobs = _jobs(setup, workdir, shots, seeds, methods)
    features = Features(setup, workdir / FEATURES_DIR, engines)
    features.compute()
    solver = Solver(setup, features)
    on_chief(lambda: solver.solve(jobs), features.total)
    if not cluster.team().is_chief:
        return [], setup.config.metric
    rows = [row for job in jobs for row in runs.read_result(job.directory)[0]]
    return rows, setup.config.metric


def _prepare(config: TransferConfig) -> Setup:
    """Prepares a transfer of the whole training split; what concerns training is at its default."""
    config = copy.deepcopy(config)
    config.shots = FULL
    config.optim, config.schedule = OptimConfig(), ScheduleConfig()
    config.train = TrainConfig(eval_batch_size=config.train.eval_batch_size)
    config.data.oversample, config.data.weights, config.data.mixup = False, (), 0.0
    config.model.freeze_until = config_lib.PARTS[-1]
    return prepare(config)


def _jobs(
    setup: Setup, workdir: Path, shots: Sequence[str], seeds: Sequence[int], methods: Sequence[str]
) -> list[Job]:
    """Lists the results, checked."""
    for method in methods:
        if method not in TITLES:
            raise UserError(f"methods: unknown {method!r}.{did_you_mean(method, TITLES)}")
    for name, values in {"shots": shots, "seeds": seeds, "methods": methods}.items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"{name}: give at least one, and none twice: {list(values)}.")
    if not splits_of(setup)[1:]:
        raise UserError("Nothing to evaluate on: give data.test_split or data.val_split.")
    train, jobs = setup.train, []
    label = train.label
    for shot, seed, method in itertools.product(shots, seeds, methods):
        config = _described(setup, shot, seed, method)
        config.validate()
        chosen = np.arange(len(train))
        if config.num_shots is not None:
            chosen = few_shot(label, config.num_shots, seed, train.labels.names)
        directory = workdir / f"{method}.shots_{shot}.seed_{seed}"
        runs.check_same(directory, config)
        jobs.append(Job(config, method, directory, chosen))
    return jobs


def _described(setup: Setup, shots: str, seed: int, method: str) -> TransferConfig:
    """Returns the config that says what a result is."""
    config = copy.deepcopy(setup.config)
    assert isinstance(config, TransferConfig)
    config.shots, config.seed = shots, seed
    config.schedule = ScheduleConfig(name=f"{method}_probe", duration="0 steps")
    config.data.train = config.data.eval
    return config
