"""DeLong's and Obuchowski's variance against their definitions, written out pair by pair."""

import time

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from keras_transfer.core.errors import UserError
from keras_transfer.evaluation import delong


def slow(positive, scores, cluster):
    """Areas and covariance from the kernel of every pair (Obuchowski, 1997, section 2)."""
    models = scores.shape[1]
    num_own, num_others = int(positive.sum()), int((~positive).sum())
    auc = np.zeros(models)
    own, others = np.zeros((num_own, models)), np.zeros((num_others, models))
    for r in range(models):
        x, y = scores[positive, r], scores[~positive, r]
        psi = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x]
        auc[r] = np.mean(psi)
        own[:, r], others[:, r] = np.mean(psi, axis=1), np.mean(psi, axis=0)
    names = sorted(set(cluster.tolist()))
    ten = [cluster[positive] == name for name in names]
    one = [cluster[~positive] == name for name in names]
    first = np.array([(own[m] - auc).sum(axis=0) for m in ten])
    second = np.array([(others[m] - auc).sum(axis=0) for m in one])
    with_own, with_others = sum(m.any() for m in ten), sum(m.any() for m in one)
    covariance = np.zeros((models, models))
    for r in range(models):
        for s in range(models):
            s10 = with_own / ((with_own - 1) * num_own) * (first[:, r] * first[:, s]).sum()
            s01 = (
                with_others / ((with_others - 1) * num_others) * (second[:, r] * second[:, s]).sum()
            )
            i = len(names) / (len(names) - 1)
            s11 = i * (first[:, r] * second[:, s]).sum() + i * (first[:, s] * second[:, r]).sum()
            covariance[r, s] = s10 / num_own + s01 / num_others + s11 / (num_own * num_others)
    return auc, covariance


def data(seed, n=60, ties=False):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    scores = rng.normal(size=(n, 3)) + rng.normal(size=(n, 1)) + positive[:, None]
    return positive, np.round(scores) if ties else scores, rng.integers(0, n // 3, n)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_clustered_covariance_equals_the_definition(seed, ties):
    positive, scores, cluster = data(seed, ties=ties)
    found = delong.areas(positive, scores, cluster)
    auc, covariance = slow(positive, scores, cluster)
    np.testing.assert_allclose(found.auc, auc, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    for r in range(3):
        assert found.auc[r] == pytest.approx(roc_auc_score(positive, scores[:, r]))


@pytest.mark.parametrize("ties", [False, True])
def test_without_clusters_it_is_delongs_covariance(ties):
    positive, scores, _ = data(7, ties=ties)
    found = delong.areas(positive, scores)
    own, others = [], []  # DeLong et al., 1988, equations 4 to 6
    for column in scores.T:
        wins = np.sign(column[positive][:, None] - column[~positive][None]) / 2 + 0.5
        own.append(wins.mean(axis=1))
        others.append(wins.mean(axis=0))
    expected = np.cov(own) / positive.sum() + np.cov(others) / (~positive).sum()
    np.testing.assert_allclose(found.covariance, expected, atol=1e-12)


def test_interval_and_test_by_hand():
    positive, scores, _ = data(11)
    found = delong.areas(positive, scores)
    a, s, z = found.auc[1], np.sqrt(found.covariance[1, 1]), 1.959963984540054
    plain = found.interval(logit_scale=False)[1]
    np.testing.assert_allclose(plain, [a - z * s, min(a + z * s, 1)], rtol=1e-9)
    scaled = found.interval()[1]
    reach = z * s / (a * (1 - a))
    np.testing.assert_allclose(scaled, [expit(logit(a) - reach), expit(logit(a) + reach)])
    difference = found.difference(0, 2)
    c = found.covariance
    deviation = np.sqrt(c[0, 0] + c[2, 2] - 2 * c[0, 2])
    assert difference.value == pytest.approx(found.auc[0] - found.auc[2])
    assert difference.p == pytest.approx(2 * norm.sf(abs(difference.value) / deviation))
    assert difference.high - difference.low == pytest.approx(2 * z * deviation)


def test_where_there_is_nothing_to_estimate():
    positive = np.array([True, True, False, False])
    perfect = delong.areas(positive, np.array([[3.0, 3], [2, 2], [1, 1], [0, 0]]))
    assert perfect.auc.tolist() == [1, 1]
    assert np.isnan(perfect.interval()).all()
    assert perfect.difference().p == 1
    single = delong.areas(positive[1:], np.array([[2.0], [1], [0]]))  # one positive
    assert single.auc[0] == 1 and np.isnan(single.covariance).all()
    none = delong.areas(np.zeros(3, bool), np.zeros((3, 2)))
    assert np.isnan(none.auc).all() and np.isnan(none.difference().p)
    with pytest.raises(UserError, match="do not fit"):
        delong.areas(positive, np.zeros(4))


def test_takes_n_log_n():
    rng = np.random.default_rng(0)
    positive = rng.random(200_000) < 0.5
    start = time.process_time()
    delong.areas(positive, rng.normal(size=(200_000, 2)), rng.integers(0, 50_000, 200_000))
    assert time.process_time() - start < 5  # 10^10 pairs would take minutes
