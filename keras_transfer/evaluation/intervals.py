"""Bootstrap confidence intervals, patients resampled whole.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14; Field
and Welsh, J. R. Statist. Soc. B 69(3), 2007, for clusters.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from keras_transfer.core.errors import UserError
from keras_transfer.evaluation import resampling
from keras_transfer.evaluation.resampling import Statistic

BCA, PERCENTILE = METHODS = ("bca", "percentile")

# The acceleration needs no more: its error from 500 groups is 0.41 / 500.
_JACKKNIFE_GROUPS = 500

# Equal values computed in another order differ by rounding.
_EQUAL = 1e-12

# BCa trusts a median of the resamples that is no further from the value, as a share of them.
_ONE_SIDED = 0.05


@dataclass(frozen=True)
class Intervals:
    """Intervals of V values.

    Attributes:
        value: float64[V], of the data as they are; NaN where undefined.
        low: float64[V], NaN where resamples give no interval (see `bootstrap`).
        high: float64[V], likewise.
        distribution: float64[B, V], the values of the resamples, NaN where undefined.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    distribution: np.ndarray

    @property
    def undefined(self) -> np.ndarray:
        """int64[V]: resamples that have no value and are left out."""
        return np.isnan(self.distribution).sum(axis=0)


def bootstrap(
    statistic: Statistic,
    num_units: int,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    method: str = BCA,
    seed: int = 0,
) -> Intervals:
    """Computes intervals of all values of a statistic from the same resamples.

    BCa is the default: average precision and calibration errors are biased in resamples, areas near
    1 are skewed, and BCa corrects both at the price of a quarter more time. Measured on simulated
    patients (tests/evaluation/test_coverage.py), 95 % intervals held an area of 0.76 in 94.9 % of
    1,500 data sets (percentile: 94.2 %), an area of 0.95 from about 12 sick patients in 90.9 %
    (percentile: 86.5 %).

    There is no interval (NaN) of a value that is undefined, of fewer than two units, where no two
    resamples differ (an accuracy of 100 % is not certain), and by BCa where fewer than one resample
    of twenty lies on one side of the value: its correction then reaches beyond the resamples
    (calibration errors of little data).

    Args:
        statistic: int32[b, U] counts -> float64[b, V].
        num_units: U.
        resamples: Number of resamples.
        level: Share of data sets whose interval holds the true value.
        method: ``bca`` or ``percentile``.
        seed: Statistics of equal U and seed see equal resamples.

    Raises:
        UserError: If an argument has no meaning.
    """
    if method not in METHODS:
        raise UserError(f"Unknown interval {method!r}: {' or '.join(METHODS)}.")
    if resamples < 1 or not 0 < level < 1:
        raise UserError(
            f"An interval needs resamples >= 1 and a level in (0, 1), got {resamples} and {level}."
        )
    value = statistic(np.ones((1, num_units), np.int32))[0]
    if num_units < 2:
        nothing = np.full(len(value), np.nan)
        return Intervals(value, nothing, nothing.copy(), np.empty((0, len(value))))
    blocks = resampling.bootstrap_counts(num_units, resamples, seed)
    distribution = resampling.evaluate(statistic, blocks)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    shares = np.tile(tails, (len(value), 1))
    if method == BCA:
        groups = resampling.jackknife_counts(num_units, _JACKKNIFE_GROUPS, seed)
        left_out = resampling.evaluate(statistic, groups)
        shares = bca_shares(value, distribution, acceleration(left_out), tails)
    ends = [_quantiles(*column) for column in zip(value, distribution.T, shares)]
    low, high = np.array(ends).reshape(-1, 2).T
    return Intervals(value, low, high, distribution)


def acceleration(left_out: np.ndarray) -> np.ndarray:
    """Returns float64[V]: a sixth of the skewness of jackknife values float64[G, V]; 0 if flat."""
    defined = ~np.isnan(left_out)
    centre = np.where(defined, left_out, 0).sum(0) / np.maximum(defined.sum(0), 1)
    distance = np.where(defined, centre - left_out, 0)
    spread = (distance**2).sum(0) ** 1.5
    flat = np.abs(distance).max(0, initial=0) < _EQUAL
    return np.divide((distance**3).sum(0), 6 * spread, out=np.zeros(len(spread)), where=~flat)


def bca_shares(
    value: np.ndarray, distribution: np.ndarray, accelerations: np.ndarray, tails: np.ndarray
) -> np.ndarray:
    """Returns float64[V, 2]: which quantiles of the resamples BCa takes instead of the tails.

    NaN where nearly all resamples lie on one side of the value.

    Reference: Efron, J. Am. Statist. Assoc. 82, 1987, equation 6.8; ties count half, as in
        scipy.stats.bootstrap.
    """
    defined = np.maximum((~np.isnan(distribution)).sum(0), 1)
    above = distribution - value
    below = (above < -_EQUAL).sum(0) + (np.abs(above) <= _EQUAL).sum(0) / 2
    share = below / defined
    trusted = (share >= _ONE_SIDED) & (share <= 1 - _ONE_SIDED)
    bias = ndtri(np.where(trusted, share, np.nan))[:, None]
    shifted = bias + ndtri(tails)
    return ndtr(bias + shifted / (1 - accelerations[:, None] * shifted))


def _quantiles(value: float, resampled: np.ndarray, shares: np.ndarray) -> np.ndarray:
    resampled = resampled[~np.isnan(resampled)]
    if np.isnan(value) or np.isnan(shares).any() or not len(resampled):
        return np.full(2, np.nan)
    if np.ptp(resampled) < _EQUAL:
        return np.full(2, np.nan)
    return np.quantile(resampled, shares)
