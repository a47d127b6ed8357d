"""Tiny workers: what they print, how they fail, which signals reach them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import launch_local
from keras_transfer.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def _launch(code, workers=2, **settings):
    start = time.monotonic()
    return launch_local.launch([sys.executable, "-c", code], workers, **settings), (
        time.monotonic() - start
    )


def _script(*args):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.launch_local", *args],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


AS_RANK = "import os, sys, time, signal; rank = int(os.environ['RANK'])\n"


def test_workers_find_their_place_and_lines_carry_the_rank(capfd, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "of someone else")
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    code = (
        f"{AS_RANK}import json; print(json.dumps([os.environ[n] for n in {names}]))\n"
        "print('no TF_CONFIG', 'TF_CONFIG' not in os.environ)\n"
        "sys.stderr.write('a\\rb'); sys.stdout.write('last')"
    )
    assert _launch(code, 3)[0] == 0
    out, err = capfd.readouterr()
    assert sorted(err.splitlines()) == sorted(f"[{r}] {x}" for r in range(3) for x in "ab")
    ports = set()
    for rank in range(3):
        lines = [x[4:] for x in out.splitlines() if x.startswith(f"[{rank}] ")]
        *values, port = json.loads(lines[0])
        assert values == [str(rank), "3", str(rank), "3", "127.0.0.1"]
        assert lines[1:] == ["no TF_CONFIG True", "last"]
        ports.add(int(port))
    assert len(ports) == 1 and 12000 <= ports.pop() < 32000


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sys.exit(3 if rank == 1 else 0)", 3),
        # The cause ends first; the other follows with an error or asks for a new start.
        ("time.sleep(0.4 * rank); sys.exit([75, 1][rank])", 75),
        ("time.sleep(0.4 * rank); sys.exit([1, 75][rank])", 1),
        ("time.sleep(0.4 * rank); sys.exit([2, 3][rank])", 2),
        # Killed from outside: the survivor decides.
        ("time.sleep(0.4 * rank)\nif rank: sys.exit(75)\nos.kill(os.getpid(), 9)", 75),
        ("time.sleep(0.4 * rank)\nif rank: sys.exit(1)\nos.kill(os.getpid(), 9)", 137),
    ],
)
def test_the_first_bad_code_is_returned(code, expected, capfd):
    assert _launch(AS_RANK + code)[0] == expected
    assert "launch_local: worker" in capfd.readouterr().err


def test_those_that_end_together_with_75_are_its_consequence(monkeypatch):
    monkeypatch.setattr(launch_local, "_POLL_SECONDS", 1.0)
    code = f"{AS_RANK}time.sleep(0.1 * rank); sys.exit([1, 75][rank])"
    assert _launch(code)[0] == 75


def test_the_others_have_time_to_stop_by_themselves(capfd):
    code = f"{AS_RANK}time.sleep(0.8 * rank); print('saved' if rank else 'failed'); sys.exit(4)"
    assert _launch(code, grace=20)[0] == 4
    out, err = capfd.readouterr()
    assert "[1] saved" in out and "SIGTERM" not in err


def test_then_they_get_sigterm(capfd):
    code = (
        f"{AS_RANK}signal.signal(signal.SIGTERM, lambda *_: (print('term'), sys.exit(0)))\n"
        "time.sleep(0.7 * (1 - rank)); rank == 0 and sys.exit(4)\ntime.sleep(60)"
    )
    result, seconds = _launch(code, grace=0.1, kill_after=20)
    assert (result, seconds < 15) == (4, True)
    out, err = capfd.readouterr()
    assert "[1] term" in out and "SIGTERM to 1 worker(s)" in err and "SIGKILL" not in err


def test_then_sigkill(capfd):
    code = (
        f"{AS_RANK}signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "time.sleep(0.7 * (1 - rank)); rank == 0 and sys.exit(4)\ntime.sleep(60)"
    )
    result, seconds = _launch(code, grace=0.1, kill_after=0.3)
    assert (result, seconds < 15) == (4, True)
    assert "SIGKILL to 1 worker(s)" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_signals_reach_every_worker_once(name):
    code = (
        f"{AS_RANK}got = []\n"
        f"signal.signal(signal.{name}, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "while not got: time.sleep(0.02)\n"
        "time.sleep(0.2); print('got', len(got)); sys.exit(75)"
    )
    run = _script("--workers=2", "--", sys.executable, "-c", code)
    assert sorted(run.stdout.readline() for _ in range(2)) == ["[0] ready\n", "[1] ready\n"]
    run.send_signal(getattr(signal, name))
    out, _ = run.communicate(timeout=20)
    assert sorted(out.splitlines()) == ["[0] got 1", "[1] got 1"]
    assert run.returncode == 75


def test_handlers_are_put_back():
    before = [signal.getsignal(n) for n in launch_local._FORWARDED]
    _launch("pass", 1)
    assert [signal.getsignal(n) for n in launch_local._FORWARDED] == before


def test_cores_are_shared_where_there_are_enough(capfd):
    code = (
        f"{AS_RANK}time.sleep(0.2)\n"
        "print(os.environ['TF_NUM_INTRAOP_THREADS'], sorted(os.sched_getaffinity(0)))"
    )
    cores = sorted(os.sched_getaffinity(0))
    workers = len(cores)
    assert _launch(code, workers, threads=1)[0] == 0
    assert sorted(capfd.readouterr().out.splitlines()) == sorted(
        f"[{rank}] 1 [{core}]" for rank, core in enumerate(cores)
    )
    assert _launch(code, 1, threads=workers + 1)[0] == 0
    assert capfd.readouterr().out == f"[0] {workers + 1} {cores}\n"


def test_wrong_commands_are_one_line():
    with pytest.raises(UserError, match="Worker 0 cannot start 'no-such-program': No such file"):
        launch_local.launch(["no-such-program"], 2)
    run = _script("--workers=2")
    _, err = run.communicate(timeout=20)
    assert run.returncode == 2
    assert err.startswith("error: No command: python -m experiments.launch_local")


def test_workers_meet_as_ranks_of_one_cluster():
    code = (
        "import os\nfrom keras_transfer.training import launchers, rendezvous\n"
        "cluster = rendezvous.join(launchers.detect(os.environ), {'a': 'b'}, timeout=20)\n"
        "rendezvous.configure(cluster)\n"
        "print(*cluster.addresses, os.environ['no_grpc_proxy'], end=' ')\n"
        "print('worker' in os.environ['TF_CONFIG'])"
    )
    run = _script("--workers=3", "--", sys.executable, "-c", code)
    out, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    lines = sorted(out.splitlines())
    assert [line[:4] for line in lines] == ["[0] ", "[1] ", "[2] "]
    assert len({line[4:] for line in lines}) == 1
    assert lines[0].count("127.0.0.1:") == 3 and lines[0].endswith(" 127.0.0.1 True")
