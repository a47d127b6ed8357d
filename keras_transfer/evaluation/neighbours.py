"""k nearest neighbours by cosine, voting with weights.

A neighbour of similarity s votes with exp(s / 0.07), as in DINO (Caron et al., ICCV 2021, appendix
F.1; Wu et al., CVPR 2018). The share of the votes is the score of a class, or of a positive label;
only examples whose label is known are neighbours for it.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from keras_transfer.evaluation.embedded import Embedded

TEMPERATURE = 0.07

_QUERIES = 1024  # compared at a time with a block of examples
_LEAST_SHARE = 1e-6  # stands for no vote: logits are finite


def logits(train: Embedded, queries: Embedded, counts: Sequence[int]) -> np.ndarray:
    """Scores examples by their neighbours, for several k at once.

    Memory: one block of each side, their similarities, and the result.

    Args:
        train: The neighbours.
        queries: What is scored.
        counts: Values of k, rising; where there are fewer examples, all of them vote.

    Returns:
        float32[len(counts), n, C], whose softmax or sigmoid is the share of the votes. A label that
        no example knows has the share 1/2.
    """
    result = np.zeros((len(counts), len(queries), train.num_classes), np.float32)
    groups = [(labels, rows, _truth(train, labels)) for labels, rows in train.known_together()]
    for part, block in queries.blocks(_QUERIES):
        near = _nearest(_normalised(block), train, [rows for _, rows, _ in groups], max(counts))
        for (labels, _, truth), (similarity, index) in zip(groups, near):
            weight = np.exp((similarity - similarity[:, :1]) / TEMPERATURE)
            for i, count in enumerate(counts):
                share = _shares(weight[:, :count], index[:, :count], truth)
                result[i][part, labels] = _as_logits(share, train.is_multilabel)
    return result


def _truth(train: Embedded, labels: np.ndarray) -> sparse.csr_array:
    """Returns float32[n, c]: 1 where a label is positive."""
    if train.is_multilabel:
        return sparse.csr_array((train.label[:, labels] == 1).astype(np.float32))
    ones, first = np.ones(len(train), np.float32), np.arange(len(train) + 1)
    return sparse.csr_array((ones, train.label, first), (len(train), train.num_classes))


def _normalised(features: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)


def _nearest(
    queries: np.ndarray, train: Embedded, allowed: list[np.ndarray], count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Finds the most similar examples among those that each group allows, the nearest first.

    Returns:
        Per group, similarities float32[q, k] and examples int64[q, k].
    """
    none = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    best = [none] * len(allowed)
    for part, block in train.blocks():
        similarity = queries @ _normalised(block).T
        for group, rows in enumerate(allowed):
            first, last = np.searchsorted(rows, (part.start, part.stop))
            inside = rows[first:last]
            columns = slice(None) if len(inside) == len(block) else inside - part.start
            ahead, index = best[group]
            values = np.concatenate([ahead, similarity[:, columns]], axis=1)
            places = np.broadcast_to(inside, (len(queries), len(inside)))
            best[group] = _largest(values, np.concatenate([index, places], axis=1), count)
    return best


def _largest(values: np.ndarray, index: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Keeps the largest values of each row, sorted."""
    if values.shape[1] > count:
        chosen = np.argpartition(-values, count - 1, axis=1)[:, :count]
        values, index = (np.take_along_axis(a, chosen, axis=1) for a in (values, index))
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(index, order, axis=1)


def _shares(weight: np.ndarray, index: np.ndarray, truth: sparse.csr_array) -> np.ndarray:
    """Returns float32[q, c]: which share of the votes is for each label."""
    rows, count = weight.shape
    first = np.arange(0, rows * count + 1, count)
    votes = sparse.csr_array((weight.ravel(), index.ravel(), first), (rows, truth.shape[0]))
    return (votes @ truth).toarray() / weight.sum(axis=1, keepdims=True)


def _as_logits(share: np.ndarray, is_multilabel: bool) -> np.ndarray:
    share = np.clip(share, _LEAST_SHARE, 1 - _LEAST_SHARE)
    return np.log(share) - np.log1p(-share) if is_multilabel else np.log(share)
