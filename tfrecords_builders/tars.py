"""Tar files read in place: what they hold and where, and the bytes of any member.

ImageNet is published as tars of tars with up to 14 million images. Nothing is unpacked: headers
are walked once, the data between them skipped, and a member is one read at its offset in the outer
file, from any process. Memory does not grow with the number of members.
"""

import functools
import os
import re
import shlex
import tarfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from keras_transfer.core.errors import CorruptFileError, UserError

_BLOCK = 512
_MAX_DEPTH = 4  # of tars in tars; more is an attack
_MAX_EXTENSION = 2**20  # bytes of a long name or of PAX fields
_NULLS = bytes(_BLOCK)
_CHUNK = 2**20
_PLACE = re.compile(r"(.+?\.tar)@(\d+)\+(\d+):(.*)", re.DOTALL)
_PAX_FIELD = re.compile(rb"(\d{1,8}) ([^=]+)=")
_ODD_TYPES = {
    tarfile.LNKTYPE: "link inside a tar, not followed",
    tarfile.SYMTYPE: "link inside a tar, not followed",
    tarfile.CHRTYPE: "device inside a tar, not read",
    tarfile.BLKTYPE: "device inside a tar, not read",
    tarfile.FIFOTYPE: "device inside a tar, not read",
}


class Member(NamedTuple):
    """A file in a tar.

    Attributes:
        name: As the tar has it; ``outer/inner`` in a tar within the tar.
        offset: Where its data start in the outermost file.
        size: In bytes.
        problem: Why it must not be read (a link, a device, a name that leads elsewhere); "" if it
            may be.
    """

    name: str
    offset: int
    size: int
    problem: str = ""


class Place(NamedTuple):
    """Where a member's bytes are.

    Attributes:
        file: The outermost tar.
        offset: First byte.
        size: In bytes.
        member: Its name, for people.
    """

    file: str
    offset: int
    size: int
    member: str

    def __str__(self) -> str:
        return f"{self.file}@{self.offset}+{self.size}:{self.member}"

    @classmethod
    def parse(cls, text: str) -> "Place | None":
        """Reads ``file.tar@offset+size:member`` back; None if it is anything else."""
        match = _PLACE.fullmatch(text)
        return cls(match[1], int(match[2]), int(match[3]), match[4]) if match else None


def members(path: Path, inside: Member | None = None, *, nested: bool = True) -> Iterator[Member]:
    """Yields the files of a tar in the order in which they are stored.

    Args:
        path: The tar.
        inside: A member of it that is a tar itself: only what that one holds.
        nested: Whether members called ``.tar`` are opened, too, instead of being yielded.

    Raises:
        UserError: If the tar cannot be opened, is compressed, has sparse files, or tars are nested
            too deeply.
        CorruptFileError: If it is truncated or damaged, with the offset.
    """
    try:
        file = _open(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from None
    if inside is None:
        _refuse_compressed(path, file)
        yield from _walk(file, "", 0, file.size, nested, 1)
    else:
        yield from _walk(file, f"{inside.name}/", inside.offset, inside.size, nested, 1)


def read(path: Path, offset: int, size: int) -> bytes:
    """Returns bytes of a file; it stays open for the next call.

    Raises:
        CorruptFileError: If the file is shorter.
        OSError: If it cannot be read.
    """
    data = _open(path).pread(offset, size)
    if len(data) < size:
        raise CorruptFileError("cut off: the tar is shorter than when it was listed")
    return data


class _File:
    """A file that is closed when its last user lets it go; safe to read from several threads."""

    def __init__(self, path: str):
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def pread(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def read(self, offset: int, size: int) -> bytes:
        data = self.pread(offset, size)
        if len(data) < size:
            raise self.corrupt(offset, f"truncated: {len(data)} of {size} bytes")
        return data

    def corrupt(self, offset: int, what: str) -> CorruptFileError:
        return CorruptFileError(f"{self.path}, byte {offset}: {what}. Get the file again.")


def _open(path: Path) -> _File:
    status = path.stat()
    # A file that was replaced since the last call is another file.
    return _cached(str(path), status.st_ino, status.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _cached(path: str, *_: int) -> _File:
    return _File(path)


def _refuse_compressed(path: Path, file: _File) -> None:
    if file.size >= 2 and file.read(0, 2) == b"\x1f\x8b":
        packed = path if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
        command = f"gunzip -k {shlex.quote(str(packed))}"
        if packed != path:
            command = f"{shlex.join(['mv', str(path), str(packed)])} && {command}"
        raise UserError(
            f"{path}: one gzip stream can only be read forward, but images are read in any order: "
            f"run `{command}` once, then this command again."
        )


def _walk(
    file: _File, prefix: str, start: int, size: int, nested: bool, depth: int
) -> Iterator[Member]:
    """Yields the members of the tar at [start, start + size) of a file."""
    if depth > _MAX_DEPTH:
        raise UserError(f"{file.path}: {prefix} is the tar number {depth} inside another: refused.")
    position, end = start, start + size
    long_name, fields, shared = "", dict[str, str](), dict[str, str]()
    while True:
        if position + _BLOCK > end:
            raise file.corrupt(position, f"truncated tar: no end mark {_of(prefix)}")
        block = file.read(position, _BLOCK)
        if block == _NULLS:
            _refuse_rest(file, prefix, position, end)
            return
        header = _header(file, position, block)
        data = position + _BLOCK
        length = _length(file, position, fields, header)
        position = data + -(-length // _BLOCK) * _BLOCK
        if position > end:
            raise file.corrupt(data, f"truncated tar: {header.name!r} is cut off {_of(prefix)}")
        if header.type == tarfile.GNUTYPE_LONGNAME:
            long_name = _text(_extension(file, data, length).split(b"\0", 1)[0])
        elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            fields = shared | _pax(file, data, length)
        elif header.type == tarfile.XGLTYPE:
            shared = shared | _pax(file, data, length)
            fields = dict(shared)
        elif header.type != tarfile.GNUTYPE_LONGLINK:
            name = fields.get("path") or long_name or header.name
            _refuse_sparse(file, name, header, fields)
            if header.type != tarfile.DIRTYPE:
                member = Member(prefix + name, data, length, _problem(name, header.type))
                if nested and not member.problem and name.lower().endswith(".tar"):
                    inner = f"{member.name}/"
                    yield from _walk(file, inner, data, length, nested, depth + 1)
                else:
                    yield member
            long_name, fields = "", dict(shared)


def _of(prefix: str) -> str:
    return f"in {prefix.removesuffix('/')}" if prefix else "at its end"


def _header(file: _File, position: int, block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except (tarfile.HeaderError, ValueError) as error:
        raise file.corrupt(position, f"not a tar header ({error})") from None


def _length(file: _File, position: int, fields: dict[str, str], header: tarfile.TarInfo) -> int:
    """Returns how many bytes follow a header."""
    if header.type in _ODD_TYPES or header.type == tarfile.DIRTYPE:
        return 0  # whatever the field says: hard links repeat the size of their target
    text = fields.get("size", str(header.size)) if header.isreg() else str(header.size)
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise file.corrupt(position, f"the size of {header.name!r} is {text}")
    return int(text)


def _extension(file: _File, offset: int, length: int) -> bytes:
    if length > _MAX_EXTENSION:
        raise file.corrupt(offset, f"a name or header of {length} bytes")
    return file.read(offset, length)


def _pax(file: _File, offset: int, length: int) -> dict[str, str]:
    """Reads PAX fields: ``length key=value`` and a line end, the length counting all of it."""
    data, start, fields = _extension(file, offset, length), 0, dict[str, str]()
    while start < len(data) and data[start]:
        match = _PAX_FIELD.match(data, start)
        end = start + int(match[1]) if match else 0
        if not match or end > len(data) or end <= match.end() or data[end - 1] != 10:
            raise file.corrupt(offset + start, "damaged PAX header")
        fields[_text(match[2])] = _text(data[match.end() : end - 1])
        start = end
    return fields


def _text(data: bytes) -> str:
    # Names are shown, never opened: what is not UTF-8 may be spelled out.
    return data.decode("utf-8", "backslashreplace")


def _refuse_sparse(file: _File, name: str, header: tarfile.TarInfo, fields: dict[str, str]) -> None:
    if header.type == tarfile.GNUTYPE_SPARSE or any(f.startswith("GNU.sparse.") for f in fields):
        raise UserError(
            f"{file.path}: {name!r} is stored as a sparse file: make the tar without --sparse."
        )


def _problem(name: str, kind: bytes) -> str:
    if kind in _ODD_TYPES:
        return _ODD_TYPES[kind]
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        return "name inside a tar that leads out of it"
    return "" if kind in tarfile.REGULAR_TYPES else "unknown kind of member of a tar"


def _refuse_rest(file: _File, prefix: str, position: int, end: int) -> None:
    """Raises an error unless only zeros follow the end mark: joined tars would lose their rest."""
    while position < end:
        data = file.read(position, min(_CHUNK, end - position))
        if data.count(0) < len(data):
            raise file.corrupt(
                position, f"data after the end mark {_of(prefix)} (damaged, or tars joined by cat)"
            )
        position += len(data)
