"""Several real processes: the same numbers as one, and what happens when one of them is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = 20
LAUNCH = [sys.executable, "-m", "experiments.launch_local", "--grace=30"]


def _command(workdir: Path, films: str, *overrides: str) -> list[str]:
    """A run with mixup, augmentation, unknown labels and AGC that has something to clip."""
    return [
        sys.executable,
        "-m",
        "experiments.pretrain",
        f"--workdir={workdir}",
        f"--config=experiments/configs/smoke.py:data={films},steps={STEPS}",
        "--config.data.train=decode|resize(36)|random_crop(32)|random_flip|value_range(-1, 1)",
        "--config.data.mixup=0.3",
        "--config.optim.base_lr=0.003",
        "--config.optim.clipping=0.001",
        "--config.optim.weight_decay=1e-4",
        "--config.train.log_every=2 steps",
        "--config.train.checkpoint_every=6 steps",
        *overrides,
    ]


def _start(command: list[str], workers: int) -> subprocess.Popen:
    launcher = [*LAUNCH, f"--workers={workers}", "--"] if workers > 1 else []
    return subprocess.Popen(
        [*launcher, *command],
        cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _run(command: list[str], workers: int) -> None:
    process = _start(command, workers)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def _weights(workdir: Path) -> dict[str, np.ndarray]:
    with np.load(workdir / "weights.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def one(tmp_path_factory, films) -> Path:
    """The run in one process with one replica and whole batches."""
    workdir = tmp_path_factory.mktemp("one")
    _run(_command(workdir, films), 1)
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory, films) -> Path:
    """The run on two workers, uninterrupted."""
    workdir = tmp_path_factory.mktemp("two")
    _run(_command(workdir, films), 2)
    return workdir


def _assert_equal_runs(workdir: Path, expected: Path) -> None:
    weights = _weights(workdir)
    for name, value in _weights(expected).items():
        np.testing.assert_allclose(weights[name], value, rtol=0, atol=1e-6, err_msg=name)
    values, others = (
        {r["metric"]: r["value"] for r in json.loads((d / "result.json").read_text())["rows"]}
        for d in (workdir, expected)
    )
    # Metrics are equal to the last bit but for the loss, which is a mean of rounded numbers.
    assert values.pop("loss", 0) == pytest.approx(others.pop("loss", 0), rel=1e-5)
    assert values == others


def test_two_workers_equal_one(one, two):
    _assert_equal_runs(two, one)
    metrics = (two / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == STEPS / 2, "only the chief writes"


def test_two_workers_of_two_replicas_and_micro_batches_equal_one(one, tmp_path, films):
    extra = ("--config.runtime.replicas=2", "--config.train.accumulation=2")
    _run(_command(tmp_path, films, *extra), 2)
    _assert_equal_runs(tmp_path, one)


def _pids(launcher: int) -> list[int]:
    """Returns the workers, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher:
                environment = (folder / "environ").read_bytes().split(b"\0")
                rank = next(e for e in environment if e.startswith(b"RANK="))
                found[int(rank[5:])] = int(folder.name)
        except (OSError, StopIteration):
            continue
    return [found[rank] for rank in sorted(found)]


@pytest.mark.parametrize(
    ("victim", "sent", "seconds", "said", "again"),
    [
        (1, signal.SIGKILL, 20, "another one is lost (perhaps 1", False),
        (0, signal.SIGKILL, 20, "another one is lost (perhaps 0", True),
        (1, signal.SIGTERM, 20, "SIGTERM at step", True),
        (1, signal.SIGSTOP, 60, "unhealthy", False),  # seconds are precious: two go on
    ],
)
def test_a_lost_worker_ends_all_and_the_next_start_goes_on(
    two, tmp_path, films, victim, sent, seconds, said, again
):
    command = _command(tmp_path, films)
    process = _start(command, 2)
    deadline = time.monotonic() + 200
    metrics = tmp_path / "metrics.jsonl"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 4):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    worker = _pids(process.pid)[victim]
    os.kill(worker, sent)
    start = time.monotonic()
    if sent == signal.SIGSTOP:  # the launcher ends it after the others have stopped
        while len(_pids(process.pid)) == 2 and time.monotonic() - start < seconds:
            time.sleep(0.1)
        os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=seconds)
    assert time.monotonic() - start < seconds
    assert process.returncode == 75, output
    assert said in output
    assert not (tmp_path / "result.json").exists()
    if not again:
        return
    _run(command, 2)
    weights = _weights(tmp_path)
    for name, value in _weights(two).items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)
    assert (tmp_path / "metrics.jsonl").read_text().count("train/loss") == STEPS / 2
