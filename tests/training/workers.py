"""Runs of several real processes on this machine, for tests and for `tests.faults`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20


def command(workdir: Path, folders: str, *overrides: str, steps: int = STEPS) -> list[str]:
    """A run over films and digits, with mixup, augmentation, unknown labels and AGC that clips."""
    return [
        sys.executable,
        "-m",
        "experiments.pretrain",
        f"--workdir={workdir}",
        f"--config=experiments/configs/smoke.py:steps={steps}",
        f"--config.data.dirs={folders}",
        "--config.data.label_join=all",
        "--config.data.weights=(3, 1)",
        "--config.data.train=decode|resize(36)|random_crop(32)|random_flip|value_range(-1, 1)",
        "--config.data.mixup=0.3",
        "--config.optim.base_lr=0.003",
        "--config.optim.clipping=0.001",
        "--config.optim.weight_decay=1e-4",
        "--config.train.log_every=2 steps",
        "--config.train.checkpoint_every=6 steps",
        *overrides,
    ]


def start(run: list[str], workers: int) -> subprocess.Popen:
    """Starts a run on some workers."""
    launch = [sys.executable, "-m", "experiments.launch_local", "--grace=15"]
    launcher = [*launch, f"--workers={workers}", "--"] if workers > 1 else []
    return subprocess.Popen(
        [*launcher, *run],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(run: list[str], workers: int) -> str:
    """Runs to the end and returns what was said."""
    process = start(run, workers)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def pids(launcher: int) -> list[int]:
    """Returns the process ids of the workers of a launcher, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher:
                found[int(_environment(folder)["RANK"])] = int(folder.name)
        except (OSError, KeyError):
            continue
    return [found[rank] for rank in sorted(found)]


def find(program: str, **variables: str) -> list[int]:
    """Returns the processes of a program that have some variables in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            if program in words and variables.items() <= _environment(folder).items():
                found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return found


def _environment(process: Path) -> dict[str, str]:
    entries = (process / "environ").read_text(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def last_step(workdir: Path) -> int:
    """Returns the step of the last line of a run's metrics; 0 without any."""
    try:
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return json.loads(lines[-1])["step"] if lines else 0


def starts(workdir: Path) -> int:
    """Returns how often a run has been started."""
    manifest = workdir / "manifest.json"
    return len(json.loads(manifest.read_text())["starts"]) if manifest.exists() else 0


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Waits for something and returns how long it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - start


def weights(workdir: Path) -> dict[str, np.ndarray]:
    """Returns the final weights of a run."""
    with np.load(workdir / "weights.npz") as file:
        return dict(file)


def assert_same_weights(workdir: Path, expected: Path, *, atol: float = 0.0) -> float:
    """Compares the final weights of two runs; 0 demands the same bits.

    Returns:
        The largest difference.
    """
    found, wanted = weights(workdir), weights(expected)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=atol, err_msg=name)
    return max(float(np.abs(found[name] - value).max()) for name, value in wanted.items())


def metrics(workdir: Path) -> dict[str, float]:
    """Returns the final metrics of a run."""
    rows = json.loads((workdir / "result.json").read_text())["rows"]
    return {row["metric"]: row["value"] for row in rows}
