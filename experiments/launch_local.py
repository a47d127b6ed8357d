"""Starts a command several times on this machine, as the workers of one run.

    python -m experiments.launch_local --workers=2 -- python -m experiments.pretrain --config=...

Each worker finds its place in RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT; its lines are shown with its rank before them. SIGTERM, SIGUSR1 and SIGINT go on to all
workers. When one fails, the others have --grace seconds to stop by themselves.
"""

import contextlib
import functools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from absl import flags

from experiments import _main
from keras_transfer.core.errors import UserError

_WORKERS = flags.DEFINE_integer("workers", 2, "Number of processes.", 1)
_GRACE = flags.DEFINE_float("grace", 30.0, "Seconds that the others have after a failure.", 0.0)
_THREADS = flags.DEFINE_integer(
    "threads_per_worker", 0, "Threads and CPU cores of each; 0: all share all cores.", 0
)

_FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
_SECONDS_FROM_TERM_TO_KILL = 10.0
_POLL_SECONDS = 0.05


def launch(
    command: Sequence[str],
    workers: int,
    *,
    grace: float = 30.0,
    threads: int = 0,
    kill_after: float = _SECONDS_FROM_TERM_TO_KILL,
) -> int:
    """Runs a command in several processes and waits for all of them.

    Args:
        command: Program and arguments.
        workers: Number of processes.
        grace: Seconds between the first failure and SIGTERM to those that still run.
        threads: Threads of each; 0 leaves TensorFlow's choice. With enough cores for all, each
            worker also has cores of its own.
        kill_after: Seconds from SIGTERM to SIGKILL.

    Returns:
        0, or the exit code of the first that failed (128 + n for signal n). A worker that asks for
        a new start (75) decides over those that fell with it or were killed from outside.
    """
    with _received_signals() as received:
        crew: list[subprocess.Popen[str]] = []
        try:
            for rank, variables in enumerate(_variables(workers, threads)):
                crew.append(_start(command, rank, variables))
                _pin(crew[-1].pid, rank, workers, threads)
            readers = [reader for rank, worker in enumerate(crew) for reader in _show(rank, worker)]
            codes = _wait(crew, received, grace, kill_after)
        finally:
            for worker in crew:
                _kill(worker)
    for reader in readers:
        reader.join(timeout=2)  # not for ever: what a worker started may still hold its output
    return _verdict(codes)


def _variables(workers: int, threads: int) -> Iterator[dict[str, str]]:
    port = str(_free_port())
    # A TF_CONFIG of someone else would win over what we say.
    base = {name: value for name, value in os.environ.items() if name != "TF_CONFIG"}
    base |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONUNBUFFERED": "1"}
    if threads:
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        base |= dict.fromkeys(names, str(threads))
    for rank in range(workers):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": workers}
        place["LOCAL_WORLD_SIZE"] = workers
        yield base | {name: str(value) for name, value in place.items()}


def _free_port() -> int:
    """Returns a port whose successor, where rank 0 will listen, is free too.

    Below the range that Linux hands out by itself: nobody takes it before the worker does.
    """
    for port in random.sample(range(12000, 32000), 1000):
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("", port))
            second.bind(("", port + 1))
            return port
    raise UserError("No free port between 12000 and 32000 on this machine.")


def _start(command: Sequence[str], rank: int, variables: dict[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # Else Ctrl-C in a terminal would reach it twice: from there and from us.
            process_group=0,
        )
    except OSError as error:
        raise UserError(f"Worker {rank} cannot start {command[0]!r}: {error.strerror}.") from None


def _pin(pid: int, rank: int, workers: int, threads: int) -> None:
    """Gives a worker cores of its own where there are enough."""
    cores = sorted(os.sched_getaffinity(0))
    if threads and workers * threads <= len(cores):
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.sched_setaffinity(pid, cores[rank * threads : (rank + 1) * threads])


def _show(rank: int, worker: subprocess.Popen[str]) -> list[threading.Thread]:
    assert worker.stdout is not None and worker.stderr is not None
    pairs = ((worker.stdout, sys.stdout), (worker.stderr, sys.stderr))
    readers = [threading.Thread(target=_copy, args=(rank, *p), daemon=True) for p in pairs]
    for reader in readers:
        reader.start()
    return readers


def _copy(rank: int, source: TextIO, sink: TextIO) -> None:
    with source:
        for line in source:
            # One write a line: lines of several workers do not mix.
            sink.write(f"[{rank}] {line.rstrip()}\n")
            sink.flush()


@contextlib.contextmanager
def _received_signals() -> Iterator[list[int]]:
    """Collects signals instead of dying of them."""
    received: list[int] = []
    previous = {n: signal.signal(n, lambda n, _: received.append(n)) for n in _FORWARDED}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait(
    crew: list[subprocess.Popen[str]], received: list[int], grace: float, kill_after: float
) -> list[int]:
    """Returns the exit codes in the order of ending."""
    codes: list[int] = []
    running = list(enumerate(crew))
    term_at = kill_at = float("inf")
    while running:
        while received:
            number = received.pop(0)
            for _, worker in running:
                worker.send_signal(number)
        ended = [(_code(worker), rank) for rank, worker in running if worker.poll() is not None]
        running = [(rank, worker) for rank, worker in running if worker.returncode is None]
        now = time.monotonic()
        # Of those that end together, the one that asks for a new start is the cause.
        for code, rank in sorted(ended, key=lambda pair: pair[0] != _main.REQUEUE_EXIT_CODE):
            codes.append(code)
            if code:
                _say(f"worker {rank} ended with exit code {code}")
                term_at = min(term_at, now + grace)
        if running and now >= term_at and kill_at == float("inf"):
            _say(f"SIGTERM to {len(running)} worker(s), {grace:g} s after a failure")
            for _, worker in running:
                worker.terminate()
            kill_at = now + kill_after
        if running and now >= kill_at:
            _say(f"SIGKILL to {len(running)} worker(s)")
            for _, worker in running:
                _kill(worker)
        time.sleep(_POLL_SECONDS if running else 0)
    return codes


def _code(worker: subprocess.Popen[str]) -> int:
    """Returns the exit code as a shell tells it."""
    return worker.returncode if worker.returncode >= 0 else 128 - worker.returncode


def _kill(worker: subprocess.Popen[str]) -> None:
    """Kills a worker and what it has started."""
    if worker.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def _say(text: str) -> None:
    print(f"launch_local: {text}", file=sys.stderr, flush=True)


def _verdict(codes: list[int]) -> int:
    bad = [code for code in codes if code]
    # A worker that was killed decided nothing: what the others make of it counts. One that ended
    # with an error of its own did, although the others then ask for a new start.
    if _main.REQUEUE_EXIT_CODE in bad and bad[0] > 128:
        return _main.REQUEUE_EXIT_CODE
    return bad[0] if bad else 0


def main(command: list[str]) -> None:
    """Runs the script."""
    if not command:
        raise UserError("No command: python -m experiments.launch_local --workers=2 -- COMMAND")
    sys.exit(launch(command, _WORKERS.value, grace=_GRACE.value, threads=_THREADS.value))


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    to_run = sys.argv[split + 1 :]
    del sys.argv[split:]
    _main.run(functools.partial(main, to_run), tensorflow=False)
