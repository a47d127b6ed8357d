"""Runs the cells of a sweep: a process per shape, one after the other.

The memory of a shape is given back with its process. Any number of sweeps may do the same at the
same time, here or on other machines: a process works on a cell only while it holds its claim.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import _main
from experiments.configs.grids import Cell
from experiments.sweeps import cells as cells_lib
from experiments.sweeps import state, worker
from keras_transfer.core import claims
from keras_transfer.core.errors import Preempted

_WORKER = (sys.executable, "-m", worker.__name__)
_PREEMPTED = (_main.REQUEUE_EXIT_CODE, *(-number for number in worker.SIGNALS))


class Sweep:
    """Runs cells; a context, in which SIGTERM and SIGUSR1 are passed on to the worker.

    Args:
        workdir: Folder of the cells.
        cells: What is run.
        missing: From `state.missing_inputs`: cells that need any of it are left out.
        rules: When a cell is open.
        keep_weights: Whether finished cells keep their weights.
    """

    def __init__(
        self,
        workdir: Path,
        cells: Sequence[Cell],
        missing: Mapping[str, str],
        rules: state.Rules,
        keep_weights: bool = True,
    ):
        self._workdir, self._missing, self._rules = workdir, missing, rules
        self._keep_weights = keep_weights
        self._groups = cells_lib.by_shape(cells)
        self._worker: subprocess.Popen | None = None
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Sweep":
        for number in worker.SIGNALS:
            self._previous[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._worker is not None and self._worker.poll() is None:
            self._worker.terminate()
            self._worker.wait()

    def _pass_on(self, number: int, _: object) -> None:
        self._received = number
        if self._worker is not None and self._worker.poll() is None:
            self._worker.send_signal(number)

    def run(self) -> None:
        """Works until no cell is left that this process could take.

        Raises:
            Preempted: After a signal; the worker has saved a checkpoint.
        """
        while group := self._next_group():
            code = self._work(group)
            if self._received is not None or code in _PREEMPTED:
                raise Preempted("The sweep was stopped: the same command goes on.")
            if code == _main.USER_ERROR_EXIT_CODE:
                sys.exit(code)  # the worker has said why
            if code not in (0, worker.BROKEN_EXIT_CODE, worker.LOST_EXIT_CODE):
                self._blame(group, code)

    def _next_group(self) -> list[Cell]:
        """Returns the cells to do of the first shape that has any."""
        for group in self._groups:
            to_do = [cell for cell in group if self._status(cell) == state.TO_DO]
            if to_do:
                return to_do
        return []

    def _status(self, cell: Cell) -> str:
        return state.status(self._workdir / cell.name, cell, self._missing, self._rules)

    def _work(self, group: list[Cell]) -> int:
        """Runs a worker to its end and returns its exit code."""
        print(
            f"--- {group[0].target}, {group[0].config.model.name}: {len(group)} cells", flush=True
        )
        self._worker = subprocess.Popen(_WORKER, stdin=subprocess.PIPE, text=True)
        if self._received is not None:  # it came before there was a worker
            self._worker.send_signal(self._received)
        job = worker.Job(self._workdir, group, self._rules, self._keep_weights)
        self._worker.communicate(job.to_json())
        return self._worker.returncode

    def _blame(self, group: list[Cell], code: int) -> None:
        """Notes a failure of the cell that a worker died in, such as of memory."""
        assert self._worker is not None
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        for cell in group:
            folder = self._workdir / cell.name
            holder = claims.last_holder(folder)
            if holder and holder.pid == self._worker.pid and holder.is_dead and not holder.released:
                message = f"its process was {how}; is there enough memory?"
                state.write_failure(folder, message, again=True)
                print(f"{cell.name}: failed, {message}", flush=True)
                return
        raise RuntimeError(f"A worker (process {self._worker.pid} of {os.getpid()}) {how}.")
