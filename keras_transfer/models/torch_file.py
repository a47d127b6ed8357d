"""Files of ``torch.save`` read without PyTorch: ``model.pth.tar``, ``.pth``, ``.pt``.

Both formats are read: the zip archive (since PyTorch 1.6) and the stream of pickles before it.
Tensors stay in the file until each is asked for.
"""

import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.models import torch_pickle
from keras_transfer.models.torch_pickle import Storage, Tensor

# The first pickle of a stream; then the version of the format, facts of the machine, the content,
# and the order of the storages that follow.
_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_VERSION = 1001

_CHUNK = 1 << 20


class _Region(NamedTuple):
    """Bytes of a storage in the file, and their checksum where the format has one."""

    start: int
    size: int
    crc: int | None


@dataclass(slots=True)
class TorchFile:
    """An open checkpoint.

    Attributes:
        path: The file.
        content: What was saved: containers, ``Tensor`` and inert objects; see ``torch_pickle``.
    """

    path: Path
    content: Any
    _stream: IO[bytes] = field(repr=False)
    _regions: dict[str, _Region] = field(repr=False)
    _intact: set[str] = field(default_factory=set, repr=False)

    def read(self, tensor: Tensor) -> np.ndarray:
        """Reads a tensor.

        Args:
            tensor: One of ``content``.

        Returns:
            Its values in its own shape and type, contiguous.

        Raises:
            CorruptFileError: If its bytes are missing or damaged.
        """
        storage = tensor.storage
        region = self._regions[storage.key]
        self._check(storage.key, region)
        if 0 in tensor.shape:
            return np.empty(tensor.shape, storage.dtype)
        itemsize = storage.dtype.itemsize
        extent = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides))
        self._stream.seek(region.start + tensor.offset * itemsize)
        content = self._stream.read(extent * itemsize)
        if len(content) < extent * itemsize:
            raise CorruptFileError(f"{self.path}: truncated in the storage {storage.key}.")
        flat = np.frombuffer(content, storage.dtype)
        strides = tuple(step * itemsize for step in tensor.strides)
        view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        return np.array(view, order="C")

    def _check(self, key: str, region: _Region) -> None:
        """Compares the checksum of a storage, once."""
        if region.crc is None or key in self._intact:
            return
        self._stream.seek(region.start)
        crc, left = 0, region.size
        while chunk := self._stream.read(min(left, _CHUNK)):
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
        if crc != region.crc:
            raise CorruptFileError(f"{self.path}: the storage {key} is damaged (checksum).")
        self._intact.add(key)


@contextmanager
def open_torch(path: str | Path) -> Iterator[TorchFile]:
    """Opens a checkpoint.

    Args:
        path: A file of ``torch.save``.

    Raises:
        UserError: If there is none, or its pickle asks for more than tensors and configs.
        CorruptFileError: If it is no checkpoint, or is damaged.
    """
    path = Path(path)
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    with stream:
        start = stream.read(len(_MAGIC))
        stream.seek(0)
        if start == _MAGIC:
            content, regions = _read_stream(stream, path)
        elif start.startswith(b"PK"):
            content, regions = _read_zip(stream, path)
        else:
            raise CorruptFileError(f"{path}: {_what_else(path, start)}.")
        yield TorchFile(path, content, stream, regions)


def _what_else(path: Path, start: bytes) -> str:
    if start.startswith(b"\x1f\x8b"):
        return "compressed by gzip: decompress it first"
    if start and tarfile.is_tarfile(path):
        return "a tar archive: unpack it first (a model.pth.tar of torch.save is none)"
    return "not a checkpoint of torch.save"


def _read_zip(stream: IO[bytes], path: Path) -> tuple[Any, dict[str, _Region]]:
    """Reads everything but the tensors of a zip archive: ROOT/data.pkl and ROOT/data/KEY."""
    try:
        with zipfile.ZipFile(stream) as archive:
            members = {info.filename: info for info in archive.infolist()}
            names = [n for n in members if n.count("/") == 1 and n.endswith("/data.pkl")]
            if len(names) != 1:
                raise CorruptFileError(f"{path}: a zip archive, but not one of torch.save.")
            root = names[0].removesuffix("data.pkl")
            order = f"{root}byteorder"  # absent before PyTorch 2.1
            _check_order(order not in members or archive.read(order) == b"little", path)
            content, storages = torch_pickle.load(io.BytesIO(archive.read(names[0])), str(path))
        regions = {
            key: _zip_region(stream, members.get(f"{root}data/{key}"), storage, path)
            for key, storage in storages.items()
        }
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise CorruptFileError(f"{path}: truncated or damaged ({error}).") from None
    return content, regions


def _zip_region(
    stream: IO[bytes], info: zipfile.ZipInfo | None, storage: Storage, path: Path
) -> _Region:
    if info is None:
        raise CorruptFileError(f"{path}: the storage {storage.key} is missing.")
    if info.compress_type != zipfile.ZIP_STORED:
        raise CorruptFileError(f"{path}: {info.filename} is compressed: torch.save never does.")
    _check_size(info.file_size, storage, path)
    # The local header; its name and extra field differ in length from the directory's.
    stream.seek(info.header_offset)
    header = stream.read(30)
    if len(header) < 30 or not header.startswith(b"PK\3\4"):
        raise CorruptFileError(f"{path}: {info.filename} is not where the directory says.")
    name, extra = struct.unpack("<HH", header[26:30])
    return _Region(info.header_offset + 30 + name + extra, info.file_size, info.CRC)


def _read_stream(stream: IO[bytes], path: Path) -> tuple[Any, dict[str, _Region]]:
    """Reads everything but the tensors of a stream of pickles."""
    stream.seek(len(_MAGIC))
    version, _ = torch_pickle.load(stream, str(path))
    if version != _VERSION:
        raise CorruptFileError(f"{path}: version {version!r} of the format is not {_VERSION}.")
    machine, _ = torch_pickle.load(stream, str(path))
    _check_order(isinstance(machine, dict) and machine.get("little_endian") is True, path)
    content, storages = torch_pickle.load(stream, str(path))
    keys, _ = torch_pickle.load(stream, str(path))
    if not isinstance(keys, list) or sorted(map(repr, keys)) != sorted(map(repr, storages)):
        raise CorruptFileError(f"{path}: its list of storages is not that of its tensors.")
    end = path.stat().st_size
    regions = {}
    for key in keys:
        storage = storages[key]
        _check_size(_length(stream) * storage.dtype.itemsize, storage, path)
        regions[key] = _Region(stream.tell(), storage.size * storage.dtype.itemsize, None)
        if stream.seek(regions[key].size, 1) > end:
            raise CorruptFileError(f"{path}: truncated: the storage {key} is not whole.")
    return content, regions


def _length(stream: IO[bytes]) -> int:
    """Numbers of the storage that follows; -1, which no storage has, at the end of the file."""
    head = stream.read(8)
    return struct.unpack("<q", head)[0] if len(head) == 8 else -1


def _check_size(size: int, storage: Storage, path: Path) -> None:
    expected = storage.size * storage.dtype.itemsize
    if size != expected:
        raise CorruptFileError(
            f"{path}: truncated or damaged: the storage {storage.key} has not {expected} bytes."
        )


def _check_order(little_endian: bool, path: Path) -> None:
    if not little_endian:
        raise UserError(f"{path}: written on a big-endian machine, which is not supported.")
