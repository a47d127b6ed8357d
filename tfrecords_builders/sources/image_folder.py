"""Your own images: a folder per class, or a csv that names files and labels."""

import os
from collections.abc import Iterator
from pathlib import Path

from keras_transfer.core.errors import UserError
from tfrecords_builders import formats, sources
from tfrecords_builders.sources import Dropped, Item, _files, _listing, _rows

_SUFFIXES = (".png", ".jpg", ".jpeg")
# Named as images: one of them that cannot be read is a defect, unlike a text file.
_OTHER_IMAGES = (
    *(".avif", ".bmp", ".dcm", ".dicom", ".gif", ".heic"),
    *(".jp2", ".jxl", ".tif", ".tiff", ".webp"),
)


class ImageFolder(_rows.RowSource):
    """JPEG, PNG, GIF, BMP, TIFF, WebP and DICOM files below one folder.

    Without a csv, folders are classes: ``cat/1.png``, or ``train/cat/1.png`` where the folders at
    the top are splits (train, val or valid, test). Folders inside a class belong to it.

    A csv has a row per image and the columns ``path`` (below the input folder) and ``label``, and
    any of ``split``, ``patient_id``, ``view``, ``sex``, ``age``. With ``labels=a,b`` the columns
    ``a`` and ``b`` are findings, several of which may be true: 1 positive, 0 negative,
    -1 uncertain, empty or -2 not mentioned.

    Where no split is given, examples are drawn at random, all images of a patient into one split.
    The example id is the path.
    """

    name = "image_folder"
    description = "Images of a folder."
    options = (
        *_rows.options(csv="", channels=3),
        sources.Option(
            "bits",
            0,
            "bits that 16-bit files use, such as 12; 0 takes each image's own",
            sources.integer(0, 16),
        ),
        _files.RENDER,
    )

    @property
    def bits(self) -> int:
        """As the option says."""
        return self.settings["bits"]

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every image of the csv or the folders.

        Raises:
            UserError: If the csv cannot be understood, naming the line, or a class has no image.
        """
        found: list[Item] = []
        for entry in self._from_csv() if self.settings["csv"] else self._from_folders():
            if isinstance(entry, Item):
                found.append(entry)
            else:
                yield entry
        yield from self.completed(found)

    def _from_folders(self) -> Iterator[Item | Dropped]:
        """Yields files of class folders; labels are class names, splits "" if there are none."""
        top = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir())
        splits = [name for name in top if name.lower() in _rows.SPLITS]
        if splits and len(splits) < len(top):
            others = ", ".join(name for name in top if name not in splits)
            raise UserError(
                f"{self.folder} mixes split folders ({', '.join(splits)}) with others ({others}): "
                "use one kind, or a csv (--options=csv=FILE)."
            )
        if not top:
            raise UserError(
                f"{self.folder} has no class folders: put the images of each class into a folder "
                "of its own, or name a table of files and labels with --options=csv=FILE."
            )
        for name in _plain_files(self.folder):
            yield Dropped(name, "not in a class folder")
        if not splits:
            yield from self._from_classes("", "")
        for split in splits:
            for name in _plain_files(self.folder / split):
                yield Dropped(f"{split}/{name}", "not in a class folder")
            yield from self._from_classes(f"{split}/", _rows.SPLITS[split.lower()])

    def _from_classes(self, prefix: str, split: str) -> Iterator[Item | Dropped]:
        """Yields the files of every class folder in a folder."""
        top = self.folder / prefix
        for name in sorted(entry.name for entry in os.scandir(top) if entry.is_dir()):
            empty = True
            for path in _listing.files_below(top / name):
                relative = path.relative_to(self.folder).as_posix()
                if path.suffix.lower() in _SUFFIXES or _is_image(path):
                    empty = False
                    yield Item(relative, split, relative, name)  # type: ignore[arg-type]
                else:
                    yield _refused(path, relative)
            if empty:
                raise UserError(f"{top / name}: the class {name!r} has no image.")

    def _from_csv(self) -> Iterator[Item | Dropped]:
        """Yields the rows of the csv; labels are class names or tuples of states."""
        self._facts["layout"] = "csv"
        for where, item in self.rows("path"):
            yield self.found(item, where)


def _plain_files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir())


def _is_image(path: Path) -> bool:
    """Whether a file that is not named as JPEG or PNG is an image that can be read."""
    if not path.is_file():  # a pipe, which would be waited for
        return False
    try:
        with path.open("rb") as stream:
            return formats.is_readable(stream.read(formats.DICOM_START))
    except OSError:
        return False


def _refused(path: Path, relative: str) -> Dropped:
    if path.is_dir():
        return Dropped(relative, "link to a folder, not followed")
    if path.suffix.lower() in _OTHER_IMAGES:
        return Dropped(relative, "an image that cannot be read: convert it to PNG", defect=True)
    return Dropped(relative, "not an image")


SOURCE = ImageFolder
