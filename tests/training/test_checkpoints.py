import contextlib
import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import training
from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, DiskFull, UserError
from keras_transfer.training import checkpoints


def _variables(value=0.0, shape=(300, 7)):
    return {
        "model/a/kernel": tf.Variable(tf.fill(shape, value)),
        "optimizer/iterations": tf.Variable(int(value), dtype=tf.int64),
    }


def _values(variables):
    return [v.numpy().reshape(-1)[0] for v in variables.values()]


def _restored_step(folder, variables):
    header = checkpoints.restore_latest(folder, variables)
    assert header is not None
    return header["step"]


def test_round_trip(tmp_path):
    checkpoints.save(tmp_path, 7, _variables(3.0), {"seconds": 1.5})
    fresh = _variables()
    assert checkpoints.restore_latest(tmp_path, fresh) == {"step": 7, "seconds": 1.5}
    assert _values(fresh) == [3.0, 3]
    assert checkpoints.restore_latest(tmp_path / "none", fresh) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "directory"])
def test_a_damaged_newest_falls_back_with_a_warning(tmp_path, damage, caplog):
    checkpoints.save(tmp_path, 1, _variables(1.0), {})
    newest = checkpoints.save(tmp_path, 2, _variables(2.0), {})
    data = bytearray(newest.read_bytes())
    if damage == "cut":
        newest.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
    elif damage == "empty":
        newest.write_bytes(b"")
    else:  # the end of the zip, where its table of contents is
        newest.write_bytes(data[:-30])
    fresh = _variables()
    with caplog.at_level("WARNING"):
        assert _restored_step(tmp_path, fresh) == 1
    assert newest.name in caplog.text and "Falling back" in caplog.text
    assert _values(fresh) == [1.0, 1]
    with pytest.raises(CorruptFileError, match=newest.name):
        checkpoints.restore(newest, fresh)
    assert _values(fresh) == [1.0, 1]


def test_a_half_written_one_is_ignored_with_a_warning(tmp_path, caplog):
    checkpoints.save(tmp_path, 1, _variables(1.0), {})
    stray = tmp_path / ".step_000000002.npz.host.123.tmp"
    stray.write_bytes(b"PK half")
    with caplog.at_level("WARNING"):
        assert _restored_step(tmp_path, _variables()) == 1
    assert stray.name in caplog.text and not stray.exists()


def test_another_network_is_refused_by_name(tmp_path):
    path = checkpoints.save(tmp_path, 1, _variables(), {})
    with pytest.raises(UserError, match=r"model/a/kernel has shape \(300, 7\)"):
        checkpoints.restore(path, _variables(shape=(300, 8)))
    other = {"model/b/kernel": tf.Variable(0.0)}
    with pytest.raises(UserError, match="another network or optimiser"):
        checkpoints.restore(path, other)


def test_keep_policy(tmp_path):
    for step in range(1, 13):
        checkpoints.save(tmp_path, step, {"v": tf.Variable(np.float32(step))}, {})
        checkpoints.prune(tmp_path, step, keep=2, keep_every=5)
    assert checkpoints.steps(tmp_path) == [5, 10, 11, 12]
    checkpoints.prune(tmp_path, 11, keep=1, keep_every=0)  # 12 is not whole, or we were past it
    assert checkpoints.steps(tmp_path) == [11]


@contextlib.contextmanager
def _largest_file(size):
    """A full disk: writing stops in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_older_checkpoint_and_no_scraps(tmp_path):
    older = checkpoints.save(tmp_path, 1, _variables(1.0), {})
    with _largest_file(4096), pytest.raises(DiskFull, match=r"step_000000002\.npz cannot be writ"):
        checkpoints.save(tmp_path, 2, _variables(2.0), {})
    assert list(tmp_path.iterdir()) == [older]
    fresh = _variables()
    assert _restored_step(tmp_path, fresh) == 1
    assert _values(fresh) == [1.0, 1]


def test_a_full_disk_tears_no_line_of_metrics(tmp_path):
    with _largest_file(150), pytest.raises(DiskFull, match=r"metrics.jsonl cannot be written: "):
        for step in range(100):
            runs.append_metrics(tmp_path, {"step": step})
    lines = (tmp_path / runs.METRICS_FILE).read_text().splitlines()
    assert len(lines) > 5 and [json.loads(line)["step"] for line in lines] == [*range(len(lines))]


@pytest.mark.parametrize("file", ["manifest.json", "events.out", "step_000000006.npz", "val.npz"])
def test_a_full_disk_stops_a_run_which_then_goes_on(
    pretraining, engines, tmp_path, monkeypatch, file
):
    config = pretraining(train__checkpoint_every="3 steps")
    training.pretrain(config, tmp_path / "whole", engines=engines)
    run_dir = tmp_path / "run"
    fsync = os.fsync

    def sync(descriptor):
        if file in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    def scalar(*_):
        text = "{{function_node x}} a/events.out.1; No space left on device\n\tFailed to flush"
        raise tf.errors.ResourceExhaustedError(None, None, text)

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", sync)
        if file == "events.out":
            full.setattr(tf.summary, "scalar", scalar)
        with pytest.raises(DiskFull, match=rf"{file}.*No space left on device") as stop:
            training.pretrain(config, run_dir, engines=engines)
    assert "\n" not in str(stop.value)
    assert not runs.is_finished(run_dir) and not list(run_dir.rglob("*.tmp"))
    kept = {"step_000000006.npz": [3], "val.npz": [3, 6]}
    assert checkpoints.steps(run_dir / runs.CHECKPOINT_DIR) == kept.get(file, [])
    training.pretrain(config, run_dir, engines=engines)
    first, second = (np.load(d / runs.WEIGHTS_FILE) for d in (tmp_path / "whole", run_dir))
    assert all((first[name] == second[name]).all() for name in first.files)
    assert len((run_dir / runs.METRICS_FILE).read_text().splitlines()) == 3
