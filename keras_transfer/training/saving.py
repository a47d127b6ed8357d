"""What a run goes on from: written by the chief alone, at intervals and when asked to stop."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_transfer.core import runs
from keras_transfer.core.errors import Preempted, UserError
from keras_transfer.training import checkpoints, cluster
from keras_transfer.training.loop import EachWindow, Periodic, Progress
from keras_transfer.training.step import Engine


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


class Checkpoint(Periodic):
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


class StopOnSignal(EachWindow):
    """Turns SIGTERM and SIGUSR1 into a checkpoint and ``Preempted``; use it as a context.

    The handler only sets a flag: the window of steps under way is finished first. A second signal
    while the checkpoint is written changes nothing, so it cannot be cut short by it.

    A signal to one worker stops all of them at the same step: after each window they count those
    that were asked to stop. One that comes in the last window stops no step: it is handed to
    whoever listened before, else it is ``late``.

    Args:
        checkpoint: What is saved then.
        total: Adds a number up over all workers; all of them call it after each window.
    """

    signals = (signal.SIGTERM, signal.SIGUSR1)
    late: int | None = None

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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        late = self._received if kind is None else None
        handler = self._previous.get(late) if late else None
        if callable(handler):
            handler(late, None)
        else:
            self.late = late

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
