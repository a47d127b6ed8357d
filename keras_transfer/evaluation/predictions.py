"""What a network said about every example of a split: where all offline statistics start."""

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import LabelSpace


@dataclass(frozen=True)
class Predictions:
    """Labels and logits of N examples over C classes, each example exactly once.

    Attributes:
        example_id: str[N], different for every row that counts.
        label: int[N] in [0, C) (multi-class), or float32[N, C] of 1, 0 and NaN = unknown
            (multi-label).
        logits: float32[N, C], before softmax or sigmoid.
        weight: float32[N] or, multi-label only, float32[N, C]; 1, or 0 = padding or unknown.

    Raises:
        UserError: If shapes do not fit, a label or weight has no meaning, a logit of a row that
            counts is not finite, or an example occurs twice.
    """

    example_id: np.ndarray
    label: np.ndarray
    logits: np.ndarray
    weight: np.ndarray

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_values()

    def __len__(self) -> int:
        return len(self.example_id)

    @property
    def is_multilabel(self) -> bool:
        """Whether an example may have several labels at once."""
        return self.label.ndim == 2

    @property
    def scores(self) -> np.ndarray:
        """Probabilities, float64[N, C]: sigmoid of each logit, or softmax over the classes."""
        logits = self.logits.astype(np.float64)
        if self.is_multilabel:
            return expit(logits)
        # In place: half the time of scipy.special.softmax on a thousand classes.
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    @property
    def counts(self) -> np.ndarray:
        """bool[N]: rows that are examples, not padding."""
        return np.any(self._weight_columns > 0, axis=1)

    @property
    def known(self) -> np.ndarray:
        """bool[N, C]: entries whose label is known and which count."""
        known = np.broadcast_to(self._weight_columns > 0, self.logits.shape)
        return known & ~np.isnan(self.label) if self.is_multilabel else known

    def select(self, rows: np.ndarray) -> "Predictions":
        """Returns some rows; ``rows`` is bool[N], or int[M] without repetition."""
        return Predictions(
            self.example_id[rows], self.label[rows], self.logits[rows], self.weight[rows]
        )

    @property
    def _weight_columns(self) -> np.ndarray:  # [N, 1] or [N, C]
        return self.weight if self.weight.ndim == 2 else self.weight[:, None]

    def _check_shapes(self) -> None:
        n = len(self.example_id)
        label_shapes = [(n,), self.logits.shape]
        weight_shapes = label_shapes if self.is_multilabel else label_shapes[:1]
        if (
            self.logits.ndim != 2
            or len(self.logits) != n
            or self.label.shape not in label_shapes
            or self.weight.shape not in weight_shapes
        ):
            raise UserError(
                "Predictions do not fit together: "
                f"{n} example ids, label {self.label.shape}, logits {self.logits.shape}, "
                f"weight {self.weight.shape}; expected [N], [N] or [N, C], [N, C], [N] or [N, C]."
            )
        if not self.is_multilabel and not np.issubdtype(self.label.dtype, np.integer):
            raise UserError(f"Multi-class labels must be integers, got {self.label.dtype}.")

    def _check_values(self) -> None:
        if not np.isin(self.weight, (0, 1)).all():
            raise UserError("Weights of predictions are 1, or 0 = padding or unknown.")
        rows = self.counts
        ids, copies = np.unique(self.example_id[rows], return_counts=True)
        if (copies > 1).any():
            raise UserError(
                f"{(copies > 1).sum()} examples were predicted more than once, "
                f"the first is {str(ids[copies > 1][0])!r}: every example must count exactly once."
            )
        if self.is_multilabel:
            right = np.isnan(self.label) | (self.label == 0) | (self.label == 1)
            self._refuse(rows & ~right.all(axis=1), "labels other than 1, 0 and NaN")
        else:
            right = (self.label >= 0) & (self.label < self.logits.shape[1])
            self._refuse(rows & ~right, f"a label outside [0, {self.logits.shape[1]})")
        self._refuse(
            rows & ~np.isfinite(self.logits).all(axis=1),
            "logits that are NaN or infinite (the network has diverged)",
        )

    def _refuse(self, bad: np.ndarray, what: str) -> None:
        if bad.any():
            first = str(self.example_id[np.argmax(bad)])
            raise UserError(f"{bad.sum()} of {len(self)} examples have {what}, first {first!r}.")


def save_predictions(
    path: str | os.PathLike, predictions: Predictions, label_space: LabelSpace
) -> None:
    """Writes predictions to an ``.npz`` file, all or nothing.

    Keys: example_id, label, logits, weight as in ``Predictions``; names and task of the labels.
    Scores are not stored: they follow from the logits.
    """
    with runs.atomic_write(Path(path), "wb") as stream:
        np.savez(
            stream,
            example_id=np.asarray(predictions.example_id, dtype=np.str_),
            label=predictions.label,
            logits=predictions.logits,
            weight=predictions.weight,
            names=np.asarray(label_space.names, dtype=np.str_),
            task=np.asarray(label_space.task),
        )


def load_predictions(path: str | os.PathLike) -> tuple[Predictions, LabelSpace]:
    """Reads what ``save_predictions`` wrote; never unpickles.

    Raises:
        UserError: If there is no such file.
        CorruptFileError: If the file is cut short, altered or not a predictions file.
    """
    if not Path(path).is_file():
        raise UserError(f"No predictions file {path}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in ("example_id", "label", "logits", "weight")}
            label_space = LabelSpace(str(file["task"]), tuple(map(str, file["names"])))
        predictions = Predictions(**arrays)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptFileError(f"{path} is not a whole predictions file: {reason}") from None
    check_label_space(predictions, label_space)
    return predictions, label_space


def check_label_space(predictions: Predictions, label_space: LabelSpace) -> None:
    """Raises a UserError if the predictions are not about these labels."""
    if (
        predictions.is_multilabel != label_space.is_multilabel
        or predictions.logits.shape[1] != label_space.num_classes
    ):
        task = "multilabel" if predictions.is_multilabel else "multiclass"
        raise UserError(
            f"Predictions are {task} over {predictions.logits.shape[1]} classes, but the labels "
            f"are {label_space.task} with {label_space.num_classes} names."
        )
