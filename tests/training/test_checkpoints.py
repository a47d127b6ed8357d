import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.training import checkpoints


def _variables(value=0.0, shape=(300, 7)):
    return {
        "model/a/kernel": tf.Variable(tf.fill(shape, value)),
        "optimizer/iterations": tf.Variable(int(value), dtype=tf.int64),
    }


def _values(variables):
    return [v.numpy().reshape(-1)[0] for v in variables.values()]


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
        assert checkpoints.restore_latest(tmp_path, fresh)["step"] == 1
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
        assert checkpoints.restore_latest(tmp_path, _variables())["step"] == 1
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
        checkpoints.prune(tmp_path, keep=2, keep_every=5)
    assert checkpoints.steps(tmp_path) == [5, 10, 11, 12]
