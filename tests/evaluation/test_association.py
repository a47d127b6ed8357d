"""Distance and gain: correlations as scipy has them, chance by exchange of sources and targets."""

import itertools

import numpy as np
import pytest
from scipy import stats

from keras_transfer.core.errors import UserError
from keras_transfer.evaluation.association import associate


def test_correlations_are_those_of_scipy():
    rng = np.random.default_rng(0)
    distance, gain = rng.random((3, 4)).round(1), rng.random((3, 4)).round(1)
    gain[1, 2] = np.nan
    known = np.isfinite(gain)
    found = associate(distance, gain)
    assert found.pairs == 11
    assert found.spearman == pytest.approx(stats.spearmanr(distance[known], gain[known]).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(distance[known], gain[known]).statistic)


def test_p_counts_all_exchanges_of_sources_and_of_targets():
    rng = np.random.default_rng(1)
    distance, gain = rng.random((3, 3)), rng.random((3, 3))
    gain[0, 0] = np.nan
    known = np.isfinite(gain)
    found = associate(distance, gain)
    orders = list(itertools.permutations(range(3)))
    values = [
        stats.spearmanr(distance[list(s)][:, list(t)][known], gain[known]).statistic
        for s in orders
        for t in orders
    ]
    expected = np.mean(np.abs(values) >= abs(found.spearman) - 1e-9)
    assert (found.p, found.exchanges, found.exact) == (pytest.approx(expected), 36, True)


def test_many_exchanges_are_drawn():
    rng = np.random.default_rng(2)
    distance = rng.random((6, 6))
    gain = -distance + 0.05 * rng.random((6, 6))
    found = associate(distance, gain, exchanges=999)
    assert (found.exchanges, found.exact, found.p) == (999, False, 1 / 1000)
    assert found == associate(distance, gain, exchanges=999)
    assert found.spearman < -0.9


def test_a_source_that_is_good_everywhere_proves_nothing():
    """Only sources matter, at random: a test of free pairs would often be wrong."""
    rng = np.random.default_rng(3)
    claimed, naive = [], []
    for _ in range(100):
        distance = rng.random(3)[:, None] + 0.01 * rng.random((3, 5))
        gain = rng.random(3)[:, None] + 0.01 * rng.random((3, 5))
        claimed.append(associate(distance, gain, exchanges=1000).p < 0.05)
        naive.append(stats.spearmanr(distance.ravel(), gain.ravel()).pvalue < 0.05)
    assert np.mean(claimed) < 0.09 and np.mean(naive) > 0.3


def test_p_is_right_where_nothing_is_there():
    rng = np.random.default_rng(4)
    p = [associate(*rng.random((2, 3, 4)), exchanges=200).p for _ in range(300)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.085


@pytest.mark.parametrize(
    ("distance", "gain", "message"),
    [
        ([[1, 2, 3]], [[1, np.nan, 2]], "2 pairs; a correlation needs 4"),
        ([[1, 2], [3, np.nan]], [[1, 2], [3, 4]], "1 of the distances are not measured"),
        ([[1, 2], [3, 4]], [[1, 1], [1, 1]], "all gains are equal"),
        ([[1, 1], [1, 1]], [[1, 2], [3, 4]], "all distances are equal"),
    ],
)
def test_what_cannot_be_correlated_is_refused(distance, gain, message):
    with pytest.raises(UserError, match=message):
        associate(np.array(distance, float), np.array(gain, float))
