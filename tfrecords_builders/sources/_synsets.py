"""Images by synset: a folder or a tar per class, in a folder or in one tar, never unpacked."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, LabelSpace
from tfrecords_builders import tars
from tfrecords_builders.sources import Dropped, Item
from tfrecords_builders.sources._files import FileSource
from tfrecords_builders.tars import Member, Place

LICENCE = (
    "ImageNet's terms of access: non-commercial research and education only; the images belong to "
    "their owners."
)
CITATION = (
    "@inproceedings{deng2009imagenet, author={Deng, J. and Dong, W. and Socher, R. and Li, L.-J. "
    "and Li, K. and Fei-Fei, L.}, year={2009},\n"
    "  title={ImageNet: A Large-Scale Hierarchical Image Database}, booktitle={CVPR}}"
)
_SYNSET = re.compile(r"n\d{8}")
_SUFFIXES = (".jpeg", ".jpg", ".png", ".gif", ".bmp")


def is_synset(name: str) -> bool:
    """Whether a name is a synset id."""
    return bool(_SYNSET.fullmatch(name))


class File(NamedTuple):
    """A file that may be an image.

    Attributes:
        name: Without folders.
        source: For `Item.source`.
        problem: Why it is not read; "" if it is.
        defect: Whether that means that something is wrong.
    """

    name: str
    source: str
    problem: str = ""
    defect: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """The images of one class in one place.

    Attributes:
        synset: Such as ``n01440764``.
        root: The input folder.
        path: A folder of images, a tar of them, or a tar of class tars.
        member: In a tar of class tars, the one of this class.
    """

    synset: str
    root: Path
    path: Path
    member: Member | None = None

    @property
    def where(self) -> str:
        """Path below the input folder, for people."""
        relative = self.path.relative_to(self.root).as_posix()
        return f"{relative}/{self.member.name}" if self.member else relative

    def files(self) -> Iterator[File]:
        """Yields every file; reads headers or the list of the folder only.

        Raises:
            CorruptFileError: If the tar is damaged.
        """
        if self.path.is_dir():
            yield from files_of_folder(self.path, self.root)
        elif not self.is_blank:
            yield from files_of_tar(self.path, self.root, self.member)

    @property
    def is_blank(self) -> bool:
        """Whether it is a tar of no bytes at all, as a download that failed leaves it."""
        if self.path.is_dir():
            return False
        return (self.member.size if self.member else self.path.stat().st_size) == 0

    def has_images(self) -> bool:
        """Whether there is any; looks no further than the first."""
        return any(not file.problem for file in self.files())


def shelves(place: Path, root: Path) -> tuple[list[Shelf], list[Dropped]]:
    """Finds the classes in a folder, or in a tar of class tars; the order is that of the disk.

    Args:
        place: Folder or tar.
        root: The input folder.

    Returns:
        The classes, and whatever else there is.

    Raises:
        UserError: If a class is there twice.
        CorruptFileError: If the tar is damaged.
    """
    found: dict[str, Shelf] = {}
    strange = []
    for entry in (
        _entries_of_folder(place, root) if place.is_dir() else _entries_of_tar(place, root)
    ):
        if isinstance(entry, Dropped):
            strange.append(entry)
        elif entry.synset in found:
            raise UserError(
                f"The class {entry.synset} is there twice: {found[entry.synset].where} and "
                f"{entry.where}. Move one of them away."
            )
        else:
            found[entry.synset] = entry
    return list(found.values()), strange


def _entries_of_folder(folder: Path, root: Path) -> Iterator[Shelf | Dropped]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        stem, dot, suffix = entry.name.partition(".")
        path = Path(entry.path)
        if is_synset(entry.name) and entry.is_dir():
            yield Shelf(entry.name, root, path)
        elif is_synset(stem) and dot + suffix == ".tar" and entry.is_file():
            yield Shelf(stem, root, path)
        else:
            yield _strange(entry.name, path.relative_to(root).as_posix())


def _entries_of_tar(path: Path, root: Path) -> Iterator[Shelf | Dropped]:
    file = path.relative_to(root).as_posix()
    for member in tars.members(path, nested=False):
        name = member.name.rpartition("/")[2]
        stem, dot, suffix = name.partition(".")
        where = str(Place(file, member.offset, member.size, member.name))
        if member.problem:
            yield Dropped(where, member.problem, defect=True)
        elif is_synset(stem) and dot + suffix == ".tar":
            yield Shelf(stem, root, path, member)
        else:
            yield _strange(name, where)


def _strange(name: str, where: str) -> Dropped:
    # A class that is half there would move the numbers of all that follow it.
    if _SYNSET.match(name):
        return Dropped(where, "neither a class folder nor a class tar", defect=True)
    return Dropped(where, "not a class")


def files_of_folder(folder: Path, root: Path) -> Iterator[File]:
    """Yields the entries of a folder, in order; folders in it are problems."""
    below = folder.relative_to(root).as_posix()
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        source = f"{below}/{entry.name}"
        if entry.is_dir():
            yield File(entry.name, source, "folder where only images should be", True)
        else:
            yield File(entry.name, source, _no_image(entry.name))


def files_of_tar(path: Path, root: Path, inside: Member | None = None) -> Iterator[File]:
    """Yields the files of a tar, or of a tar in a tar; folders in it do not matter."""
    file = path.relative_to(root).as_posix()
    for member in tars.members(path, inside, nested=False):
        name = member.name.rpartition("/")[2]
        source = str(Place(file, member.offset, member.size, member.name))
        if member.problem:
            yield File(name, source, member.problem, True)
        else:
            yield File(name, source, _no_image(name))


def _no_image(name: str) -> str:
    is_image = name.lower().endswith(_SUFFIXES) and not name.startswith(".")
    return "" if is_image else "not an image by its name"


class SynsetSource(FileSource):
    """Base of sources whose classes are synsets and whose images may be in tars."""

    encoding = "jpeg"
    licence = LICENCE
    citation = CITATION
    homepage = "https://image-net.org/download-images.php"

    def __init__(self, options: Any, input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        self._names: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Colour; grey JPEG files stay grey."""
        return 3

    @property
    def labels(self) -> LabelSpace:
        """Synset ids in alphabetical order, as every list of ImageNet's classes has them."""
        return LabelSpace(MULTICLASS, self._names)

    def load(self, item: Item) -> bytes:
        """Returns the file as it is, or the bytes of a member of a tar."""
        place = Place.parse(item.source)
        if place is None:
            return super().load(item)
        return tars.read(self.folder / place.file, place.offset, place.size)
