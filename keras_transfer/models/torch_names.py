"""The authors' names and layouts of weights, turned into those of the released ``.npz`` files.

``body.block1.unit01.conv2.weight`` [O, I, H, W] is their
``resnet/block1/unit01/b/standardized_conv2d/kernel`` [H, W, I, O].

Reference: google-research/big_transfer, bit_pytorch/models.py, whose names the authors' model has.
"""

import re
from typing import Any

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.models.torch_file import TorchFile
from keras_transfer.models.torch_pickle import Tensor

# Where state dicts lie in a checkpoint: the authors' name, and the other common one.
_STATE_DICTS = ("model", "state_dict")

# Put before every name by DataParallel and its relatives.
_WRAPPER = "module."

_FIXED = {
    "root.conv.weight": "resnet/root_block/standardized_conv2d/kernel",
    "head.gn.weight": "resnet/group_norm/gamma",
    "head.gn.bias": "resnet/group_norm/beta",
    "head.conv.weight": "resnet/head/conv2d/kernel",
    "head.conv.bias": "resnet/head/conv2d/bias",
}
_UNIT = re.compile(
    r"body\.(?P<place>block\d+\.unit\d+)\.(?P<layer>gn|conv|downsample)(?P<number>[123]?)"
    r"\.(?P<kind>weight|bias)"
)
_LAYERS = {
    ("gn", "weight"): "{}/group_norm/gamma",
    ("gn", "bias"): "{}/group_norm/beta",
    ("conv", "weight"): "{}/standardized_conv2d/kernel",
    ("downsample", "weight"): "a/proj/standardized_conv2d/kernel",
}


def npz_key(name: str) -> str:
    """Returns the released files' name of a tensor; a name of no BiT network stays as it is."""
    match = _UNIT.fullmatch(name)
    if match is None:
        return _FIXED.get(name, name)
    layer = _LAYERS.get((match["layer"], match["kind"]))
    if layer is None or bool(match["number"]) == (match["layer"] == "downsample"):
        return name
    part = "abc"[int(match["number"] or 1) - 1]
    return f"resnet/{match['place'].replace('.', '/')}/{layer.format(part)}"


class TorchArrays:
    """The model of a checkpoint under the names and in the layouts of the ``.npz`` files.

    Args:
        file: The open checkpoint.

    Attributes:
        shapes: Key -> shape.

    Raises:
        UserError: If there is no state dict in it.
    """

    def __init__(self, file: TorchFile):
        self._file = file
        state = _state_dict(file)
        wrapped = all(name.startswith(_WRAPPER) for name in state)
        self._tensors = {
            npz_key(name.removeprefix(_WRAPPER) if wrapped else name): tensor
            for name, tensor in state.items()
        }
        self.shapes = {k: _released(k, t.shape) for k, t in self._tensors.items()}

    def read(self, key: str) -> np.ndarray:
        """Returns an array in the type of the file."""
        array = self._file.read(self._tensors[key])
        return array.transpose(2, 3, 1, 0) if _is_kernel(key, array.shape) else array

    def dtype(self, key: str) -> np.dtype:
        """Returns the type of an array in the file."""
        return self._tensors[key].storage.dtype


def _is_kernel(key: str, shape: tuple[int, ...]) -> bool:
    return key.endswith("/kernel") and len(shape) == 4


def _released(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[2:], shape[1], shape[0]) if _is_kernel(key, shape) else shape


def _state_dict(file: TorchFile) -> dict[str, Tensor]:
    content: Any = file.content
    if not isinstance(content, dict):
        raise UserError(f"{file.path}: holds no state dict, but another kind of object.")
    state = next((content[n] for n in _STATE_DICTS if isinstance(content.get(n), dict)), content)
    strange = [str(n) for n, t in state.items() if not (isinstance(n, str) and _is_tensor(t))]
    if strange or not state:
        raise UserError(
            f"{file.path}: no state dict: neither below 'model' nor below 'state_dict' nor on top "
            f"are there tensors only; found: {', '.join(strange[:12]) or 'nothing'}."
        )
    return state


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
