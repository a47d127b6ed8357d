"""What happens around the optimisation steps: log, evaluate, checkpoint, stop.

An action is due at multiples of its interval and at the end of the run.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_transfer.core import runs
from keras_transfer.core.errors import Preempted, UserError
from keras_transfer.training import checkpoints
from keras_transfer.training.loop import Progress
from keras_transfer.training.step import Engine

_NEVER = np.iinfo(np.int64).max


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


class StopOnNonFinite(_EachWindow):
    """Stops at the first loss or gradient norm that is NaN or infinite, naming its step."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir

    def __call__(self, progress: Progress) -> None:
        for name in ("loss", "grad_norm", "param_norm"):
            bad = np.flatnonzero(~np.isfinite(progress.values[name]))
            if len(bad):
                step = progress.step - progress.window_steps + int(bad[0]) + 1
                value = progress.values[name][bad[0]]
                raise UserError(
                    f"{self._run_dir}: {name} became {value} at step {step}; the last checkpoint "
                    "is from before. Lower optim.base_lr, lengthen schedule.warmup or switch "
                    "optim.clipping on."
                )


class Log(_Periodic):
    """Writes ``metrics.jsonl`` and TensorBoard scalars: means since the last line.

    Workers that do not write have the same action all the same: it decides, with the others, how
    long a window is, and windows must be equally long everywhere.
    """

    def __init__(
        self,
        run_dir: Path,
        every: int,
        config_text: str,
        global_batch_size: int,
        *,
        writes: bool = True,
    ):
        super().__init__(every)
        self._run_dir, self._writes = run_dir, writes
        self._batch = global_batch_size
        folder = str(run_dir / runs.TENSORBOARD_DIR)
        self._writer = (
            tf.summary.create_file_writer(folder) if writes else tf.summary.create_noop_writer()
        )
        self._columns: dict[str, list[np.ndarray]] = {}
        self._seconds = 0.0
        with self._writer.as_default(step=0):
            tf.summary.text("config", f"```\n{config_text}\n```")

    def __call__(self, progress: Progress) -> None:
        for name, values in progress.values.items():
            self._columns.setdefault(name, []).append(values)
        self._seconds += progress.window_seconds
        if not self._due(progress):
            return
        columns = {name: np.concatenate(values) for name, values in self._columns.items()}
        row = {f"train/{name}": float(np.mean(values)) for name, values in columns.items()}
        # The rate in force, not a mean over a change of it.
        row["train/learning_rate"] = float(columns["learning_rate"][-1])
        images = len(columns["loss"]) * self._batch
        row["images_per_second"] = images / self._seconds
        self.write(progress.step, row)
        self._columns, self._seconds = {}, 0.0

    def write(self, step: int, row: dict[str, float]) -> None:
        """Writes one line and the same scalars."""
        if not self._writes:
            return
        runs.append_metrics(self._run_dir, {"step": step, **row})
        with self._writer.as_default(step=step):
            for name, value in row.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def close(self) -> None:
        """Closes the TensorBoard file."""
        self._writer.close()


class Evaluate(_Periodic):
    """Evaluates on the validation split, on all workers, and logs the metrics on one."""

    def __init__(self, every: int, evaluate: Callable[[], dict[str, float]], log: Log):
        super().__init__(every)
        self._evaluate, self._log = evaluate, log

    def _due(self, progress: Progress) -> bool:
        # The end of the run has its own evaluation, with predictions.
        return progress.step < progress.total_steps and super()._due(progress)

    def __call__(self, progress: Progress) -> None:
        if self._due(progress):
            values = {f"val/{name}": value for name, value in self._evaluate().items()}
            self._log.write(progress.step, values)


class Checkpoint(_Periodic):
    """Saves model, optimiser, step and time spent.

    Args:
        run_dir: The run directory.
        engine: What is saved.
        every: Interval in steps.
        keep: Newest checkpoints to keep.
        keep_every: Multiples of it are kept for good; 0 for none.
        at_end: Whether the end of the run is saved too.
        writes: Whether this process is the one that writes; all workers hold the same values.
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
        writes: bool = True,
    ):
        super().__init__(every)
        self._folder = run_dir / runs.CHECKPOINT_DIR
        self._engine, self._keep, self._keep_every = engine, keep, keep_every
        self._at_end, self._writes = at_end, writes

    def __call__(self, progress: Progress) -> None:
        at_end = progress.step == progress.total_steps
        if self._due(progress) and (self._at_end or not at_end):
            self.save(progress)

    def save(self, progress: Progress) -> Path:
        """Writes a checkpoint now and lets old ones go."""
        if not self._writes:
            return checkpoints.path_of(self._folder, progress.step)
        header = {"seconds": progress.seconds}
        variables = self._engine.variables()
        path = checkpoints.save(self._folder, progress.step, variables, header)
        checkpoints.prune(self._folder, self._keep, self._keep_every)
        return path


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
