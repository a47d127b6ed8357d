"""Claims of directories: one holder at a time, whoever dies."""

import os
import subprocess
import sys
import threading
import time

import pytest

from keras_transfer.core import claims

TAKE = """
import sys, os, pathlib
from keras_transfer.core import claims
assert claims.take(pathlib.Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.read()
os._exit(1)  # like a kill: nothing is released
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has claimed ``tmp_path``, until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def _from_elsewhere(monkeypatch):
    """Makes the claims of this process those of another host."""
    monkeypatch.setattr(claims, "_host", lambda: "elsewhere")


def _age(folder, seconds):
    (path,) = folder.glob("claim.*.json")
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_released_directory_is_free_at_once(tmp_path):
    claim = claims.take(tmp_path / "new")
    assert claim.touch() and claims.is_taken(tmp_path / "new")
    assert claims.take(tmp_path / "new") is None
    claim.release()
    assert not claims.is_taken(tmp_path / "new")
    assert claims.take(tmp_path / "new") is not None
    assert not claim.touch()


def test_a_process_keeps_its_claim_until_it_dies(tmp_path, holder):
    assert claims.last_holder(tmp_path).pid == holder.pid
    assert claims.take(tmp_path) is None
    holder.stdin.close()
    # Not waited for: a zombie is dead, too.
    deadline = time.monotonic() + 20
    while claims.is_taken(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claims.last_holder(tmp_path).is_dead
    assert claims.take(tmp_path) is not None


def test_a_pid_that_is_used_again_is_another_process(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_start_of", lambda pid: "7")
        assert claims.take(tmp_path)
    assert claims.last_holder(tmp_path).pid == os.getpid()
    assert not claims.is_taken(tmp_path)


def test_silence_on_another_host_is_death_after_a_while(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _from_elsewhere(patch)
        silent = claims.take(tmp_path)
    _age(tmp_path, 30)
    assert claims.take(tmp_path, stale_seconds=60) is None
    _age(tmp_path, 90)
    assert silent.touch()
    assert claims.take(tmp_path, stale_seconds=60) is None
    _age(tmp_path, 90)
    assert claims.take(tmp_path, stale_seconds=60) is not None
    assert not silent.touch()


def test_of_many_who_follow_a_dead_process_one_does(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _from_elsewhere(patch)
        for number in range(20):
            claims.take(tmp_path / str(number))
            _age(tmp_path / str(number), 900)
    barrier, won = threading.Barrier(8), []

    def contend():
        for number in range(20):
            barrier.wait()
            if claims.take(tmp_path / str(number)):
                won.append(number)

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(20))


def test_who_looked_before_another_followed_comes_too_late(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _from_elsewhere(patch)
        claims.take(tmp_path)
    _age(tmp_path, 900)
    follower = claims.take(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(claims, "_newest", lambda folder: 0)  # what it saw then
        patch.setattr(claims, "_is_live", lambda *_: False)
        assert claims.take(tmp_path) is None
    assert follower.touch()


def test_a_claim_that_is_just_being_written_counts(tmp_path):
    (tmp_path / "claim.0.json").touch()
    assert claims.take(tmp_path) is None
    _age(tmp_path, 900)
    assert claims.take(tmp_path) is not None
