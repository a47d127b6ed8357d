"""A contact sheet: images of a dataset with their ids and labels, to be looked at by a person."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pandas as pd

from keras_transfer.core.labels import LabelSpace
from keras_transfer.data import records
from tfrecords_builders import formats, images

_TILE, _CAPTION, _COLUMNS, _LINES, _LETTERS = 224, 62, 6, 4, 36


def draw(encoded: Sequence[bytes], rows: pd.DataFrame, labels: LabelSpace) -> np.ndarray:
    """Draws images with ids and labels below them.

    Args:
        encoded: Images, as stored.
        rows: Their rows of the index.
        labels: Task and names of the labels.

    Returns:
        uint8[H, W, 3], RGB.
    """
    tiles = [
        _tile(formats.decode(image), _caption(row, labels))
        for image, row in zip(encoded, rows.to_dict("records"))
    ]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    lines = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    return np.vstack(lines)


def _caption(row: Mapping[Any, str], labels: LabelSpace) -> list[str]:
    """Returns id, view and labels: findings that are positive, and with ? those uncertain."""
    texts = [row["example_id"], row.get("view", "")]
    if not labels.is_multilabel:
        return [*texts, row["label"]]
    marks = {str(records.POSITIVE): "", str(records.UNCERTAIN): "?"}
    states = {name: row[records.STATE_PREFIX + name] for name in labels.names}
    named = [name + marks[state] for name, state in states.items() if state in marks]
    return [*texts, *(named or ["nothing positive"])]


def _tile(image: np.ndarray, caption: Sequence[str]) -> np.ndarray:
    """Fits an image into a square and writes a few lines below it."""
    image = images.set_channels(images.to_uint8(image), 3)
    scale = (_TILE - 8) / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    tile = np.full((_TILE + _CAPTION, _TILE, 3), 255, np.uint8)
    top, left = ((_TILE - side) // 2 for side in image.shape[:2])
    tile[top : top + image.shape[0], left : left + image.shape[1]] = image
    texts = list(filter(None, caption))
    texts = [*texts[: _LINES - 1], ", ".join(texts[_LINES - 1 :])]
    for number, text in enumerate(texts):
        # The built-in font knows ASCII only.
        text = text.encode("ascii", "replace").decode()
        if len(text) > _LETTERS:
            text = f"{text[: _LETTERS // 2 - 2]}..{text[-_LETTERS // 2 :]}"
        place = (4, _TILE + 12 + 14 * number)
        cv2.putText(tile, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
    return tile
