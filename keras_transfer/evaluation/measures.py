"""Rows of a table of measures: values and differences, with intervals and tests."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.labels import LabelSpace
from keras_transfer.evaluation import calibration, delong, intervals, resampling, testing
from keras_transfer.evaluation.metrics import Evidence, Metric
from keras_transfer.evaluation.predictions import Predictions
from keras_transfer.evaluation.rows import DELONG, DIFFERENCE, VALUE, Counts, Row, explained
from keras_transfer.evaluation.tally import Tally, applicable

_AUC = "auc/"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure.

    Attributes:
        resamples: Of the bootstrap, and permutations of the test.
        level: Of intervals.
        method: ``bca`` or ``percentile``.
        seed: Of all random numbers.
        metrics: Names to compute, such as ``auc``; () is all.
    """

    resamples: int = 2000
    level: float = 0.95
    method: str = intervals.BCA
    seed: int = 0
    metrics: tuple[str, ...] = ()

    def chosen(self, labels: LabelSpace) -> dict[str, Metric]:
        """Returns registered metrics and those of calibration, or the ones that are named."""
        known = applicable(labels) | calibration.metrics(labels.task)
        for name in self.metrics:
            if name not in known:
                raise UserError(f"Unknown metric {name!r}.{did_you_mean(name, known)}")
        return {name: known[name] for name in self.metrics or known}


def values(
    predictions: Predictions, labels: LabelSpace, unit: np.ndarray, options: Options
) -> list[Row]:
    """Measures predictions.

    Args:
        predictions: Rows that count only.
        labels: Their classes.
        unit: int[N], what is resampled whole; numbers need not be consecutive.
        options: How.
    """
    unit = np.unique(unit, return_inverse=True)[1]
    counts = Counts(predictions, labels, unit)
    tally = Tally(Evidence(predictions), labels, unit, options.chosen(labels))
    rows = _rows(VALUE, tally, tally.names, counts, int(unit.max()) + 1, options)
    if any(name.startswith(_AUC) for name in tally.names):
        rows += [
            Row(
                metric=name,
                value=float(areas.auc[0]),
                low=float(low),
                high=float(high),
                method=DELONG,
                **counts.of(name),
            )
            for name, areas in _areas([predictions], labels, unit)
            for low, high in areas.interval(options.level)
        ]
    return [explained(row, counts) for row in rows]


def differences(
    first: Predictions,
    second: Predictions,
    labels: LabelSpace,
    unit: np.ndarray,
    options: Options,
) -> list[Row]:
    """Measures how much the first predictions are above the second, of the same examples.

    Args:
        first: From `pairing.pair`.
        second: Likewise.
        labels: Classes of both.
        unit: int[N], what is resampled and exchanged whole.
        options: How. Metrics whose bins follow the data of one model are left out.
    """
    unit = np.unique(unit, return_inverse=True)[1]
    counts = Counts(first, labels, unit)
    chosen = options.chosen(labels)
    chosen = {k: m for k, m in chosen.items() if k not in calibration.NOT_EXCHANGEABLE}
    one, two = (Tally(Evidence(p), labels, unit, chosen) for p in (first, second))
    rows = _rows(
        DIFFERENCE, lambda c: one(c) - two(c), one.names, counts, int(unit.max()) + 1, options
    )
    tested = testing.permutation_test(
        first,
        second,
        labels,
        unit,
        metrics=chosen,
        permutations=options.resamples,
        seed=options.seed,
    )
    test = f"permutation, {tested.permutations} {'exact' if tested.exact else 'random'}"
    rows = [replace(row, p=float(p), test=test) for row, p in zip(rows, tested.p)]
    if any(name.startswith(_AUC) for name in one.names):
        found = [
            (name, areas.difference(level=options.level))
            for name, areas in _areas([first, second], labels, unit)
        ]
        rows += [
            Row(
                kind=DIFFERENCE,
                metric=name,
                value=d.value,
                low=d.low,
                high=d.high,
                method=DELONG,
                p=d.p,
                test=DELONG,
                **counts.of(name),
            )
            for name, d in found
        ]
    return [explained(row, counts) for row in _adjusted(rows)]


def _rows(
    kind: str,
    statistic: resampling.Statistic,
    names: list[str],
    counts: Counts,
    num_units: int,
    options: Options,
) -> list[Row]:
    found = intervals.bootstrap(
        statistic,
        num_units,
        resamples=options.resamples,
        level=options.level,
        method=options.method,
        seed=options.seed,
    )
    undefined = _undefined(found, names)
    return [
        Row(
            kind=kind,
            metric=name,
            value=float(found.value[i]),
            low=float(found.low[i]),
            high=float(found.high[i]),
            method=f"bootstrap-{options.method}",
            undefined=int(undefined[i]),
            **counts.of(name),
        )
        for i, name in enumerate(names)
    ]


def _undefined(found: intervals.Intervals, names: list[str]) -> np.ndarray:
    """Returns int64[V]: of a mean, the resamples in which it lost a label that the data have."""
    undefined = found.undefined.copy()
    start = None
    for i, name in [*enumerate(names), (len(names), "")]:
        if "/" in name:
            continue
        if start is not None and i > start + 1:
            labels = np.flatnonzero(~np.isnan(found.value[start + 1 : i])) + start + 1
            undefined[start] = np.isnan(found.distribution[:, labels]).any(axis=1).sum()
        start = i
    return undefined


def _areas(
    parts: list[Predictions], labels: LabelSpace, unit: np.ndarray
) -> Iterator[tuple[str, delong.Areas]]:
    evidence = [Evidence(part) for part in parts]
    for c, name in enumerate(labels.names):
        known = evidence[0].known[:, c]
        scores = np.stack([e.scores[known, c] for e in evidence], axis=1)
        yield _AUC + name, delong.areas(evidence[0].truth[known, c], scores, unit[known])


def _adjusted(rows: list[Row]) -> list[Row]:
    """Corrects p over the labels of each metric and test."""
    adjusted = list(rows)
    families: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        if "/" in row.metric:
            families.setdefault((row.metric.split("/", 1)[0], row.test), []).append(i)
    for members in families.values():
        p = testing.holm(np.array([rows[i].p for i in members]))
        for i, value in zip(members, p):
            adjusted[i] = replace(rows[i], p_holm=float(value))
    return adjusted
