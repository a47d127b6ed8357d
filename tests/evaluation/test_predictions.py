"""Predictions files: round trip, atomicity, and files that are not what they claim to be."""

import subprocess
import sys

import numpy as np
import pytest

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.evaluation import Predictions, compute, load_predictions, save_predictions


@pytest.fixture
def multilabel():
    rng = np.random.default_rng(0)
    label = (rng.random((50, 3)) < 0.4).astype(np.float32)
    label[rng.random((50, 3)) < 0.2] = np.nan
    return (
        Predictions(
            example_id=np.array([f"päd/{i}.png" for i in range(50)]),
            label=label,
            logits=rng.normal(size=(50, 3)).astype(np.float32),
            weight=(rng.random((50, 3)) < 0.9).astype(np.float32),
        ),
        LabelSpace(MULTILABEL, ("Mass", "Größe", "No Finding")),
    )


def test_round_trip_is_exact_and_leaves_nothing_else(tmp_path, multilabel):
    predictions, labels = multilabel
    path = tmp_path / "predictions" / "test.npz"
    save_predictions(path, predictions, labels)
    again, labels_again = load_predictions(path)
    assert labels_again == labels
    for name in ("example_id", "label", "logits", "weight"):
        np.testing.assert_array_equal(getattr(again, name), getattr(predictions, name))
        assert getattr(again, name).dtype == getattr(predictions, name).dtype
    one, other = compute(again, labels), compute(predictions, labels)
    assert one.values == pytest.approx(other.values, abs=0, nan_ok=True)
    assert [p.name for p in path.parent.iterdir()] == ["test.npz"]


def test_object_ids_are_stored_as_text(tmp_path):
    predictions = Predictions(
        np.array(["a", "bb"], dtype=object),
        np.array([0, 1]),
        np.eye(2, dtype=np.float32),
        np.ones(2),
    )
    save_predictions(tmp_path / "p.npz", predictions, LabelSpace(MULTICLASS, ("x", "y")))
    assert load_predictions(tmp_path / "p.npz")[0].example_id.tolist() == ["a", "bb"]


def test_cut_file_is_refused_at_every_length(tmp_path, multilabel):
    whole = tmp_path / "whole.npz"
    save_predictions(whole, *multilabel)
    content = whole.read_bytes()
    for length in [0, 1, 100, len(content) // 2, len(content) - 1]:
        cut = tmp_path / "cut.npz"
        cut.write_bytes(content[:length])
        with pytest.raises(
            CorruptFileError, match=r"cut\.npz is not a whole predictions file"
        ) as e:
            load_predictions(cut)
        assert "\n" not in str(e.value)


def test_altered_and_foreign_files_are_refused(tmp_path, multilabel):
    path = tmp_path / "p.npz"
    save_predictions(path, *multilabel)
    content = bytearray(path.read_bytes())
    content[content.index(multilabel[0].logits.tobytes()[:16])] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="CRC"):
        load_predictions(path)
    np.savez(path, logits=np.ones((2, 2)))
    with pytest.raises(CorruptFileError, match="example_id"):
        load_predictions(path)
    np.savez(path, example_id=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CorruptFileError, match="not a whole predictions file"):
        load_predictions(path)
    path.write_text("accuracy,0.9\n")
    with pytest.raises(CorruptFileError, match="not a whole predictions file"):
        load_predictions(path)
    with pytest.raises(UserError, match="No predictions file"):
        load_predictions(tmp_path / "missing.npz")


def test_scores_are_probabilities_in_float64(multilabel):
    scores = multilabel[0].scores
    assert scores.dtype == np.float64 and ((scores > 0) & (scores < 1)).all()
    softmax = Predictions(
        np.array(["a"]), np.array([0]), np.array([[800.0, 0.0, -800.0]], np.float32), np.ones(1)
    ).scores
    np.testing.assert_allclose(softmax, [[1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(softmax.sum(axis=1), 1)


def test_evaluation_imports_without_tensorflow():
    code = (
        "import sys, keras_transfer.evaluation as e; e.compute; e.Predictions; e.metrics;"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
