"""Which examples, in which order: pure functions of seeds and labels, never of workers or time."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.seeds import derive, generator


class EpochOrder:
    """The order of a training run: every epoch is a permutation that depends on (seed, epoch) only.

    Positions count examples from the start of the run: position p belongs to epoch p // n. Any
    worker can ask for any slice, so the ids of an epoch are a partition over workers, any number of
    workers sees the same global batches, and a resumed run starts at its step without state.

    Memory: 8 bytes per example for the current epoch.
    """

    def __init__(self, num_examples: int, seed: int):
        if num_examples < 1:
            raise UserError("The training set is empty.")
        self.num_examples = num_examples
        self.seed = seed
        # Parallel readers may stand on both sides of an epoch's end: keep two permutations.
        self._permutations: dict[int, np.ndarray] = {}

    def _permutation(self, epoch: int) -> np.ndarray:
        found = self._permutations.get(epoch)
        if found is None:
            found = generator(self.seed, "order", epoch).permutation(self.num_examples)
            kept = sorted(self._permutations)[-1:]
            self._permutations = {e: self._permutations[e] for e in kept} | {epoch: found}
        return found

    def indices(self, start: int, count: int) -> np.ndarray:
        """Returns int64[count]: the examples at positions start, start + 1, ..."""
        positions = np.arange(start, start + count)
        epochs, within = np.divmod(positions, self.num_examples)
        result = np.empty(count, np.int64)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            result[rows] = self._permutation(int(epoch))[within[rows]]
        return result


class MixtureOrder:
    """The order of a run that draws from several sources by weight; used like ``EpochOrder``.

    Positions are cut into blocks. Each block has the same number of places for a source, its weight
    times the block's length by largest remainder, and the places are shuffled by (seed, block). A
    source fills its places with its own epochs' permutations, one after the other: within a source
    no example comes again before all others have come. So everything said of ``EpochOrder`` about
    workers and resumed runs holds here too.

    Args:
        source: int[n], which source an example is of, counted from 0.
        weights: Positive, one per source, in any unit.
        seed: The run's seed.
        block: Positions in a block: shares are exact to half of 1 / block.

    Memory: 16 bytes per example.
    """

    def __init__(self, source: np.ndarray, weights: Sequence[float], seed: int, block: int = 4096):
        self._members = [np.flatnonzero(source == s) for s in range(len(weights))]
        self.quotas = largest_remainder(weights, block)
        for number, (members, quota) in enumerate(zip(self._members, self.quotas)):
            if not len(members):
                raise UserError(f"Source {number} of the mixture has no example.")
            if not quota:
                raise UserError(
                    f"Weight {weights[number]:g} of source {number} is too small against "
                    f"{sum(weights):g} in all: below one example in {block}."
                )
        self._orders = [
            EpochOrder(len(members), derive(seed, "mixture", number))
            for number, members in enumerate(self._members)
        ]
        self.seed = seed
        self.block = block
        self._places: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _block(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the source of every place of a block, and its rank among that source's places."""
        found = self._places.get(number)
        if found is None:
            sources = np.repeat(np.arange(len(self.quotas)), self.quotas)
            sources = generator(self.seed, "mixture places", number).permutation(sources)
            ranks = np.empty(self.block, np.int64)
            for source, quota in enumerate(self.quotas):
                ranks[sources == source] = np.arange(quota)
            found = sources, ranks
            # Parallel readers may stand on both sides of a block's end.
            kept = sorted(self._places)[-3:]
            self._places = {b: self._places[b] for b in kept} | {number: found}
        return found

    def indices(self, start: int, count: int) -> np.ndarray:
        """Returns int64[count]: the examples at positions start, start + 1, ..."""
        blocks, within = np.divmod(np.arange(start, start + count), self.block)
        result = np.empty(count, np.int64)
        for block in np.unique(blocks):
            rows = np.flatnonzero(blocks == block)
            sources, ranks = (values[within[rows]] for values in self._block(int(block)))
            for source in np.unique(sources):
                chosen = sources == source
                # Ranks rise by one from place to place: one slice of the source's own order.
                first = int(block) * int(self.quotas[source]) + int(ranks[chosen][0])
                drawn = self._orders[source].indices(first, int(chosen.sum()))
                result[rows[chosen]] = self._members[source][drawn]
        return result


class BalancedOrder:
    """The order of a run that draws every class equally often, with replacement.

    Each position is drawn by itself: a class, all that have an example being equally likely, then
    one of its examples. Pure functions of (seed, position), as in ``EpochOrder``: so everything
    said there about workers and resumed runs holds here too.

    Reference: PyTorch's WeightedRandomSampler with weight 1 / count, as the authors use it.

    Args:
        label: int[n], the class of each example.
        seed: The run's seed.

    Memory: 8 bytes per example.
    """

    _BLOCK = 4096

    def __init__(self, label: np.ndarray, seed: int):
        if not len(label):
            raise UserError("The training set is empty.")
        self._by_class = np.argsort(label, kind="stable")
        counts = np.bincount(label)
        self._counts = counts[counts > 0]
        self._first = np.cumsum(self._counts) - self._counts
        self._seed = seed

    def _block(self, number: int) -> np.ndarray:
        draws = generator(self._seed, "oversample", number)
        chosen = draws.integers(len(self._counts), size=self._BLOCK)
        within = draws.integers(self._counts[chosen])
        return self._by_class[self._first[chosen] + within]

    def indices(self, start: int, count: int) -> np.ndarray:
        """Returns int64[count]: the examples at positions start, start + 1, ..."""
        first, last = start // self._BLOCK, (start + count - 1) // self._BLOCK
        drawn = np.concatenate([self._block(number) for number in range(first, last + 1)])
        return drawn[start - first * self._BLOCK :][:count]


def largest_remainder(weights: Sequence[float] | np.ndarray, total: int) -> np.ndarray:
    """Shares a whole number in proportion to weights: int64[n] that sums to ``total``.

    Every share is its exact value rounded down or up; those with the largest remainders, of equal
    ones the first, are rounded up.
    """
    exact = np.asarray(weights, np.float64) / np.sum(weights) * total
    shares = np.floor(exact).astype(np.int64)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: total - shares.sum()]] += 1
    return shares


def few_shot(label: np.ndarray, shots: int, seed: int, names: Sequence[str] = ()) -> np.ndarray:
    """Selects ``shots`` examples per class; with the same seed, fewer shots are a subset of more.

    A multi-label set has one group per finding (its positives) and one of images without any
    positive, so that each finding has positives and negatives. An image may serve several groups.

    Args:
        label: int[N], or float32[N, C] of 1, 0, NaN.
        shots: Examples per class.
        seed: Seed of the selection; independent of the seeds of order and initialisation.
        names: Class names, for messages.

    Returns:
        int64[M], sorted indices into ``label``.

    Raises:
        UserError: If a class has fewer than ``shots`` examples; names every such class.
    """
    if shots < 1:
        raise UserError(f"shots must be at least 1, got {shots}.")
    if label.ndim == 1:
        classes = max(len(names), int(label.max(initial=-1)) + 1)
        groups = [np.flatnonzero(label == c) for c in range(classes)]
    else:
        groups = [np.flatnonzero(label[:, c] == 1) for c in range(label.shape[1])]
        groups.append(np.flatnonzero(~(label == 1).any(axis=1)))
        names = [*(names or map(str, range(label.shape[1]))), "no positive label"]
    selected, short = [], []
    for number, group in enumerate(groups):
        if len(group) < shots:
            name = names[number] if number < len(names) else str(number)
            short.append(f"{name}: {len(group)}")
        # One permutation per class and seed: its first k entries are the k-shot selection.
        selected.append(generator(seed, "fewshot", number).permutation(group)[:shots])
    if short:
        raise UserError(f"Too few examples for {shots}-shot: {', '.join(short)}.")
    return np.unique(np.concatenate(selected))


def grouped_split(groups: Sequence[str], fractions: dict[str, float], seed: int) -> np.ndarray:
    """Assigns examples to splits so that no group (patient) is in two of them.

    Each example counts, not each group: groups are drawn in a random order and given to the split
    that is furthest below its share. An empty group name stands for itself alone.

    Args:
        groups: Group of each example, such as the patient id; "" is unknown.
        fractions: Split name -> share of the examples; shares sum to 1.
        seed: Seed of the assignment.

    Returns:
        str[N], the split of each example.
    """
    if abs(sum(fractions.values()) - 1) > 1e-9:
        raise UserError(f"Split fractions must sum to 1: {fractions}.")
    keys = [group or f"\0{i}" for i, group in enumerate(groups)]
    sizes = Counter(keys)
    unique = np.array(sorted(sizes), dtype=object)
    splits = list(fractions)
    filled = dict.fromkeys(splits, 0)
    assigned = {}
    for key in generator(seed, "split").permutation(unique):
        split = max(splits, key=lambda s: fractions[s] * len(keys) - filled[s])
        assigned[key] = split
        filled[split] += sizes[key]
    return np.array([assigned[key] for key in keys])
