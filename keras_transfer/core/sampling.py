"""Which examples, in which order: pure functions of seeds and labels, never of workers or time."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.seeds import generator


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
