"""Which images a run keeps by view: decided from the index, before anything is read."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from absl import logging

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.data.dataset import Dataset


def select(datasets: Sequence[Dataset], split: str, views: Sequence[str]) -> np.ndarray | None:
    """Returns which examples of the concatenated datasets are kept, and logs what is left out.

    Args:
        datasets: What is concatenated.
        split: The split of each.
        views: Names of views; ``name:VIEW`` concerns the dataset of that name only. A dataset that
            no entry concerns is kept whole; of the others, unknown views are left out.

    Returns:
        int64[m], ascending; None if everything is kept without looking.

    Raises:
        UserError: If an entry names a dataset that is not there, or a dataset has none of its
            views.
    """
    _check_names(datasets, views)
    wanted = [_wanted(dataset, views) for dataset in datasets]
    if not any(wanted):
        return None
    kept, first = [], 0
    for dataset, names in zip(datasets, wanted):
        count = dataset.split(split).num_examples
        here = _matching(dataset, split, names) if names else np.arange(count)
        kept.append(first + here)
        first += count
    return np.concatenate(kept)


def _name(dataset: Dataset) -> str:
    return dataset.name.partition("/")[0]


def _check_names(datasets: Sequence[Dataset], views: Sequence[str]) -> None:
    known = {_name(dataset) for dataset in datasets}
    for entry in views:
        name, colon, _ = entry.partition(":")
        if colon and name not in known:
            raise UserError(f"data.views: {entry!r} names no dataset.{did_you_mean(name, known)}")


def _wanted(dataset: Dataset, views: Sequence[str]) -> set[str]:
    """Returns the views of a dataset that are kept; none means that it is kept whole."""
    own = f"{_name(dataset)}:"
    return {view.removeprefix(own) for view in views if ":" not in view or view.startswith(own)}


def _matching(dataset: Dataset, split: str, names: set[str]) -> np.ndarray:
    """Returns the numbers of the records of a split whose view is wanted."""
    view = dataset.index(split, ["view"])["view"].to_numpy(dtype=str)
    rows = np.flatnonzero(np.isin(view, sorted(names)))
    counts = Counter(view.tolist())
    left = {v or "unknown": n for v, n in counts.most_common() if v not in names}
    described = ", ".join(f"{n} {v}" for v, n in left.items())
    if not len(rows):
        raise UserError(
            f"{dataset.path}: no image of the split {split!r} has a view of data.views "
            f"({', '.join(sorted(names))}); it has {described}."
        )
    if left:
        logging.info(
            "%s, split %s: data.views keeps %d images of %d; left out: %s.",
            dataset.path,
            split,
            len(rows),
            len(view),
            described,
        )
    return rows
