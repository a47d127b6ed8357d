import numpy as np
import pytest

from keras_transfer.core.duration import to_steps
from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import LabelSpace, align, union
from keras_transfer.core.seeds import derive, generator

CHEXPERT = LabelSpace("multilabel", ("Atelectasis", "Edema", "Effusion"))
NIH = LabelSpace("multilabel", ("Effusion", "Atelectasis", "Mass"))


def test_align_moves_by_name_and_never_invents_a_negative():
    moved = align(np.array([[1, 0, np.nan]], np.float32), CHEXPERT, NIH)
    np.testing.assert_array_equal(moved, [[np.nan, 1, np.nan]])


def test_union_is_the_sorted_intersection():
    assert union([CHEXPERT, NIH]).names == ("Atelectasis", "Effusion")
    assert union([NIH, NIH]) is NIH
    with pytest.raises(UserError, match="share no label"):
        union([CHEXPERT, LabelSpace("multilabel", ("Hernia",))])
    with pytest.raises(UserError, match="multiclass with 2 classes"):
        union([CHEXPERT, LabelSpace("multiclass", ("a", "b"))])
    with pytest.raises(UserError, match="twice: a"):
        LabelSpace("multiclass", ("a", "a"))


CLASSES = LabelSpace("multiclass", ("cat", "dog"))


def test_union_of_all_names_has_classes_and_findings_side_by_side():
    joined = union([NIH, CLASSES, CHEXPERT], "all")
    assert joined.is_multilabel
    assert joined.names == ("Effusion", "Atelectasis", "Mass", "cat", "dog", "Edema")
    assert union([CLASSES, CLASSES], "all") is CLASSES
    unknown = [np.nan] * 3
    np.testing.assert_array_equal(
        align(np.array([1, 0]), CLASSES, joined),
        [[*unknown, 0, 1, np.nan], [*unknown, 1, 0, np.nan]],
    )
    assert align(np.zeros((0,), np.int32), CLASSES, joined).shape == (0, 6)


def test_classes_are_only_aligned_where_all_of_them_are_wanted():
    with pytest.raises(UserError, match="label_join=all"):
        align(np.array([1]), CLASSES, LabelSpace("multilabel", ("cat", "Mass")))
    with pytest.raises(UserError, match="are not the ones wanted"):
        align(np.zeros((1, 3), np.float32), NIH, CLASSES)
    with pytest.raises(UserError, match=r"needs data\.label_join=all"):
        union([CLASSES, NIH])


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("500 steps", 500),
        ("1 step", 1),
        ("90 epochs", 90 * 1000 // 64),
        ("6400 examples", 100),
        ("10 percent", 50),
        ("2.5%", 12),
        ("0 steps", 0),
        ("0.001 epochs", 1),
    ],
)
def test_durations(text, steps):
    got = to_steps(text, global_batch_size=64, num_examples=1000, total_steps=500)
    assert abs(got - steps) <= 1


@pytest.mark.parametrize("text", ["", "ten steps", "10", "10 parsecs", "-3 steps"])
def test_wrong_durations_say_how_to_write_one(text):
    with pytest.raises(UserError, match="number and a unit"):
        to_steps(text, global_batch_size=1)


def test_durations_that_cannot_be_known_here():
    with pytest.raises(UserError, match="training examples is not known"):
        to_steps("3 epochs", global_batch_size=1)
    with pytest.raises(UserError, match="percent"):
        to_steps("3 percent", global_batch_size=1)


def test_seeds_are_frozen_named_and_independent():
    # Values that users' manifests hold: they must never change.
    assert [derive(0, "order"), derive(0, "init"), derive(1, "order")] == FROZEN
    assert derive(0, "a", "b") != derive(0, "ab") != derive(0, "a\0b", "")
    a, b = (generator(0, name).standard_normal(10_000) for name in ("order", "augment"))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert all(0 <= derive(s, "x") < 2**31 for s in range(100))


FROZEN = [646116078, 1648522688, 1371308066]
