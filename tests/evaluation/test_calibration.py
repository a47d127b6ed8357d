"""Calibration errors from their definition, Brier scores of scikit-learn, known temperatures."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.evaluation import Predictions, Tally, calibration, compute, resampling
from keras_transfer.evaluation.metrics import Evidence


def predictions(label, logits):
    n = len(label)
    return Predictions(np.arange(n).astype(str), label, np.asarray(logits), np.ones(n, np.float32))


def multiclass(seed, n, classes, temperature=1.0):
    """Labels drawn from the softmax of logits, which are then made too large."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, classes))
    share = softmax(logits, axis=1).cumsum(axis=1)
    label = np.minimum((rng.random((n, 1)) > share).sum(axis=1), classes - 1)
    return predictions(label, logits * temperature)


def multilabel(seed, n, temperatures):
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(n, len(temperatures))) - 0.5
    label = (rng.random(logits.shape) < expit(logits)).astype(np.float32)
    label[rng.random(logits.shape) < 0.1] = np.nan
    return predictions(label, logits * np.array(temperatures))


def value(name, found):
    task = MULTILABEL if found.is_multilabel else MULTICLASS
    return calibration.metrics(task)[name].function(Evidence(found))


def slow_ece(confidence, right, bins=15):
    """Guo et al., equations 1 to 3: a loop over bins (lower, upper]."""
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_ece_equals_its_definition():
    found = multiclass(0, 500, 4, temperature=2.0)
    scores = found.scores
    right = scores.argmax(axis=1) == found.label
    assert value("ece", found) == pytest.approx(slow_ece(scores.max(axis=1), right))
    found = multilabel(0, 400, (0.5, 1, 3))
    known, truth = found.known, found.label == 1
    expected = slow_ece(found.scores[known], truth[known])
    assert value("ece", found) == pytest.approx(expected)
    for c, ece in enumerate(value("label_ece", found)):
        rows = known[:, c]
        assert ece == pytest.approx(slow_ece(found.scores[rows, c], truth[rows, c]))


def test_equal_mass_bins_hold_equally_many():
    confidence = np.random.default_rng(0).beta(1, 30, 1500)
    bins = calibration.bin_of(confidence, equal_mass=True)
    assert np.bincount(bins).tolist() == [100] * 15
    found = multilabel(1, 1500, (2,))
    rows = found.known[:, 0]
    score, truth = found.scores[rows, 0], found.label[rows, 0]
    parts = np.array_split(np.argsort(score), 15)
    expected = sum(abs((truth[p] - score[p]).sum()) for p in parts) / rows.sum()
    assert value("label_ece_equal_mass", found)[0] == pytest.approx(expected, abs=2e-3)


def test_edges_of_bins():
    found = calibration.bin_of(np.array([0, 1e-9, 1 / 15, 1 / 15 + 1e-9, 1]))
    assert found.tolist() == [0, 0, 0, 1, 14]


def test_brier_equals_scikit_learn():
    found = multiclass(0, 300, 4)
    expected = brier_score_loss(found.label, found.scores, labels=range(4), scale_by_half=False)
    assert value("brier", found) == pytest.approx(expected)
    found = multilabel(0, 300, (1, 2, 0.3))
    for c, brier in enumerate(value("label_brier", found)):
        rows = found.known[:, c]
        expected = brier_score_loss(found.label[rows, c].astype(int), found.scores[rows, c])
        assert brier == pytest.approx(expected)
    known = found.known
    expected = brier_score_loss(found.label[known].astype(int), found.scores[known])
    assert value("brier", found) == pytest.approx(expected)


def test_resamples_of_calibration_are_those_of_repeated_examples():
    for found in (multiclass(2, 80, 3), multilabel(2, 80, (1, 2))):
        task = MULTILABEL if found.is_multilabel else MULTICLASS
        names = tuple("abc"[: found.logits.shape[1]])
        chosen = {
            name: metric
            for name, metric in calibration.metrics(task).items()
            if "equal_mass" not in name  # whose edges are those of the data themselves
        }
        tally = Tally(Evidence(found), LabelSpace(task, names), np.arange(80), chosen)
        counts = next(resampling.bootstrap_counts(80, 5, seed=0))
        for row, values in zip(counts, tally(counts)):
            for name, metric in chosen.items():
                expected = metric.function(tally.repeated(row))
                first = tally.names.index(metric.mean or name)
                if metric.mean:
                    np.testing.assert_allclose(values[first + 1 :][: len(names)], expected)
                else:
                    assert values[first] == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_recovers_a_known_temperature(temperature):
    for found in (multiclass(1, 20_000, 5, temperature), multilabel(1, 8_000, [temperature] * 3)):
        fitted = calibration.fit_temperature(found)
        # 20,000 labels fix the temperature to about 1 %.
        assert fitted.value == pytest.approx([temperature], rel=0.05)
        assert not fitted.at_limit.any()


def test_temperature_is_the_minimum_and_repairs_calibration():
    found = multiclass(3, 4000, 5, temperature=2.5)
    labels = LabelSpace(MULTICLASS, tuple("abcde"))
    fitted = calibration.fit_temperature(found)

    def loss(t):
        return compute(predictions(found.label, found.logits / t), labels).values["loss"]

    best = loss(fitted.value[0])
    assert best < min(loss(fitted.value[0] * 1.02), loss(fitted.value[0] / 1.02))
    other = multiclass(4, 4000, 5, temperature=2.5)
    after = fitted.apply(other)
    assert value("ece", after) < 0.3 * value("ece", other)
    assert value("brier", after) < value("brier", other)
    np.testing.assert_array_equal(after.logits.argmax(1), other.logits.argmax(1))


def test_one_temperature_per_label():
    found = multilabel(5, 12_000, (0.5, 1, 3))
    fitted = calibration.fit_temperature(found, per_label=True)
    assert fitted.value == pytest.approx([0.5, 1, 3], rel=0.08)
    label = found.label.copy()
    label[:, 1] = np.where(np.isnan(label[:, 1]), np.nan, 0)  # negatives only
    single = predictions(label, found.logits)
    fitted = calibration.fit_temperature(single, per_label=True)
    assert fitted.pooled.tolist() == [1]
    assert fitted.value[1] == calibration.fit_temperature(single).value[0]


def test_what_cannot_be_fitted_says_so():
    label = np.arange(20) % 2
    separated = predictions(label, 5 * np.eye(2)[label])
    assert calibration.fit_temperature(separated).at_limit.all()
    with pytest.raises(UserError, match="multi-label"):
        calibration.fit_temperature(separated, per_label=True)
    unknown = predictions(np.full((3, 1), np.nan, np.float32), np.zeros((3, 1)))
    with pytest.raises(UserError, match="No label"):
        calibration.fit_temperature(unknown)
