"""Examples as a frozen network sees them: feature vectors with labels, read in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK_VALUES = 2**23  # values of a block: 64 MiB as float64


@dataclass(frozen=True)
class Embedded:
    """Labelled rows of a matrix of features.

    Attributes:
        features: float32[N, D], may be memory-mapped: it is never read as a whole.
        rows: int64[n], the rows of ``features`` that are meant.
        label: int[n] in [0, C), or float32[n, C] of 1, 0 and NaN = unknown.
        num_classes: C.
    """

    features: np.ndarray
    rows: np.ndarray
    label: np.ndarray
    num_classes: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of features, D."""
        return self.features.shape[1]

    @property
    def is_multilabel(self) -> bool:
        """Whether an example may have several labels at once."""
        return self.label.ndim == 2

    def take(self, indices: np.ndarray) -> "Embedded":
        """Returns some examples; ``indices`` is bool[n] or int[m]."""
        return Embedded(self.features, self.rows[indices], self.label[indices], self.num_classes)

    def blocks(self, most: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields (which examples, their features float32[b, D]), in order, ``most`` at a time."""
        size = min(most or len(self), max(1, _BLOCK_VALUES // self.width))
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, np.asarray(self.features[self.rows[part]], np.float32)

    def truth(self, part: slice = slice(None)) -> np.ndarray:
        """Returns float64[b, C]: 1 for positive labels, 0 for negative ones, NaN if unknown."""
        if self.is_multilabel:
            return self.label[part].astype(np.float64)
        return (self.label[part, None] == np.arange(self.num_classes)).astype(np.float64)

    def known_together(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Groups the labels that are known in the same examples: they share all matrix work.

        Returns:
            (labels int64[c], examples int64[m] in which they are known) per group; a label that is
            never known is in none.
        """
        if not self.is_multilabel:
            return [(np.arange(self.num_classes), np.arange(len(self)))]
        groups: dict[bytes, list[int]] = {}
        for column, values in enumerate(self.label.T):
            groups.setdefault(np.packbits(~np.isnan(values)).tobytes(), []).append(column)
        found = [
            (np.array(columns), np.flatnonzero(~np.isnan(self.label[:, columns[0]])))
            for columns in groups.values()
        ]
        return [(columns, rows) for columns, rows in found if len(rows)]
