"""Sweeps that are killed at random and started again, for a test and for the long version of it:

python -m tests.experiments.killing --kills=10
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_transfer.core import runs

ROOT = Path(__file__).resolve().parents[2]

GRID = """
from experiments.configs import finetune
from experiments.configs.grids import Cell


def get_grid(arg=None):
    cells = []
    for shots in ("1", "5"):
        for seed in range({seeds}):
            config = finetune.make(data=arg, model="bit-r14x0.25", shots=shots, seed=seed)
            config.name = "digits"
            config.schedule.duration = "{steps} steps"
            config.train.global_batch_size = 16
            config.train.log_every = "2 steps"
            config.train.checkpoint_every = "4 steps"
            config.data.train = "decode|resize(36)|random_crop(32)|value_range(-1, 1)"
            config.data.eval = "decode|resize(32)|value_range(-1, 1)"
            cells.append(Cell(f"digits/shots_{{shots}}.seed_{{seed}}", config))
    return cells
"""


def write_grid(folder: Path, seeds: int, steps: int = 12) -> Path:
    """Writes a grid of 2 shots and some seeds, whose argument is the data."""
    path = folder / "tiny.py"
    path.write_text(GRID.format(seeds=seeds, steps=steps))
    return path


def start(grid: Path, data: str, workdir: Path, *flags: str) -> subprocess.Popen:
    """Starts a sweep as the leader of its own group of processes."""
    words = ["-m", "experiments.sweep", f"--grid={grid}:{data}", f"--workdir={workdir}", *flags]
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen, seconds: float) -> str:
    """Waits for the end of a sweep and returns what it said; leaves no process behind."""
    try:
        return process.communicate(timeout=seconds)[0]
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def sweep(grid: Path, data: str, workdir: Path, *flags: str, expect: int = 0) -> str:
    """Runs a sweep to its end and returns what it said."""
    process = start(grid, data, workdir, *flags)
    output = end(process, 400)
    assert process.returncode == expect, output
    return output


def interrupt(
    grid: Path, data: str, workdir: Path, number: int, *, lines: int, seconds: float
) -> int:
    """Starts a sweep and ends it when it has come some way; returns its exit code.

    Args:
        grid: The grid's file.
        data: Its argument.
        workdir: Where it runs.
        number: The signal: SIGKILL goes to the whole group, another one to the sweep alone.
        lines: How many lines of metrics there have to be, beside a worker that has begun.
        seconds: How long to wait then.
    """
    claims = _count(workdir, "claim.*.json")
    process = start(grid, data, workdir)
    while process.poll() is None and (
        _count(workdir, "claim.*.json") == claims or lines_of(workdir) < lines
    ):
        time.sleep(0.02)
    time.sleep(seconds)
    if process.poll() is None:
        (os.killpg if number == signal.SIGKILL else os.kill)(process.pid, number)
    end(process, 200)
    return process.returncode


def _count(workdir: Path, pattern: str) -> int:
    return len(list(workdir.rglob(pattern)))


def lines_of(workdir: Path) -> int:
    """Returns the lines of metrics of all cells."""
    return sum(len(p.read_text().splitlines()) for p in workdir.rglob(runs.METRICS_FILE))


def results(workdir: Path) -> dict[str, list[runs.ResultRow]]:
    """Returns the rows of every result below a folder, by directory."""
    found = sorted(workdir.rglob(runs.RESULT_FILE))
    return {
        str(path.parent.relative_to(workdir)): runs.read_result(path.parent)[0] for path in found
    }


def assert_same(workdir: Path, expected: Path) -> None:
    """Compares all results and final weights of two sweeps, bit for bit."""
    assert results(workdir) == results(expected)
    for name in results(expected):
        found, wanted = (np.load(d / name / runs.WEIGHTS_FILE) for d in (workdir, expected))
        for key in wanted.files:
            np.testing.assert_array_equal(found[key], wanted[key], err_msg=f"{name} {key}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Kills a sweep of 10 cells at random until enough is enough, and compares it with another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = ["-m", "tfrecords_builders.build", "--source=digits", f"--output_dir={folder}/data"]
        subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
        data, grid = f"{folder}/data/digits", write_grid(folder, seeds=5)
        killed, whole = folder / "killed", folder / "whole"
        for number in range(chosen.kills):
            # 60 lines in all: the last kill, too, meets a sweep at work.
            lines = lines_of(killed) + rng.randint(0, 4)
            seconds = rng.uniform(0, 0.5)
            code = interrupt(grid, data, killed, signal.SIGKILL, lines=lines, seconds=seconds)
            print(f"kill {number + 1}: code {code}, {len(results(killed))} finished", flush=True)
        sweep(grid, data, killed)
        sweep(grid, data, whole)
        starts = [len(runs.read_json(path)["starts"]) for path in killed.rglob(runs.MANIFEST_FILE)]
        assert_same(killed, whole)
        print(f"{len(results(killed))} results, equal to an undisturbed sweep's; starts: {starts}")


if __name__ == "__main__":
    main()
