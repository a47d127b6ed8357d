"""Metrics that are functions of sums over examples: a resample is a row of a matrix product."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from keras_transfer.evaluation import metrics
from keras_transfer.evaluation.metrics import Evidence


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides; NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    empty = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=empty, where=denominator != 0)


@dataclass(frozen=True)
class Sums:
    """A metric that is a function of sums over examples; callable like any metric.

    Attributes:
        columns: Evidence -> float64[N, F], dense or sparse: what is summed.
        finish: float64[b, F] sums -> float64[b], or float64[b, C] per class.
    """

    columns: Callable[[Evidence], np.ndarray | sparse.sparray]
    finish: Callable[[np.ndarray], np.ndarray]

    def __call__(self, evidence: Evidence) -> float | np.ndarray:
        """Returns the metric of examples that count once."""
        sums = np.asarray(self.columns(evidence).sum(axis=0), dtype=np.float64)
        return self.finish(sums.reshape(1, -1))[0]


def ratio(sums: np.ndarray) -> np.ndarray:
    """``Sums.finish`` of a mean: the first column over the second."""
    return divide(sums[:, 0], sums[:, 1])


def mean_of(value: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``Sums.columns`` of a mean over known entries: value[N, C], known[N, C] -> [N, 2]."""
    return np.column_stack([np.where(known, value, 0).sum(1), known.sum(1)]).astype(np.float64)


def _mean(of: Callable[[Evidence], np.ndarray]) -> Sums:
    """A mean over examples, or over known entries where there is a value for each."""

    def columns(evidence: Evidence) -> np.ndarray:
        value = of(evidence)
        known = evidence.known if value.ndim == 2 else np.ones((len(value), 1), bool)
        return mean_of(value.reshape(known.shape), known)

    return Sums(columns, ratio)


def _confusion(evidence: Evidence) -> sparse.sparray:
    """True positives, predicted positives, positives and, multi-label only, known entries."""
    parts = [*evidence.confused, *([evidence.known] if evidence.is_multilabel else [])]
    return sparse.hstack([sparse.csr_array(part, dtype=np.float64) for part in parts])


def _from_confusion(share: Callable, is_multilabel: bool) -> Sums:
    def finish(sums: np.ndarray) -> np.ndarray:
        parts = np.split(sums, 4 if is_multilabel else 3, axis=1)
        value = np.nan_to_num(divide(*share(*parts[:3])))
        return np.where(parts[3] > 0, value, np.nan) if is_multilabel else value

    return Sums(_confusion, finish)


_SHARES = {getattr(metrics, name): share for name, share in metrics.SHARES.items()}
_SUMS: dict[Callable, Sums] = {
    metrics.accuracy: _mean(lambda evidence: evidence.right),
    metrics.top_5_accuracy: _mean(lambda evidence: evidence.rank_of_truth < 5),
    metrics.loss: _mean(lambda evidence: evidence.cross_entropy),
}


def form_of(function: Callable, is_multilabel: bool) -> Sums | None:
    """Returns a metric as sums; None if it is not known to be one."""
    if function in _SHARES:
        return _from_confusion(_SHARES[function], is_multilabel)
    return function if isinstance(function, Sums) else _SUMS.get(function)
