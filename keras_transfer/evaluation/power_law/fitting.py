"""Laws of scale: error as a power of x, with or without a floor, and whether they hold.

``power`` is e = a x^-b, ``floor`` is e = c + a x^-b with c >= 0. Both are fitted to log errors, by
least squares weighted for spreads that differ between the xs. A fit is refused, with the reason,
unless there are three distinct x, the error falls, the points are no further off the curve than
seeds explain, and the curve of all other points foretells the one of the largest x: within its
interval, which must be narrow enough to be missed. Two of these are tests at 5 %: of laws that are
true, up to one in ten is refused (5 to 9 % of 400 at a spread of 5 %). Where seeds spread widely
more are, as unchecked: half of 400 power laws of five points at a spread of 15 %.

Intervals come from refitting the curve after noise (`noise`), and those of a and b also hold
those of ``power`` where the floor may be 0. In 400 or 500 simulated data sets each of 5 seeds at 4
to 6 points (5 or 6 with a floor), with spreads that are equal, fall with x or alternate, and seeds
that have something in common or have not, 95 % intervals of a, b and c held the truth in 94 to
99.8 %
(tests/evaluation/test_power_law.py measures four of these again). Intervals from picking seeds
again would hold it less often: five of them picked with replacement spread too little.

References: Hestness et al. 2017 (arXiv:1712.00409) and Kaplan et al. 2020 (arXiv:2001.08361), for
    the laws; Hurvich and Tsai, Biometrika 76, 1989, for AICc.
"""

import numpy as np
from numpy.typing import ArrayLike

from keras_transfer.core.errors import UserError
from keras_transfer.evaluation.power_law import checks, result
from keras_transfer.evaluation.power_law import forms as law_forms  # `forms` are an argument
from keras_transfer.evaluation.power_law.forms import FLOOR, FORMS, POWER, Curves
from keras_transfer.evaluation.power_law.noise import Points, gather
from keras_transfer.evaluation.power_law.result import (
    LEVEL,
    NOTHING,
    Estimate,
    HeldOut,
    PowerLaw,
    estimate,
)

# A floor is fitted to no fewer points: the others must foretell the largest x, and three of them
# would meet a curve of three parameters exactly.
_FEWEST = {POWER: 3, FLOOR: 5}
# The upper end over the lower one of what is foretold: beyond, hardly a point could miss it.
_WIDEST = 2.0


def fit(
    x: ArrayLike,
    error: ArrayLike,
    seeds: ArrayLike | None = None,
    *,
    forms: tuple[str, ...] = FORMS,
    resamples: int = 1000,
    seed: int = 0,
) -> PowerLaw:
    """Fits a law of scale and checks it.

    Args:
        x: [N], what was scaled, one per run: positive.
        error: [N], error of each run, in any unit: the smaller the better, best 0.
        seeds: [N], the seed of each run: runs of one seed may have something in common, which is
            then allowed for. By default runs have nothing in common.
        forms: Forms to choose from, by AICc. A floor takes five distinct x; with fewer the form is
            ``power``.
        resamples: Number of draws behind intervals and bands.
        seed: Of these draws.

    Raises:
        UserError: If the arguments have no meaning. An error of 0 has: it refuses the law.
    """
    xs, errors = np.asarray(x, np.float64), np.asarray(error, np.float64)
    labels = np.arange(xs.size) if seeds is None else np.asarray(seeds)
    _check(xs, errors, labels, forms, resamples)
    reasons = _hopeless(xs, errors)
    if reasons:
        return _nothing(xs, errors, reasons)
    return _fit(gather(xs, np.log(errors), labels), forms, resamples, seed)


def _check(
    x: np.ndarray, error: np.ndarray, seeds: np.ndarray, forms: tuple[str, ...], resamples: int
) -> None:
    if x.ndim != 1 or not x.shape == error.shape == seeds.shape:
        raise UserError(
            "A law needs one x, error and seed per run; got arrays of shape "
            f"{x.shape}, {error.shape} and {seeds.shape}."
        )
    if not x.size or not (np.isfinite(x) & (x > 0)).all() or not np.isfinite(error).all():
        raise UserError("A law needs runs with finite errors at finite x above 0.")
    if not forms or set(forms) - set(FORMS):
        raise UserError(f"Forms of a law are {' and '.join(FORMS)}, got {', '.join(forms)!r}.")
    if resamples < 1:
        raise UserError(f"A law needs resamples >= 1, got {resamples}.")


def _hopeless(x: np.ndarray, error: np.ndarray) -> dict[str, str]:
    """Returns why nothing can be fitted, if so."""
    if (error <= 0).any():
        text = f"an error at x = {x[error <= 0].min():g} is not above 0 and has no logarithm"
        return {result.NOT_POSITIVE: text}
    points = len(np.unique(x))
    if points < _FEWEST[POWER]:
        text = f"{points} point{'s' if points > 1 else ''}, and a law takes {_FEWEST[POWER]}"
        return {result.FEW_POINTS: text}
    return {}


def _nothing(x: np.ndarray, error: np.ndarray, reasons: dict[str, str]) -> PowerLaw:
    distinct = np.unique(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.exp([np.log(error[x == value]).mean() for value in distinct])
    return PowerLaw(
        x=distinct,
        error=means,
        num_runs=len(x),
        form="",
        parameters=dict.fromkeys("abc", NOTHING),
        slope=NOTHING,
        aic=dict.fromkeys(FORMS, np.nan),
        lack_of_fit=np.nan,
        held_out=HeldOut(np.nan, NOTHING, np.nan),
        reasons=reasons,
        curve=None,
        draws=None,
    )


def _fit(points: Points, forms: tuple[str, ...], resamples: int, seed: int) -> PowerLaw:
    allowed = [f for f in FORMS if f in forms and len(points.x) >= _FEWEST[f]] or [POWER]
    fits = {form: checks.curve_of(form, points) for form in {POWER, *allowed}}
    aic = dict.fromkeys(FORMS, np.nan)
    aic |= {form: checks.aicc(form, fits[form], points) for form in allowed}
    form = min(allowed, key=lambda name: aic[name])
    draws = {name: _draws(name, points, fits[name], resamples, seed) for name in {POWER, form}}
    slope = estimate(fits[POWER].b[0], draws[POWER].b)
    p = checks.lack_of_fit(fits[form], points)
    held_out = checks.held_out(form, points, resamples, seed)
    parameters = _parameters(fits[form], draws[form], points)
    if form == FLOOR and not parameters["c"].low > 0:
        # There may be no floor: then the truth lies where the other form looks for it.
        other = _parameters(fits[POWER], draws[POWER], points)
        parameters |= {name: parameters[name].hull(other[name]) for name in "ab"}
    return PowerLaw(
        x=points.x,
        error=np.exp(points.mean),
        num_runs=int(points.counts.sum()),
        form=form,
        parameters=parameters,
        slope=slope,
        aic=aic,
        lack_of_fit=p,
        held_out=held_out,
        reasons=_reasons(slope, p, held_out),
        curve=fits[form],
        draws=draws[form],
    )


def _reasons(slope: Estimate, lack_of_fit: float, held_out: HeldOut) -> dict[str, str]:
    reasons = {}
    if slope.high < 0:
        reasons[result.GROWS] = f"the error grows (exponent {slope.value:.2g})"
    elif not slope.low > 0:
        reasons[result.NO_SLOPE] = (
            f"the slope is not told from 0 (exponent {slope.value:.2g}, "
            f"{slope.low:.2g} to {slope.high:.2g})"
        )
    if lack_of_fit < 1 - LEVEL:
        shown = f"p = {lack_of_fit:.2g}" if lack_of_fit >= 0.001 else "p < 0.001"
        reasons[result.LACK_OF_FIT] = (
            f"the points are further off the curve than seeds explain ({shown})"
        )
    foretold = held_out.predicted
    if np.isnan(foretold.low):
        reasons[result.UNCHECKED] = "too few runs to foretell the largest x with an interval"
    elif not held_out.met:
        reasons[result.MISSED] = (
            f"the largest x is missed ({held_out.measured:.4g} measured, "
            f"{foretold.low:.4g} to {foretold.high:.4g} foretold)"
        )
    elif foretold.factor > _WIDEST:
        reasons[result.UNCHECKED] = (
            f"the other points leave the largest x open: {foretold.low:.2g} to {foretold.high:.2g}"
        )
    return reasons


def _draws(form: str, points: Points, curve: Curves, resamples: int, seed: int) -> Curves:
    """Fits the curve again after noise."""
    u = points.u(points.x)
    noise = checks.noise_of(form, points, points, curve, resamples, seed)
    return law_forms.fit(form, u, curve.at(u) + noise, points.weight)


def _parameters(curve: Curves, draws: Curves, points: Points) -> dict[str, Estimate]:
    values, drawn = (curves.parameters(points.log_x0) for curves in (curve, draws))
    return {name: estimate(values[name][0], drawn[name]) for name in values}
