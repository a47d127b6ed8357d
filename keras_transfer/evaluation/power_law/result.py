"""What a fitted law of scale says: parameters, checks, verdict, predictions within its reach."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keras_transfer.core.errors import UserError
from keras_transfer.evaluation.power_law.forms import Curves

LEVEL = 0.95
_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)

# Kinds of reasons for refusing a law.
NOT_POSITIVE = "an error that is not above 0"
FEW_POINTS = "fewer than three points"
NO_SLOPE = "a slope that is not told from 0"
GROWS = "an error that grows"
LACK_OF_FIT = "points off the curve"
UNCHECKED = "an unchecked largest x"
MISSED = "a missed held-out point"
REASONS = (NOT_POSITIVE, FEW_POINTS, NO_SLOPE, GROWS, LACK_OF_FIT, UNCHECKED, MISSED)


@dataclass(frozen=True)
class Estimate:
    """A number and its interval.

    Attributes:
        value: The number.
        low: Lower end; NaN where nothing is known of the noise.
        high: Upper end, likewise.
    """

    value: float
    low: float
    high: float

    @property
    def factor(self) -> float:
        """How many times the lower end the upper one is; NaN where there are no ends."""
        return self.high / self.low if self.low else np.inf

    def hull(self, other: "Estimate") -> "Estimate":
        """Returns this value with an interval that holds both intervals."""
        return Estimate(self.value, min(self.low, other.low), max(self.high, other.high))


def estimate(value: float, draws: np.ndarray) -> Estimate:
    """Returns a number with the interval of its draws float64[B]."""
    if np.isnan(draws).any():
        return Estimate(float(value), np.nan, np.nan)
    # No interpolation: between a number and infinity there is none.
    low, high = np.quantile(draws, _TAILS, method="closest_observation")
    return Estimate(float(value), float(low), float(high))


NOTHING = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class HeldOut:
    """The point of the largest x beside what the curve of all others foretells.

    Attributes:
        x: The largest x.
        predicted: Error by the curve, with the interval that the measured mean should lie in: the
            noise of the curve and of this point.
        measured: Its (geometric) mean error.
    """

    x: float
    predicted: Estimate
    measured: float

    @property
    def met(self) -> bool:
        """Whether the measured mean lies in the interval."""
        return self.predicted.low <= self.measured <= self.predicted.high


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law, or why there is none.

    Attributes:
        x: float64[K], the distinct x, ascending.
        error: float64[K], geometric mean error at each.
        num_runs: Errors that the fit is of.
        form: ``power`` or ``floor``, whichever has the smaller AICc; "" if nothing was fitted.
        parameters: a, b and c (0 with ``power``) of this form.
        slope: Exponent of ``power``, whichever form was chosen.
        aic: AICc by form; infinite where there are too few runs or points for it.
        lack_of_fit: p of the F test that the points scatter around the curve more than seeds do;
            NaN where runs of one x do not differ.
        held_out: The check of the largest x; NaN if nothing was fitted.
        reasons: Why the law is refused, by kind (one of ``REASONS``); none if it holds.
        curve: The fitted curve, None if nothing was fitted.
        draws: B curves after noise.
    """

    x: np.ndarray
    error: np.ndarray
    num_runs: int
    form: str
    parameters: dict[str, Estimate]
    slope: Estimate
    aic: dict[str, float]
    lack_of_fit: float
    held_out: HeldOut
    reasons: dict[str, str]
    curve: Curves | None
    draws: Curves | None

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against the law."""
        return not self.reasons

    @property
    def reason(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons.values())

    @property
    def reach(self) -> float:
        """Largest x that may be predicted.

        Where the law holds, as far beyond the largest x (by ratio) as that lies beyond the second
        largest: so far the held-out check has looked ahead, and no farther.
        """
        return float(self.x[-1] ** 2 / self.x[-2]) if self.holds else float(self.x[-1])

    def predict(self, x: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the error by the curve, and its band, point by point.

        Args:
            x: [N], inside the range of the data or, where the law holds, up to `reach`.

        Returns:
            Value, low and high, float64[N] each, of the mean error; a new run scatters more.

        Raises:
            UserError: If nothing was fitted, or an x is out of reach; the message says why.
        """
        wanted = np.atleast_1d(np.asarray(x, np.float64))
        if self.curve is None or self.draws is None:
            raise UserError(f"There is no curve to predict with: {self.reason}.")
        self._check_reach(wanted)
        u = np.log(wanted) - np.log(self.x).mean()
        low, high = np.exp(np.quantile(self.draws.at(u), _TAILS, axis=0))
        return np.exp(self.curve.at(u)[0]), low, high

    def _check_reach(self, x: np.ndarray) -> None:
        outside = x[~((x >= self.x[0]) & (x <= self.reach))]
        if not len(outside):
            return
        where = f"No prediction at x = {outside[0]:g}: measured are {self.x[0]:g} to {self.x[-1]:g}"
        if not self.holds:
            raise UserError(f"{where}, and the law does not hold: {self.reason}.")
        raise UserError(
            f"{where}, and the held-out check looked ahead by a factor of "
            f"{self.x[-1] / self.x[-2]:.3g}; predictions end at {self.reach:.6g}."
        )
