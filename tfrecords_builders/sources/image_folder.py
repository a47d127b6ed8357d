"""Your own images: a folder per class, or a csv that names files and labels."""

import csv
import functools
import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.core.sampling import grouped_split
from tfrecords_builders import images, sources, tables
from tfrecords_builders.sources import Dropped, Item

_SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
} | dict.fromkeys(("val", "valid", "validate", "validation"), "val")
_SUFFIXES = (".png", ".jpg", ".jpeg")
_OTHER_IMAGES = (".bmp", ".dcm", ".dicom", ".gif", ".heic", ".tif", ".tiff", ".webp")
_TEXTS = ("patient_id", "view", "sex", "age")

_about_rows = functools.partial(sources.Option, named="never", images=False)


class ImageFolder(sources.Source):
    """JPEG and PNG files below one folder.

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
    licence = "As the owner of the images says."
    options = (
        _about_rows("csv", "", "table of files and labels, below input_dir"),
        _about_rows(
            "labels",
            (),
            "columns of the csv that are findings, for several labels per image",
            parse=sources.words,
            show=sources.show_words,
        ),
        _about_rows("name", "", "name of the dataset; the folder's by default"),
        _about_rows(
            "val_fraction",
            0.1,
            "share for val where no splits are given",
            parse=sources.number(0, 1),
            named="changed",
        ),
        _about_rows(
            "test_fraction",
            0.2,
            "share for test where no splits are given",
            parse=sources.number(0, 1),
            named="changed",
        ),
        _about_rows(
            "leaky",
            False,
            "true allows patients and equal images in several splits",
            parse=sources.boolean,
        ),
        sources.Option("channels", 3, "1 stores grey, 3 colour", sources.one_of(1, 3)),
        sources.Option(
            "bits",
            0,
            "bits that 16-bit files use, such as 12; 0 takes each image's own",
            sources.integer(0, 16),
        ),
    )

    def __init__(self, options: Any, input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        assert input_dir is not None
        self.folder = input_dir
        base = self.settings["name"] or input_dir.resolve().name
        name = re.sub(r"[^a-z0-9]+", "_", base.lower()).strip("_") or "images"
        self.name = name if name[0].isalpha() else f"images_{name}"
        self.leaky = "declared by the user" if self.settings["leaky"] else ""
        self._names: tuple[str, ...] = ()
        self._checksums: dict[str, str] = {}

    @property
    def channels(self) -> int:
        """As the option says."""
        return self.settings["channels"]

    @property
    def bits(self) -> int:
        """As the option says."""
        return self.settings["bits"]

    @property
    def labels(self) -> LabelSpace:
        """Findings, or classes in alphabetical order (in numerical order if all are numbers)."""
        if self.settings["labels"]:
            return LabelSpace(MULTILABEL, self.settings["labels"])
        return LabelSpace(MULTICLASS, self._names)

    def checksums(self) -> dict[str, str]:
        """Returns the checksum of the csv."""
        return self._checksums

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
        if not self.labels.is_multilabel:
            # Until here labels are class names.
            self._names = tuple(sorted({str(item.label) for item in found}, key=_natural))
            number = {name: i for i, name in enumerate(self._names)}
            found = [item._replace(label=number[str(item.label)]) for item in found]
        if found and not found[0].split:
            splits = grouped_split([item.patient_id for item in found], self._shares(), self.seed)
            found = [item._replace(split=str(split)) for item, split in zip(found, splits)]
        yield from found

    def _shares(self) -> dict[str, float]:
        val, test = self.settings["val_fraction"], self.settings["test_fraction"]
        if val + test >= 1:
            raise UserError(
                f"val_fraction={val} and test_fraction={test} leave nothing to train on."
            )
        shares = {"train": 1 - val - test, "val": val, "test": test}
        return {split: share for split, share in shares.items() if share > 0}

    def _from_folders(self) -> Iterator[Item | Dropped]:
        """Yields files of class folders; labels are class names, splits "" if there are none."""
        top = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir())
        splits = [name for name in top if name.lower() in _SPLITS]
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
            yield from self._from_classes(f"{split}/", _SPLITS[split.lower()])

    def _from_classes(self, prefix: str, split: str) -> Iterator[Item | Dropped]:
        """Yields the files of every class folder in a folder."""
        top = self.folder / prefix
        for name in sorted(entry.name for entry in os.scandir(top) if entry.is_dir()):
            empty = True
            for path in _files_below(top / name):
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
        path = self.folder / self.settings["csv"]
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}.") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not UTF-8 at byte {error.start}.") from None
        self._checksums = {path.name: hashlib.sha256(content).hexdigest()}
        reader = csv.DictReader(io.StringIO(text, newline=""))
        self._check_columns(path, reader.fieldnames or [])
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise UserError(f"{where}: not as many fields as the header has.")
            file = sources.inside(self.folder, row["path"], where)
            if file.is_file():
                yield self._item(row, where)
            else:
                named = f"{row['path']} (line {reader.line_num})"
                yield Dropped(named, "no such file", defect=True)

    def _check_columns(self, path: Path, columns: Any) -> None:
        findings = self.settings["labels"]
        missing = [c for c in ("path", *(findings or ["label"])) if c not in columns]
        if missing:
            advice = "" if findings else "; several findings per image are named with labels=a,b"
            raise UserError(
                f"{path}: no column {', '.join(map(repr, missing))}; it has "
                f"{', '.join(columns) or 'none'}{advice}."
            )

    def _item(self, row: dict[str, str], where: str) -> Item:
        split = row.get("split")
        if split is not None:
            split = _SPLITS.get(split.strip().lower(), split.strip().lower())
            if not split:
                raise UserError(f"{where}: the split is empty; fill in all, or drop the column.")
        texts = {name: row.get(name, "").strip() for name in _TEXTS}
        label: Any
        if self.settings["labels"]:
            label = tuple(
                tables.state(row[name], f"{where}: {name}") for name in self.settings["labels"]
            )
        else:
            label = row["label"].strip()
            if not label:
                raise UserError(f"{where}: the label is empty.")
        return Item(row["path"], split or "", row["path"], label, **texts)

    def load(self, item: Item) -> bytes:
        """Returns the file as it is."""
        return (self.folder / item.source).read_bytes()


def _natural(name: str) -> tuple[int, int, str]:
    """Sorts 2 before 10; whole numbers come first."""
    return (0, int(name), name) if re.fullmatch(r"\d+", name) else (1, 0, name)


def _plain_files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir())


def _files_below(folder: Path) -> Iterator[Path]:
    """Yields files in order, and links to folders, which are not followed: they may be loops."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in sorted([*files, *links]):
            yield Path(root, name)


def _is_image(path: Path) -> bool:
    """Whether a file with an unusual name is an image that can be stored all the same."""
    try:
        with path.open("rb") as stream:
            return images.looks_like_image(stream.read(8))
    except OSError:
        return False


def _refused(path: Path, relative: str) -> Dropped:
    if path.is_dir():
        return Dropped(relative, "link to a folder, not followed")
    if path.suffix.lower() in _OTHER_IMAGES:
        return Dropped(relative, "neither JPEG nor PNG: convert it", defect=True)
    return Dropped(relative, "not an image")


SOURCE = ImageFolder
