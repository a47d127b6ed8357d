"""The verbs that train: pretrain and transfer."""

import contextlib
import json
import math
import signal
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from keras_transfer import evaluation, models
from keras_transfer.core import config as config_lib
from keras_transfer.core import runs
from keras_transfer.core.config import PretrainConfig, TransferConfig
from keras_transfer.core.errors import Preempted, UserError
from keras_transfer.core.seeds import derive
from keras_transfer.training import (
    actions,
    checkpoints,
    cluster,
    loop,
    predict,
    results,
    saving,
    weights,
)
from keras_transfer.training.best import Best
from keras_transfer.training.setup import Setup, prepare
from keras_transfer.training.step import Engine, EngineCache


def pretrain(
    config: PretrainConfig,
    workdir: Path,
    *,
    resume: str = "",
    engines: EngineCache | None = None,
) -> None:
    """Pre-trains, evaluates, and leaves ``weights.npz`` and ``weights.json`` in the run directory.

    Weights come from, in this order: the newest checkpoint in ``workdir``, ``resume``,
    ``config.model.init``, scratch.

    Args:
        config: The run.
        workdir: Run directory; a finished one is left as it is.
        resume: Another run directory whose newest checkpoint (weights, optimiser, step) to go on
            from.
        engines: Shares the compiled step between runs of one shape.

    Raises:
        UserError: If anything is wrong that can be known before the first step, or on NaN.
        Preempted: After a signal; the same call continues the run.
    """
    _run(config, Path(workdir), resume=resume, engines=engines or EngineCache())


def transfer(
    config: TransferConfig,
    workdir: Path,
    *,
    engines: EngineCache | None = None,
    keep_weights: bool = True,
) -> None:
    """Fine-tunes on one target with some shots and one seed, and evaluates. See ``pretrain``.

    The training examples chosen are listed in ``fewshot.json``. A finished transfer keeps no
    checkpoints but those of ``train.keep_every``.

    Args:
        config: The run.
        workdir: See ``pretrain``.
        engines: See ``pretrain``.
        keep_weights: Whether it leaves ``weights.npz``. Without, it has all the rest: the card of
            the weights, predictions, results.
    """
    engines = engines or EngineCache()
    _run(config, Path(workdir), resume="", engines=engines, keep_weights=keep_weights)


def _run(
    config: config_lib.RunConfig,
    workdir: Path,
    *,
    resume: str,
    engines: EngineCache,
    keep_weights: bool = True,
) -> None:
    cluster.start(config.runtime)
    try:
        _run_here(config, workdir, resume=resume, engines=engines, keep_weights=keep_weights)
    except tf.errors.OpError as error:
        raise cluster.lost(error) or error from None


def _run_here(
    config: config_lib.RunConfig,
    workdir: Path,
    *,
    resume: str,
    engines: EngineCache,
    keep_weights: bool,
) -> None:
    """Does the run's part of one worker."""
    setup = prepare(config)
    runs.check_same(workdir, setup.config)
    if runs.is_finished(workdir):
        logging.info("%s is finished already.", workdir)
        return
    engine = engines.get(setup.shape, setup.config.runtime)
    progress, origin = _initialise(engine, setup, workdir, resume)
    saving.on_chief(
        lambda: _open(setup, workdir, progress, _facts(engine, setup, origin)), engine.total
    )
    best = None
    if setup.config.train.select == "best":
        best = Best(workdir, engine, setup.config.metric)
        best.restored(progress)
    try:
        late = _train(engine, setup, workdir, progress, best)
        _finish(engine, setup, workdir, progress, best, keep_weights)
    except tf.errors.InvalidArgumentError:
        for examples in setup.examples.values():
            cause = examples.explain_undecodable()
            if cause:
                raise cause from None
        raise
    if late:  # this run has nothing left to save, but others of the same process must not begin
        raise Preempted(f"{signal.Signals(late).name} in the last steps: {workdir} is finished.")


def _facts(engine: Engine, setup: Setup, origin: str) -> dict[str, Any]:
    """Returns what the manifest says of this start, beside what `runs.start` knows itself."""
    return {
        "initialised_from": origin,
        "devices": cluster.describe(engine.strategy),
        "data": setup.fingerprints,
        "num_train_examples": len(setup.train),
        "total_steps": setup.total_steps,
        "seeds": {
            name: derive(setup.config.seed, name)
            for name in ("init", "order", "augment", "mixup", "fewshot")
        },
    }


def _open(setup: Setup, workdir: Path, progress: loop.Progress, facts: dict[str, Any]) -> None:
    """Writes what a run directory holds from the start."""
    runs.start(workdir, setup.config, facts)
    runs.truncate_metrics(workdir, progress.step)
    if isinstance(setup.config, TransferConfig) and setup.config.num_shots is not None:
        chosen = setup.train.example_ids().tolist()
        runs.write_json(workdir / runs.FEWSHOT_FILE, chosen)


def _initialise(
    engine: Engine, setup: Setup, workdir: Path, resume: str
) -> tuple[loop.Progress, str]:
    """Gives the engine its weights. The one place that decides where they come from.

    Order: own checkpoint, ``resume``, ``model.init``, scratch.

    Returns:
        Where the run stands, and where the weights came from, in words.
    """
    config = setup.config
    progress = loop.Progress(step=0, total_steps=setup.total_steps)
    engine.reset(config.seed, config.model.head_init)
    origin = f"scratch, seed {config.seed}"
    header = checkpoints.restore_latest(workdir / runs.CHECKPOINT_DIR, engine.variables())
    if header is not None:
        origin = f"own checkpoint of step {header['step']}"
    elif resume:
        header = checkpoints.restore_latest(Path(resume) / runs.CHECKPOINT_DIR, engine.variables())
        if header is None:
            raise UserError(f"--resume: {resume} holds no usable checkpoint.")
        origin = f"checkpoint of step {header['step']} in {resume}"
    elif setup.init_file is not None:
        report = models.load_npz(engine.model, setup.init_file, head="skip")
        origin = f"{setup.init_file}, new head ({config.model.head_init})"
        logging.info("%s: %s", setup.init_file, report)
    if header is not None:
        progress.step, progress.seconds = header["step"], header["seconds"]
        progress.best_step = header.get("best_step", 0)
        progress.best_value = header.get("best_value", math.nan)
        _note_other_devices(header, engine)
    _check_agreement(engine, progress.step)
    if progress.step > setup.total_steps:
        raise UserError(
            f"The checkpoint is of step {progress.step}, the run has {setup.total_steps}."
        )
    logging.info("%s: initialised from %s.", workdir, origin)
    return progress, origin


def _note_other_devices(header: dict[str, Any], engine: Engine) -> None:
    """Says so where another number of workers or replicas goes on with a checkpoint."""
    now = cluster.describe(engine.strategy)
    before = header.get("devices", now)
    if before != now:
        logging.info(
            "The checkpoint was written by %s, now it is %s: the order of the epoch and its global "
            "batches are unchanged, sums may round otherwise.",
            before,
            now,
        )


def _check_agreement(engine: Engine, step: int) -> None:
    """Refuses to start where the workers have found different checkpoints."""
    team = cluster.team()
    if engine.total(step) != team.size * step or engine.total(step**2) != team.size * step**2:
        raise UserError(
            f"Worker {team.rank} of {team.size} goes on from step {step}, others from another one: "
            "all workers must see the same --workdir. Is it on a shared file system?"
        )


def _train(
    engine: Engine, setup: Setup, workdir: Path, progress: loop.Progress, best: Best | None
) -> int | None:
    """Trains to the end; returns the number of a signal that came too late to stop it."""
    batch = setup.config.train.global_batch_size
    checkpoint = _checkpoint(engine, setup, workdir)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(saving.StopOnSignal(checkpoint, engine.total))
        looks = _looks(engine, setup, workdir, progress, best, stack)
        iterator = engine.iterate(
            lambda: setup.train_batches(engine.slice(batch, training=True), progress.step)
        )
        loop.run(
            engine,
            iterator,
            setup.learning_rate,
            progress,
            [*looks, checkpoint, stop],
            setup.config.runtime.steps_per_call,
        )
    return stop.late


def _checkpoint(engine: Engine, setup: Setup, workdir: Path) -> saving.Checkpoint:
    return saving.Checkpoint(
        workdir,
        engine,
        setup.interval("checkpoint_every"),
        keep=setup.config.train.keep,
        keep_every=setup.interval("keep_every"),
        # A finished transfer leaves weights, not the state of its optimiser.
        at_end=isinstance(setup.config, PretrainConfig),
    )


def _looks(
    engine: Engine,
    setup: Setup,
    workdir: Path,
    progress: loop.Progress,
    best: Best | None,
    stack: contextlib.ExitStack,
) -> list[loop.Action]:
    """Makes the actions that look on and log, in their order; ``stack`` closes them."""
    config, batch = setup.config, setup.config.train.global_batch_size
    text = json.dumps(config_lib.to_dict(config), indent=1)
    log = actions.Log(workdir, setup.interval("log_every"), text, batch, engine.total)
    stack.callback(log.close)
    watch = actions.WatchNonFinite(workdir, skips=config.optim.non_finite == "skip")
    looks: list[loop.Action] = [watch]
    if cluster.team().is_chief:
        bar = actions.ShowProgress(setup.title, progress, batch)
        stack.callback(bar.close)
        looks.append(bar)
    looks.append(log)
    every = setup.interval("eval_every")
    if config.data.val_split and every:
        then = best.offer if best else None
        looks.append(actions.Evaluate(every, lambda: _validate(engine, setup), log, then))
    return looks


def _predict(engine: Engine, setup: Setup, split: str) -> evaluation.Predictions:
    config = setup.config
    return predict.predict(
        engine,
        setup.examples[split],
        setup.eval_pipeline,
        config.train.eval_batch_size,
        config.runtime.read_threads,
    )


def _validate(engine: Engine, setup: Setup) -> dict[str, float]:
    """Returns the metrics of the validation split, on all workers."""
    predictions = _predict(engine, setup, setup.config.data.val_split)
    return evaluation.compute(predictions, setup.labels).summary


def _finish(
    engine: Engine,
    setup: Setup,
    workdir: Path,
    progress: loop.Progress,
    best: Best | None,
    keep_weights: bool,
) -> None:
    """Evaluates, then writes weights and last of all the result."""
    data, step = setup.config.data, progress.step
    if best:
        best.offer(progress, _validate(engine, setup))
        step = best.take(progress)
    found = {
        split: _predict(engine, setup, split)
        for split in dict.fromkeys((data.val_split, data.test_split))
        if split
    }
    weights_of = engine.model if keep_weights else None
    saving.on_chief(lambda: _close(weights_of, setup, workdir, step, found), engine.total)
    if not cluster.team().is_chief:
        return
    if best:
        best.forget()
    if isinstance(setup.config, TransferConfig):
        every = setup.interval("keep_every")
        checkpoints.prune(workdir / runs.CHECKPOINT_DIR, progress.step, 0, every)


def _close(
    model: keras.Model | None,
    setup: Setup,
    workdir: Path,
    step: int,
    found: dict[str, evaluation.Predictions],
) -> None:
    """Writes weights (None: only what is known of them), predictions and result of a run."""
    if model is not None:
        models.save_npz(model, workdir / runs.WEIGHTS_FILE)
    weights.write_card(
        workdir,
        weights.WeightsCard(
            arch=setup.config.model.name,
            source=setup.lineage,
            normalisation=setup.eval_pipeline.normalisation,
            train=setup.train_pipeline.text,
            eval=setup.eval_pipeline.text,
            task=setup.labels.task,
            labels=setup.labels.names,
            step=step,
        ),
    )
    rows = results.write(workdir, setup, setup.config, found, arch=setup.arch, step=step)
    for row in rows:
        if row.metric == setup.config.metric:
            logging.info("%s: %s %s %.4f", workdir, row.split, row.metric, row.value)
