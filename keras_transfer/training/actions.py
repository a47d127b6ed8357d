"""What happens around the optimisation steps: watch, log, evaluate, show; for files see `saving`.

An action is due at multiples of its interval and at the end of the run.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from keras_transfer.core import runs
from keras_transfer.core.errors import DiskFull, UserError
from keras_transfer.training import bars, cluster
from keras_transfer.training.loop import EachWindow, Periodic, Progress
from keras_transfer.training.saving import on_chief


class WatchNonFinite(EachWindow):
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


class Log(Periodic):
    """Writes ``metrics.jsonl`` and TensorBoard scalars: means since the last line.

    Workers that do not write have the same action all the same: it decides, with the others, how
    long a window is, and windows must be equally long everywhere.

    Args:
        run_dir: The run directory.
        every: Interval in steps.
        config_text: Shown by TensorBoard.
        global_batch_size: Images per step.
        total: See `saving.on_chief`.
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
        raise DiskFull(
            f"{file} cannot be written: {reason}. Make room, then give the same command again."
        ) from None


class Evaluate(Periodic):
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


class ShowProgress(EachWindow):
    """A progress bar with loss, images/s and the time that is left."""

    def __init__(self, label: str, progress: Progress, global_batch_size: int):
        self._batch = global_batch_size
        self._bar = bars.bar(label, progress.total_steps, "step", done=progress.step)

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
