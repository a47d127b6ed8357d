"""BiT's ``.npz`` files: the weights of a model under the names of the released checkpoints."""

import re
import zipfile
from collections.abc import Iterable
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
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
            skipped = tuple(k for k in members if head == "skip" and k.startswith(_HEAD_PREFIX))
            _check(
                _wanted(variables),
                {k: _header(archive, m, path) for k, m in members.items() if k not in skipped},
                f"{path} does not fit {model.name}",
            )
            damaged = archive.testzip()
            if damaged is not None:
                raise CorruptFileError(f"{path}: the array {damaged} is damaged (checksum).")
            for variable in variables:
                with archive.open(members[resnetv2.npz_key(variable.path)]) as stream:
                    array = npy.read_array(stream, allow_pickle=False)
                variable.assign(array.reshape(variable.shape).astype(np.float32, copy=False))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CorruptFileError(f"{path}: not an intact .npz file ({error}).") from None
    return LoadReport(path, tuple(resnetv2.npz_key(v.path) for v in variables), skipped)


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


def _header(archive: zipfile.ZipFile, member: str, path: Path) -> Shape:
    """Returns the shape of an array without reading it."""
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
    return shape


def _check(wanted: dict[str, Shape], found: dict[str, Shape], what: str) -> None:
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
    with (
        runs.atomic_write(Path(path), "wb") as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
    ):
        for variable in model.weights:
            array = variable.value.numpy().reshape(_npz_shape(variable))
            with archive.open(
                f"{resnetv2.npz_key(variable.path)}.npy", "w", force_zip64=True
            ) as member:
                npy.write_array(member, array, allow_pickle=False)
