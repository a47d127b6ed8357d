"""Checks of a fitted law of scale: the largest x held out, lack of fit, and AICc between forms."""

import numpy as np
from scipy.special import fdtrc

from keras_transfer.evaluation.power_law import forms
from keras_transfer.evaluation.power_law.forms import PARAMETERS, Curves
from keras_transfer.evaluation.power_law.noise import Points
from keras_transfer.evaluation.power_law.result import Estimate, HeldOut, estimate

# Log residuals that are rounding, not scatter.
_ROUNDING = 1e-10


def curve_of(form: str, points: Points) -> Curves:
    """Fits one curve to the means."""
    return forms.fit(form, points.u(points.x), points.mean[None], points.weight)


def noise_of(
    form: str, points: Points, around: Points, curve: Curves, resamples: int, seed: int
) -> np.ndarray:
    """Draws noise of ``points``; what is not known from seeds comes from the fit to ``around``."""
    left = around.mean - curve.at(around.u(around.x))[0]
    freedom = len(around.x) - PARAMETERS[form]
    residual = (around.counts * left**2).sum() / max(freedom, 1)
    return points.noise(resamples, np.random.default_rng(seed), residual, freedom)


def held_out(form: str, points: Points, resamples: int, seed: int) -> HeldOut:
    """Foretells the point of the largest x from the curve of all others."""
    rest = points.without_last()
    curve, u = curve_of(form, rest), rest.u(points.x)
    noise = noise_of(form, points, rest, curve, resamples, seed)
    moved = curve.at(u[:-1]) + noise[:, :-1]
    again = forms.fit(form, u[:-1], moved, rest.weight)
    # The difference between the point and the curve of the others has the noise of both. The curve
    # moves as it would again: where a floor cannot be negative, to one side only.
    foretold = estimate(curve.at(u[-1:])[0, 0], again.at(u[-1:])[:, 0] - noise[:, -1])
    return HeldOut(
        x=float(points.x[-1]),
        predicted=Estimate(*np.exp([foretold.value, foretold.low, foretold.high]).tolist()),
        measured=float(np.exp(points.mean[-1])),
    )


def aicc(form: str, curve: Curves, points: Points) -> float:
    """Akaike's criterion with the correction for few runs, which vanishes for many.

    Runs count as independent; their spreads are known but for a common factor.
    """
    left = [v - f for v, f in zip(points.values, curve.at(points.u(points.x))[0])]
    runs, free = points.counts.sum(), PARAMETERS[form] + 1
    if runs - free < 2:
        return np.inf
    squares = sum((e @ e) / v for e, v in zip(left, points.variance))
    factor = max(squares / runs, _ROUNDING**2)
    likelihood = runs * (np.log(2 * np.pi * factor) + 1) + points.counts @ np.log(points.variance)
    return float(likelihood + 2 * free * runs / (runs - free - 1))


def lack_of_fit(curve: Curves, points: Points) -> float:
    """Returns p of the F test of lack of fit, for points that differ in spread.

    Seeds count as unrelated: where runs of one seed resemble each other, p is rather too large.

    Reference: Brunner, Dette and Munk, J. Am. Statist. Assoc. 92, 1997: Box's approximation.
    """
    u = points.u(points.x)
    slopes = curve.jacobian(u)
    freedom = len(u) - slopes.shape[1]
    if not points.replicated or freedom < 1:
        return float("nan")
    root = np.sqrt(points.weight)
    whitened = root[:, None] * slopes
    rest = (np.eye(len(u)) - whitened @ np.linalg.pinv(whitened)) * root
    left = points.mean - curve.at(u)[0]
    spread = rest.T @ rest @ np.diag(np.diag(points.covariance))
    mean = np.trace(spread)
    above = mean**2 / np.trace(spread @ spread)
    below = mean**2 / (np.diag(spread) ** 2 / points.freedom).sum()
    return float(fdtrc(above, below, (points.weight * left**2).sum() / mean))
