"""BiT's ``.npz`` files: the weights of a model under the names of the released checkpoints."""

import contextlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from numpy.lib import format as npy

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.models import heads, resnetv2

HEAD_MODES = ("load", "skip")

_HEAD_PREFIX = "resnet/head/"
_SHOWN = 12

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What ``load_npz`` did.

    Attributes:
        path: The file.
        loaded: Keys that were loaded.
        skipped: Keys of the file's head, where the head was to be left alone.
    """

    path: Path
    loaded: tuple[str, ...]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        head = "head left as it is" if self.skipped else "head included"
        return f"{len(self.loaded)} arrays of {self.path}, {head}"


def npz_shapes(name: str, num_classes: int) -> dict[str, Shape]:
    """Returns key -> shape of a network's file; allocates nothing, however large the network."""
    with tf.Graph().as_default():
        return _wanted(resnetv2.assemble(name, num_classes).weights)


def _npz_shape(variable: keras.Variable) -> Shape:
    """The shape in the file: the head is a 1x1 convolution there."""
    shape = tuple(variable.shape)
    return (1, 1, *shape) if heads.is_head(variable.path) and len(shape) == 2 else shape


def _wanted(variables: Iterable[keras.Variable]) -> dict[str, Shape]:
    return {resnetv2.npz_key(v.path): _npz_shape(v) for v in variables}


def load_npz(model: keras.Model, path: str | Path, *, head: str = "load") -> LoadReport:
    """Reads weights into a model, one array at a time.

    Everything is checked before anything is assigned. Pickled objects are refused, not read.

    Args:
        model: From ``build``, of the architecture of the file.
        path: A released BiT ``.npz``, or one of ``save_npz``.
        head: ``"load"``, or ``"skip"`` to leave the model's head as it is.

    Returns:
        What was loaded.

    Raises:
        UserError: If the file is missing, or its names or shapes are not those of the model.
        CorruptFileError: If it is not an intact ``.npz`` of numbers.
    """
    if head not in HEAD_MODES:
        raise UserError(f"load_npz: unknown head={head!r}: {' or '.join(HEAD_MODES)}.")
    path = Path(path)
    variables = [v for v in model.weights if head == "load" or not heads.is_head(v.path)]
    with open_npz(path) as arrays:
        skipped = tuple(k for k in arrays.shapes if head == "skip" and k.startswith(_HEAD_PREFIX))
        found = {k: shape for k, shape in arrays.shapes.items() if k not in skipped}
        check(_wanted(variables), found, f"{path} does not fit {model.name}")
        arrays.check_intact()
        for variable in variables:
            array = arrays.read(resnetv2.npz_key(variable.path))
            variable.assign(array.reshape(variable.shape).astype(np.float32, copy=False))
    return LoadReport(path, tuple(resnetv2.npz_key(v.path) for v in variables), skipped)


@contextmanager
def open_npz(path: Path) -> Iterator["NpzArrays"]:
    """Opens a file to read its arrays one at a time.

    Raises:
        UserError: If the file is missing, or an array is not of floating-point numbers.
        CorruptFileError: If it is not an intact ``.npz`` of numbers.
    """
    with contextlib.ExitStack() as stack:
        with _reading(path):
            arrays = NpzArrays(stack.enter_context(zipfile.ZipFile(path)), path)
        yield arrays


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Names the file in errors of reading it."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise CorruptFileError(f"{path}: not an intact .npz file ({error}).") from None


class NpzArrays:
    """The arrays of an open file.

    Attributes:
        shapes: Key -> shape.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path):
        self._archive, self._path = archive, path
        self._members = _members(archive, path)
        headers = {key: _header(archive, m, path) for key, m in self._members.items()}
        self.shapes = {key: shape for key, (shape, _) in headers.items()}
        self._dtypes = {key: dtype for key, (_, dtype) in headers.items()}

    def dtype(self, key: str) -> np.dtype:
        """Returns the type of an array in the file."""
        return self._dtypes[key]

    def check_intact(self) -> None:
        """Reads the whole file once, to raise a CorruptFileError if any byte of it is wrong."""
        with _reading(self._path):
            damaged = self._archive.testzip()
        if damaged is not None:
            raise CorruptFileError(f"{self._path}: the array {damaged} is damaged (checksum).")

    def read(self, key: str) -> np.ndarray:
        """Returns an array in the type of the file; a checksum says whether it is intact."""
        with _reading(self._path), self._archive.open(self._members[key]) as stream:
            return npy.read_array(stream, allow_pickle=False)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """Returns key -> name in the archive, without the counters that some released files carry."""
    members: dict[str, str] = {}
    for name in archive.namelist():
        key = re.sub(r"/standardized_conv2d_\d+/", "/standardized_conv2d/", name)
        key = key.removesuffix(".npy")
        if key in members:
            raise UserError(f"{path}: {members[key]} and {name} are the same array.")
        members[key] = name
    return members


def _header(archive: zipfile.ZipFile, member: str, path: Path) -> tuple[Shape, np.dtype]:
    """Returns shape and type of an array without reading it."""
    try:
        with archive.open(member) as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(stream)
    except ValueError as error:
        raise CorruptFileError(f"{path}: {member} is not an array ({error}).") from None
    if dtype.hasobject:
        raise CorruptFileError(f"{path}: {member} holds pickled objects, which are never read.")
    if dtype.kind != "f":
        raise UserError(f"{path}: {member} holds {dtype}, not floating-point numbers.")
    return shape, dtype


def check(wanted: dict[str, Shape], found: dict[str, Shape], what: str) -> None:
    """Raises a UserError that names what differs between two sets of arrays; logs all of it."""
    differences = {
        "of another shape": [
            f"{key} {found[key]} instead of {shape}"
            for key, shape in wanted.items()
            if key in found and found[key] != shape
        ],
        "missing": [key for key in wanted if key not in found],
        "not used": [key for key in found if key not in wanted],
    }
    parts = []
    for kind, entries in differences.items():
        if entries:
            logging.error("%s: %s: %s", what, kind, ", ".join(entries))
            more = f", and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
            parts.append(f"{len(entries)} {kind}: {', '.join(entries[:_SHOWN])}{more}")
    if parts:
        raise UserError(f"{what}: {'; '.join(parts)}.")


def save_npz(model: keras.Model, path: str | Path) -> None:
    """Writes the weights of a model, one array at a time; the file appears when it is complete.

    Args:
        model: From ``build``.
        path: The file to write or replace.
    """
    write_arrays(
        Path(path),
        ((resnetv2.npz_key(v.path), v.value.numpy().reshape(_npz_shape(v))) for v in model.weights),
    )


def write_arrays(path: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes arrays one at a time; the file appears when it is complete.

    Args:
        path: The file to write or replace.
        arrays: Key and array; may be a generator, so that one array at a time is in memory.
    """
    with (
        runs.atomic_write(path, "wb") as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
    ):
        for key, array in arrays:
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, array, allow_pickle=False)
