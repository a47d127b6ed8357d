"""A series with the law that was fitted to it, and the table of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.evaluation import power_law
from keras_transfer.evaluation.power_law import FLOOR, NOTHING, POWER, Estimate, HeldOut, PowerLaw
from keras_transfer.reporting import style
from keras_transfer.reporting.laws.series import Series, errors_of

HOLDS, REFUSED = "holds", "refused"
# Kind of reason of series that nothing can be fitted to.
UNFIT = "series that cannot be compared"


@dataclass(frozen=True)
class Fit:
    """A series and its law.

    Attributes:
        series: What was fitted.
        law: The fit; None if the series was refused before.
    """

    series: Series
    law: PowerLaw | None

    @property
    def holds(self) -> bool:
        """Whether the law stands."""
        return self.law is not None and self.law.holds

    @property
    def reasons(self) -> dict[str, str]:
        """Why not, by kind; none if it does."""
        return {UNFIT: self.series.refusal} if self.law is None else self.law.reasons

    @property
    def formula(self) -> str:
        """The fitted law: ``error = 2.1 + 48 x^-0.35``; "" without one."""
        if self.law is None or not self.law.form:
            return ""
        a, b, c = (self.law.parameters[name].value for name in "abc")
        floor = f"{c:.3g} + " if self.law.form == FLOOR else ""
        return f"error = {floor}{float(f'{a:.3g}'):,g} x^{-b:.3g}"


def fit(series: Series) -> Fit:
    """Fits a law to a series."""
    if series.refusal:
        return Fit(series, None)
    runs = [
        (x, error, seed)
        for x, cell in series.points
        for seed, error in (errors_of(cell) or {}).items()
    ]
    return Fit(series, power_law.fit(*(np.array(column) for column in zip(*runs))))


def frame(fits: Sequence[Fit]) -> pd.DataFrame:
    """Returns one row per series, see `laws.Laws`."""
    return pd.DataFrame([_row(fit) for fit in fits])


def _row(fit: Fit) -> dict[str, Any]:
    series, law = fit.series, fit.law
    seeds = {seed for _, cell in series.points for seed in cell.values}
    row: dict[str, Any] = {
        "against": series.against,
        "target": series.target,
        "source": series.source,
        "arch": series.arch,
        "shots": "" if series.shots is None else style.shots_title(series.shots),
        "form": law.form if law else "",
        "step": series.step,
        "n_points": len({x for x, _ in series.points}),
        "n_seeds": len(seeds),
    }
    for name in "abc":
        row |= _columns(name, law.parameters[name] if law else NOTHING)
    aic = law.aic if law else dict.fromkeys((POWER, FLOOR), np.nan)
    row |= {"aic_power": aic[POWER], "aic_floor": aic[FLOOR]}
    row |= {"delta_aic": _finite(aic[FLOOR]) - _finite(aic[POWER])}
    held_out = law.held_out if law else HeldOut(np.nan, NOTHING, np.nan)
    row |= {
        "lack_of_fit": law.lack_of_fit if law else np.nan,
        "held_out_x": held_out.x,
        **_columns("held_out_predicted", held_out.predicted),
        "held_out_measured": held_out.measured,
        "verdict": HOLDS if fit.holds else REFUSED,
        "reason": "; ".join(fit.reasons.values()),
        "left_out": "; ".join(series.left_out),
    }
    return row


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _finite(value: float) -> float:
    return value if np.isfinite(value) else np.nan
