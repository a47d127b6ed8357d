"""A row of a table of measures, and what data are behind it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_transfer.core.labels import LabelSpace
from keras_transfer.evaluation.metrics import Evidence
from keras_transfer.evaluation.predictions import Predictions

VALUE, DIFFERENCE = "value", "difference"
DELONG = "delong"
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measure.

    Attributes:
        kind: ``value``, or ``difference`` to another run.
        group: ``all``, or ``<column>=<group>``.
        metric: As in ``metrics.Report.values``.
        value: NaN where undefined.
        low: Lower end of the interval; NaN where there is none, and ``note`` says why.
        high: Upper end.
        n: Examples; of a label, those of which it is known.
        positives: Of these, positive ones; None if the measure is not of one label.
        clusters: Patients (or examples) that were resampled; of a label, those in ``n``.
        method: Of the interval.
        undefined: Resamples without a value; of a mean, those in which it lost a label.
        p: Of a difference, two-sided; else NaN.
        p_holm: Adjusted over the labels of the metric; NaN where there is no family.
        test: Behind p.
        temperature: Of the scores; 1 as they are, NaN if every label has its own.
        note: What is to be known.
    """

    kind: str = VALUE
    group: str = ALL
    metric: str
    value: float
    low: float
    high: float
    n: int
    positives: int | None = None
    clusters: int
    method: str
    undefined: int = 0
    p: float = float("nan")
    p_holm: float = float("nan")
    test: str = ""
    temperature: float = 1.0
    note: str = ""


class Counts:
    """How much data is behind each value."""

    def __init__(self, predictions: Predictions, labels: LabelSpace, unit: np.ndarray):
        evidence = Evidence(predictions)
        self._all: dict[str, Any] = {"n": len(unit), "clusters": len(np.unique(unit))}
        self._labels: dict[str, dict[str, Any]] = {
            name: {
                "n": int(known.sum()),
                "positives": int((truth & known).sum()),
                "clusters": len(np.unique(unit[known])),
            }
            for name, truth, known in zip(labels.names, evidence.truth.T, evidence.known.T)
        }

    def of(self, metric: str) -> dict[str, Any]:
        """Returns fields of a row."""
        return self._labels[metric.split("/", 1)[1]] if "/" in metric else self._all

    def why_undefined(self, metric: str) -> str:
        """Says what a label lacks; "" if it has positives and negatives."""
        found = self.of(metric)
        if "/" not in metric:
            return "no label has a value"
        if not found["n"]:
            return "no known label"
        return "no positives" if not found["positives"] else "no negatives"


def explained(row: Row, counts: Counts) -> Row:
    """Says why there is no value or no interval, or what a value is worth little for."""
    if np.isnan(row.value):
        return replace(row, note=counts.why_undefined(row.metric))
    notes = ["no positives"] if row.positives == 0 else []
    if np.isnan(row.low):
        notes.append(f"no interval: {_why_no_interval(row)}")
    return replace(row, note="; ".join(notes))


def _why_no_interval(row: Row) -> str:
    if row.clusters < 2:
        return "one cluster only"
    if row.method == DELONG:
        return "its variance cannot be estimated"
    return "resamples do not differ, or nearly all lie on one side"
