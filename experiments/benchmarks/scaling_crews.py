"""Crews of workers that live side by side and train by turns, each started by `launch_local`.

A crew is started, then met, then waited for: several crews can so prepare themselves together.
"""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from experiments.benchmarks.scaling_worker import Task
from keras_transfer.core.errors import UserError

_POLL_SECONDS = 0.5
_END_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one worker says about the steps it has made.

    Attributes:
        start: When it began, in seconds of the system-wide monotonic clock.
        end: When it was done.
        cpu: CPU seconds that all its threads used meanwhile.
    """

    start: float
    end: float
    cpu: float


class Crew:
    """The workers of one run; a crew that nobody asks waits without using CPU.

    Args:
        name: Tells it from other crews.
        workers: How many.
        threads: Of each worker; 0 leaves the choice to TensorFlow.
        cores: CPU cores that they may use.
        task: What they train.
        folder: Where their socket is.
    """

    def __init__(
        self,
        name: str,
        workers: int,
        *,
        threads: int,
        cores: Sequence[int],
        task: Task,
        folder: Path,
    ):
        self._name, self._workers, self._task = name, workers, task
        self._channels: dict[int, TextIO] = {}
        path = folder / f"{name}.socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(workers)
        self._launcher = self._launch(path, threads, cores)

    def _launch(self, path: Path, threads: int, cores: Sequence[int]) -> subprocess.Popen:
        command = [
            *(sys.executable, "-m", "experiments.launch_local", "--grace=5"),
            *(f"--workers={self._workers}", f"--threads_per_worker={threads}", "--"),
            *(sys.executable, "-m", "experiments.benchmarks.scaling_worker"),
            *(f"--crew={self._name}", f"--socket={path}"),
        ]
        with _only_on(cores):  # the launcher inherits it, and shares the cores out
            return subprocess.Popen(command, cwd=Path(__file__).parents[2])

    def meet(self) -> None:
        """Waits for the workers and tells them the task; they prepare it at once."""
        self._listener.settimeout(_POLL_SECONDS)
        while len(self._channels) < self._workers:
            if self._launcher.poll() is not None:
                raise self._lost()
            with contextlib.suppress(TimeoutError):
                sock, _ = self._listener.accept()
                sock.setblocking(True)
                with sock:
                    channel = sock.makefile("rw")
                self._channels[json.loads(channel.readline())["rank"]] = channel
        for rank in range(self._workers):
            self._tell(rank, json.dumps(dataclasses.asdict(self._task)))

    def wait_until_ready(self) -> None:
        """Waits until all workers have prepared the task that `meet` told them."""
        for rank in range(self._workers):
            self._answer(rank)

    def train(self, kind: str) -> list[Turn]:
        """Lets all workers train the steps of the task on one kind of input."""
        self.begin(kind)
        return self.finish()

    def begin(self, kind: str) -> None:
        """Starts what `train` does and does not wait for it."""
        for rank in range(self._workers):
            self._tell(rank, json.dumps({"input": kind}))

    def finish(self) -> list[Turn]:
        """Waits for what `begin` has started; returns what each worker says, by rank."""
        return [Turn(**json.loads(self._answer(rank))) for rank in range(self._workers)]

    def _tell(self, rank: int, line: str) -> None:
        try:
            self._channels[rank].write(line + "\n")
            self._channels[rank].flush()
        except OSError:
            raise self._lost() from None

    def _answer(self, rank: int) -> str:
        try:
            line = self._channels[rank].readline()
        except OSError:
            line = ""
        if not line:
            raise self._lost()
        return line

    def _lost(self) -> UserError:
        return UserError(
            f"A worker of the crew {self._name!r} ({self._workers}) ended: its last lines, above, "
            "say why. Is there enough memory?"
        )

    def close(self) -> None:
        """Sends the workers home and waits for them."""
        self._listener.close()
        for channel in self._channels.values():
            with contextlib.suppress(OSError):
                channel.close()
        try:
            self._launcher.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            # It still prepares its task, which may take minutes, while another crew has failed.
            self._launcher.terminate()
            self._launcher.wait()


@contextlib.contextmanager
def _only_on(cores: Sequence[int]) -> Iterator[None]:
    """Restricts this process, and what it starts meanwhile, to some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
