"""Resampling as integer counts: how often each patient takes part, in blocks of bounded memory.

A resample is never copied out: statistics take counts per unit (patient, or example where patients
are unknown) and weigh with them. A ``Statistic`` maps int32[b, U] counts to float64[b, V] values.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]

# Counts per block, 1 MiB: of smaller ones matrix products are slow, larger ones only take memory.
_BLOCK = 1 << 18


def units_of(patient: np.ndarray) -> np.ndarray:
    """Numbers the units that are resampled whole.

    Args:
        patient: str[N]; "" is unknown, and such an example is a unit of its own.

    Returns:
        int32[N] in [0, U), every number used.
    """
    alone = patient == ""
    known, code = np.unique(patient[~alone], return_inverse=True)
    unit = np.empty(len(patient), np.int32)
    unit[~alone] = code
    unit[alone] = len(known) + np.arange(alone.sum())
    return unit


def bootstrap_counts(num_units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draws units with replacement, as many as there are.

    Yields:
        int32[b, U], each row of sum U; the rows do not depend on how they are cut into blocks.
    """
    rng = np.random.default_rng(seed)
    for size in _sizes(resamples, num_units):
        drawn = rng.integers(0, num_units, (size, num_units), dtype=np.int32)
        yield np.stack([np.bincount(row, minlength=num_units) for row in drawn]).astype(np.int32)


def jackknife_counts(num_units: int, max_groups: int, seed: int) -> Iterator[np.ndarray]:
    """Leaves out one unit at a time, or one random group of units if there are more than groups.

    Yields:
        int32[b, U] of 0 and 1; min(U, max_groups) rows in all.
    """
    groups = min(num_units, max_groups)
    group = np.random.default_rng(seed).permutation(num_units) % groups
    first = 0
    for size in _sizes(groups, num_units):
        left_out = np.arange(first, first + size)[:, None]
        yield (group != left_out).astype(np.int32)
        first += size


def swap_counts(num_units: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Says which units exchange two models, each with probability one half.

    Yields:
        int32[b, U] of 0 and 1.
    """
    rng = np.random.default_rng(seed)
    for size in _sizes(permutations, num_units):
        yield rng.integers(0, 2, (size, num_units), dtype=np.int32)


def all_swaps(num_units: int) -> Iterator[np.ndarray]:
    """Yields every one of the 2^U ways to exchange units, as `swap_counts`."""
    first, bits = 0, np.arange(num_units)
    for size in _sizes(2**num_units, num_units):
        yield (np.arange(first, first + size)[:, None] >> bits & 1).astype(np.int32)
        first += size


def evaluate(statistic: Statistic, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Returns float64[B, V]: the statistic of every row of all blocks."""
    return np.concatenate([statistic(counts) for counts in blocks])


def _sizes(rows: int, num_units: int) -> list[int]:
    """Cuts rows into blocks."""
    size = max(1, _BLOCK // max(num_units, 1))
    return [min(size, rows - first) for first in range(0, rows, size)]
