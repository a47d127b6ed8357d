"""Differences of means against scipy and statsmodels."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import weightstats

from keras_transfer.reporting.estimates import Estimate, Part, paired, welch


def samples(seed, equal=False):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 9, 2)
    return rng.normal(50, 3, n), rng.normal(51, 1, n if equal else m)


@pytest.mark.parametrize("seed", range(20))
def test_welch_equals_scipy_and_statsmodels(seed):
    first, second = samples(seed)
    estimate = welch(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert estimate.p() == pytest.approx(expected.pvalue, rel=1e-10)
    assert estimate.interval() == pytest.approx(expected.confidence_interval(), rel=1e-10)
    shifted = stats.ttest_ind(first - 2, second, equal_var=False, alternative="less").pvalue
    assert estimate.p_below(2) == pytest.approx(shifted, rel=1e-10)
    tost = weightstats.ttost_ind(first, second, -2, 2, usevar="unequal")[0]
    assert estimate.p_within(2) == pytest.approx(tost, rel=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_paired_equals_scipy_and_statsmodels(seed):
    first, second = samples(seed, equal=True)
    estimate = paired(first, second)
    expected = stats.ttest_rel(first, second)
    assert estimate.p() == pytest.approx(expected.pvalue, rel=1e-10)
    ends = expected.confidence_interval(0.9)
    assert estimate.interval(0.9) == pytest.approx((ends.low, ends.high), rel=1e-10)
    tost = weightstats.ttost_paired(first, second, -2, 2)[0]
    assert estimate.p_within(2) == pytest.approx(tost, rel=1e-10)
    assert estimate.p(1) == pytest.approx(stats.ttest_rel(first - 1, second).pvalue, rel=1e-10)
    assert estimate.p_above(1) == pytest.approx(1 - estimate.p_below(1), rel=1e-10)


def test_a_difference_of_means_is_built_of_its_means():
    """Welch's test is the difference of two one-sample estimates; so are differences of gains."""
    first, second = samples(3)
    alone = [Estimate(x.mean(), (Part(x.var(ddof=1), len(x)),)) for x in (first, second)]
    assert alone[0].minus(alone[1]) == welch(first, second)


def test_intervals_of_a_difference_of_gains_hold_it():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        few = paired(rng.normal(7, 2, 5), rng.normal(4, 1, 5))
        full = welch(rng.normal(2, 0.2, 5), rng.normal(1, 1, 4))
        low, high = few.minus(full).interval()
        held += low < 2 < high
    assert 930 <= held <= 970


def test_nothing_without_spread():
    for estimate in (
        welch([50.0], [60.0, 61.0]),
        welch([97.2] * 3, [98.3] * 3),
        paired([50.0, 51.0], [51.0, 52.0]),
        welch([1.0, 2.0], [1.0, 3.0]).minus(welch([1.0], [2.0, 3.0])),
    ):
        assert not estimate.tested and estimate.seeds_needed(1.0) is None
        assert all(map(math.isnan, (estimate.p(), estimate.p_within(1), *estimate.interval())))


@pytest.mark.parametrize("seed", range(5))
def test_seeds_needed_is_the_fewest(seed):
    estimate = welch(*samples(seed))
    needed = estimate.seeds_needed(1.0, 0.99)
    assert needed is not None

    def width(n):
        again = Estimate(0.0, tuple(Part(part.variance, n) for part in estimate.parts))
        return np.ptp(again.interval(0.99))

    assert width(needed) <= 1.0 < width(needed - 1)
    assert welch([1.0, 1.001], [2.0, 2.001]).seeds_needed(1.0) == 2
