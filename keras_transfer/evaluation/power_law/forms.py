"""The two forms of a law of scale and their least squares fit in log space, many curves at once.

Both are one curve: log e = level + log(share + (1 - share) exp(-b u)) with u = log x - log x0, x0
the geometric mean of the measured x. ``level`` is the log error at x0, ``share`` the part of it
that never goes away: a power law has 0. Then c = share exp(level) and a = (1 - share) exp(level)
x0^b. Unlike a and c these are nearly independent of each other.
"""

from dataclasses import dataclass

import numpy as np

POWER, FLOOR = FORMS = ("power", "floor")

# Number of parameters.
PARAMETERS = {POWER: 2, FLOOR: 3}

# Exponents of a fit with floor. At the upper one even neighbouring shots tell only a step.
_B_LOW, _B_HIGH = 1e-3, 10.0
# Where the search begins: the best of these, then Gauss-Newton steps with damping.
_B_GRID, _SHARE_GRID = (
    axis.ravel()
    for axis in np.meshgrid(
        np.geomspace(0.02, 5, 24), np.append(0, np.linspace(0.02, 0.98, 14)), indexing="ij"
    )
)
_SHARE_HIGH = 0.999
# After 12 steps 97 % of curves are at their optimum to rounding: enough for draws.
_STEPS, _STEPS_ALONE = 12, 60
_CONVERGED = 1e-12


@dataclass(frozen=True)
class Curves:
    """Fitted curves, any number of them.

    Attributes:
        level: float64[...], log error at x0.
        b: float64[...], exponent.
        share: float64[...], part of the error at x0 that is floor.
    """

    level: np.ndarray
    b: np.ndarray
    share: np.ndarray

    def at(self, u: np.ndarray) -> np.ndarray:
        """Returns float64[..., K]: log error at u float64[K]."""
        fall = _shape(self.b, self.share, u) if self.share.any() else -self.b[..., None] * u
        return self.level[..., None] + fall

    def where(self, y: np.ndarray) -> np.ndarray:
        """Returns float64[...]: u at which falling curves reach the log errors y; inf if never."""
        with np.errstate(divide="ignore", invalid="ignore"):
            left = (np.exp(y - self.level) - self.share) / (1 - self.share)
            return -np.log(np.maximum(left, 0)) / self.b

    def parameters(self, log_x0: float) -> dict[str, np.ndarray]:
        """Returns a, b and c; an exponent at its limit is infinite, and so is then its a."""
        endless = self.b >= _B_HIGH
        a = np.log1p(-self.share) + self.level + self.b * log_x0
        with np.errstate(over="ignore"):
            a = np.where(endless, np.inf, np.exp(a))
        b = np.where(endless, np.inf, self.b)
        return {"a": a, "b": b, "c": self.share * np.exp(self.level)}

    def jacobian(self, u: np.ndarray) -> np.ndarray:
        """Returns float64[K, P] of one curve: P = 3 where it has a floor, else 2."""
        columns = [np.ones_like(u), *(s.ravel() for s in _slopes(self.b, self.share, u))]
        return np.stack(columns if self.share.item() > 0 else columns[:2], axis=1)


def fit(form: str, u: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Curves:
    """Fits curves by weighted least squares.

    Args:
        form: ``power`` or ``floor``; a floor needs at least 3 points, and is never negative.
        u: float64[K], see above.
        y: float64[N, K], log errors of N curves.
        weight: float64[K] of sum 1.
    """
    return _power(u, y, weight) if form == POWER else _floor(u, y, weight)


def _power(u: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Curves:
    middle = u @ weight
    lever = weight * (u - middle)
    b = -(y @ lever) / (lever @ (u - middle))
    return Curves(y @ weight + b * middle, b, np.zeros_like(b))


def _floor(u: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Curves:
    """Levenberg and Marquardt on log b and share; the best level is a weighted mean."""

    def centred(z: np.ndarray) -> np.ndarray:
        return z - (z @ weight)[..., None]

    def residuals(b: np.ndarray, share: np.ndarray) -> np.ndarray:
        return centred(y - _shape(b, share, u))

    b, share = _start(centred(y), centred(_shape(_B_GRID, _SHARE_GRID, u)), weight)
    left = residuals(b, share)
    loss, damping = left**2 @ weight, np.full(len(y), 1e-4)
    for _ in range(_STEPS if len(y) > 1 else _STEPS_ALONE):
        by_b, by_share = _slopes(b, share, u)
        step_b, step_share = _step(centred(by_b * b[:, None]), centred(by_share), left, weight,
                                   damping, share)  # fmt: skip
        if max(np.abs(step_b).max(), np.abs(step_share).max()) < _CONVERGED:
            break
        new_b = np.clip(b * np.exp(np.clip(step_b, -1, 1)), _B_LOW, _B_HIGH)
        new_share = np.clip(share + step_share, 0, _SHARE_HIGH)
        new_left = residuals(new_b, new_share)
        new_loss = new_left**2 @ weight
        good = new_loss <= loss
        b, share = np.where(good, new_b, b), np.where(good, new_share, share)
        left = np.where(good[:, None], new_left, left)
        loss, damping = np.minimum(loss, new_loss), damping * np.where(good, 0.1, 10)
    return Curves((y - _shape(b, share, u)) @ weight, b, share)


def _start(y: np.ndarray, shapes: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # But for what all have in common. Not by BLAS: its threads wait longer than this takes.
    loss = shapes**2 @ weight - 2 * np.einsum("nk,gk->ng", y * weight, shapes)
    best = loss.argmin(axis=1)
    return _B_GRID[best], _SHARE_GRID[best]


def _step(
    by_b: np.ndarray,
    by_share: np.ndarray,
    left: np.ndarray,
    weight: np.ndarray,
    damping: np.ndarray,
    share: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Solves the normal equations; a share that would leave its range stops at the border."""
    bb = (by_b**2 @ weight) * (1 + damping) + 1e-14
    ss = (by_share**2 @ weight) * (1 + damping) + 1e-14
    bs = (by_b * by_share) @ weight
    to_b, to_share = (by_b * left) @ weight, (by_share * left) @ weight
    free = (to_share * bb - to_b * bs) / (bb * ss - bs**2)
    step_share = np.clip(free, -share, _SHARE_HIGH - share)
    return (to_b - bs * step_share) / bb, step_share


def _shape(b: np.ndarray, share: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Returns float64[..., K]: log(share + (1 - share) exp(-b u))."""
    floor = share[..., None]
    return np.log(floor + (1 - floor) * np.exp(-b[..., None] * u))


def _slopes(b: np.ndarray, share: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the derivatives of the shape by b and by share, float64[..., K] each."""
    rest, floor = (1 - share)[..., None], share[..., None]
    falling = np.exp(-b[..., None] * u)
    whole = floor + rest * falling
    return -rest * u * falling / whole, (1 - falling) / whole
