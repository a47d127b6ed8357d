"""Whether scores are probabilities: calibration errors, Brier score, and temperature scaling.

Expected calibration error (Guo et al., ICML 2017): examples are put into 15 bins by confidence, and
ECE is the mean over examples of |share right - mean confidence| of their bin. Bins are of equal
width, (lower, upper], or hold equally many examples (``equal_mass``; edges are quantiles of the
data, and stay where they are in resamples). Multi-class: the confidence is the largest softmax
score, right means that its class is the true one. Multi-label: the confidence is the sigmoid score,
and right means that the label is positive; of all known entries pooled (``ece``), or per label
(``label_ece/<label>``, mean ``mean_label_ece``). ECE is too large in small samples: compare only
data of similar size.

Brier score: multi-class, mean over examples of the sum over classes of (score - truth)^2, in [0, 2]
(Brier, 1950); multi-label, mean of (score - truth)^2 over known entries, in [0, 1].

The negative log-likelihood is the registered metric ``loss``.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL
from keras_transfer.evaluation.metrics import Evidence, Metric
from keras_transfer.evaluation.predictions import Predictions
from keras_transfer.evaluation.sums import Sums, divide, mean_of, ratio

BINS = 15

# Temperatures outside are no calibration: the scores are all 0 and 1, or all alike.
_LOWEST, _HIGHEST = 0.01, 100.0


def bin_of(confidence: np.ndarray, *, equal_mass: bool = False) -> np.ndarray:
    """Returns int64[n] in [0, BINS): the bin of each confidence in [0, 1]."""
    if equal_mass:
        edges = np.quantile(confidence, np.arange(1, BINS) / BINS) if len(confidence) else []
        return np.searchsorted(edges, confidence, "left")
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _pooled(evidence: Evidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns row, confidence and whether it is right, of everything that counts: [n] each."""
    if evidence.is_multilabel:
        rows = np.nonzero(evidence.known)[0]
        return rows, evidence.scores[evidence.known], evidence.truth[evidence.known]
    rows = np.arange(len(evidence.logits))
    return rows, evidence.scores.max(axis=1), evidence.rank_of_truth == 0


def _gaps(equal_mass: bool, per_label: bool) -> Sums:
    """ECE as sums: of (right - confidence) per bin, and of examples."""

    def pooled(evidence: Evidence) -> sparse.sparray:
        rows, confidence, right = _pooled(evidence)
        return _columns(len(evidence.logits), rows, confidence, right, equal_mass)

    def labels(evidence: Evidence) -> sparse.sparray:
        parts = []
        for score, truth, known in zip(evidence.scores.T, evidence.truth.T, evidence.known.T):
            rows = np.flatnonzero(known)
            parts.append(_columns(len(known), rows, score[known], truth[known], equal_mass))
        return sparse.hstack(parts)

    def finish(sums: np.ndarray) -> np.ndarray:
        sums = sums.reshape(len(sums), -1, BINS + 1)
        error = divide(np.abs(sums[..., :BINS]).sum(-1), sums[..., BINS])
        return error if per_label else error[:, 0]

    return Sums(labels if per_label else pooled, finish)


def _columns(
    num_examples: int,
    rows: np.ndarray,
    confidence: np.ndarray,
    right: np.ndarray,
    equal_mass: bool,
) -> sparse.sparray:  # [N, BINS + 1]; entries of one row and bin add up
    bins = bin_of(confidence, equal_mass=equal_mass)
    values = np.concatenate([right - confidence, np.ones(len(rows))])
    columns = np.concatenate([bins, np.full(len(rows), BINS)])
    where = (np.concatenate([rows, rows]), columns)
    return sparse.coo_array((values, where), shape=(num_examples, BINS + 1)).tocsr()


def _squares(evidence: Evidence) -> np.ndarray:
    square = (evidence.scores - evidence.truth) ** 2
    if evidence.is_multilabel:
        return mean_of(square, evidence.known)
    return np.column_stack([square.sum(axis=1), np.ones(len(square))])


def _label_squares(evidence: Evidence) -> np.ndarray:
    square = np.where(evidence.known, (evidence.scores - evidence.truth) ** 2, 0)
    return np.hstack([square, evidence.known])


def _label_ratio(sums: np.ndarray) -> np.ndarray:
    return divide(*np.split(sums, 2, axis=1))


def _metric(function: Sums, *, label: str = "") -> Metric:
    tasks = (MULTILABEL,) if label else (MULTICLASS, MULTILABEL)
    return Metric(function, tasks, higher_is_better=False, mean=label or None, percent=False)


_ALL = {
    "ece": _metric(_gaps(False, False)),
    "ece_equal_mass": _metric(_gaps(True, False)),
    "brier": _metric(Sums(_squares, ratio)),
    "label_ece": _metric(_gaps(False, True), label="mean_label_ece"),
    "label_ece_equal_mass": _metric(_gaps(True, True), label="mean_label_ece_equal_mass"),
    "label_brier": _metric(Sums(_label_squares, _label_ratio), label="mean_label_brier"),
}

# Their bins follow the data of one model: they have no value on exchanged models.
NOT_EXCHANGEABLE = frozenset({"ece_equal_mass", "label_ece_equal_mass"})


def metrics(task: str) -> dict[str, Metric]:
    """Returns the metrics of calibration for a task, as ``tally.Tally`` takes them."""
    return {name: metric for name, metric in _ALL.items() if task in metric.tasks}


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by.

    Attributes:
        value: float64[1], or float64[C] per label.
        at_limit: bool, as value: whether the best temperature lies outside of [0.01, 100].
        pooled: int64[...]: labels that had one value only, and took the temperature of all.
    """

    value: np.ndarray
    at_limit: np.ndarray
    pooled: np.ndarray

    def apply(self, predictions: Predictions) -> Predictions:
        """Returns the predictions with logits divided by the temperature."""
        logits = predictions.logits.astype(np.float64) / self.value
        return Predictions(predictions.example_id, predictions.label, logits, predictions.weight)


def fit_temperature(validation: Predictions, *, per_label: bool = False) -> Temperature:
    """Finds the temperature that makes validation labels most likely.

    The negative log-likelihood is convex in 1/T, so that the one minimum is found.

    Args:
        validation: Predictions that are not those to be measured.
        per_label: One temperature per label; multi-label only.

    Raises:
        UserError: If no label is known, or ``per_label`` is asked of multi-class predictions.

    Reference: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    if per_label and not validation.is_multilabel:
        raise UserError("A temperature per label needs multi-label predictions.")
    if not validation.known.any():
        raise UserError("No label is known among the predictions to fit a temperature on.")
    evidence = Evidence(validation)
    if not evidence.is_multilabel:
        top = evidence.logits - evidence.logits[evidence.truth][:, None]
        return _temperature([_fit(top, softmax=True)])
    signed = np.where(evidence.truth, -evidence.logits, evidence.logits)
    together = _fit(signed[evidence.known], softmax=False)
    if not per_label:
        return _temperature([together])
    found, pooled = [], []
    for c, (z, truth, known) in enumerate(zip(signed.T, evidence.truth.T, evidence.known.T)):
        if len(np.unique(truth[known])) < 2:
            pooled.append(c)
            found.append(together)
        else:
            found.append(_fit(z[known], softmax=False))
    return _temperature(found, pooled)


def _temperature(found: list[float], pooled: list[int] | None = None) -> Temperature:
    value = np.array(found)
    at_limit = (value < _LOWEST * 1.001) | (value > _HIGHEST / 1.001)
    return Temperature(value, at_limit, np.array(pooled or [], np.int64))


def _fit(excess: np.ndarray, *, softmax: bool) -> float:
    """Minimises the mean of log sum exp(excess / T) over log T; excess is over the true logit."""
    from scipy.optimize import minimize_scalar  # slow to import, and seldom needed

    def loss(log_temperature: float) -> float:
        scaled = excess * np.exp(-log_temperature)
        if softmax:
            return float(np.logaddexp.reduce(scaled, axis=1).mean())
        return float(np.logaddexp(0, scaled).mean())

    limits = (np.log(_LOWEST), np.log(_HIGHEST))
    found = minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))
