"""What makes a build fail: wrong labels, unreadable images, and splits that leak."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import LabelSpace
from tfrecords_builders.plan import STATE_NAMES

ON_ERROR = ("fail", "quarantine")
NAMED = 20  # bad rows in a message


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many rows may be put aside because something is wrong with them.

    Attributes:
        on_error: ``fail`` allows none, ``quarantine`` a share.
        max_bad_fraction: That share, in [0, 1].
    """

    on_error: str = "fail"
    max_bad_fraction: float = 0.01

    def enough(self, count: int, total: int) -> bool:
        """Whether there is no need to look for more bad rows before giving up."""
        allowed = self.max_bad_fraction * total if self.on_error == "quarantine" else NAMED - 1
        return count > allowed

    def refuse(self, bad: Sequence[tuple[str, str]], total: int) -> None:
        """Raises a UserError that names the bad rows unless they may be put aside.

        Args:
            bad: (path or row, reason) of each.
            total: Rows of the source, good and bad.
        """
        if self.on_error == "quarantine":
            if not self.enough(len(bad), total):
                return
            advice = f"more than --max_bad_fraction={self.max_bad_fraction:g} allows"
        else:
            advice = "mend them, or put them aside with --on_error=quarantine"
        if bad:
            named = "; ".join(f"{source}: {reason}" for source, reason in bad[:NAMED])
            more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
            raise UserError(
                f"{len(bad)} of {total} rows cannot be stored ({advice}): {named}{more}."
            )


def check_names(splits: Iterable[str], labels: LabelSpace, used: Iterable[Any]) -> None:
    """Raises a UserError if a split's name cannot be a file name, or labels do not fit the names.

    Args:
        splits: Names of the splits.
        labels: Task and names of the labels.
        used: Every distinct label of the items.
    """
    for split in splits:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", split):
            raise UserError(
                f"The split {split!r} cannot be stored: use lower-case letters, digits and _."
            )
    count = labels.num_classes
    for label in used:
        if labels.is_multilabel:
            fits = len(label) == count and all(state in STATE_NAMES for state in label)
        else:
            fits = 0 <= label < count
        if not fits:
            raise UserError(f"The label {label} does not fit the {count} {labels.task} names.")


def refuse_leak(what: str, count: int, examples: Sequence[str], leaky: str) -> None:
    """Raises a UserError if something is in several splits and the source does not say why.

    Args:
        what: ``patients`` or ``images with equal pixels``.
        count: How many are in several splits.
        examples: Some of them, for the message.
        leaky: Why this is so by design; "" if it is not.
    """
    if count and not leaky:
        raise UserError(
            f"The splits leak: {count} {what} are in several splits, such as "
            f"{', '.join(examples)}. Mend the splits, or allow it with --options=leaky=true."
        )


def shared_across_splits(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the distinct values that occur in more than one split, sorted.

    Args:
        values: Split -> uint64[n] or int64[n]; 8 bytes per example are held in memory twice.
    """
    distinct = [np.unique(entries) for entries in values.values()]
    joined = np.sort(np.concatenate(distinct)) if distinct else np.array([], np.uint64)
    return np.unique(joined[1:][joined[1:] == joined[:-1]])
