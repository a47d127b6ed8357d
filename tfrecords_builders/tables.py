"""Label tables as they are published: csv files, plain or gzipped, read row by row.

Every error names file and line. Values stay text: ids of 39 digits are not numbers.
"""

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data import records

_MAX_LINE = 2**20
_STATES = {
    "": records.NOT_MENTIONED,
    "-2": records.NOT_MENTIONED,
    "-1": records.UNCERTAIN,
    "0": records.NEGATIVE,
    "1": records.POSITIVE,
}


def find(folder: Path, *names: str) -> Path | None:
    """Returns the first of some files that a folder holds, plain or with ``.gz``, else None."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def require(folder: Path, *names: str, origin: str) -> Path:
    """Returns the first of some files that a folder holds, plain or with ``.gz``.

    Args:
        folder: Where to look.
        names: What it may be called.
        origin: Where to get it, for the message.

    Raises:
        UserError: If there is none.
    """
    path = find(folder, *names)
    if path is None:
        raise UserError(f"{folder}: no {' or '.join(names)} (plain or .gz). Get it from {origin}.")
    return path


def checksum(path: Path) -> str:
    """Returns the SHA-256 of a file as it is stored."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line number, text) of a list that is not empty there, stripped; plain or gzipped.

    Raises:
        UserError: If the file cannot be read or is not UTF-8.
        CorruptFileError: If it is a damaged gzip file.
    """
    with _open(path) as stream:
        for number, line in enumerate(_guarded(stream, path), start=1):
            if line.strip():
                yield number, line.strip()


def read(
    path: Path,
    columns: Sequence[str],
    *,
    renamed: Mapping[str, str] | None = None,
    width: int = 0,
    advice: str = "",
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, column -> text) for every row of a csv file with a header.

    Byte-order marks and Windows line ends are accepted; blanks around names and values are not part
    of them; rows without any text are passed over. A line number is that of the row's last line.

    Args:
        path: Plain or gzipped, UTF-8.
        columns: Columns that must be there; others are given as well.
        renamed: Other names that columns have in some releases -> the name used here.
        width: Fields that a row may have beyond the header's, if they are empty (NIH's rows end
            with a comma).
        advice: End of the message where a column is missing.

    Raises:
        UserError: If the file cannot be read, is not UTF-8, lacks a column, or a row has fewer or
            more fields than the header.
        CorruptFileError: If it is a damaged gzip file.
    """
    with _open(path) as stream:
        reader = csv.reader(_guarded(stream, path))
        try:
            header = [_plain(name) for name in next(reader, [])]
            header = [(renamed or {}).get(name, name) for name in header]
            missing = [column for column in columns if column not in header]
            if missing:
                raise UserError(
                    f"{path}: no column {', '.join(map(repr, missing))}; it has "
                    f"{', '.join(filter(None, header)) or 'none'}{advice}."
                )
            for row in reader:
                extra = row[len(header) :]
                if not any(text.strip() for text in row):
                    continue
                if len(row) < len(header) or len(extra) > width or any(map(str.strip, extra)):
                    raise UserError(
                        f"{path}, line {reader.line_num}: {len(row)} fields, but the header has "
                        f"{len(header)}."
                    )
                yield reader.line_num, dict(zip(header, map(str.strip, row)))
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: {error}.") from None


def state(text: str, where: str) -> int:
    """Returns the raw state of a finding.

    Args:
        text: ``1``, ``0``, ``-1`` (uncertain), or empty or ``-2`` (not mentioned), with or without
            ``.0``.
        where: File, line and column, for the message.

    Raises:
        UserError: If it is anything else.
    """
    value = text.strip().removesuffix(".0")
    if value not in _STATES:
        raise UserError(f"{where} is {text!r}, not one of 1, 0, -1, -2 or empty.")
    return _STATES[value]


def _plain(name: str) -> str:
    return name.strip().removeprefix("\ufeff")


def _open(path: Path) -> IO[str]:
    try:
        # By content: browsers unpack .gz files and keep the name.
        with path.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b"
        raw = gzip.GzipFile(path) if packed else path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}.") from None
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _guarded(stream: IO[str], path: Path) -> Iterator[str]:
    """Yields lines; errors of reading name the file."""
    try:
        # Bounded: a few kilobytes of gzip can be one line of many gigabytes.
        while line := stream.readline(_MAX_LINE):
            if len(line) == _MAX_LINE:
                raise UserError(f"{path}: a line of more than {_MAX_LINE:,} characters.")
            yield line
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.object[error.start]:#04x}).") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorruptFileError(f"{path}: damaged gzip file ({error}). Get it again.") from None
