"""The process of a sweep that trains: cells of one shape, one after the other.

Started by ``running.py``, which writes the job to its standard input.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from absl import logging

from experiments import _main
from experiments.configs.grids import Cell
from experiments.sweeps import state
from keras_transfer.core import claims, runs
from keras_transfer.core.config import TransferConfig, from_dict, to_dict
from keras_transfer.core.errors import DiskFull, Preempted, UserError, WorkerLost

# Exit codes, beside those of all scripts.
BROKEN_EXIT_CODE = 3  # an error of unknown kind: TensorFlow may be in any state
LOST_EXIT_CODE = 4  # another process has taken the cell over

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # those that a run hears
_TOUCHES = 20  # of a claim, before it would be stale


@dataclass(frozen=True)
class Job:
    """What a worker does.

    Attributes:
        workdir: Folder of the cells.
        cells: Cells of one shape.
        rules: When a cell is open.
        keep_weights: Whether finished cells keep their weights.
    """

    workdir: Path
    cells: list[Cell]
    rules: state.Rules
    keep_weights: bool = True

    def to_json(self) -> str:
        """Writes the job as text."""
        cells = [(cell.name, to_dict(cell.config)) for cell in self.cells]
        values = {"workdir": str(self.workdir), "cells": cells, "rules": asdict(self.rules)}
        return json.dumps({**values, "keep_weights": self.keep_weights})

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Reads `to_json`."""
        values = json.loads(text)
        cells = []
        for name, config in values["cells"]:
            read = from_dict(config)
            assert isinstance(read, TransferConfig)
            cells.append(Cell(name, read))
        rules = state.Rules(**values["rules"])
        return cls(Path(values["workdir"]), cells, rules, values["keep_weights"])


class Keeper:
    """Keeps claims alive, and hears signals when the run does not; a context.

    A run listens to signals while it trains. One that comes at another time is repeated until
    either the run listens, and saves a checkpoint, or the cell is finished. Should the sweep that
    started this process be gone, that is a SIGTERM.
    """

    def __init__(self, stale_seconds: float):
        self._every = min(stale_seconds / _TOUCHES, 30.0)
        self._claim: claims.Claim | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._parent = os.getppid()
        self.received: int | None = None

    def __enter__(self) -> "Keeper":
        for number in SIGNALS:
            signal.signal(number, self._note)
        threading.Thread(target=self._keep, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _note(self, number: int, _: object) -> None:
        self.received = number

    @contextlib.contextmanager
    def holding(self, claim: claims.Claim) -> Iterator[None]:
        """Touches a claim until the context ends, then releases it."""
        with self._lock:
            self._claim = claim
        try:
            yield
        finally:
            with self._lock:
                self._claim = None
            claim.release()

    def _keep(self) -> None:
        touched = time.monotonic()
        while not self._ended.wait(1.0):
            if os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGTERM)
            elif self.received is not None:
                os.kill(os.getpid(), self.received)
            if time.monotonic() - touched < self._every:
                continue
            touched = time.monotonic()
            with self._lock:
                if self._claim is not None and not self._claim.touch():
                    # At once: every file from here on is another process's.
                    os._exit(LOST_EXIT_CODE)

    def check(self) -> None:
        """Raises Preempted if a signal has come."""
        if self.received is not None:
            name = signal.Signals(self.received).name
            raise Preempted(f"{name} between two runs: start again to go on.")


def run(job: Job, keeper: Keeper, engines: Any = None) -> None:
    """Runs every cell that is open and free, each at most once.

    Raises:
        Preempted: After a signal; the run under way has saved a checkpoint.
        DiskFull: No other cell would survive it.
    """
    training = _main.training()
    engines = engines or training.EngineCache()
    for cell in job.cells:
        keeper.check()
        folder = job.workdir / cell.name
        claim = _claim(folder, cell, job.rules)
        if claim is not None:
            with keeper.holding(claim):
                # Between the look and the claim another process may have finished it.
                if not _is_settled(folder, job.rules):
                    _run(training, engines, cell, folder, job.keep_weights)
    keeper.check()


def _claim(folder: Path, cell: Cell, rules: state.Rules) -> claims.Claim | None:
    if state.status(folder, cell, {}, rules) != state.TO_DO:
        return None
    return claims.take(folder, rules.stale_seconds)


def _is_settled(folder: Path, rules: state.Rules) -> bool:
    given_up = state.is_given_up(state.read_failure(folder), rules.tries)
    return runs.is_finished(folder) or given_up


def _run(training: Any, engines: Any, cell: Cell, folder: Path, keep_weights: bool) -> None:
    """Runs a cell, and notes what goes wrong with it."""
    state.note_config(folder, cell)
    try:
        training.transfer(cell.config, folder, engines=engines, keep_weights=keep_weights)
    except (Preempted, WorkerLost, DiskFull):
        raise
    except Exception as error:
        _note_failure(cell, folder, error)
        return
    (folder / state.FAILED_FILE).unlink(missing_ok=True)
    rows, primary = runs.read_result(folder)
    values = [row.value for row in rows if row.metric == primary]
    print(f"{cell.name}: {primary} {values[-1]:.4f}", flush=True)


def _note_failure(cell: Cell, folder: Path, error: Exception) -> None:
    """Writes down why a cell failed; ends the process unless it is wrong input."""
    message = str(error) if isinstance(error, UserError) else _main.text_of_user_error(error)
    if message is not None:
        state.write_failure(folder, message, again=False)
        print(f"{cell.name}: failed, {message}", flush=True)
        return
    state.write_failure(folder, repr(error), again=True, traceback=traceback.format_exc())
    print(f"{cell.name}: failed, {error!r}", flush=True)
    raise SystemExit(BROKEN_EXIT_CODE)


def main() -> None:
    """Does the job on standard input."""
    job = Job.from_json(sys.stdin.read())
    # One line a run is enough; the runs' own words are for single runs.
    logging.set_verbosity(logging.WARNING)
    with Keeper(job.rules.stale_seconds) as keeper:
        run(job, keeper)


if __name__ == "__main__":
    _main.run(main)
