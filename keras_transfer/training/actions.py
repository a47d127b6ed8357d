"""What happens around the optimisation steps: log, evaluate, checkpoint, stop.

An action is due at multiples of its interval and at the end of the run.
"""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tqdm import tqdm

from keras_transfer.core import runs
from keras_transfer.core.errors import Preempted, UserError
from keras_transfer.training import checkpoints, cluster
from keras_transfer.training.loop import Progress
from keras_transfer.training.step import Engine

_NEVER = np.iinfo(np.int64).max


def on_chief(write: Callable[[], None], total: Callable[[int], int]) -> None:
    """Lets the chief write files, and stops all workers where it cannot.

    An error on one worker alone would look like a lost worker to the others, and to Slurm like a
    reason to start again.

    Args:
        write: Writes; may raise UserError.
        total: Adds a number up over all workers, see `Engine.total`; all of them must call.

    Raises:
        UserError: On all workers.
    """
    failure = None
    if cluster.team().is_chief:
        try:
            write()
        except UserError as error:
            failure = error
    if total(int(failure is not None)):
        cluster.wait_for_all()
        raise failure or UserError(
            f"Worker {cluster.team().rank} stops with worker 0, which cannot write its files and "
            "says why."
        )


class _EachWindow:
    """An action that looks at every window of steps and ends none."""

    def next(self, step: int) -> int:
        return _NEVER


class _Periodic:
    """An action that is due every ``every`` steps; 0 is only at the end."""

    def __init__(self, every: int):
        self._every = every

    def next(self, step: int) -> int:
        return (step // self._every + 1) * self._every if self._every else _NEVER

    def _due(self, progress: Progress) -> bool:
        at_end = progress.step == progress.total_steps
        return at_end or bool(self._every and progress.step % self._every == 0)


class WatchNonFinite(_EachWindow):
    """Stops at the first loss or gradient that is NaN or infinite, or reports steps left out.

    All workers see the same numbers, so all of them do the same.

    Args:
        run_dir: The run directory.
        skips: Whether the optimiser leaves such steps out (``optim.non_finite``).
    """

    most_in_a_row = 10

    def __init__(self, run_dir: Path, *, skips: bool):
        self._run_dir, self._skips = run_dir, skips
        self._in_a_row = 0

    def __call__(self, progress: Progress) -> None:
        watched = ("grad_norm",) if self._skips else ("loss", "grad_norm", "param_norm")
        good = np.all([np.isfinite(progress.values[name]) for name in watched], axis=0)
        for index, is_good in enumerate(good):
            self._in_a_row = 0 if is_good else self._in_a_row + 1
            if is_good:
                continue
            step = progress.step - progress.window_steps + index + 1
            what = f"{self._run_dir}: step {step}: the loss or a gradient is NaN or infinite"
            what += _culprit(progress, index)
            if not self._skips or self._in_a_row == self.most_in_a_row:
                cluster.wait_for_all()
                raise UserError(
                    f"{what}{f', as in the {self._in_a_row - 1} steps before' * self._skips}; the "
                    "last checkpoint is from before. Lower optim.base_lr, lengthen "
                    "schedule.warmup or switch optim.clipping on."
                )
            logging.warning("%s: left out.", what)


def _culprit(progress: Progress, index: int) -> str:
    """Names the worker that spoiled a step, if it is one of several."""
    bad, ranks = (int(progress.values[name][index]) for name in ("bad_replicas", "bad_ranks"))
    if cluster.team().size == 1 or not bad:
        return ""
    return f" on worker {ranks}" if bad == 1 else f" on {bad} replicas"


class Log(_Periodic):
    """Writes ``metrics.jsonl`` and TensorBoard scalars: means since the last line.

    Workers that do not write have the same action all the same: it decides, with the others, how
    long a window is, and windows must be equally long everywhere.

    Args:
        run_dir: The run directory.
        every: Interval in steps.
        config_text: Shown by TensorBoard.
        global_batch_size: Images per step.
        total: See `on_chief`.
    """

    def __init__(
        self,
        run_dir: Path,
        every: int,
        config_text: str,
        global_batch_size: int,
        total: Callable[[int], int],
    ):
        super().__init__(every)
        self._run_dir, self._total = run_dir, total
        self._batch = global_batch_size
        self._columns: dict[str, list[np.ndarray]] = {}
        self._seconds = 0.0
        self._writer = tf.summary.create_noop_writer()
        on_chief(lambda: self._open(config_text), total)

    def __call__(self, progress: Progress) -> None:
        for name, values in progress.values.items():
            self._columns.setdefault(name, []).append(values)
        self._seconds += progress.window_seconds
        if not self._due(progress):
            return
        columns = {name: np.concatenate(values) for name, values in self._columns.items()}
        counted = np.isfinite(columns["grad_norm"])  # all but steps that were left out
        names = [name for name in columns if not name.startswith("bad_")] if counted.any() else []
        row = {f"train/{name}": float(np.mean(columns[name][counted])) for name in names}
        if not counted.all():
            row["train/skipped_steps"] = int((~counted).sum())
        # The rate in force, not a mean over a change of it.
        row["train/learning_rate"] = float(columns["learning_rate"][-1])
        images = len(columns["loss"]) * self._batch
        row["images_per_second"] = images / self._seconds
        self.write(progress.step, row)
        self._columns, self._seconds = {}, 0.0

    def write(self, step: int, row: dict[str, float]) -> None:
        """Writes one line and the same scalars; all workers call it."""
        on_chief(lambda: self._write(step, row), self._total)

    def _open(self, config_text: str) -> None:
        with _named_when_full():
            self._writer = tf.summary.create_file_writer(str(self._run_dir / runs.TENSORBOARD_DIR))
            with self._writer.as_default(step=0):
                tf.summary.text("config", f"```\n{config_text}\n```")

    def _write(self, step: int, row: dict[str, float]) -> None:
        runs.append_metrics(self._run_dir, {"step": step, **row})
        with _named_when_full(), self._writer.as_default(step=step):
            for name, value in row.items():
                tf.summary.scalar(name, value)
            self._writer.flush()

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._writer.close()


@contextlib.contextmanager
def _named_when_full() -> Iterator[None]:
    """Makes one line of what TensorFlow says of a full disk, the file's name in front."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        file, _, reason = error.message.rpartition("}} ")[2].splitlines()[0].partition("; ")
        raise UserError(
            f"{file} cannot be written: {reason}. Make room, then give the same command again."
        ) from None


class Evaluate(_Periodic):
    """Evaluates on the validation split, on all workers, and logs the metrics on one.

    Args:
        every: Interval in steps.
        evaluate: Metric name -> value.
        log: Where the values go.
        then: Is told the values.
    """

    def __init__(
        self,
        every: int,
        evaluate: Callable[[], dict[str, float]],
        log: Log,
        then: Callable[[Progress, dict[str, float]], None] | None = None,
    ):
        super().__init__(every)
        self._evaluate, self._log, self._then = evaluate, log, then

    def _due(self, progress: Progress) -> bool:
        # The end of the run has its own evaluation, with predictions.
        return progress.step < progress.total_steps and super()._due(progress)

    def __call__(self, progress: Progress) -> None:
        if self._due(progress):
            values = self._evaluate()
            self._log.write(progress.step, {f"val/{name}": v for name, v in values.items()})
            if self._then is not None:
                self._then(progress, values)


class Checkpoint(_Periodic):
    """Saves model, optimiser, step and time spent.

    Args:
        run_dir: The run directory.
        engine: What is saved.
        every: Interval in steps.
        keep: Newest checkpoints to keep.
        keep_every: Multiples of it are kept for good; 0 for none.
        at_end: Whether the end of the run is saved too.
    """

    def __init__(
        self,
        run_dir: Path,
        engine: Engine,
        every: int,
        *,
        keep: int,
        keep_every: int,
        at_end: bool,
    ):
        super().__init__(every)
        self._folder = run_dir / runs.CHECKPOINT_DIR
        self._engine, self._keep, self._keep_every = engine, keep, keep_every
        self._at_end = at_end

    def __call__(self, progress: Progress) -> None:
        at_end = progress.step == progress.total_steps
        if self._due(progress) and (self._at_end or not at_end):
            self.save(progress)

    def save(self, progress: Progress) -> Path:
        """Writes a checkpoint now and lets old ones go; all workers, who hold the same, call it."""
        on_chief(lambda: self._save(progress), self._engine.total)
        return checkpoints.path_of(self._folder, progress.step)

    def _save(self, progress: Progress) -> None:
        devices = cluster.describe(self._engine.strategy)
        header = {"seconds": progress.seconds, "devices": devices}
        if progress.best_step:
            header |= {"best_step": progress.best_step, "best_value": progress.best_value}
        checkpoints.save(self._folder, progress.step, self._engine.variables(), header)
        checkpoints.prune(self._folder, progress.step, self._keep, self._keep_every)


class StopOnSignal(_EachWindow):
    """Turns SIGTERM and SIGUSR1 into a checkpoint and ``Preempted``; use it as a context.

    The handler only sets a flag: the window of steps under way is finished first. A second signal
    while the checkpoint is written changes nothing, so it cannot be cut short by it.

    A signal to one worker stops all of them at the same step: after each window they count those
    that were asked to stop.

    Args:
        checkpoint: What is saved then.
        total: Adds a number up over all workers; all of them call it after each window.
    """

    signals = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, checkpoint: Checkpoint, total: Callable[[int], int]):
        self._checkpoint, self._total = checkpoint, total
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopOnSignal":
        for number in self.signals:
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread (a notebook, a test): signals stay as they are
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self._received = number

    def __call__(self, progress: Progress) -> None:
        if progress.step == progress.total_steps:
            return
        received = self._received
        if self._total(int(received is not None)):
            path = self._checkpoint.save(progress)
            cluster.wait_for_all()
            name = signal.Signals(received).name if received else "Another worker's signal"
            raise Preempted(f"{name} at step {progress.step}: saved {path}; start again to go on.")


class ShowProgress(_EachWindow):
    """A progress bar with loss, images/s and the time that is left."""

    def __init__(self, label: str, progress: Progress, global_batch_size: int):
        self._batch = global_batch_size
        self._bar = tqdm(
            total=progress.total_steps,
            initial=progress.step,
            desc=label,
            unit="step",
            dynamic_ncols=True,
            mininterval=1.0,
            leave=False,
            file=sys.stderr,
        )

    def __call__(self, progress: Progress) -> None:
        rate = progress.window_steps * self._batch / progress.window_seconds
        loss = float(progress.values["loss"][-1])
        self._bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} images/s", refresh=False)
        self._bar.update(progress.step - self._bar.n)
        if progress.step == progress.total_steps:
            self._bar.close()

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()
