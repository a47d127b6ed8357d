"""What a label vector means, and how to move it from one vocabulary to another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_transfer.core.errors import UserError

MULTICLASS, MULTILABEL = "multiclass", "multilabel"

# How the labels of several sources become one list; see `union`.
COMMON, ALL = LABEL_JOINS = ("common", "all")


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
    """Re-orders labels by name.

    Args:
        label: float32[..., C_source] of 1, 0 or NaN = unknown, or int[...] if the source is
            multi-class.
        source: What ``label`` means.
        target: What the columns of the result shall mean.

    Returns:
        float32[..., C_target]; a label that the source does not know is NaN, never 0. A multi-class
        source knows all its classes: 1 for the one given, 0 for the others.

    Raises:
        UserError: If the target is multi-class, or lacks classes of a multi-class source.
    """
    column = columns(source, target)
    if not source.is_multilabel:
        return one_hot(label, column, target.num_classes)
    result = np.full((*label.shape[:-1], target.num_classes), np.nan, np.float32)
    result[..., column[column >= 0]] = label[..., column >= 0]
    return result


def columns(source: LabelSpace, target: LabelSpace) -> np.ndarray:
    """Returns int64[C_source]: where a source's labels are in a target, -1 where nowhere.

    Raises:
        UserError: As `align`.
    """
    position = {name: column for column, name in enumerate(target.names)}
    column = np.array([position.get(name, -1) for name in source.names], np.int64)
    whole = source.is_multilabel or bool((column >= 0).all())
    if not (target.is_multilabel and whole):
        raise UserError(
            f"The labels of the data ({source.task}: {_abridged(source)}) are not the ones wanted "
            f"({target.task}: {_abridged(target)}); only multi-label data are aligned by name, and "
            "classes where all of them are wanted (data.label_join=all)."
        )
    return column


def one_hot(label: np.ndarray, column: np.ndarray, num_classes: int) -> np.ndarray:
    """Makes multi-label vectors of classes.

    Args:
        label: int[...], class numbers of a source.
        column: Where its classes are in the result, from `columns`.
        num_classes: Length of the vectors.

    Returns:
        float32[..., num_classes]: 1 for the class, 0 for the source's others, NaN elsewhere.
    """
    result = np.full((*label.shape, num_classes), np.nan, np.float32)
    result[..., column] = 0
    np.put_along_axis(result, column[label][..., None], 1, axis=-1)
    return result


def _abridged(space: LabelSpace) -> str:
    return ", ".join(space.names[:5]) + (", ..." if space.num_classes > 5 else "")


def union(spaces: Sequence[LabelSpace], join: str = COMMON) -> LabelSpace:
    """Joins the label spaces of several sources that are trained on together.

    Equal spaces stay as they are. Different ones become, by ``join``:

    * ``common``: the intersection of their names in alphabetical order, as the authors' merged
      chest X-ray sets (spec: upstream.md 3.1); all must be multi-label;
    * ``all``: every name, in the order in which the sources bring them, multi-label. `align` makes
      what a source does not know NaN, and a class a row of 0 with one 1.

    Raises:
        UserError: If ``common`` is asked of other than multi-label spaces, or no name is shared.
    """
    first = spaces[0]
    if all(space == first for space in spaces):
        return first
    if join == ALL:
        return LabelSpace(MULTILABEL, tuple(dict.fromkeys(n for s in spaces for n in s.names)))
    if not all(space.is_multilabel for space in spaces):
        raise UserError(
            "Sources of one run must share their class names, or all be multi-label: got "
            + "; ".join(f"{s.task} with {s.num_classes} classes" for s in spaces)
            + ". A mixture of both kinds needs data.label_join=all."
        )
    shared = sorted(set.intersection(*(set(space.names) for space in spaces)))
    if not shared:
        raise UserError("The sources share no label name: nothing could be trained on.")
    return LabelSpace(MULTILABEL, tuple(shared))
