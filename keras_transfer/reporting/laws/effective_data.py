"""Effective data transferred: how many images of the target pre-training is worth.

Reference: Hernandez et al. 2021 (arXiv:2102.01293): D_E is the number of images that training from
scratch would need for the error that pre-training reaches with D_F images; D_T = D_E - D_F is what
was transferred, D_E / D_F its multiplier. Where no run started from scratch, the reference is
pre-training on the smallest source (of the chain of nested unions, where there are unions: so all
networks have the same), and D_T is what the larger one adds.

D_E is read off the reference's curve, never beyond its points: where its law holds off the law,
else off the line through its points in log-log, where that first gets down to the error. These are
the points that were trained for as many steps as the cell: a line to those of another number would
mix what more images do with what longer training does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.core import runs
from keras_transfer.evaluation.power_law.noise import Points, gather
from keras_transfer.evaluation.power_law.result import Estimate, PowerLaw, estimate
from keras_transfer.reporting import style
from keras_transfer.reporting.laws.fits import Fit
from keras_transfer.reporting.laws.series import TRAINING, Point, errors_of, nested
from keras_transfer.reporting.tables import Cell

MEASURED, MORE, FEWER, REFUSED = "measured", "more than", "fewer than", "refused"
# The interval is open at both ends.
UNDETERMINED = "not determined"
LAW, POINTS = "law", "points"

_DRAWS = 1000
_ENDS = ("effective", "effective_low", "effective_high")


def measure(fits: Sequence[Fit], source_sizes: Mapping[str, int]) -> pd.DataFrame:
    """Measures the effective data of every cell but those of the references.

    Args:
        fits: All fits; those against training images are looked at.
        source_sizes: Images per source, where known.

    Returns:
        One row per target, arch, source and shots: reference, read_off (``law`` or ``points``),
        images (D_F), error, effective (D_E), transferred (D_T) and multiplier with ends of 95 %
        intervals, fewest and most images of the reference (of those trained for as many steps),
        verdict and reason. Beyond these D_E is NaN and the verdict ``more than`` or ``fewer than``,
        or ``refused`` where the reference has points with another number of steps there; an end
        beyond them is 0 or infinite, unless it says something as a bound. Where both ends are, D_E
        is NaN and ``not determined``. Nothing known of the noise (one seed) leaves ends NaN.
        The intervals are those of seeds: between points, lines in log-log are taken for true.
    """
    found: dict[tuple[str, str], list[Fit]] = {}
    for fit in fits:
        if fit.series.against == TRAINING:
            found.setdefault((fit.series.target, fit.series.arch), []).append(fit)
    return pd.DataFrame(
        [row for group in found.values() for row in _of_network(group, source_sizes)],
        columns=_COLUMNS,
    )


_COLUMNS = [
    *("target", "arch", "source", "shots", "reference", "read_off", "images", "error"),
    *("effective", "effective_low", "effective_high", "transferred"),
    *("multiplier", "multiplier_low", "multiplier_high"),
    *("reference_fewest", "reference_most", "verdict", "reason"),
]


def _of_network(group: Sequence[Fit], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Returns the rows of a target and network."""
    reference = _reference(group, sizes)
    rows = []
    for fit in group:
        for images, cell in fit.series.every if fit is not reference else ():
            found = (
                _judge(reference, images, cell)
                if reference
                else _refused("no run from scratch to compare with, and no source of known size")
            )
            row = {
                "target": cell.target,
                "arch": cell.arch,
                "source": cell.source,
                "shots": style.shots_title(cell.shots),
                "reference": reference.series.source if reference else "",
                "images": int(images),
            }
            rows.append(row | found)
    return rows


def _reference(group: Sequence[Fit], sizes: Mapping[str, int]) -> Fit | None:
    by_source = {fit.series.source: fit for fit in group}
    if runs.SCRATCH in by_source:
        return by_source[runs.SCRATCH]
    known, _ = nested({source: sizes.get(source) for source in by_source})
    return by_source[min(known, key=sizes.__getitem__)] if known else None


def _judge(reference: Fit, images: float, cell: Cell) -> dict[str, Any]:
    """Returns the part of a row that says what was found."""
    if cell.step is None:
        return _refused("its seeds differ in training steps")
    like = [point for point in reference.series.every if point[1].step == cell.step]
    if not like:
        return _refused(f"no run of the reference was trained for {cell.step:,} steps")
    theirs, ours = _gather(like), _gather([(images, cell)])
    if theirs is None or ours is None:
        return _refused("an error that is not above 0 has no place on a log scale")
    y = _moved(ours, 1)[:, 0]
    law = reference.law if reference.holds and reference.series.step == cell.step else None
    found = _off_law(law, y) if law else _off_points(theirs, y)
    change = _change(reference.series.every, cell.step, found[0])
    if change:
        return _refused(change)
    ends = _bounded(estimate(found[0], found[1:]), theirs.x[0], theirs.x[-1])
    return ends | {
        "reference_fewest": int(theirs.x[0]),
        "reference_most": int(theirs.x[-1]),
        "read_off": LAW if law else POINTS,
        "error": float(np.exp(y[0])),
        "transferred": ends["effective"] - images,
        **{end.replace("effective", "multiplier"): ends[end] / images for end in _ENDS},
    }


def _change(reference: Sequence[Point], step: int, effective: float) -> str:
    """Returns why what lies beyond the points of this step is no bound, "" if it is one."""
    x = [images for images, cell in reference if cell.step == step]
    if np.isinf(effective):
        others, side, end = [p for p in reference if p[0] > x[-1]], "above", x[-1]
    elif effective == 0:
        others, side, end = [p for p in reference[::-1] if p[0] < x[0]], "below", x[0]
    else:
        return ""
    if not others:
        return ""
    other = others[0][1].step
    steps = "seeds differ in training steps" if other is None else f"trains for {other:,} steps"
    return f"the schedule changes: {side} {end:,.0f} images the reference {steps}, not {step:,}"


def _refused(reason: str) -> dict[str, Any]:
    return {"verdict": REFUSED, "reason": reason}


def _bounded(effective: Estimate, few: float, many: float) -> dict[str, Any]:
    """Words what lies beyond the reference's points as a bound."""
    value, verdict, reason = effective.value, MEASURED, ""
    low = many if np.isinf(effective.low) else effective.low
    high = few if effective.high == 0 else effective.high
    if effective.low == 0 and np.isinf(effective.high):
        value, verdict = np.nan, UNDETERMINED
        reason = f"seeds leave it open: fewer than {few:,.0f} to more than {many:,.0f} images"
    elif np.isinf(value):
        value, verdict = np.nan, MORE
        reason = f"the reference does not get there with its most, {many:,.0f} images"
    elif value == 0:
        value, verdict = np.nan, FEWER
        reason = f"the reference is there with its fewest, {few:,.0f} images"
    elif np.isinf(high):
        reason = f"the upper end is beyond the {many:,.0f} images of the reference"
    return dict(zip(_ENDS, (value, low, high))) | {"verdict": verdict, "reason": reason}


def _gather(points: Sequence[tuple[float, Cell]]) -> Points | None:
    """Returns the points in log space, None where an error has no logarithm."""
    found = [
        (x, error, seed) for x, cell in points for seed, error in (errors_of(cell) or {}).items()
    ]
    x, error, seed = (np.array(column) for column in zip(*found)) if found else [np.zeros(1)] * 3
    return gather(x, np.log(error), seed) if error.min() > 0 else None


def _moved(points: Points, seed: int) -> np.ndarray:
    """Returns float64[1 + B, K]: the means, then after noise, NaN where none is known."""
    noise = points.noise(_DRAWS, np.random.default_rng(seed), np.nan, 0)
    return points.mean + np.vstack([np.zeros((1, noise.shape[1])), noise])


def _off_law(law: PowerLaw, y: np.ndarray) -> np.ndarray:
    """Returns float64[1 + B]: images at log errors y; 0 before the points, inf beyond."""
    assert law.curve is not None and law.draws is not None  # as it holds
    u = np.append(law.curve.where(y[:1]), law.draws.where(y[1:]))
    x = np.exp(u + np.log(law.x).mean())
    x = np.where(x < law.x[0], 0, np.where(x > law.x[-1], np.inf, x))
    return np.where(np.isnan(y), np.nan, x)


def _off_points(points: Points, y: np.ndarray) -> np.ndarray:
    """Returns the same as `_off_law`, by the line through the points."""
    curve, log_x = _moved(points, 2), np.log(points.x)
    there = curve <= y[:, None]
    # A single point has nothing between: the error is reached with its images, or is not.
    right = np.clip(there.argmax(axis=1), 1, None) if len(log_x) > 1 else np.zeros(len(y), int)
    row = np.arange(len(y))
    before, after = curve[row, right - 1], curve[row, right]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((before - y) / (before - after), 0, 1)
    x = np.exp(log_x[right - 1] + share * (log_x[right] - log_x[right - 1]))
    x = np.where(there[:, 0], 0, np.where(there.any(axis=1), x, np.inf))
    return np.where(np.isnan(y + curve.sum(axis=1)), np.nan, x)
