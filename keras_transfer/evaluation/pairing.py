"""Two models' predictions of the same examples, row by row."""

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import LabelSpace
from keras_transfer.evaluation.predictions import Predictions


def same_labels(first: LabelSpace, second: LabelSpace) -> None:
    """Raises a UserError unless both mean the same outputs in the same order."""
    if first != second:
        extra = sorted(set(first.names) ^ set(second.names))
        reason = f"only one has {', '.join(extra[:5])}" if extra else "their order or task differs"
        raise UserError(f"The runs have different labels and cannot be compared: {reason}.")


def pair(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Returns the rows that count of both, the second in the order of the first.

    Raises:
        UserError: If they are not about the same examples with the same labels.
    """
    first, second = first.select(first.counts), second.select(second.counts)
    only_first = np.setdiff1d(first.example_id, second.example_id)
    only_second = np.setdiff1d(second.example_id, first.example_id)
    if len(only_first) or len(only_second):
        said = [
            f"{len(ids)} only in the {which} (such as {str(ids[0])!r})"
            for which, ids in (("first", only_first), ("second", only_second))
            if len(ids)
        ]
        raise UserError(f"The runs predicted different examples: {', '.join(said)}.")
    # Both sorted by id; then the second put where the first has the same id.
    order = np.empty(len(first), np.int64)
    order[np.argsort(first.example_id)] = np.argsort(second.example_id)
    second = second.select(order)
    differs = first.known != second.known
    both = first.known & second.known
    same = first.label == second.label
    differs |= both & ~(same if same.ndim == 2 else same[:, None])
    if differs.any():
        row = int(np.argmax(differs.any(axis=1)))
        raise UserError(
            f"{differs.any(axis=1).sum()} examples have different labels in the two runs, first "
            f"{str(first.example_id[row])!r}: the dataset or the label policies changed between."
        )
    return first, second
