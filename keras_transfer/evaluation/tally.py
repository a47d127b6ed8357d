"""The metrics of weighted examples, for many weightings at once.

``metrics`` defines every metric on examples that count once. Here the same numbers come from counts
per unit: most metrics are functions of sums over examples, so that a resample is one row of a
matrix product; the ranking metrics walk a list that was sorted once. A metric of which neither is
known (a user's own) is computed from repeated rows: slower, and right.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
from scipy import sparse

from keras_transfer.core.labels import LabelSpace
from keras_transfer.evaluation import metrics
from keras_transfer.evaluation.metrics import Evidence, Metric
from keras_transfer.evaluation.sums import divide, form_of

# Of a matrix with more entries than this share, the dense product is the faster one.
_DENSE = 0.1


_RANKED = {metrics.auc: 0, metrics.average_precision: 1}  # -> column of `_Ladder`


class _Ladder:
    """One class, sorted once: the weighted form of `ranking.rank_statistics`."""

    def __init__(self, positive: np.ndarray, score: np.ndarray, unit: np.ndarray):
        order = np.argsort(score, kind="stable")
        positive, score, unit = positive[order], score[order], unit[order].astype(np.intp)
        own, others = score[positive], score[~positive]
        self._own_unit, self._other_unit = unit[positive], unit[~positive]
        self._own_below = np.searchsorted(own, own, "left")
        self._below = np.searchsorted(others, own, "left")
        self._up_to = np.searchsorted(others, own, "right")

    def __call__(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns ROC-AUC and average precision, float64[b] each, NaN where undefined."""
        # mode="clip" spares the check of every index: half the time.
        own = counts.take(self._own_unit, axis=1, mode="clip")
        positives, others = _running(own), _running(counts.take(self._other_unit, 1, mode="clip"))
        num_own, num_others = positives[:, -1:], others[:, -1:]
        below = others.take(self._below, axis=1, mode="clip")
        up_to = others.take(self._up_to, axis=1, mode="clip")
        won = np.einsum("bp,bp->b", own, below + up_to, dtype=np.float64) / 2
        hits = num_own - positives.take(self._own_below, axis=1, mode="clip")
        # Where nothing is at or above, the positive itself does not count either: 0 times 0.
        precision = hits / np.maximum(hits + num_others - below, 1)
        found = np.einsum("bp,bp->b", own, precision)
        num_own, num_others = num_own[:, 0].astype(np.float64), num_others[:, 0]
        return divide(won, num_own * num_others), divide(found, num_own)


def _running(counts: np.ndarray) -> np.ndarray:
    """Returns int32[b, n + 1]: sums of the first 0 to n columns."""
    total = np.zeros((len(counts), counts.shape[1] + 1), np.int32)
    np.cumsum(counts, axis=1, out=total[:, 1:])
    return total


def applicable(labels: LabelSpace) -> dict[str, Metric]:
    """Returns the registered metrics that `metrics.compute` computes for these labels."""
    entries = {name: metrics.METRICS.get(name) for name in metrics.METRICS.names()}
    return {
        name: metric
        for name, metric in entries.items()
        if labels.task in metric.tasks and labels.num_classes >= metric.min_classes
    }


class Tally:
    """A statistic (see ``resampling``): every metric, by how often each unit counts.

    Args:
        evidence: The examples.
        labels: Their classes.
        unit: int[N], the unit of each example, see `resampling.units_of`.
        metrics: Name -> metric; by default the registered ones of the task.
        ranked: float[N, C], what the ranking metrics sort; by default the scores.

    Attributes:
        names: Names of the V values, as in ``metrics.Report.values``.
    """

    def __init__(
        self,
        evidence: Evidence,
        labels: LabelSpace,
        unit: np.ndarray,
        metrics: Mapping[str, Metric] | None = None,
        ranked: np.ndarray | None = None,
    ):
        chosen = applicable(labels) if metrics is None else metrics
        self._evidence, self._unit = evidence, unit
        self._ranked = evidence.scores if ranked is None else ranked
        self.names: list[str] = []
        self._forms: list[tuple[bool, Callable]] = []
        for name, metric in chosen.items():
            self.names.append(metric.mean or name)
            self.names += [f"{name}/{c}" for c in labels.names] if metric.mean else []
            self._forms.append((metric.mean is not None, self._form(metric.function)))

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Returns float64[b, V] for int32[b, U]."""
        resample = _Resample(self, counts)
        parts = []
        for per_class, form in self._forms:
            value = form(resample)
            parts += [_mean(value), value] if per_class else [value]
        return np.column_stack(parts)

    def _form(self, function: Callable) -> Callable[["_Resample"], np.ndarray]:
        if function in _RANKED:
            column = _RANKED[function]
            return lambda resample: resample.ranking[column]
        form = form_of(function, self._evidence.is_multilabel)
        if form is None:
            return lambda resample: np.stack([function(e) for e in resample.repeated()])
        per_unit = self._per_unit(form.columns(self._evidence))
        finish = form.finish
        return lambda resample: finish(resample.weighted_sums(per_unit))

    def _per_unit(self, columns: np.ndarray | sparse.sparray) -> np.ndarray | sparse.sparray:
        """Returns [U, F]: sums over the examples of each unit."""
        ones, rows = np.ones(len(self._unit)), np.arange(len(self._unit))
        shape = (self._unit.max(initial=-1) + 1, len(self._unit))
        summed = sparse.csr_array((ones, (self._unit, rows)), shape) @ sparse.csr_array(columns)
        return summed if summed.nnz < _DENSE * np.prod(summed.shape) else summed.toarray()

    @cached_property
    def ladders(self) -> list[_Ladder]:
        """The sorted lists of all classes."""
        columns = zip(self._evidence.truth.T, self._ranked.T, self._evidence.known.T)
        return [_Ladder(t[k], s[k], self._unit[k]) for t, s, k in columns]

    def repeated(self, counts: np.ndarray) -> Evidence:
        """Returns the examples themselves, repeated as int[U] counts say."""
        rows = np.repeat(np.arange(len(self._unit)), counts[self._unit])
        return evidence_of([self._evidence], rows)


class _Resample:
    """Shared work of one block of counts."""

    def __init__(self, tally: Tally, counts: np.ndarray):
        self._tally, self._counts = tally, counts

    @cached_property
    def ranking(self) -> np.ndarray:  # [2, b, C]
        found = [ladder(self._counts) for ladder in self._tally.ladders]
        return np.stack([np.stack(values, axis=1) for values in zip(*found)])

    @cached_property
    def _weights(self) -> np.ndarray:
        return self._counts.astype(np.float64)

    def weighted_sums(self, per_unit: np.ndarray | sparse.sparray) -> np.ndarray:
        return np.asarray(self._weights @ per_unit)

    def repeated(self) -> list[Evidence]:
        return [self._tally.repeated(row) for row in self._counts]


def evidence_of(parts: list[Evidence], rows: np.ndarray | slice = slice(None)) -> Evidence:
    """Returns rows of several pieces of evidence, one after the other; rows may repeat."""
    joined = object.__new__(Evidence)
    joined.is_multilabel = parts[0].is_multilabel
    for name in ("logits", "scores", "truth", "known"):
        setattr(joined, name, np.concatenate([getattr(part, name) for part in parts])[rows])
    return joined


def _mean(values: np.ndarray) -> np.ndarray:
    """Returns float64[b]: mean over the classes that have a value."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0).sum(1), defined.sum(1))
