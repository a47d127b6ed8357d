"""Rows of a source on their way into the plan: written down as they come, then put in order."""

import array
import hashlib
import mmap
from typing import IO, Any

import numpy as np

from keras_transfer.core.errors import UserError
from tfrecords_builders import plan
from tfrecords_builders.sources import Item

_SPLIT_ORDER = ("train", "val", "test")


class Spool:
    """Rows in the order of the source, on disk; what ordering and counting need, in memory."""

    def __init__(self, stream: IO[bytes], seed: int):
        self.stream = stream
        self._seed = f"{seed}\0".encode()
        self._offsets = array.array("q", [0])
        self._keys = array.array("Q")
        self._codes = array.array("b"), array.array("i"), array.array("i")
        # Each distinct value -> its code.
        self.splits: dict[str, int] = {}
        self.labels: dict[Any, int] = {}
        self.patients: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, item: Item) -> None:
        """Writes an item."""
        row = plan.encode_row(item)
        self.stream.write(row)
        self._offsets.append(self._offsets[-1] + len(row))
        digest = hashlib.blake2b(self._seed + item.example_id.encode(), digest_size=8).digest()
        self._keys.append(int.from_bytes(digest, "big"))
        split, label, patient = self._codes
        split.append(self.splits.setdefault(item.split, len(self.splits)))
        label.append(self.labels.setdefault(item.label, len(self.labels)))
        patient.append(self.patients.setdefault(item.patient_id, len(self.patients)))

    def finish(self) -> None:
        """Makes the rows readable; nothing can be added any more."""
        self.stream.flush()
        self._rows = mmap.mmap(self.stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.split_codes, self.label_codes, self.patient_codes = map(np.asarray, self._codes)

    def row(self, number: int) -> bytes:
        """Returns an item's row."""
        return self._rows[self._offsets[number] : self._offsets[number + 1]]

    def item(self, number: int) -> Item:
        """Returns an item."""
        split = list(self.splits)[self.split_codes[number]]
        return plan.decode_row(self.row(number), split)

    def order(self, limit: int) -> np.ndarray:
        """Returns int64[n], the items in record order: by split, then by hash.

        Raises:
            UserError: If two items have one id.
        """
        keys = np.asarray(self._keys)
        order = np.argsort(keys, kind="stable")
        for position in np.flatnonzero(np.diff(keys[order]) == 0):
            first, second = map(self.item, order[position : position + 2])
            if first.example_id == second.example_id:
                raise UserError(
                    f"The example id {first.example_id!r} is not unique: it is given to "
                    f"{first.source} ({first.split}) and to {second.source} ({second.split})."
                )
        # The first by hash are a random sample over all splits and classes.
        order = order[: limit or None]
        names = sorted(self.splits, key=_split_rank)
        ranks = np.array([names.index(name) for name in self.splits])
        return order[np.argsort(ranks[self.split_codes[order]], kind="stable")]


def _split_rank(name: str) -> tuple[int, str]:
    return _SPLIT_ORDER.index(name) if name in _SPLIT_ORDER else len(_SPLIT_ORDER), name
