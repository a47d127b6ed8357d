"""What seeds say about the noise of the points that a law of scale is fitted to.

Few seeds know their spread badly, and runs of one seed resemble each other (they may share the
few-shot selection). So the means of the points are moved by correlated draws of Student's t rather
than by picking seeds again: five seeds picked with replacement spread too little.
"""

from dataclasses import dataclass

import numpy as np

# What the spread expected at a point counts, in degrees of freedom, beside its own seeds: seeds
# that happen to agree do not make a point certain.
_EXPECTED = 1.0


@dataclass(frozen=True)
class Points:
    """Values by x: log errors.

    Attributes:
        x: float64[K], distinct, ascending.
        values: One float64[n] per x: log error of every run.
        mean: float64[K].
        weight: float64[K] of sum 1: runs over expected variance of one.
        variance: float64[K], expected of one run, but for a common factor: falls or grows as a
            power of x. All 1 where no x has runs that differ.
        covariance: float64[K, K] of the means; zero where no x has runs that differ.
        freedom: float64[K], degrees of freedom of the diagonal.
    """

    x: np.ndarray
    values: tuple[np.ndarray, ...]
    mean: np.ndarray
    weight: np.ndarray
    variance: np.ndarray
    covariance: np.ndarray
    freedom: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """int64[K]: runs per x."""
        return np.array([len(values) for values in self.values])

    @property
    def replicated(self) -> bool:
        """Whether runs of one x differ, so that their noise is known without a curve."""
        return bool(self.covariance.any())

    @property
    def log_x0(self) -> float:
        """Mean of log x."""
        return float(np.log(self.x).mean())

    def u(self, x: np.ndarray) -> np.ndarray:
        """Returns log x, zero in the middle."""
        return np.log(x) - self.log_x0

    def noise(
        self, resamples: int, rng: np.random.Generator, residual: float, freedom: int
    ) -> np.ndarray:
        """Draws deviations of the means.

        Args:
            resamples: B.
            rng: Where they come from.
            residual: Mean square of the residuals of a curve; used where runs do not differ.
            freedom: Its degrees of freedom; where it is used and 0, the draws are NaN.

        Returns:
            float64[B, K].
        """
        size = (resamples, len(self.x))
        if self.replicated:
            normal = rng.normal(size=size) @ np.linalg.cholesky(self.covariance).T
            return normal / np.sqrt(rng.chisquare(self.freedom, size) / self.freedom)
        if freedom < 1:
            return np.full(size, np.nan)
        scale = np.sqrt(residual / self.counts)
        common = np.sqrt(rng.chisquare(freedom, (resamples, 1)) / freedom)
        return scale * rng.normal(size=size) / common

    def without_last(self) -> "Points":
        """Returns all points but the one of the largest x; the spreads stay as they are."""
        weight = self.weight[:-1] / self.weight[:-1].sum()
        return Points(
            *(self.x[:-1], self.values[:-1], self.mean[:-1], weight, self.variance[:-1]),
            *(self.covariance[:-1, :-1], self.freedom[:-1]),
        )


def gather(x: np.ndarray, log_error: np.ndarray, seed: np.ndarray) -> Points:
    """Gathers runs by x.

    Args:
        x: float64[N], positive.
        log_error: float64[N].
        seed: [N], what runs at different x may have in common.
    """
    distinct, place = np.unique(x, return_inverse=True)
    values = tuple(log_error[place == i] for i in range(len(distinct)))
    mean = np.array([v.mean() for v in values])
    counts = np.array([len(v) for v in values])
    own = np.array([v.var(ddof=1) if len(v) > 1 else 0.0 for v in values])
    freedom = counts - 1.0
    expected = _expected(np.log(distinct), own, freedom)
    weight = counts / expected
    return Points(
        x=distinct,
        values=values,
        mean=mean,
        weight=weight / weight.sum(),
        variance=expected,
        covariance=_covariance(place, log_error - mean[place], seed, expected * bool(own.any())),
        # Where there is one run, the spread is that of the others; two runs have the expected one
        # beside their own.
        freedom=np.where(freedom > 0, np.maximum(freedom, 2), max(freedom.sum(), 2)),
    )


def _expected(log_x: np.ndarray, own: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Fits a line to the log variances, each drawn towards the line a little: 0 has no log."""
    if not own.any():
        return np.ones(len(own))
    lever = log_x - log_x.mean()
    expected = np.full(len(own), (freedom * own).sum() / freedom.sum())
    for _ in range(10):
        logs = np.log((freedom * own + _EXPECTED * expected) / (freedom + _EXPECTED))
        slope = lever @ logs / (lever @ lever) if len(own) > 2 else 0.0
        expected = np.exp(logs.mean() + slope * lever)
    return expected


def _covariance(
    place: np.ndarray, deviation: np.ndarray, seed: np.ndarray, expected: np.ndarray
) -> np.ndarray:
    """Returns the covariance of the means, drawn towards that of unrelated runs."""
    label, taken = np.unique(seed, return_inverse=True)[1], set()
    for i, where in enumerate(place):
        while (label[i], where) in taken:  # a second run of a seed at this x is a seed of its own
            label[i] += len(seed)
        taken.add((label[i], where))
    row = np.unique(label, return_inverse=True)[1]
    table = np.zeros((row.max() + 1, len(expected)))
    table[row, place] = deviation
    counts = np.bincount(place)
    freedom = counts - 1
    shared = table / np.sqrt(counts * (freedom + _EXPECTED))
    return shared.T @ shared + np.diag(_EXPECTED * expected / (freedom + _EXPECTED) / counts)
