"""What is refused, and what the refusal names."""

import numpy as np
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from tfrecords_builders import checks
from tfrecords_builders.checks import Tolerance


def test_tolerance_names_the_first_twenty():
    bad = [(f"{number}.png", "truncated PNG") for number in range(25)]
    with pytest.raises(UserError) as caught:
        Tolerance().refuse(bad, 1000)
    message = str(caught.value)
    assert "\n" not in message
    assert "25 of 1000" in message and "19.png: truncated" in message
    assert "20.png" not in message and "and 5 more" in message
    Tolerance().refuse([], 1000)


def test_quarantine_has_a_limit():
    bad = [("a.png", "empty file")] * 10
    Tolerance("quarantine", 0.01).refuse(bad, 1000)
    with pytest.raises(UserError, match=r"max_bad_fraction=0\.01"):
        Tolerance("quarantine", 0.01).refuse(bad, 999)
    with pytest.raises(UserError, match="max_bad_fraction=0"):
        Tolerance("quarantine", 0.0).refuse(bad[:1], 10**6)
    assert Tolerance("quarantine", 0.01).enough(11, 1000)
    assert not Tolerance("fail").enough(19, 10**9)  # looks for more to name


def test_labels_must_fit_their_names():
    classes, findings = LabelSpace(MULTICLASS, ("a", "b")), LabelSpace(MULTILABEL, ("a", "b"))
    checks.check_names(["train", "val_2"], classes, [0, 1])
    checks.check_names(["train"], findings, [(1, 0), (-1, -2)])
    for labels, label in ((classes, 2), (classes, -1), (findings, (1,)), (findings, (1, 3))):
        with pytest.raises(UserError, match="does not fit the 2"):
            checks.check_names(["train"], labels, [label])
    for split in ("Train", "a-b", "", "../x"):
        with pytest.raises(UserError, match="split"):
            checks.check_names([split], classes, [0])


def test_values_in_several_splits_are_found():
    rng = np.random.default_rng(0)
    values = {s: rng.integers(0, 2**63, 500, dtype=np.uint64) for s in ("train", "val", "test")}
    assert len(checks.shared_across_splits(values)) == 0
    values["train"][:3] = values["train"][3]  # within one split is no leak
    values["val"][7] = values["train"][9]
    values["test"][1] = values["train"][9]
    values["test"][2] = values["val"][5]
    expected = sorted([values["train"][9], values["val"][5]])
    assert checks.shared_across_splits(values).tolist() == [int(v) for v in expected]
    assert len(checks.shared_across_splits({})) == 0


def test_leaks_are_refused_unless_declared():
    checks.refuse_leak("patients", 0, [], "")
    checks.refuse_leak("patients", 3, ["p1"], "split by image, as the authors did")
    with pytest.raises(UserError, match="3 patients are in several splits, such as p1, p2"):
        checks.refuse_leak("patients", 3, ["p1", "p2"], "")
