"""Real processes: killed, signalled, and told wrong things on the command line."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from keras_transfer.core import runs
from keras_transfer.training import checkpoints

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "--config=experiments/configs/smoke.py:data={},steps={}"

KILL_AFTER_LINE_20 = """
import os, runpy, signal
from keras_transfer.training import actions
write = actions.Log.write
def write_and_die(self, step, row):
    write(self, step, row)
    if step == 20:
        os.kill(os.getpid(), signal.SIGKILL)
actions.Log.write = write_and_die
runpy.run_module("experiments.pretrain", run_name="__main__", alter_sys=True)
"""


def _start(*args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(*args: str) -> tuple[int, str, str]:
    process = _start(*args)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def _pretrain(workdir, digits, steps, *flags):
    config = CONFIG.format(digits, steps)
    return ["-m", "experiments.pretrain", f"--workdir={workdir}", config, *flags]


def _metrics(run_dir):
    lines = (run_dir / runs.METRICS_FILE).read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines
    ]


def test_kill_and_resume_equal_an_uninterrupted_run_bit_for_bit(digits, tmp_path):
    every = "--config.train.checkpoint_every=15 steps"
    code, out, err = _run(*_pretrain(tmp_path / "whole", digits, 30, every))
    assert code == 0, err
    assert "finished" in out

    cut = tmp_path / "cut"
    code, _, _ = _run("-c", KILL_AFTER_LINE_20, *_pretrain(cut, digits, 30, every)[2:])
    assert code == -signal.SIGKILL
    assert checkpoints.steps(cut / runs.CHECKPOINT_DIR) == [15]
    assert _metrics(cut)[-1]["step"] == 20 and not runs.is_finished(cut)
    code, _, err = _run(*_pretrain(cut, digits, 30, every))
    assert code == 0, err
    assert "own checkpoint of step 15" in err

    assert [row["step"] for row in _metrics(cut)] == [5, 10, 15, 20, 25, 30]
    assert _metrics(cut) == _metrics(tmp_path / "whole")
    files = [
        np.load(checkpoints.path_of(d / runs.CHECKPOINT_DIR, 30)) for d in (cut, tmp_path / "whole")
    ]
    names = [n for n in files[0].files if n != "header.json"]
    assert any("momentum" in n for n in names) and any("iteration" in n for n in names)
    for name in names:
        np.testing.assert_array_equal(files[0][name], files[1][name], err_msg=name)
    results = [runs.read_result(d)[0] for d in (cut, tmp_path / "whole")]
    assert results[0] == results[1]
    assert len(runs.read_json(cut / runs.MANIFEST_FILE)["starts"]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_a_checkpoint_and_asks_for_a_requeue(digits, tmp_path, number):
    process = _start(*_pretrain(tmp_path, digits, 1_000_000, "--config.train.log_every=5 steps"))
    deadline = time.monotonic() + 200
    while not (tmp_path / runs.METRICS_FILE).exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert f"{number.name} at step" in err and "Traceback" not in err
    (step, *_), last = checkpoints.steps(tmp_path / runs.CHECKPOINT_DIR), _metrics(tmp_path)[-1]
    assert step >= 5 and last["step"] >= 5
    assert not runs.is_finished(tmp_path)


def _commands(digits, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    config = CONFIG.format(digits, 20)
    pretrain = ["-m", "experiments.pretrain"]
    return {
        "unknown field": (
            [*pretrain, workdir, config, "--config.optim.lr=1"],
            "Did you mean 'base_lr'",
        ),
        "wrong type": ([*pretrain, workdir, config, "--config.seed=x"], "--config.seed"),
        "no config": ([*pretrain, workdir], "--config=FILE.py is missing"),
        "no such config": ([*pretrain, workdir, "--config=nowhere.py"], "nowhere.py"),
        "unknown argument": ([*pretrain, workdir, config + ",sed=1"], "Did you mean 'seed'"),
        "no workdir": ([*pretrain, config], "--workdir=DIR is missing"),
        "unknown flag": ([*pretrain, workdir, config, "--worckdir=x"], "worckdir"),
        "stray word": ([*pretrain, workdir, config, "now"], "'now'"),
        "no data": ([*pretrain, workdir, CONFIG.format("nowhere", 20)], "no such dataset folder"),
        "wrong op": (
            [*pretrain, workdir, config, "--config.data.train=decode|rotate(9)"],
            "rotate",
        ),
        "wrong kind": (["-m", "experiments.finetune", workdir, config], "TransferConfig"),
        "no run": (["-m", "experiments.evaluate", "--run=nowhere"], "nowhere"),
        "no runs": (["-m", "experiments.report", "--runs=nowhere", "--out=x"], "nowhere"),
        "bad seeds": (
            [
                "-m",
                "experiments.finetune",
                workdir,
                "--seeds=one",
                f"--config=experiments/configs/finetune.py:data={digits}",
            ],
            "--seeds",
        ),
    }


CASES = list(_commands("d", Path()))


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_is_one_line_and_exit_code_2(digits, tmp_path, case):
    command, message = _commands(digits, tmp_path)[case]
    code, out, err = _run(*command)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2, err
    assert len(errors) == 1 and message in errors[0], err
    assert "Traceback" not in err + out
    assert not (tmp_path / "run").exists()


def test_from_run_repeats_a_run_bit_for_bit(digits, tmp_path):
    config = f"--config=experiments/configs/finetune.py:data={digits},model=bit-r14x0.25,shots=1"
    small = [
        "--config.schedule.duration=4 steps",
        "--config.train.global_batch_size=8",
        "--config.data.train=decode|resize(32)|random_flip|value_range(-1, 1)",
        "--config.data.eval=decode|resize(32)|value_range(-1, 1)",
    ]
    finetune = ["-m", "experiments.finetune"]
    code, _, err = _run(*finetune, config, *small, f"--workdir={tmp_path / 'a'}", "--seeds=3")
    assert code == 0, err
    first = tmp_path / "a" / "shots_1.seed_3"
    code, _, err = _run(*finetune, f"--from_run={first}", f"--workdir={tmp_path / 'b'}")
    assert code == 0, err
    assert runs.read_result(first) == runs.read_result(tmp_path / "b")
    a, b = (np.load(d / runs.WEIGHTS_FILE) for d in (first, tmp_path / "b"))
    assert all((a[key] == b[key]).all() for key in a.files)
