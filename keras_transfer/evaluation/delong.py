"""Areas under correlated ROC curves: variance, interval and test without resampling.

References: DeLong, DeLong and Clarke-Pearson, Biometrics 44(3), 1988; Sun and Xu, IEEE Signal
Processing Letters 21(11), 2014, for O(n log n); Obuchowski, Biometrics 53(2), 1997, for several
examples of one patient.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from keras_transfer.core.errors import UserError


@dataclass(frozen=True)
class Areas:
    """Areas under M ROC curves over the same examples.

    Attributes:
        auc: float64[M].
        covariance: float64[M, M] of the estimates; NaN where fewer than two clusters hold positives
            or fewer than two hold negatives.
    """

    auc: np.ndarray
    covariance: np.ndarray

    def interval(self, level: float = 0.95, *, logit_scale: bool = True) -> np.ndarray:
        """Returns float64[M, 2]: normal intervals, on the logit scale inside (0, 1).

        NaN for an area of 0 or 1, whose variance is estimated as 0 whatever it is.

        Reference: Pepe, The Statistical Evaluation of Medical Tests, 2003, section 5.2.4.
        """
        variance = np.diag(self.covariance)
        usable = (variance > 0) & (self.auc > 0) & (self.auc < 1)
        auc = np.where(usable, self.auc, np.nan)[:, None]
        reach = np.sqrt(np.where(usable, variance, np.nan))[:, None] * ndtri((1 + level) / 2)
        ends = np.array([-1.0, 1.0])
        if not logit_scale:
            return np.clip(auc + ends * reach, 0, 1)
        return expit(logit(auc) + ends * reach / (auc * (1 - auc)))

    def difference(self, first: int = 0, second: int = 1, level: float = 0.95) -> "Difference":
        """Compares two of the areas by a two-sided z-test on their difference."""
        contrast = np.zeros(len(self.auc))
        contrast[first], contrast[second] = 1, -1
        value = float(contrast @ self.auc)
        deviation = float(np.sqrt(max(contrast @ self.covariance @ contrast, 0)))
        reach = deviation * ndtri((1 + level) / 2)
        if not deviation > 1e-12:  # equal rankings, or no estimate at all
            nan = float("nan")
            return Difference(value, nan, nan, 1.0 if deviation == deviation and not value else nan)
        p = float(2 * ndtr(-abs(value) / deviation))
        return Difference(value, float(value - reach), float(value + reach), p)


@dataclass(frozen=True)
class Difference:
    """A difference of two areas.

    Attributes:
        value: First minus second.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided; 1 for equal rankings, NaN where there is no variance to test with.
    """

    value: float
    low: float
    high: float
    p: float


def areas(positive: np.ndarray, scores: np.ndarray, cluster: np.ndarray | None = None) -> Areas:
    """Estimates areas under ROC curves and their covariance.

    Args:
        positive: bool[N].
        scores: float[N, M], one column per model; higher is more positive.
        cluster: int[N] >= 0, such as the patient of each example; by default every example is on
            its own, which gives DeLong's covariance exactly.

    Returns:
        The areas. All NaN if all or no examples are positive.

    Raises:
        UserError: If the shapes do not fit.
    """
    if scores.ndim != 2 or len(scores) != len(positive):
        raise UserError(f"Scores {scores.shape} do not fit {len(positive)} labels: want [N, M].")
    num_models, num_own = scores.shape[1], int(positive.sum())
    num_others = len(positive) - num_own
    if not num_own or not num_others:
        return Areas(np.full(num_models, np.nan), np.full((num_models, num_models), np.nan))
    placed = np.stack([placements(positive, column) for column in scores.T], axis=1)
    auc = placed[positive].mean(axis=0)
    if cluster is None:
        cluster = np.arange(len(positive))
    _, cluster = np.unique(cluster, return_inverse=True)
    own = _Part(cluster[positive], placed[positive] - auc, cluster.max() + 1)
    others = _Part(cluster[~positive], placed[~positive] - auc, cluster.max() + 1)
    both = cluster.max() + 1
    cross = own.total.T @ others.total * (both / max(both - 1, 1)) / (num_own * num_others)
    return Areas(auc, own.variance() + others.variance() + cross + cross.T)


class _Part:
    """Sums per cluster of the deviations of one kind of examples, positives or negatives."""

    def __init__(self, cluster: np.ndarray, deviation: np.ndarray, num_clusters: int):
        columns = [np.bincount(cluster, d, minlength=num_clusters) for d in deviation.T]
        self.total = np.stack(columns, axis=1)  # [clusters, M]
        self._size = len(cluster)
        self._clusters = len(np.unique(cluster))

    def variance(self) -> np.ndarray:
        if self._clusters < 2:
            return np.full((self.total.shape[1],) * 2, np.nan)
        correction = self._clusters / (self._clusters - 1)
        return correction * self.total.T @ self.total / self._size**2


def placements(positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Returns float64[N]: the structural components of the area under the ROC curve.

    Of a positive, the share of negatives below it; of a negative, the share of positives above it;
    ties count half. Their means over positives and over negatives both are the area.
    """
    own, others = np.sort(score[positive]), np.sort(score[~positive])
    placed = np.empty(len(score))
    placed[positive] = _share_below(others, score[positive])
    placed[~positive] = 1 - _share_below(own, score[~positive])
    return placed


def _share_below(ordered: np.ndarray, score: np.ndarray) -> np.ndarray:
    left, right = np.searchsorted(ordered, score, "left"), np.searchsorted(ordered, score, "right")
    return (left + right) / (2 * len(ordered))
