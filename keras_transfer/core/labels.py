"""What a label vector means, and how to move it from one vocabulary to another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_transfer.core.errors import UserError

MULTICLASS, MULTILABEL = "multiclass", "multilabel"


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """Task and names of the labels.

    Attributes:
        task: ``"multiclass"`` (one class per image, label int) or ``"multilabel"`` (a vector
            float32[C] of 1, 0 and NaN = unknown).
        names: Class or finding names, in the order of the outputs of the head.
    """

    task: str
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.task not in (MULTICLASS, MULTILABEL):
            raise UserError(f"Unknown task {self.task!r}: {MULTICLASS} or {MULTILABEL}.")
        double = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if double:
            raise UserError(f"Label names occur twice: {', '.join(double)}.")

    @property
    def num_classes(self) -> int:
        """Number of outputs of a head for these labels."""
        return len(self.names)

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several labels at once."""
        return self.task == MULTILABEL


def align(label: np.ndarray, source: LabelSpace, target: LabelSpace) -> np.ndarray:
    """Re-orders multi-label vectors by label name.

    Args:
        label: float32[..., C_source]; 1, 0 or NaN = unknown.
        source: What the columns of ``label`` mean.
        target: What the columns of the result shall mean.

    Returns:
        float32[..., C_target]; a label that the source does not know is NaN, never 0.
    """
    if not (source.is_multilabel and target.is_multilabel):
        raise UserError(
            f"The labels of the data ({source.task}: {_abridged(source)}) are not the ones wanted "
            f"({target.task}: {_abridged(target)}); only multi-label data are aligned by name."
        )
    position = {name: i for i, name in enumerate(source.names)}
    result = np.full((*label.shape[:-1], target.num_classes), np.nan, np.float32)
    for column, name in enumerate(target.names):
        if name in position:
            result[..., column] = label[..., position[name]]
    return result


def _abridged(space: LabelSpace) -> str:
    return ", ".join(space.names[:5]) + (", ..." if space.num_classes > 5 else "")


def union(spaces: Sequence[LabelSpace]) -> LabelSpace:
    """Joins the label spaces of several sources that are trained on together.

    Equal spaces stay as they are. Different multi-label spaces become the intersection of their
    names in alphabetical order, as the authors' merged chest X-ray sets (spec: upstream.md 3.1).

    Raises:
        UserError: If tasks differ, multi-class names differ, or no name is shared.
    """
    first = spaces[0]
    if all(space == first for space in spaces):
        return first
    if not all(space.is_multilabel for space in spaces):
        raise UserError(
            "Sources of one run must share their class names, or all be multi-label: got "
            + "; ".join(f"{s.task} with {s.num_classes} classes" for s in spaces)
            + "."
        )
    shared = sorted(set.intersection(*(set(space.names) for space in spaces)))
    if not shared:
        raise UserError("The sources share no label name: nothing could be trained on.")
    return LabelSpace(MULTILABEL, tuple(shared))
