"""Registered metrics of a classifier, from the predictions on every example of a split.

A metric is one function of ``Evidence``: it returns a number, or one number per class (NaN where
the class has none), and ``register`` says what it is called and which direction is good.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.core.registry import Registry
from keras_transfer.evaluation.predictions import Predictions, check_label_space
from keras_transfer.evaluation.ranking import rank_statistics

BOTH = (MULTICLASS, MULTILABEL)


class Evidence:
    """What a metric may look at: the rows that count, shared work done once.

    Attributes:
        is_multilabel: The task.
        logits: float64[N, C].
        scores: float64[N, C], softmax or sigmoid of the logits.
        truth: bool[N, C], positive labels; one per row if multi-class.
        known: bool[N, C], entries whose label is known; all of them if multi-class.
    """

    def __init__(self, predictions: Predictions):
        if not predictions.counts.all():
            predictions = predictions.select(predictions.counts)
        label = predictions.label
        self.is_multilabel = predictions.is_multilabel
        self.logits = predictions.logits.astype(np.float64)
        self.scores = predictions.scores
        self.known = predictions.known
        classes = np.arange(self.logits.shape[1])
        self.truth = label == 1 if self.is_multilabel else label[:, None] == classes

    @cached_property
    def predicted(self) -> np.ndarray:
        """bool[N, C]: score above 0.5 (multi-label), or the class of the largest logit."""
        if self.is_multilabel:
            return self.scores > 0.5
        return np.argmax(self.logits, axis=1)[:, None] == np.arange(self.logits.shape[1])

    @cached_property
    def rank_of_truth(self) -> np.ndarray:
        """int64[N], multi-class: how many classes stand before the true one; 0 is right.

        Of equal logits the lower class stands first, as in argmax: a network that answers the same
        for every class gains nothing.
        """
        label = np.argmax(self.truth, axis=1)
        own = np.take_along_axis(self.logits, label[:, None], axis=1)
        earlier = np.arange(self.logits.shape[1]) < label[:, None]
        return ((self.logits > own) | ((self.logits == own) & earlier)).sum(axis=1)

    @cached_property
    def ranking(self) -> np.ndarray:
        """float64[C, 2]: one-vs-rest ROC-AUC and average precision over known entries."""
        columns = zip(self.truth.T, self.scores.T.copy(), self.known.T)
        return np.array([rank_statistics(t[known], s[known]) for t, s, known in columns])

    @cached_property
    def right(self) -> np.ndarray:
        """Right answers: bool[N], or bool[N, C] if multi-label; unknown entries mean nothing."""
        return self.predicted == self.truth if self.is_multilabel else self.rank_of_truth == 0

    @cached_property
    def cross_entropy(self) -> np.ndarray:
        """In nats: float64[N], or float64[N, C] if multi-label; unknown entries mean nothing.

        Without overflow: -log sigmoid(z) of a positive, -log sigmoid(-z) of a negative.
        """
        if self.is_multilabel:
            return np.logaddexp(0, np.where(self.truth, -self.logits, self.logits))
        largest = self.logits.max(axis=1)
        shifted = self.logits - largest[:, None]
        total = np.exp(shifted, out=shifted).sum(axis=1)
        return largest + np.log(total) - self.logits[self.truth]

    @cached_property
    def confused(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """bool[N, C] each: true positives, predicted positives and positives, among the known."""
        truth, predicted = self.truth & self.known, self.predicted & self.known
        return truth & predicted, predicted, truth

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64[3, C]: how many of each kind of ``confused`` there are."""
        return np.stack([kind.sum(axis=0) for kind in self.confused])

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
        """float64[C]: 0 where the denominator is 0; NaN for a class without any known label."""
        result = np.divide(
            numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0
        )
        return np.where(self.known.any(axis=0), result, np.nan)


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        function: Evidence -> float, or float64[C] if ``mean`` is given.
        tasks: Tasks it is defined for.
        higher_is_better: Direction.
        mean: Name of the unweighted mean over classes of a per-class metric, or None.
        min_classes: Fewest classes for which it says anything.
        percent: Whether it is a share in [0, 1], which reports print in percent.
    """

    function: Callable[[Evidence], float | np.ndarray]
    tasks: tuple[str, ...]
    higher_is_better: bool
    mean: str | None = None
    min_classes: int = 1
    percent: bool = True


METRICS: Registry[Metric] = Registry("metric")


def register(name: str, **properties) -> Callable:
    """Returns a decorator that registers a metric function; ``properties`` as in ``Metric``.

    A per-class metric ``name`` yields the values ``name/<class>`` and its mean.

    Example:
        >>> @register("brier", tasks=BOTH, higher_is_better=False)
        ... def brier(evidence):
        ...     square = (evidence.scores - evidence.truth) ** 2
        ...     return square[evidence.known].mean()
    """

    def store(function: Callable) -> Callable:
        METRICS.register(name)(Metric(function, **properties))
        return function

    return store


@dataclass(frozen=True)
class Report:
    """Values of all metrics of one split, and what could not be computed.

    Attributes:
        values: ``accuracy``, ``mean_auc``, ``auc/<class>``, ... -> value; NaN where undefined.
        undefined: Per-class metric -> names of the classes that have no value and are left out of
            its mean.
        omitted: Metric of this task that was not computed -> reason.
        num_examples: Examples that counted.
    """

    values: dict[str, float]
    undefined: dict[str, list[str]]
    omitted: dict[str, str]
    num_examples: int

    @property
    def summary(self) -> dict[str, float]:
        """The values that stand for all classes together."""
        return {name: value for name, value in self.values.items() if "/" not in name}


def compute(predictions: Predictions, label_space: LabelSpace) -> Report:
    """Computes every registered metric of the task.

    Args:
        predictions: What the network said; rows and entries of weight 0 do not count.
        label_space: Task and class names.

    Raises:
        UserError: If the predictions are not about these labels, or no label is known.
    """
    check_label_space(predictions, label_space)
    if not predictions.known.any():
        raise UserError("No label is known among the predictions: nothing can be measured.")
    evidence = Evidence(predictions)
    values: dict[str, float] = {}
    undefined: dict[str, list[str]] = {}
    omitted: dict[str, str] = {}
    for name in METRICS.names():
        metric = METRICS.get(name)
        if label_space.task not in metric.tasks:
            continue
        if label_space.num_classes < metric.min_classes:
            omitted[name] = (
                f"needs at least {metric.min_classes} classes, got {label_space.num_classes}"
            )
            continue
        result = metric.function(evidence)
        if metric.mean is None:
            values[name] = float(result)
            continue
        result = np.asarray(result)
        missing = np.isnan(result)
        values[metric.mean] = float(result[~missing].mean()) if not missing.all() else float("nan")
        values |= {f"{name}/{c}": float(v) for c, v in zip(label_space.names, result)}
        if missing.any():
            undefined[name] = [c for c, lost in zip(label_space.names, missing) if lost]
    return Report(values, undefined, omitted, int(predictions.counts.sum()))


def find(name: str) -> Metric:
    """Returns the metric behind a name of ``Report.values``, such as ``mean_auc`` or ``auc/Mass``.

    Raises:
        UserError: If no metric yields that name.
    """
    family = name.split("/", 1)[0]
    entries = {key: METRICS.get(key) for key in METRICS.names()}
    named = {m.mean or key: m for key, m in entries.items()}
    if "/" in name:
        named = {key: m for key, m in entries.items() if m.mean}
    if family not in named:
        raise UserError(f"Unknown metric {name!r}.{did_you_mean(family, named)}")
    return named[family]


# Numerator and denominator, of true positives, predicted positives and positives.
SHARES: dict[str, Callable] = {
    "precision": lambda hits, predicted, positives: (hits, predicted),
    "recall": lambda hits, predicted, positives: (hits, positives),
    "f1": lambda hits, predicted, positives: (2 * hits, predicted + positives),
}


@register("accuracy", tasks=BOTH, higher_is_better=True)
def accuracy(evidence: Evidence) -> float:
    """Share of right answers: of examples (multi-class), of known entries (multi-label).

    Differs from SLAMPAI finetune.py: unknown labels are left out there they count as errors.
    """
    right = evidence.right
    return (right[evidence.known] if evidence.is_multilabel else right).mean()


@register("top_5_accuracy", tasks=(MULTICLASS,), higher_is_better=True, min_classes=6)
def top_5_accuracy(evidence: Evidence) -> float:
    """Share of examples whose class is among the five largest logits; below 6 classes always 1."""
    return (evidence.rank_of_truth < 5).mean()


@register("auc", mean="mean_auc", tasks=BOTH, higher_is_better=True)
def auc(evidence: Evidence) -> np.ndarray:
    """One-vs-rest area under the ROC curve; NaN for a class with one label value only."""
    return evidence.ranking[:, 0]


@register("average_precision", mean="mean_average_precision", tasks=BOTH, higher_is_better=True)
def average_precision(evidence: Evidence) -> np.ndarray:
    """One-vs-rest average precision; NaN for a class without positives."""
    return evidence.ranking[:, 1]


@register("precision", mean="macro_precision", tasks=BOTH, higher_is_better=True)
def precision(evidence: Evidence) -> np.ndarray:
    """Share of predicted positives that are positive; 0 if none is predicted."""
    return evidence.ratio(*SHARES["precision"](*evidence.confusion))


@register("recall", mean="macro_recall", tasks=BOTH, higher_is_better=True)
def recall(evidence: Evidence) -> np.ndarray:
    """Share of positives that are predicted; 0 if there is none."""
    return evidence.ratio(*SHARES["recall"](*evidence.confusion))


@register("f1", mean="macro_f1", tasks=BOTH, higher_is_better=True)
def f1(evidence: Evidence) -> np.ndarray:
    """Harmonic mean of precision and recall; 0 if nothing is positive nor predicted."""
    return evidence.ratio(*SHARES["f1"](*evidence.confusion))


@register("loss", tasks=BOTH, higher_is_better=False, percent=False)
def loss(evidence: Evidence) -> float:
    """Cross entropy in nats: mean over examples, or over known entries (multi-label)."""
    losses = evidence.cross_entropy
    return (losses[evidence.known] if evidence.is_multilabel else losses).mean()
