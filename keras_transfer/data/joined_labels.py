"""The labels of several datasets in one label space, held as small as they come."""

from collections.abc import Sequence

import numpy as np

from keras_transfer.core.labels import LabelSpace, align, columns, one_hot


class JoinedLabels:
    """Labels of examples that are addressed by one running number over all datasets.

    Classes that have become one output each of a multi-label head stay numbers until they are read:
    as vectors, the labels of ImageNet-21k would take more than a terabyte.

    Args:
        labels: Per dataset, int32[n], or float32[n, C] with NaN = unknown.
        spaces: What they mean.
        target: The label space wanted.
    """

    def __init__(
        self, labels: Sequence[np.ndarray], spaces: Sequence[LabelSpace], target: LabelSpace
    ):
        self._target = target
        self._first = np.cumsum([0, *map(len, labels)])  # [datasets + 1]
        # Per dataset, where its classes are in the vectors; None if its labels are final.
        self._columns: list[np.ndarray | None] = []
        self._parts: list[np.ndarray] = []
        for label, space in zip(labels, spaces):
            widen = target.is_multilabel and not space.is_multilabel
            self._columns.append(columns(space, target) if widen else None)
            final = widen or space == target
            self._parts.append(label if final else align(label, space, target))
        if all(column is None for column in self._columns):
            self._parts, self._columns = [np.concatenate(self._parts)], [None]

    def __len__(self) -> int:
        return int(self._first[-1])

    def source(self, numbers: np.ndarray) -> np.ndarray:
        """Returns int64[m]: which dataset examples are of."""
        return np.searchsorted(self._first, numbers, side="right") - 1

    def at(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the labels of examples: int32[m], or float32[m, C]."""
        if len(self._parts) == 1 and self._columns[0] is None:
            return self._parts[0][numbers]
        result = np.empty((len(numbers), self._target.num_classes), np.float32)
        for rows, label, column in self._split(numbers):
            if column is not None:
                label = one_hot(label, column, self._target.num_classes)
            result[rows] = label
        return result

    def positives(self, numbers: np.ndarray) -> np.ndarray:
        """Returns int64[C]: how many of some examples are of each class, or have each finding."""
        counts = np.zeros(self._target.num_classes, np.int64)
        for _, label, column in self._split(numbers):
            if column is not None:
                counts[column] += np.bincount(label, minlength=len(column))
            elif self._target.is_multilabel:
                counts += (label == 1).sum(axis=0)
            else:
                counts += np.bincount(label, minlength=len(counts))
        return counts

    def _split(self, numbers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Returns, per stored part, rows of ``numbers`` that are in it, labels, and columns."""
        if len(self._parts) == 1:
            return [(np.arange(len(numbers)), self._parts[0][numbers], self._columns[0])]
        source = self.source(numbers)
        found = []
        for part in np.unique(source):
            rows = np.flatnonzero(source == part)
            label = self._parts[part][numbers[rows] - self._first[part]]
            found.append((rows, label, self._columns[part]))
        return found
