"""Several real processes: the same numbers as one, and what happens when one of them is lost."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.training import workers
from tests.training.workers import STEPS


@pytest.fixture(scope="module")
def folders(films, digits) -> str:
    """Films with unknown labels and digits: no label in common."""
    return f"{films},{digits}"


@pytest.fixture(scope="module")
def one(tmp_path_factory, folders) -> Path:
    """The run in one process with one replica and whole batches."""
    workdir = tmp_path_factory.mktemp("one")
    workers.finish(workers.command(workdir, folders), 1)
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory, folders) -> Path:
    """The run on two workers, uninterrupted."""
    workdir = tmp_path_factory.mktemp("two")
    workers.finish(workers.command(workdir, folders), 2)
    return workdir


def _assert_equal_runs(workdir: Path, expected: Path) -> None:
    workers.assert_same_weights(workdir, expected, atol=1e-6)
    values, others = workers.metrics(workdir), workers.metrics(expected)
    # Metrics are equal to the last bit but for the loss, which is a mean of rounded numbers.
    assert values.pop("loss", 0) == pytest.approx(others.pop("loss", 0), rel=1e-5)
    assert values == others


def test_two_workers_equal_one(one, two):
    _assert_equal_runs(two, one)
    metrics = (two / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == STEPS / 2, "only the chief writes"


def test_a_step_that_one_worker_spoils_is_left_out_on_all(tmp_path, folders, monkeypatch):
    """The chief writes what it has: weights that are NaN on the other would reach it in a step."""
    monkeypatch.setenv("SPOILED_RANK", "1")
    monkeypatch.setenv("SPOILED_STEPS", "2,5")
    command = workers.command(tmp_path, folders, "--config.optim.non_finite=skip")
    command = [word.replace("experiments.pretrain", "tests.training.spoiled") for word in command]
    output = workers.finish(command, 2)
    for rank in (0, 1):
        for step in (3, 6):
            said = f"step {step}: the loss or a gradient is NaN or infinite on worker 1: left out"
            assert re.search(rf"\[{rank}\] .*{said}", output), output
    assert all(np.isfinite(value).all() for value in workers.weights(tmp_path).values())
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line).get("train/skipped_steps", 0) for line in lines[:4]] == [0, 1, 1, 0]


def test_two_workers_of_two_replicas_and_micro_batches_equal_one(one, tmp_path, folders):
    extra = ("--config.runtime.replicas=2", "--config.train.accumulation=2")
    workers.finish(workers.command(tmp_path, folders, *extra), 2)
    _assert_equal_runs(tmp_path, one)


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
    two, tmp_path, folders, victim, sent, seconds, said, again
):
    command = workers.command(tmp_path, folders)
    process = workers.start(command, 2)
    deadline = time.monotonic() + 200
    metrics = tmp_path / "metrics.jsonl"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 4):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    worker = workers.pids(process.pid)[victim]
    os.kill(worker, sent)
    start = time.monotonic()
    if sent == signal.SIGSTOP:  # the launcher ends it after the others have stopped
        while len(workers.pids(process.pid)) == 2 and time.monotonic() - start < seconds:
            time.sleep(0.1)
        os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=seconds)
    assert time.monotonic() - start < seconds
    assert process.returncode == 75, output
    assert said in output
    assert not (tmp_path / "result.json").exists()
    if not again:
        return
    workers.finish(command, 2)
    workers.assert_same_weights(tmp_path, two)
    assert (tmp_path / "metrics.jsonl").read_text().count("train/loss") == STEPS / 2
