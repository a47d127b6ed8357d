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


def _right(evidence: Evidence) -> np.ndarray:
    if evidence.is_multilabel:
        return mean_of(evidence.predicted == evidence.truth, evidence.known)
    return _share(evidence.rank_of_truth == 0)


def _share(hit: np.ndarray) -> np.ndarray:
    return np.column_stack([hit, np.ones(len(hit))]).astype(np.float64)


def _cross_entropy(evidence: Evidence) -> np.ndarray:
    if evidence.is_multilabel:
        signed = np.where(evidence.truth, -evidence.logits, evidence.logits)
        return mean_of(np.logaddexp(0, signed), evidence.known)
    total = np.logaddexp.reduce(evidence.logits, axis=1)
    return np.column_stack([total - evidence.logits[evidence.truth], np.ones(len(total))])


def _confusion(evidence: Evidence) -> sparse.sparray:
    """True positives, predicted positives, positives and, multi-label only, known entries."""
    truth, predicted = evidence.truth & evidence.known, evidence.predicted & evidence.known
    parts = [truth & predicted, predicted, truth]
    parts += [evidence.known] if evidence.is_multilabel else []
    return sparse.hstack([sparse.csr_array(part, dtype=np.float64) for part in parts])


def _from_confusion(share: Callable, is_multilabel: bool) -> Sums:
    def finish(sums: np.ndarray) -> np.ndarray:
        parts = np.split(sums, 4 if is_multilabel else 3, axis=1)
        value = np.nan_to_num(divide(*share(*parts[:3])))
        return np.where(parts[3] > 0, value, np.nan) if is_multilabel else value

    return Sums(_confusion, finish)


_SHARES: dict[Callable, Callable] = {
    metrics.precision: lambda hits, predicted, positives: (hits, predicted),
    metrics.recall: lambda hits, predicted, positives: (hits, positives),
    metrics.f1: lambda hits, predicted, positives: (2 * hits, predicted + positives),
}
_SUMS: dict[Callable, Sums] = {
    metrics.accuracy: Sums(_right, ratio),
    metrics.top_5_accuracy: Sums(lambda evidence: _share(evidence.rank_of_truth < 5), ratio),
    metrics.loss: Sums(_cross_entropy, ratio),
}


def form_of(function: Callable, is_multilabel: bool) -> Sums | None:
    """Returns a metric as sums; None if it is not known to be one."""
    if function in _SHARES:
        return _from_confusion(_SHARES[function], is_multilabel)
    return function if isinstance(function, Sums) else _SUMS.get(function)
