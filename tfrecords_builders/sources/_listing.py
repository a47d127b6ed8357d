"""Image files below the input folder, for tables that name files without their folders."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from keras_transfer.core.errors import UserError
from tfrecords_builders.sources import Dropped

_SUFFIXES = (".png", ".jpg", ".jpeg")


class Listing:
    """The image files that lie directly in some folders, by name.

    Listing a folder once is far cheaper on a network file system than asking for every file.
    """

    def __init__(self, root: Path, folders: Iterable[str]):
        """Lists the folders.

        Args:
            root: The input folder.
            folders: Below it, "" is the input folder itself; those that do not exist are empty.
                Of several files of one name the one in the first folder is used.
        """
        self._folder: dict[str, str] = {}
        self._copies: list[str] = []
        self._taken: set[str] = set()
        for folder in folders:
            for name in _image_names(root / folder):
                if name in self._folder:
                    self._copies.append(_join(folder, name))
                else:
                    self._folder[name] = folder

    def __len__(self) -> int:
        return len(self._folder)

    def __iter__(self) -> Iterator[str]:
        return iter(self._folder)

    def take(self, name: str) -> str | None:
        """Returns the path of a file, below the input folder, or None; notes that it is used."""
        if name not in self._folder:
            return None
        self._taken.add(name)
        return _join(self._folder[name], name)

    def taken(self) -> Counter[str]:
        """Returns folder -> number of files that were taken from it."""
        return Counter(self._folder[name] for name in self._taken)

    def left(self, reason: str) -> Iterator[Dropped]:
        """Yields the files that were not taken, for the given reason, and second copies."""
        for name, folder in self._folder.items():
            if name not in self._taken:
                yield Dropped(_join(folder, name), reason)
        for path in self._copies:
            yield Dropped(path, "another file of this name is used")


def files_below(folder: Path) -> Iterator[Path]:
    """Yields files in order, and links to folders, which are not followed: they may be loops."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in sorted([*files, *links]):
            yield Path(root, name)


def refuse_missing(folder: Path, missing: Sequence[str], origin: str) -> None:
    """Raises a UserError that lists all that is missing, if anything is.

    Args:
        folder: The input folder.
        missing: Files and folders, in words.
        origin: Where to get them.
    """
    if missing:
        raise UserError(f"{folder}: missing: {'; '.join(missing)}. Get it from {origin}.")


def _image_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(_SUFFIXES) and entry.is_file()
        )


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
