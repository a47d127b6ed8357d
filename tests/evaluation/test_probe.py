"""Probes against scikit-learn's Ridge, RidgeClassifier and KNeighborsClassifier."""

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from keras_transfer import evaluation
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.evaluation import embedded, neighbours, probe, ridge
from keras_transfer.evaluation.embedded import Embedded
from keras_transfer.evaluation.holdout import hold_out

PRIMAL, DUAL = (300, 40), (30, 200)  # examples, features
STRENGTHS = (1e-3, 0.1, 10.0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Everything goes through several blocks."""
    monkeypatch.setattr(embedded, "_BLOCK_VALUES", 7 * 40)
    monkeypatch.setattr(neighbours, "_QUERIES", 16)


def make(seed, size, classes=4, noise=1.0, multilabel=False):
    """Features around class centres, with scales far apart, a constant one and one of zeros."""
    rng = np.random.default_rng(seed)
    n, width = size
    centres = np.random.default_rng(99).normal(size=(classes, width))
    if multilabel:
        label = (rng.random((n, classes)) < 0.4).astype(np.float32)
        features = label @ centres
        label[rng.random(label.shape) < 0.3] = np.nan
        label[:, 1] = np.where(np.isnan(label[:, 0]), np.nan, label[:, 1] == 1)
    else:
        label = np.arange(n) % classes
        features = centres[label]
    features = features + noise * rng.normal(size=(n, width))
    features = features * np.linspace(0.5, 3, width) + 5
    features[:, 3], features[:, 4] = 2.5, 0
    # Shuffled, and with strangers between: rows are what counts.
    rows = rng.permutation(2 * n)[:n]
    matrix = np.full((2 * n, width), np.nan, np.float32)
    matrix[rows] = features
    return Embedded(matrix, rows, label, classes)


def whitened(train, other):
    scaler = StandardScaler().fit(train.features[train.rows].astype(np.float64))
    return scaler.transform(other.features[other.rows].astype(np.float64))


@pytest.mark.parametrize("size", [PRIMAL, DUAL, (40, 40)])
def test_every_strength_equals_ridge_and_its_classifier(size):
    train, test = make(0, size), make(1, (50, size[1]))
    for l2, model in zip(STRENGTHS, ridge.fit(train, STRENGTHS)):
        x, y = whitened(train, train), 2 * np.eye(4)[train.label] - 1
        expected = Ridge(alpha=l2 * len(train), solver="svd").fit(x, y)
        largest = np.abs(expected.coef_).max()
        np.testing.assert_allclose(model.coefficients.T, expected.coef_, atol=1e-6 * largest)
        np.testing.assert_allclose(model.intercept, expected.intercept_, rtol=1e-6)
        scores = expected.predict(whitened(train, test))
        np.testing.assert_allclose(
            model.scores(test), scores, rtol=1e-6, atol=1e-6 * np.abs(scores).max()
        )
        classifier = RidgeClassifier(alpha=l2 * len(train)).fit(x, train.label)
        decisions = classifier.predict(whitened(train, test))
        np.testing.assert_array_equal(model.scores(test).argmax(axis=1), decisions)


@pytest.mark.parametrize("size", [PRIMAL, DUAL])
def test_unknown_labels_are_left_out_label_by_label(size):
    train, test = make(0, size, multilabel=True), make(1, (50, size[1]), multilabel=True)
    train.label[:, 3] = np.nan
    assert len(train.known_together()) == 2  # labels 0 and 1 are known together, 3 never
    for l2, model in zip(STRENGTHS, ridge.fit(train, STRENGTHS)):
        scores = model.scores(test)
        for c in range(3):
            known = ~np.isnan(train.label[:, c])
            expected = Ridge(alpha=l2 * known.sum(), solver="svd")
            expected.fit(whitened(train, train)[known], 2 * train.label[known, c] - 1)
            largest = np.abs(expected.coef_).max()
            np.testing.assert_allclose(
                model.coefficients[:, c], expected.coef_, atol=1e-6 * largest
            )
            found = expected.predict(whitened(train, test))
            np.testing.assert_allclose(scores[:, c], found, rtol=1e-6, atol=1e-6)
        assert not scores[:, 3].any()


def test_a_feature_that_hardly_varies_is_not_blown_up():
    train = make(0, PRIMAL)
    train.features[train.rows, 7] = 1e-5 * np.arange(len(train)) / len(train)
    white = ridge.whitening(train)
    deviation = train.features[train.rows].astype(np.float64).std(axis=0)
    floor = 0.1 * deviation.mean()
    usual = deviation > floor
    assert usual.sum() == 37
    np.testing.assert_allclose(white.scale[usual], deviation[usual], rtol=1e-9)
    np.testing.assert_allclose(white.scale[~usual], floor, rtol=1e-9)
    same = Embedded(np.ones((3, 5), np.float32), np.arange(3), np.arange(3), 3)
    assert not ridge.fit(same, [1.0])[0].coefficients.any()


def vote_weights(distance):
    return np.exp((1 - distance) / neighbours.TEMPERATURE)


def sklearn_shares(train, test, rows, label, k):
    model = KNeighborsClassifier(k, weights=vote_weights, metric="cosine", algorithm="brute")
    model.fit(train.features[train.rows[rows]], label)
    return model.predict_proba(test.features[test.rows])


def test_neighbours_equal_scikit_learns():
    train, test = make(0, (90, 40), noise=4), make(1, (50, 40), noise=4)
    found = neighbours.logits(train, test, (1, 5, 20, 500))
    for k, logits in zip((1, 5, 20, 90), found):
        expected = sklearn_shares(train, test, slice(None), train.label, k)
        np.testing.assert_allclose(softmax(logits, axis=1), expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1))


def test_only_known_labels_are_neighbours():
    train, test = (make(s, (n, 40), noise=4, multilabel=True) for s, n in ((0, 90), (1, 50)))
    train.label[:, 3] = np.nan
    for k, logits in zip((1, 10), neighbours.logits(train, test, (1, 10))):
        for c in range(3):
            known = ~np.isnan(train.label[:, c])
            expected = sklearn_shares(train, test, known, train.label[known, c] == 1, k)[:, 1]
            np.testing.assert_allclose(expit(logits[:, c]), expected, rtol=1e-3, atol=1e-5)
        assert (expit(logits[:, 3]) == 0.5).all()


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("name", probe.PROBES)
def test_the_choice_is_the_best_of_the_held_out_part(name, multilabel):
    train = make(0, PRIMAL, noise=6, multilabel=multilabel)
    nobody = np.full(len(train), "")
    kind = probe.PROBES[name](train)
    choice = probe.choose(kind, train, nobody, seed=3)
    held = hold_out(train.label, nobody, 3)
    assert choice.num_held_out == held.sum() == pytest.approx(60, abs=20)
    # Again, by the public metrics and by hand.
    part, fitted = train.take(held), probe.PROBES[name](train.take(~held))
    space = LabelSpace(MULTILABEL if multilabel else MULTICLASS, tuple("abcd"))
    best = []
    for setting, quality, error in choice.tried:
        logits = fitted.logits(setting, part)
        weight = np.isfinite(part.label).astype(np.float32)
        ids = np.arange(len(part)).astype(str)
        report = evaluation.compute(evaluation.Predictions(ids, part.label, logits, weight), space)
        assert quality == pytest.approx(report.values["mean_auc" if multilabel else "accuracy"])
        truth = part.label if multilabel else np.eye(4)[part.label]
        share = expit(logits) if multilabel else softmax(logits, axis=1)
        share = (logits + 1) / 2 if name == "linear" else share
        assert error == pytest.approx(np.nanmean((share - truth) ** 2), rel=1e-4)
        best.append((quality, -error, setting))
    assert [t[0] for t in choice.tried] == list(kind.grid)
    assert choice.setting == max(best)[2]
    assert len({quality for quality, _, _ in best}) > 1


def test_one_shot_has_fixed_settings():
    train, test = make(0, (4, 200)), make(1, (80, 200))
    patients = np.array(["", "", "1", "1"])
    linear, knn = (probe.PROBES[name](train) for name in ("linear", "knn"))
    assert probe.choose(linear, train, patients, 0) == probe.Choice(50.0, 0, [])
    assert probe.choose(knn, train, patients, 0) == probe.Choice(4, 0, [])
    white = ridge.whitening(train)
    x, unseen = (white(e.features[e.rows]) for e in (train, test))
    expected = Ridge(alpha=200).fit(x, 2 * np.eye(4) - 1).predict(unseen)  # D: l2 n
    np.testing.assert_allclose(linear.logits(50.0, test), expected, rtol=1e-4, atol=1e-6)
    nearest = sklearn_shares(train, test, slice(None), train.label, 1).argmax(axis=1)
    np.testing.assert_array_equal(knn.logits(4, test).argmax(axis=1), nearest)
    assert (linear.logits(50.0, test).argmax(axis=1) == test.label).mean() > 0.5


def test_patients_stay_whole_and_no_class_is_lost():
    rng = np.random.default_rng(0)
    label = rng.choice(6, 400, p=[0.5, 0.3, 0.1, 0.07, 0.02, 0.01])
    label[:2] = 5
    patients = np.char.add("p", (np.arange(400) // 3).astype(str))
    patients[rng.random(400) < 0.3] = ""
    seen = set()
    for seed in range(5):
        held = hold_out(label, patients, seed)
        np.testing.assert_array_equal(held, hold_out(label, patients, seed))
        named = patients != ""
        assert not set(patients[held & named]) & set(patients[~held & named])
        assert set(label[held]) == set(label[~held]) == set(range(6))
        shares = np.bincount(label[held]) / np.bincount(label)
        assert (shares[:3] > 0.15).all() and held.mean() < 0.35
        seen.add(held.tobytes())
    assert len(seen) == 5
    two = hold_out(np.array([0, 0, 1, 2, 2]), np.array(["a", "a", "", "b", "c"]), 0)
    assert not two[:3].any() and two[3:].sum() == 1


def test_findings_are_on_both_sides():
    label = make(0, (60, 40), multilabel=True).label
    label[5:, 2] = 0
    label[:5, 2] = 1
    held = hold_out(label, np.full(60, ""), 1)
    for part in (label[held], label[~held]):
        assert (part == 1).any(axis=0).all() and (~(part == 1).any(axis=1)).any()
