"""Whether two models differ on the same examples: exchange of patients, and Holm's correction."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import LabelSpace
from keras_transfer.evaluation import resampling
from keras_transfer.evaluation.metrics import Evidence, Metric
from keras_transfer.evaluation.predictions import Predictions
from keras_transfer.evaluation.tally import Tally, evidence_of

# A difference that rounds differently after a swap is still as large as the one seen.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Permutation:
    """A paired permutation test of V values.

    Attributes:
        names: Names of the values.
        difference: float64[V], first model minus second; NaN where undefined.
        p: float64[V], two-sided; NaN where undefined.
        permutations: How many exchanges were looked at.
        exact: Whether they were all there are.
    """

    names: list[str]
    difference: np.ndarray
    p: np.ndarray
    permutations: int
    exact: bool


def permutation_test(
    first: Predictions,
    second: Predictions,
    labels: LabelSpace,
    unit: np.ndarray,
    *,
    metrics: Mapping[str, Metric] | None = None,
    permutations: int = 2000,
    seed: int = 0,
) -> Permutation:
    """Tests whether exchanging the models, patient by patient, could as well give the difference.

    All exchanges are looked at if there are no more than ``permutations``; else that many random
    ones, and p is (b + 1) / (m + 1), which is never 0 and never too small.

    Ranking metrics see ranks within each model in place of its scores: they have the same value,
    and two models that rank alike on different scales stay exchangeable.

    Args:
        first: Predictions of one model, rows that count only (`pairing.pair`).
        second: Of the other, in the same order.
        labels: Their classes.
        unit: int[N], what is exchanged whole (`resampling.units_of`).
        metrics: Name -> metric; by default the registered ones of the task.
        permutations: Number of random exchanges.
        seed: Of these.

    References: Bandos, Rockette and Gur, Statistics in Medicine 24(18), 2005, for ranks; Phipson
        and Smyth, Stat. Appl. Genet. Mol. Biol. 9(1), 2010, for (b + 1) / (m + 1).
    """
    if permutations < 1:
        raise UserError(f"A permutation test needs permutations >= 1, got {permutations}.")
    evidence = [Evidence(first), Evidence(second)]
    ranked = np.concatenate([_ranks(part) for part in evidence])
    num_units = int(unit.max()) + 1
    stacked = np.concatenate([unit, unit + num_units])
    tally = Tally(evidence_of(evidence), labels, stacked, metrics, ranked)

    def difference(swapped: np.ndarray) -> np.ndarray:
        kept = 1 - swapped
        return tally(np.hstack([kept, swapped])) - tally(np.hstack([swapped, kept]))

    seen = difference(np.zeros((1, num_units), np.int32))[0]
    exact = num_units < 31 and 2**num_units <= permutations
    blocks = (
        resampling.all_swaps(num_units)
        if exact
        else resampling.swap_counts(num_units, permutations, seed)
    )
    as_large = sum(
        (np.abs(difference(block)) >= np.abs(seen) - _ROUNDING).sum(axis=0) for block in blocks
    )
    count = 2**num_units if exact else permutations
    p = as_large / count if exact else (as_large + 1) / (count + 1)
    return Permutation(tally.names, seen, np.where(np.isnan(seen), np.nan, p), count, exact)


def _ranks(evidence: Evidence) -> np.ndarray:
    """Returns float64[N, C]: middle ranks among the known entries of each class."""
    ranks = np.zeros(evidence.scores.shape)
    for rank, score, known in zip(ranks.T, evidence.scores.T, evidence.known.T):
        ordered = np.sort(score[known])
        rank[known] = np.searchsorted(ordered, score[known], "left")
        rank[known] += np.searchsorted(ordered, score[known], "right")
    return ranks


def holm(p: np.ndarray) -> np.ndarray:
    """Adjusts the p values of a family for multiple testing.

    Args:
        p: float64[n]; NaN is no test, and does not count.

    Returns:
        float64[n]: rejecting where it is below alpha errs in any of the family with at most alpha.

    Reference: Holm, Scand. J. Statist. 6, 1979.
    """
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
