"""Probes: how well simple classifiers do on the features of a frozen network.

``linear`` is ridge regression (`ridge`), ``knn`` are nearest neighbours (`neighbours`). Each has
one setting, l2 or k. It is chosen from a grid on a held-out part of the training examples
(`holdout`) by accuracy, or by the mean AUC of the findings that have one there; of equal ones by
the squared error, then the smoother setting. With it, all training examples are fitted again. Where
nothing can be held out, as in 1-shot:

* l2 is D / n for n examples of D features: their mean squared length, so that it weighs as much as
  an example does;
* all neighbours vote: of one per class, the nearest decides whatever k is.

The numbers of ``linear`` are scores around 1 and -1, not logits of probabilities: 0 divides them as
it should, but their cross entropy and calibration say nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from keras_transfer.evaluation import metrics, neighbours, ridge
from keras_transfer.evaluation.embedded import Embedded
from keras_transfer.evaluation.holdout import hold_out
from keras_transfer.evaluation.predictions import Predictions

L2_GRID = tuple(float(10**e) for e in np.arange(-4, 4.5, 0.5))
K_GRID = (1, 3, 5, 10, 20, 50, 100, 200)


class Probe(Protocol):
    """A kind of classifier on given training examples."""

    @property
    def grid(self) -> Sequence[float]:
        """Settings to choose from, from the roughest to the smoothest."""

    @property
    def default(self) -> float:
        """The setting where nothing can be held out."""

    def trials(self, fitted: Embedded, held: Embedded) -> np.ndarray:
        """Fits some examples with every setting: logits [settings, held, C] of others."""

    def share(self, logits: np.ndarray) -> np.ndarray:
        """Turns logits into estimates of the truth, 0 or 1."""

    def logits(self, setting: float, examples: Embedded) -> np.ndarray:
        """Returns float32[n, C], by all training examples."""


class LinearProbe:
    """See `Probe`; the setting is l2."""

    grid = L2_GRID

    def __init__(self, train: Embedded):
        self._train = train
        self.default = train.width / len(train)

    def trials(self, fitted: Embedded, held: Embedded) -> np.ndarray:
        """See `Probe`."""
        return np.stack([model.scores(held) for model in ridge.fit(fitted, self.grid)])

    def share(self, logits: np.ndarray) -> np.ndarray:
        """See `Probe`."""
        return (logits + 1) / 2

    def logits(self, setting: float, examples: Embedded) -> np.ndarray:
        """See `Probe`."""
        return self._models[setting].scores(examples)

    @cached_property
    def _models(self) -> dict[float, ridge.Linear]:
        settings = (*self.grid, self.default)
        return dict(zip(settings, ridge.fit(self._train, settings)))


class NeighbourProbe:
    """See `Probe`; the setting is k."""

    def __init__(self, train: Embedded):
        self._train = train
        self.grid = tuple(k for k in K_GRID if k <= len(train))
        self.default = len(train)

    def trials(self, fitted: Embedded, held: Embedded) -> np.ndarray:
        """See `Probe`."""
        return neighbours.logits(fitted, held, self.grid)

    def share(self, logits: np.ndarray) -> np.ndarray:
        """See `Probe`."""
        odds = np.exp(logits)
        return odds / (1 + odds) if self._train.is_multilabel else odds

    def logits(self, setting: float, examples: Embedded) -> np.ndarray:
        """See `Probe`."""
        return neighbours.logits(self._train, examples, [int(setting)])[0]


PROBES: dict[str, Callable[[Embedded], Probe]] = {"linear": LinearProbe, "knn": NeighbourProbe}


@dataclass(frozen=True)
class Choice:
    """A setting, and why.

    Attributes:
        setting: The l2 or k chosen.
        num_held_out: Examples it was chosen on; 0 if it is the default.
        tried: (setting, accuracy or mean AUC, squared error) of the grid; empty for the default.
    """

    setting: float
    num_held_out: int
    tried: list[tuple[float, float, float]]


def choose(probe: Probe, train: Embedded, patients: np.ndarray, seed: int) -> Choice:
    """Chooses the setting of a probe on a part of its training examples.

    Args:
        probe: Made of ``train``.
        train: The training examples.
        patients: str[n]; "" is unknown.
        seed: Seed of the held-out part.
    """
    held = hold_out(train.label, patients, seed)
    examples = train.take(held)
    if not held.any() or not np.isfinite(examples.truth()).any():
        return Choice(probe.default, 0, [])
    tried = []
    for setting, logits in zip(probe.grid, probe.trials(train.take(~held), examples)):
        error = float(np.nanmean((probe.share(logits) - examples.truth()) ** 2))
        tried.append((setting, _quality(examples, logits), error))
    # The last of equal ones is the smoothest.
    best = max(reversed(tried), key=lambda trial: (trial[1], -trial[2]))
    return Choice(best[0], int(held.sum()), tried)


def _quality(held: Embedded, logits: np.ndarray) -> float:
    """Accuracy, or the mean AUC of the labels that have one; 0 if none has."""
    ids = np.arange(len(held)).astype(str)
    weight = np.isfinite(held.label).astype(np.float32)
    evidence = metrics.Evidence(Predictions(ids, held.label, logits, weight))
    if not held.is_multilabel:
        return float(metrics.accuracy(evidence))
    auc = np.asarray(metrics.auc(evidence))
    return float(np.nanmean(auc)) if np.isfinite(auc).any() else 0.0
