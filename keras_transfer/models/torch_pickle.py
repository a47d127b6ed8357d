"""Unpickling of PyTorch checkpoints that executes nothing of what a pickle asks for.

A pickle is a program: it names functions and the arguments to call them with. Here a name is never
imported. The few that describe a tensor are answered with a description, the classes of configs
beside it with an object that keeps nothing, and any other ends the reading.
"""

import pickle
import re
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from keras_transfer.core.errors import CorruptFileError, UserError

_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}

# What lies beside the tensors: numbers of NumPy, and the configs of the authors' fine-tuning.
_INERT = re.compile(
    r"(omegaconf|typing)\..+"
    r"|(builtins|__builtin__)\.(bool|bytes|complex|dict|float|int|list|long|set|str|tuple|unicode)"
    r"|collections\.defaultdict|_codecs\.encode"
    r"|numpy\.dtype|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)|numpy\.ndarray"
    r"|torch\.(device|strided|channels_last|contiguous_format|b?float\d+|int\d+|uint8|bool)"
)


class Storage(NamedTuple):
    """A row of numbers in a file.

    Attributes:
        key: Its name there.
        dtype: Type of the numbers, little-endian.
        size: How many.
    """

    key: str
    dtype: np.dtype
    size: int


class Tensor(NamedTuple):
    """A tensor that has not been read.

    Attributes:
        storage: Where its numbers are.
        offset: First of them.
        shape: Its shape.
        strides: Distance of neighbours along each axis, in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load(stream: IO[bytes], name: str) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle.

    Args:
        stream: The file, where the pickle starts; left where it ends.
        name: The file in messages.

    Returns:
        Its content, made of plain containers, ``Tensor`` and inert objects; and the storages.

    Raises:
        UserError: If the pickle asks for anything but tensors and configs.
        CorruptFileError: If it is damaged.
    """
    unpickler = _Unpickler(stream, name)
    try:
        return unpickler.load(), unpickler.storages
    except UserError:
        raise
    # Damaged pickles fail in every way that the operations of a pickle can.
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise CorruptFileError(f"{name}: its pickle is damaged ({problem}).") from None


class _StorageType(NamedTuple):
    dtype: np.dtype


# A pickle may change the state of everything it is given, classes and functions included. Tuples
# and objects without slots have no state; the two classes drop what they are told to become.


class _Inert:
    """Stands for an object that is not needed: takes everything, keeps nothing."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Inert":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def add(self, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Iterable[Any]) -> None: ...


class _Mapping(dict[Any, Any]):
    """OrderedDict without attributes; state dicts have ``_metadata``, which nothing here needs."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None: ...


class _RebuildTensor:
    """Stands for ``torch._utils._rebuild_tensor_v2``."""

    __slots__ = ()

    def __call__(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *ignored: Any
    ) -> Tensor:
        numbers = (offset, *shape, *strides)
        if (
            not isinstance(storage, Storage)
            or len(shape) != len(strides)
            or not all(type(n) is int and n >= 0 for n in numbers)
        ):
            raise pickle.UnpicklingError("a tensor without storage, shape or strides")
        extent = 1 + sum((n - 1) * step for n, step in zip(shape, strides))
        if 0 not in shape and offset + extent > storage.size:
            raise pickle.UnpicklingError(f"a tensor reaches out of its storage {storage.key}")
        return Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands for ``torch._utils._rebuild_parameter``."""

    __slots__ = ()

    def __call__(self, data: Any, *ignored: Any) -> Any:
        return data


_STAND_INS: dict[str, Any] = {
    "collections.OrderedDict": _Mapping,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _RebuildTensor(),
    "torch._utils._rebuild_tensor_v2": _RebuildTensor(),
    "torch._utils._rebuild_parameter": _RebuildParameter(),
}


class _Unpickler(pickle._Unpickler):
    """See `load`.

    The base class written in Python: that in C reserves memory by numbers of the file, five bytes
    of which can ask for 64 GiB.
    """

    def __init__(self, stream: IO[bytes], name: str):
        super().__init__(stream)
        self.name = name
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Answers a name of the pickle; the base class would import it."""
        known = f"{module}.{name}"
        if known in _STAND_INS:
            return _STAND_INS[known]
        if module == "torch" and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        if _INERT.fullmatch(known):
            return _Inert
        raise UserError(
            f"{self.name}: refused, nothing was executed: its pickle asks for {known!r}, which is "
            "neither a tensor nor a config."
        )

    def persistent_load(self, pid: Any) -> Storage:
        """Answers a reference to a storage: kind, type, key, device, size and perhaps a view."""
        kind, storage_type, key, _, size, *view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
            raise pickle.UnpicklingError(f"{kind!r} is not a storage of a supported kind")
        if type(key) is not str or type(size) is not int or size < 0:
            raise pickle.UnpicklingError(f"the storage {key!r} has no key or size")
        storage = Storage(key, storage_type.dtype, size)
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"the storage {key} has two types or sizes")
        return storage
