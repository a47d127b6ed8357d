import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.core.errors import CorruptFileError
from keras_transfer.data import records

PAYLOADS = [bytes([i % 251]) * (i * 37 % 500) for i in range(60)]


@pytest.fixture
def split(tmp_path):
    """Three shards of 20 records, framed by us."""
    files = []
    for shard in range(3):
        files.append(tmp_path / f"x-train.tfrecord-{shard:05d}-of-00003")
        files[-1].write_bytes(b"".join(map(records.frame, PAYLOADS[shard * 20 : shard * 20 + 20])))
    return records.Split("train", tuple(files), (20, 20, 20))


def _reader(split):
    starts = np.concatenate([records.scan_offsets(f)[:-1] for f in split.files])
    return records.RecordReader(split, starts)


def test_frames_are_those_of_tensorflow(tmp_path, split):
    with tf.io.TFRecordWriter(str(tmp_path / "tf")) as writer:
        for payload in PAYLOADS[:20]:
            writer.write(payload)
    assert (tmp_path / "tf").read_bytes() == split.files[0].read_bytes()
    ours = tf.data.TFRecordDataset([str(f) for f in split.files]).as_numpy_iterator()
    assert list(ours) == PAYLOADS
    assert list(records.iterate_records(split)) == PAYLOADS


def test_random_access_from_many_threads_with_few_open_files(split, monkeypatch):
    monkeypatch.setattr(records, "_MAX_OPEN_FILES", 1)
    reader = _reader(split)
    assert len(reader) == 60
    orders = [np.random.default_rng(i).permutation(60) for i in range(50)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for order, read in zip(orders, pool.map(reader.read, orders)):
            assert read == [PAYLOADS[i] for i in order]


@pytest.mark.parametrize("position", [0, 9, 12, -1, -5])
def test_an_altered_byte_is_found_and_named(split, position):
    file = split.files[1]
    data = bytearray(file.read_bytes())
    start, end = records.scan_offsets(file)[[3, 4]]
    reader = _reader(split)
    data[(start if position >= 0 else end) + position] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptFileError, match=rf"{file.name}, record 3: corrupt"):
        reader.read([23])
    assert reader.read([22, 24]) == [PAYLOADS[22], PAYLOADS[24]]


@pytest.mark.parametrize("kept", [5, 13, -1, -300])
def test_a_file_cut_short_is_found(split, kept):
    file = split.files[2]
    offsets = records.scan_offsets(file)
    file.write_bytes(file.read_bytes()[: offsets[-2] + kept if kept > 0 else kept])
    with pytest.raises(CorruptFileError, match=r"-of-00003: corrupt after record \d+"):
        records.scan_offsets(file)
    with pytest.raises(CorruptFileError, match="record 19"):
        records.RecordReader(split, np.concatenate([_starts(split)[:40], offsets[:-1]])).read([59])


def _starts(split):
    return np.concatenate([records.scan_offsets(f)[:-1] for f in split.files[:2]])


def test_states_become_labels():
    states = np.array([[1, 0, -1, -2]], np.int8)
    np.testing.assert_array_equal(
        records.label_from_states(states), np.array([[1, 0, np.nan, np.nan]], np.float32)
    )


@pytest.mark.parametrize("uncertain", ["nan", "zero", "one"])
@pytest.mark.parametrize("not_mentioned", ["nan", "zero", "one"])
def test_policies_decide_only_what_nobody_knows(uncertain, not_mentioned):
    value = {"nan": np.nan, "zero": 0, "one": 1}
    states = np.array([[1, 0, -1, -2], [-2, -1, 0, 1]], np.int8)
    expected = [1, 0, value[uncertain], value[not_mentioned]]
    label = records.label_from_states(states, uncertain=uncertain, not_mentioned=not_mentioned)
    assert label.dtype == np.float32
    np.testing.assert_array_equal(label, [expected, expected[::-1]])
