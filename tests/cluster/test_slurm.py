"""The batch scripts under a real Slurm: what is killed or stopped is queued again and goes on."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from keras_transfer.core import claims
from tests.experiments import killing
from tests.training import workers

pytestmark = pytest.mark.slurm

STEPS = 60  # time for a signal to arrive while it trains
GRID_STEPS = 60  # of a cell
SECONDS = 200  # for what takes 30 on an idle machine


@pytest.fixture(scope="module")
def folders(films, digits) -> str:
    return f"{films},{digits}"


@pytest.fixture(scope="module")
def uninterrupted(slurm, tmp_path_factory, folders) -> Path:
    """The run on two workers without Slurm."""
    workdir = tmp_path_factory.mktemp("uninterrupted")
    workers.finish(workers.command(workdir, folders, steps=STEPS), 2)
    return workdir


def _submit(slurm, log: Path, options: list[str], words: list[str], **variables: str) -> str:
    """Submits a script and returns the number of its job."""
    variables |= {"KT_VENV": sys.prefix, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = ["sbatch", "--parsable", f"--output={log}", *options, *words]
    return slurm.run(*command, **variables)


def _pretrain(slurm, tmp_path: Path, folders: str, **variables: str) -> str:
    flags = workers.command(tmp_path / "run", folders, steps=STEPS)[3:]
    words = ["cluster/pretrain.sbatch", *flags]
    return _submit(slurm, tmp_path / "log", ["--nodes=2"], words, **variables)


def _wait_for_step(slurm, job: str, tmp_path: Path, step: int) -> None:
    def there() -> bool:
        return workers.last_step(tmp_path / "run") >= step or _ended(slurm, job)

    workers.wait_until(there, SECONDS, f"step {step}")
    assert workers.last_step(tmp_path / "run") < STEPS, (tmp_path / "log").read_text()


def _ended(slurm, job: str) -> bool:
    return slurm.state(job) not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "REQUEUED")


def _kill(job: str, rank: int) -> None:
    (task,) = workers.find(
        "experiments.pretrain", SLURM_JOB_ID=job, SLURM_STEPID="0", SLURM_PROCID=str(rank)
    )
    os.kill(task, signal.SIGKILL)


def _finish(slurm, job: str, tmp_path: Path) -> str:
    """Waits for the end of a job and returns its log."""
    workers.wait_until(lambda: _ended(slurm, job), SECONDS, f"end of job {job}")
    log = (tmp_path / "log").read_text()
    assert slurm.state(job) == "COMPLETED", log
    return log


def _queued_again(run: Path) -> list[str]:
    """Returns for each start of a run how often its job had been queued again."""
    starts = json.loads((run / "manifest.json").read_text())["starts"]
    return [start["slurm"].get("SLURM_RESTART_COUNT", "0") for start in starts]


def test_a_job_is_queued_again_when_the_chief_is_killed(slurm, uninterrupted, tmp_path, folders):
    job = _pretrain(slurm, tmp_path, folders, KT_RESTARTS="1")
    _wait_for_step(slurm, job, tmp_path, 20)
    _kill(job, 0)
    log = _finish(slurm, job, tmp_path)
    assert "another one is lost (perhaps 0" in log
    assert _queued_again(tmp_path / "run") == ["0", "1"]
    assert "initialised from own checkpoint of step" in log
    workers.assert_same_weights(tmp_path / "run", uninterrupted)


def test_a_job_goes_on_in_its_allocation_and_after_its_time(
    slurm, uninterrupted, tmp_path, folders
):
    job = _pretrain(slurm, tmp_path, folders)
    _wait_for_step(slurm, job, tmp_path, 10)
    _kill(job, 1)
    _wait_for_step(slurm, job, tmp_path, 36)
    slurm.run("scancel", "--signal=USR1", "--batch", job)
    log = _finish(slurm, job, tmp_path)
    assert "another one is lost (perhaps 1" in log
    assert "time is nearly up" in log and "SIGUSR1 at step" in log
    assert _queued_again(tmp_path / "run") == ["0", "0", "1"]
    workers.assert_same_weights(tmp_path / "run", uninterrupted)


def test_a_grid_is_run_by_an_array(slurm, tmp_path, digits):
    flags = [
        f"--workdir={tmp_path / 'grid'}",
        f"--config=experiments/configs/finetune.py:data={digits},model=bit-r14x0.25",
        "--shots=1,5",
        "--config.schedule.duration=100 steps",
        "--config.train.log_every=10 steps",
        "--config.train.global_batch_size=16",
        "--config.data.test_split=val",
    ]
    words = ["cluster/array.sbatch", *flags]
    job = _submit(slurm, tmp_path / "log.%a", ["--array=0-1"], words)
    second = tmp_path / "grid" / "shots_5.seed_1"
    workers.wait_until(lambda: workers.last_step(second) >= 20, SECONDS, "step 20 of a second run")
    slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_1")
    for task in ("0", "1"):
        workers.wait_until(lambda: _ended(slurm, f"{job}_{task}"), SECONDS, f"end of {task}")  # noqa: B023
    logs = [(tmp_path / f"log.{task}").read_text() for task in (0, 1)]
    assert "finished: 2 run(s)" in logs[0] and "finished: 2 run(s)" in logs[1], "".join(logs)
    assert "shots_1.seed_1 is finished already" in logs[1]
    assert "own checkpoint of step" in logs[1] and "own checkpoint of step" not in logs[0]
    results = sorted(tmp_path.glob("grid/*/result.json"))
    assert [f.parent.name for f in results] == [
        f"shots_{shots}.seed_{seed}" for shots in (1, 5) for seed in (0, 1)
    ]


def _in_training(job: str, task: int, workdir: Path) -> tuple[int, Path] | None:
    """Returns a task's worker and the cell that it is in the midst of; None between two cells."""
    environ = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task)}
    pids = workers.find("experiments.sweeps.worker", **environ)
    for folder in workdir.glob("digits/*"):
        holder = claims.last_holder(folder)
        if holder is None or holder.released or holder.pid not in pids:
            continue
        if 10 <= workers.last_step(folder) <= GRID_STEPS / 2:
            return holder.pid, folder
    return None


def _wait_for_training(job: str, task: int, workdir: Path) -> tuple[int, Path]:
    found: list[tuple[int, Path]] = []

    def there() -> bool:
        found[:] = filter(None, [_in_training(job, task, workdir)])
        return bool(found)

    workers.wait_until(there, SECONDS, f"task {task} in the midst of a cell")
    return found[0]


def test_a_sweep_is_run_by_an_array(slurm, tmp_path, digits):
    """One worker is killed, one task stopped as at its time limit: every cell has one result."""
    grid, workdir = killing.write_grid(tmp_path, seeds=4, steps=GRID_STEPS), tmp_path / "grid"
    words = ["cluster/array.sbatch", f"--grid={grid}:{digits}", f"--workdir={workdir}"]
    job = _submit(slurm, tmp_path / "log.%a", ["--array=0-1"], words)
    worker, killed = _wait_for_training(job, 1, workdir)
    os.kill(worker, signal.SIGKILL)
    _, stopped = _wait_for_training(job, 0, workdir)
    slurm.run("scancel", "--signal=USR1", "--batch", f"{job}_0")
    for task in (0, 1):
        workers.wait_until(lambda: _ended(slurm, f"{job}_{task}"), SECONDS, f"end of {task}")  # noqa: B023
        assert slurm.state(f"{job}_{task}") == "COMPLETED"
    logs = [(tmp_path / f"log.{task}").read_text() for task in (0, 1)]
    assert "task 0 asks to be queued again" in logs[0], logs[0]
    assert f"{killed.relative_to(workdir)}: failed, its process was killed by SIGKILL" in logs[1]
    cells = {f"digits/shots_{shots}.seed_{seed}" for shots in (1, 5) for seed in range(4)}
    assert set(killing.results(workdir)) == cells and not list(workdir.rglob("failed.json"))
    for cell in cells:
        assert "".join(logs).count(f"{cell}: accuracy") == 1, cell
        # The one that was killed may be the one that is stopped: the other task may take it over.
        assert workers.starts(workdir / cell) == 1 + [killed, stopped].count(workdir / cell), cell
        assert workers.last_step(workdir / cell) == GRID_STEPS
    last = json.loads((stopped / "manifest.json").read_text())["starts"][-1]
    assert last["initialised_from"].startswith("own checkpoint of step")
