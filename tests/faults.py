"""Breaks runs of two workers in every way we know, and writes the table in cluster/README.md.

    python -m tests.faults --out=cluster/README.md

Takes 15 to 30 minutes on 2 cores. A run is broken several times, started again each time, and in
the end compared with one that nobody broke. The first case that is not as it should be (all stopped
within 60 s, a named cause, the exit code, the same bits) ends the script with an error.
"""

import argparse
import contextlib
import dataclasses
import functools
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tests import fault_table
from tests.training import workers
from tfrecords_builders import stages

STEPS = 120
MOST_SECONDS = 60
LOST = r"Worker {} of 2 stops, for another one is lost \(perhaps {} .*?: (.*)"


@dataclasses.dataclass(frozen=True)
class Fault:
    """One way to break a run, and what must come of it.

    Attributes:
        name: In words, for the table.
        step: When.
        strike: Does it, to a launcher and its run directory.
        said: What the log says then, a regular expression.
        code: Exit code of the launcher.
        after: Done when all have stopped, before the next start.
        next_says: What the log of the next start says.
    """

    name: str
    step: int
    strike: Callable[[subprocess.Popen, Path], None]
    said: str
    code: int = 75
    after: Callable[[Path], None] = lambda run: None
    next_says: str = ""


def send(number: signal.Signals, rank: int) -> Callable[[subprocess.Popen, Path], None]:
    """Returns what sends a signal to one worker."""
    return lambda launcher, run: os.kill(workers.pids(launcher.pid)[rank], number)


def kills(rank: int, count: int, seed: int) -> list[Fault]:
    """Kills of a worker at random steps, one in each of ``count`` stretches of the run."""
    name = f"kill -9 of {'another worker' if rank else 'the chief'}"
    generator, length = random.Random(f"{seed}.{rank}"), (STEPS - 6) // count
    steps = [i * length + generator.randint(1, max(1, length - 3)) for i in range(count)]
    said = LOST.format(1 - rank, rank)
    return [Fault(name, step, send(signal.SIGKILL, rank), said) for step in steps]


def signals() -> list[Fault]:
    """SIGTERM, hangs, a damaged checkpoint, and kills after the last step."""
    faults = []
    for rank, step in ((1, 5), (0, 11)):
        saved = r"SIGTERM at step \d+: saved \S+"
        faults.append(Fault("SIGTERM to one worker", step, send(signal.SIGTERM, rank), saved))
    for rank, step in ((1, 17), (0, 23)):
        said = rf"Worker {1 - rank} of 2 stops, for another one is lost .*?: (.*)"
        faults.append(Fault("SIGSTOP: one worker hangs", step, send(signal.SIGSTOP, rank), said))
    for step in (29, 41):
        faults.append(
            Fault(
                "kill -9, and the newest checkpoint cut in half",
                step,
                send(signal.SIGKILL, 0),
                LOST.format(1, 0),
                after=_cut_newest,
                next_says=r"(?s)(?=.*\[0\] [^\n]*Falling back).*\[1\] [^\n]*Falling back",
            )
        )
    for rank in (0, 1):
        strike = functools.partial(_kill_after_the_last_step, rank)
        name = "kill -9 in the final evaluation"
        faults.append(Fault(name, STEPS, strike, LOST.format(1 - rank, rank)))
    return faults


def _cut_newest(run: Path) -> None:
    newest = max((run / "checkpoints").glob("step_*.npz"))
    os.truncate(newest, newest.stat().st_size // 2)


def _kill_after_the_last_step(rank: int, launcher: subprocess.Popen, run: Path) -> None:
    last = run / "checkpoints" / f"step_{STEPS:09d}.npz"
    workers.wait_until(last.exists, MOST_SECONDS, str(last))
    send(signal.SIGKILL, rank)(launcher, run)


def full_disks() -> list[Fault]:
    """A disk too small for a third checkpoint, then one without a byte left."""
    said = r"error: \S*{}\S* cannot be written: No space left on device"
    return [
        Fault(
            "no space for a checkpoint",
            18,
            lambda launcher, run: None,
            said.format(r"step_\d+\.npz"),
            code=2,
            after=_make_room,
        ),
        Fault("no space at all", 31, _fill, said.format(""), code=2, after=_make_room),
    ]


def _fill(launcher: subprocess.Popen, run: Path) -> None:
    with contextlib.suppress(OSError), (run / "filler").open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass


def _make_room(run: Path) -> None:
    """Looks for scraps and torn files before."""
    (run / "filler").unlink(missing_ok=True)
    assert not list(run.rglob("*.tmp"))
    assert workers.last_step(run) > 0  # reads the last line
    kept = sorted((run / "checkpoints").glob("step_*.npz"))
    assert len(kept) == 2
    for path in kept:
        with np.load(path) as file:
            assert all(file[name] is not None for name in file.files)
    subprocess.run(["mount", "-o", "remount,size=64m", run], check=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system with room for two checkpoints of 4.1 MB; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=11m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def stop(before: int) -> list[Fault]:
    """What a run answers to SIGTERM, before another number of workers goes on."""

    def strike(launcher: subprocess.Popen, run: Path) -> None:
        launcher.send_signal(signal.SIGTERM)

    return [Fault(f"SIGTERM to all of {before}", 20, strike, r"SIGTERM at step \d+: saved \S+")]


@dataclasses.dataclass(frozen=True)
class Chain:
    """A run that is broken several times.

    Attributes:
        run: Its directory.
        folders: Datasets.
        before: Workers until it is broken for the last time.
        after: Workers of the last start.
    """

    run: Path
    folders: str
    before: int = 2
    after: int = 2

    @property
    def command(self) -> list[str]:
        """Its command."""
        every_step = "--config.train.log_every=1 steps"
        return workers.command(self.run, self.folders, every_step, steps=STEPS)

    def suffer(self, faults: Sequence[Fault], expected: Path) -> list[fault_table.Case]:
        """Starts, breaks, starts again ..., and compares with the run that nobody broke."""
        cases, wanted = [], ""
        for fault in faults:
            case, output = self._break(fault)
            assert re.search(wanted, output), output
            print(f"{fault.name}, step {fault.step}: {case.seconds:.1f} s", flush=True)
            cases.append(case)
            wanted = fault.next_says
        if self.before != self.after:
            wanted = rf"written by {self.before} replica.* the order of the epoch"
        output = workers.finish(self.command, self.after)
        assert re.search(wanted, output), output
        atol = 0.0 if self.before == self.after else 1e-6
        difference = workers.assert_same_weights(self.run, expected, atol=atol)
        assert len((self.run / "metrics.jsonl").read_text().splitlines()) == STEPS
        onward = f"goes on with {self.after}: weights within {difference:.0e}"
        onward = "same bits" if atol == 0.0 else onward
        return [dataclasses.replace(case, onward=onward) for case in cases]

    def _break(self, fault: Fault) -> tuple[fault_table.Case, str]:
        starts = workers.starts(self.run)
        launcher = workers.start(self.command, self.before)
        try:
            # Lines of the start before do not count.
            workers.wait_until(
                lambda: (
                    workers.starts(self.run) > starts and workers.last_step(self.run) >= fault.step
                ),
                400,
                f"step {fault.step}",
            )
            fault.strike(launcher, self.run)
            start = time.monotonic()
            output, _ = launcher.communicate(timeout=MOST_SECONDS)
            seconds = time.monotonic() - start
        finally:
            if launcher.poll() is None:
                for worker in workers.pids(launcher.pid):
                    os.kill(worker, signal.SIGKILL)
                launcher.kill()
        said = re.search(fault.said, output)
        assert launcher.returncode == fault.code and said and "Traceback" not in output, output
        fault.after(self.run)
        text = " ".join(said[0].split())
        return fault_table.Case(fault.name, fault.step, seconds, fault.code, text), output


def build(folder: Path) -> str:
    """Builds the two datasets and returns their folders."""
    jobs = [
        stages.make_job("phantom", options=("num_patients=60,uncertain=0.2",)),
        stages.make_job("digits", options=("classes=0-4",)),
    ]
    settings = stages.Settings(num_workers=1)
    return ",".join(str(stages.build(job, folder, settings).folder) for job in jobs)


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="markdown file with the two marks")
    parser.add_argument("--kills", type=int, default=10, help="of the chief, and of the other")
    parser.add_argument("--seed", type=int, default=0, help="of the steps of the kills")
    args = parser.parse_args()
    if os.getuid() != 0:
        parser.error("root is needed: a full disk is a small file system mounted for it")
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        folder = Path(scratch)
        folders = build(folder / "data")
        whole = Chain(folder / "whole", folders)
        workers.finish(whole.command, 2)
        cases = []
        for rank in (0, 1):
            faults = kills(rank, args.kills, args.seed)
            cases += Chain(folder / f"kills{rank}", folders).suffer(faults, whole.run)
        cases += Chain(folder / "signals", folders).suffer(signals(), whole.run)
        with small_disk(folder / "disk") as run:
            cases += Chain(run, folders).suffer(full_disks(), whole.run)
        for before, after in ((2, 1), (1, 2)):
            run = folder / f"{before}to{after}"
            cases += Chain(run, folders, before, after).suffer(stop(before), whole.run)
    lines = [*fault_table.where(STEPS), "", *fault_table.rows(cases)]
    print("\n".join(lines))
    if args.out:
        fault_table.write(args.out, lines)


if __name__ == "__main__":
    main()
