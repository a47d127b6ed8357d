"""Measures of proximity against closed forms, libraries and their own definitions."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import linalg, stats

from keras_transfer.evaluation.proximity import estimates
from keras_transfer.evaluation.proximity import measures as proximity
from keras_transfer.evaluation.proximity.estimates import Sample
from keras_transfer.evaluation.proximity.measures import MEASURES, Cloud


def cloud(features, classes=None):
    features = np.asarray(features, np.float64)
    return Cloud(features, np.zeros(len(features), np.int64) if classes is None else classes)


def blobs(seed, n, d, *, scale=1.0, shift=0.0, classes=3):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return cloud(scale * rng.normal(size=(n, d)) @ mix + shift, rng.integers(0, classes, n))


def _sqrtm_frechet(first, second):
    gap = first.mean(0) - second.mean(0)
    s, t = (np.cov(x, rowvar=False) for x in (first, second))
    return np.sqrt(gap @ gap + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real))


@pytest.mark.parametrize("shift", [0.0, 0.7])
@pytest.mark.parametrize("d", [2, 12])
def test_frechet_is_the_formula_with_a_matrix_root(d, shift):
    first, second = blobs(0, 200, d), blobs(1, 150, d, scale=1.7, shift=shift)
    expected = _sqrtm_frechet(first.features, second.features)
    assert proximity.frechet(first, second) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_fewer_images_than_features():
    """The root of a singular product fails there; in an orthonormal basis of both it does not."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(300, 20)))[0]
    low, other = rng.normal(size=(40, 20)), 1.5 * rng.normal(size=(30, 20)) + 0.3
    expected = _sqrtm_frechet(low, other)
    for first, second in ((low, other), (low @ basis.T, other @ basis.T)):
        assert proximity.frechet(cloud(first), cloud(second)) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_known_gaussians():
    """Whitened samples have their moments exactly: diag(4, 1) and diag(1, 9), means 3 apart."""
    rng = np.random.default_rng(0)

    def exact(mean, deviations):
        raw = rng.normal(size=(50, 2))
        raw -= raw.mean(0)
        raw = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
        return cloud(raw * deviations + mean)

    found = proximity.frechet(exact([0, 0], [2, 1]), exact([3, 0], [1, 3]))
    assert found == pytest.approx(np.sqrt(9 + 1 + 4))


def test_sliced_wasserstein_in_one_dimension_and_of_a_shift():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(60, 1)), rng.gamma(2, size=(60, 1))
    expected = np.sqrt(np.mean((np.sort(first[:, 0]) - np.sort(second[:, 0])) ** 2))
    assert proximity.sliced_wasserstein(cloud(first), cloud(second)) == pytest.approx(expected)
    # Every projection of a translation t moves by t * theta: root mean square |t| / sqrt(D).
    wide = rng.normal(size=(40, 25))
    moved = proximity.sliced_wasserstein(cloud(wide), cloud(wide + 2.0))
    assert moved == pytest.approx(2.0, rel=0.1)
    # One moved point of a hundred: mean distance is scipy's, in one dimension.
    line = np.arange(100.0)[:, None]
    last = line + 5 * (line == 99)
    assert stats.wasserstein_distance(line[:, 0], last[:, 0]) == pytest.approx(0.05)
    assert proximity.sliced_wasserstein(cloud(line), cloud(last)) == pytest.approx(np.sqrt(0.25))


def _cka_by_definition(first, second):
    """Kornblith et al., equation 3, with centring matrices; D examples, images are variables."""
    d = first.shape[1]
    centring = np.eye(d) - 1 / d
    k, m = (centring @ x.T @ x @ centring for x in (first, second))
    return np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))


@pytest.mark.parametrize(("n", "m", "d"), [(30, 30, 8), (5, 9, 40), (50, 4, 12)])
def test_cka_is_its_definition_and_has_its_invariances(n, m, d):
    first, second = blobs(0, n, d), blobs(1, m, d, shift=np.arange(d) / d)
    value = proximity.cka(first, second)
    assert value == pytest.approx(_cka_by_definition(first.features, second.features))
    assert 0 < value < 1 and proximity.cka(first, first) == pytest.approx(1)
    rng = np.random.default_rng(2)
    rotation = stats.ortho_group.rvs(n, random_state=3)
    order = rng.permutation(d)
    for changed in (3 * first.features, first.features[::-1], rotation @ first.features):
        assert proximity.cka(cloud(changed), second) == pytest.approx(value)
    together = proximity.cka(cloud(first.features[:, order]), cloud(second.features[:, order]))
    assert together == pytest.approx(value)
    assert proximity.cka(cloud(first.features[:, order]), second) != pytest.approx(value)


def test_otdd_by_hand():
    """Two classes of two images on a line; class Gaussians have equal spread, so only means count.

    Source: class 0 at -1 and 1, class 1 at 9 and 11. Target: the same images moved by 3, and the
    classes renamed: names mean nothing. Each image moves by 3 and so does its class: 9 + 9.
    """
    source = cloud([[-1.0], [1], [9], [11]], np.array([0, 0, 1, 1]))
    target = cloud([[2.0], [4], [12], [14]], np.array([7, 7, 3, 3]))
    assert proximity.otdd(source, target) == pytest.approx(np.sqrt(18))
    assert proximity.otdd(source, source) == pytest.approx(0, abs=1e-7)
    # Labels that cut across: images need not move, but their classes do. Of the target, class 0
    # is at -1 and 9, class 1 at 1 and 11: variance 50 instead of 2, means 4 and 6.
    crossed = cloud(source.features, np.array([0, 1, 0, 1]))
    spread = (np.sqrt(50) - np.sqrt(2)) ** 2
    moved = [4**2 + spread, 6**2 + spread, 6**2 + spread, 4**2 + spread]
    assert proximity.otdd(source, crossed) == pytest.approx(np.sqrt(np.mean(moved)))


def test_distances_between_classes_are_those_of_pot():
    """For all pairs of classes, of unequal sizes, one of a single image."""
    pot = proximity._pot()
    sizes, others = (1, 7, 7, 20), (5, 1, 12)
    first = blobs(0, sum(sizes), 4)
    second = blobs(1, sum(others), 4, shift=0.5)
    first, second = (
        Cloud(c.features, np.repeat(np.arange(len(s)), s))
        for c, s in ((first, sizes), (second, others))
    )
    found = proximity._between_classes(first, second)
    for i, j in np.ndindex(found.shape):
        a, b = first.features[first.classes == i], second.features[second.classes == j]
        covariances = [np.cov(x, rowvar=False) if len(x) > 1 else np.zeros((4, 4)) for x in (a, b)]
        expected = pot.gaussian.bures_wasserstein_distance(a.mean(0), b.mean(0), *covariances)
        assert np.sqrt(found[i, j]) == pytest.approx(expected, abs=1e-5)


def test_without_classes_otdd_bounds_the_other_distances():
    first, second = blobs(0, 120, 6, classes=1), blobs(1, 120, 6, scale=1.4, shift=0.4, classes=1)
    cost = proximity._pot().dist(first.features, second.features)
    alone = np.sqrt(proximity._pot().emd2([], [], cost))
    frechet = proximity.frechet(first, second)
    assert proximity.otdd(first, second) == pytest.approx(np.sqrt(alone**2 + frechet**2))
    # Gelbrich: Gaussians of equal moments are nearer; moments there are divided by N.
    assert frechet * np.sqrt(119 / 120) <= alone
    assert proximity.sliced_wasserstein(first, second) <= alone


@pytest.mark.parametrize("name", MEASURES)
def test_contract_of_measures(name):
    measure = MEASURES[name]
    first, second = blobs(0, 90, 10), blobs(1, 70, 10, shift=1.0)
    value = measure.function(first, second)
    assert measure.function(second, first) == pytest.approx(value, rel=1e-6)
    assert measure.function(first, second) == value  # nothing is drawn at random
    # One follows a growing change of the images, whichever direction it has.
    changed = [
        measure.function(first, cloud(first.features + s * np.arange(10), first.classes))
        for s in (0.0, 0.1, 0.3, 1.0)
    ]
    assert (np.diff(changed) > 0).all() == measure.nearer_is_smaller
    assert (np.diff(changed) < 0).all() != measure.nearer_is_smaller


def test_classes_of_findings_are_sets_of_positive_ones():
    label = np.array([[1, 0, np.nan], [1, np.nan, 0], [0, 0, 0], [1, 1, 0]], np.float32)
    classes = proximity.classes_of(label)
    assert classes[0] == classes[1] and len(set(classes.tolist())) == 3
    assert proximity.classes_of(np.array([3, 1, 3], np.int32)).tolist() == [3, 1, 3]


def test_draws_give_every_class_its_share():
    rng = np.random.default_rng(0)
    label = rng.permutation(np.repeat([0, 1, 2], [700, 290, 10]))
    drawn = estimates.draw(label, 100, seed=0)
    assert len(np.unique(drawn)) == 100 and (np.diff(drawn) > 0).all()
    assert np.bincount(label[drawn]).tolist() == pytest.approx([70, 29, 1], abs=1)
    assert (drawn != estimates.draw(label, 100, seed=1)).any()
    np.testing.assert_array_equal(drawn, estimates.draw(label, 100, seed=0))
    np.testing.assert_array_equal(estimates.draw(label, 1000, seed=0), np.arange(1000))


def test_halves_share_no_patient_and_all_classes():
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 60, 200).astype(str)
    patients[:20] = ""
    label = (rng.random((200, 2)) < 0.3).astype(np.float32)
    number = np.arange(200.0)[:, None]  # a feature that says which image it is
    seen = set()
    for first, second in Sample(number, label, patients).halves(20, seed=0):
        mine, other = (set(c.features[:, 0].astype(int)) for c in (first, second))
        assert mine | other == set(range(200)) and not mine & other
        assert not {patients[i] for i in mine} & {patients[i] for i in other} - {""}
        assert abs(len(mine) - len(other)) < 20
        assert set(first.classes) == set(second.classes) == set(proximity.classes_of(label))
        assert (np.diff(first.classes) >= 0).all()
        seen.add(frozenset(mine))
    assert len(seen) == 20


def sample(seed, n=120, **changes):
    of = blobs(seed, n, 6, **changes)
    return Sample(of.features.astype(np.float32), of.classes, np.full(n, ""))


def test_rows_have_values_intervals_and_nulls():
    sources = {"same": sample(0), "wide": sample(1, scale=2.0)}
    targets = {"same": sample(2), "moved": sample(3, shift=np.arange(6) / 2)}
    rows = list(estimates.compare("net", sources, targets, repetitions=10))
    assert len(rows) == 4 * len(MEASURES)
    assert rows == list(estimates.compare("net", sources, targets, repetitions=10))
    by_key = {(r.source, r.target, r.measure): r for r in rows}
    for name, measure in MEASURES.items():
        near, far = by_key["same", "same", name], by_key["same", "moved", name]
        assert near.low <= near.value <= near.high
        # About as far as two halves of the source; others beyond the interval.
        assert abs(near.value - near.null) < near.high - near.low
        assert (far.low > far.null) if measure.nearer_is_smaller else (far.high < far.null)
        assert (near.num_source, near.num_target) == (120, 120)
        assert by_key["wide", "same", name].null != near.null


def test_a_dataset_is_as_far_from_itself_as_its_null():
    one = {"one": sample(0)}
    for row in estimates.compare("net", one, one, repetitions=5):
        assert row.value == row.null > 0


def test_intervals_hold_what_other_samples_give():
    """Of 150 pairs of samples, 95 % intervals hold the mean over all of them in most."""
    measure = MEASURES["frechet"]
    found = []
    for trial in range(150):
        pair = sample(2 * trial, 80), sample(2 * trial + 1, 80, shift=1.0)
        values = estimates.distances(measure, *pair, repetitions=40, seed=0)
        found.append((values.mean(), *np.quantile(values, [0.025, 0.975])))
    mean, low, high = np.array(found).T
    held = (low <= mean.mean()) & (mean.mean() <= high)
    assert held.mean() > 0.88
    # Not because they are too wide.
    assert 0.75 < np.mean(high - low) / (2 * 1.96 * mean.std()) < 1.25


def test_pot_is_imported_without_other_engines():
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "from keras_transfer.evaluation.proximity import measures as proximity\n"
        "assert 'ot' not in sys.modules\n"
        "proximity._pot()\n"
        "assert not {'tensorflow', 'torch', 'jax'} & set(sys.modules) and os.environ == before"
    )
    environment = os.environ | {"POT_BACKEND_DISABLE_JAX": "yes"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
