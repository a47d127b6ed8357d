"""Weights of any file that is understood, one array at a time, under the names of BiT's ``.npz``.

The files: BiT's own ``.npz``, and checkpoints of ``torch.save`` in the authors' layout.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.models import npz
from keras_transfer.models.resnetv2 import VARIANTS
from keras_transfer.models.torch_file import open_torch
from keras_transfer.models.torch_names import TorchArrays

_UNIT = re.compile(r"resnet/block([1-4])/unit(\d+)/")
_ROOT = "resnet/root_block/standardized_conv2d/kernel"
_HEAD = "resnet/head/conv2d/bias"
_STEM = 64  # channels of the root at width 1


class Arrays(Protocol):
    """Arrays by key.

    Attributes:
        shapes: Key -> shape, as in the ``.npz`` files.
    """

    shapes: dict[str, npz.Shape]

    def read(self, key: str) -> np.ndarray:
        """Returns an array in the type of the file."""

    def dtype(self, key: str) -> np.dtype:
        """Returns the type of an array in the file."""


@contextmanager
def open_arrays(path: Path) -> Iterator[Arrays]:
    """Opens weights: ``.npz`` by its name, anything else as a checkpoint of ``torch.save``.

    Raises:
        UserError: If there are none, or they must not be read.
        CorruptFileError: If the file is damaged or of another format.
    """
    if path.suffix == ".npz":
        with npz.open_npz(path) as arrays:
            yield arrays
    else:
        with open_torch(path) as file:
            yield TorchArrays(file)


def recognise(shapes: dict[str, npz.Shape], path: Path) -> tuple[str, int]:
    """Tells the network by its arrays, and checks that they are all there and nothing else.

    Args:
        shapes: Key -> shape.
        path: The file in messages.

    Returns:
        The name of the architecture, and the outputs of the head.

    Raises:
        UserError: If it is none of ours, or arrays are missing, superfluous or of another shape.
    """
    counts = [0, 0, 0, 0]
    for key in shapes:
        if match := _UNIT.match(key):
            block = int(match[1]) - 1
            counts[block] = max(counts[block], int(match[2]))
    if len(shapes.get(_ROOT, ())) != 4 or not any(counts):
        raise UserError(
            f"{path}: not a BiT ResNet: no arrays of its name among {len(shapes)}, such as "
            f"{', '.join(list(shapes)[:3]) or 'none'}."
        )
    depths = {v.units: name.rpartition("x")[0] for name, v in VARIANTS.items()}
    depth = depths.get((counts[0], counts[1], counts[2], counts[3]))
    if depth is None:
        raise UserError(
            f"{path}: blocks of {counts} units are of no known network."
            f"{did_you_mean('', [f'{name} {[*units]}' for units, name in depths.items()])}"
        )
    name = f"{depth}x{shapes[_ROOT][-1] / _STEM:.12g}"
    num_classes = shapes[_HEAD][-1] if len(shapes.get(_HEAD, ())) == 1 else 1
    npz.check(npz.npz_shapes(name, num_classes), shapes, f"{path} does not fit {name}")
    return name, num_classes


def as_float32(array: np.ndarray, name: str) -> np.ndarray:
    """Returns an array as C-contiguous float32.

    Raises:
        UserError: If a value is no finite number there.
    """
    with np.errstate(over="ignore"):  # answered below
        result = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(result).all():
        raise UserError(f"{name} holds values that are not finite in float32.")
    return result
