"""Whether a distance between sources and targets goes with the gain of transferring between them.

Pairs are not independent: every source is in many of them, and a source that is good for all
targets, as a large one is, would count as often as there are targets. So chance is not a free
permutation of pairs: sources change places with each other as a whole, and so do targets. Three
sources can then show little, which is the truth.

References: Mantel, Cancer Research 27, 1967; Krackhardt, Social Networks 10, 1988 (QAP).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.seeds import generator

FEWEST_PAIRS = 4

_BLOCK = 4096
# A correlation that rounds differently after an exchange is still as strong as the one seen.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Association:
    """Rank correlation over pairs.

    Attributes:
        pairs: How many pairs have a gain.
        spearman: Spearman's correlation, -1 to 1.
        kendall: Kendall's tau-b.
        p: Two-sided, of Spearman's.
        exchanges: How many arrangements were looked at.
        exact: Whether they were all there are.
    """

    pairs: int
    spearman: float
    kendall: float
    p: float
    exchanges: int
    exact: bool


def associate(
    distance: np.ndarray, gain: np.ndarray, *, exchanges: int = 10_000, seed: int = 0
) -> Association:
    """Correlates distances with gains, over the pairs that have a gain.

    All arrangements of sources and of targets are looked at if there are no more than
    ``exchanges``; else that many random ones, and p is (b + 1) / (m + 1), see
    `testing.permutation_test`.

    Args:
        distance: float64[S, T], without NaN: an arrangement may need any of them.
        gain: float64[S, T]; NaN is no pair.
        exchanges: Number of random arrangements.
        seed: Of these.

    Raises:
        UserError: Saying why, if fewer than four pairs have a gain, a distance is missing, or all
            are equal.
    """
    from scipy import stats  # slower to import than all else that reports need

    known = np.isfinite(gain)
    if known.sum() < FEWEST_PAIRS:
        raise UserError(f"{known.sum()} pairs; a correlation needs {FEWEST_PAIRS}")
    if not np.isfinite(distance).all():
        raise UserError(f"{np.isnan(distance).sum()} of the distances are not measured")
    for name, values in (("distances", distance[known]), ("gains", gain[known])):
        if np.ptp(values) == 0:
            raise UserError(f"all {name} are equal")
    ranks = _standardised(stats.rankdata(gain[known])[None])[0]

    def correlation(distances: np.ndarray) -> np.ndarray:
        return _standardised(stats.rankdata(distances, axis=1)) @ ranks

    seen = float(correlation(distance[known][None])[0])
    possible = math.factorial(len(gain)) * math.factorial(gain.shape[1])
    exact = possible <= exchanges
    sources, targets = gain.shape
    arrangements = (
        _all_arrangements(sources, targets)
        if exact
        else _arrangements(sources, targets, exchanges, seed)
    )
    count = as_strong = 0
    while block := list(itertools.islice(arrangements, _BLOCK)):
        moved = np.stack([distance[np.ix_(*order)][known] for order in block])
        as_strong += int((np.abs(correlation(moved)) >= abs(seen) - _ROUNDING).sum())
        count += len(block)
    return Association(
        pairs=int(known.sum()),
        spearman=seen,
        kendall=float(stats.kendalltau(distance[known], gain[known]).statistic),
        p=as_strong / count if exact else (as_strong + 1) / (count + 1),
        exchanges=count,
        exact=exact,
    )


def _standardised(ranks: np.ndarray) -> np.ndarray:
    """Returns rows of mean 0 and length 1, so that their products are correlations; 0 if flat."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)


def _all_arrangements(sources: int, targets: int) -> Iterator[tuple]:
    return itertools.product(
        itertools.permutations(range(sources)), itertools.permutations(range(targets))
    )


def _arrangements(sources: int, targets: int, count: int, seed: int) -> Iterator[tuple]:
    rng = generator(seed, "association")
    for _ in range(count):
        yield rng.permutation(sources), rng.permutation(targets)
