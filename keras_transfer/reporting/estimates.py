"""Differences between means over seeds, with their errors: tests, intervals, equivalence.

References: Welch, Biometrika 34, 1947; Satterthwaite, Biometrics Bulletin 2, 1946, for degrees of
freedom; Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987, for two one-sided tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Importing scipy.stats takes longer than everything else here.
from scipy.special import stdtr, stdtrit

Values = Sequence[float] | np.ndarray

# Seeds that agree to rounding have no spread that a test could use.
_NO_SPREAD = 1e-9
_MOST_SEEDS = 10_000_000


@dataclass(frozen=True)
class Part:
    """One of the independent samples behind an estimate.

    Attributes:
        variance: Sample variance of its values (ddof 1); NaN of fewer than two.
        n: Number of values.
    """

    variance: float
    n: int

    def of(self, n: int) -> float:
        """Returns the variance of the mean of ``n`` such values."""
        return self.variance / n


@dataclass(frozen=True)
class Estimate:
    """A difference of means.

    Attributes:
        value: The difference.
        parts: The samples whose errors add up in it.
    """

    value: float
    parts: tuple[Part, ...]

    @property
    def error(self) -> float:
        """Standard error; NaN where there is no spread to compute it from."""
        error = math.sqrt(sum(part.of(part.n) for part in self.parts))
        return error if error >= _NO_SPREAD else math.nan

    @property
    def tested(self) -> bool:
        """Whether there is a spread to test with."""
        return not math.isnan(self.error)

    def p(self, null: float = 0.0) -> float:
        """Returns the two-sided p against the difference being ``null``; NaN if not tested."""
        return float(2 * stdtr(self._freedom(), -abs(self.value - null) / self.error))

    def p_below(self, bound: float) -> float:
        """Returns the one-sided p against the difference being ``bound`` or more."""
        return float(stdtr(self._freedom(), (self.value - bound) / self.error))

    def p_above(self, bound: float) -> float:
        """Returns the one-sided p against the difference being ``bound`` or less."""
        return float(stdtr(self._freedom(), (bound - self.value) / self.error))

    def p_within(self, margin: float) -> float:
        """Returns the p against the difference being ``margin`` or more, either way (TOST)."""
        return max(self.p_below(margin), self.p_above(-margin))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Returns the ends of the t interval; NaN if not tested."""
        half = self._half_width(level)
        return self.value - half, self.value + half

    def minus(self, other: "Estimate") -> "Estimate":
        """Returns how much larger this difference is than an independent one."""
        return Estimate(self.value - other.value, self.parts + other.parts)

    def seeds_needed(self, width: float, level: float = 0.95) -> int | None:
        """Returns how many seeds each sample needs for an interval no wider than ``width``.

        The spread is taken to stay as it is. An interval no wider than a margin always decides:
        it leaves out 0, or lies within the margin on both sides of 0.

        Returns:
            The number, at most 10 million; None if not tested.
        """
        if not self.tested:
            return None
        low, high = 2, _MOST_SEEDS
        while low < high:
            middle = (low + high) // 2
            enough = 2 * self._half_width(level, middle) <= width
            low, high = (low, middle) if enough else (middle + 1, high)
        return low

    def _half_width(self, level: float, n: int | None = None) -> float:
        if not self.tested:
            return math.nan
        error = math.sqrt(sum(part.of(n or part.n) for part in self.parts))
        return float(stdtrit(self._freedom(n), (1 + level) / 2)) * error

    def _freedom(self, n: int | None = None) -> float:
        """Satterthwaite's degrees of freedom, as they are or with ``n`` values per sample."""
        if not self.tested:
            return math.nan
        sizes = [n or part.n for part in self.parts]
        squares = [part.of(size) for part, size in zip(self.parts, sizes)]
        return sum(squares) ** 2 / sum(v**2 / (size - 1) for v, size in zip(squares, sizes))


def welch(first: Values, second: Values) -> Estimate:
    """Returns the difference of the means of two independent samples (``first - second``)."""
    value = float(np.mean(first) - np.mean(second))
    return Estimate(value, (_part(first), _part(second)))


def paired(first: Values, second: Values) -> Estimate:
    """Returns the mean of the differences of pairs: the i-th of both belong together."""
    differences = np.subtract(first, second)
    return Estimate(float(differences.mean()), (_part(differences),))


def _part(values: Values) -> Part:
    variance = float(np.var(values, ddof=1)) if len(values) > 1 else math.nan
    return Part(variance, len(values))
