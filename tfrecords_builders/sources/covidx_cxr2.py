"""COVIDx CXR-2: chest X-rays with and without COVID-19, gathered from several sources."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, LabelSpace
from tfrecords_builders import tables
from tfrecords_builders.sources import Dropped, Item, _files, _listing

_VOCABULARIES = (("negative", "positive"), ("normal", "pneumonia", "COVID-19"))
_LISTED = ("train", "test", "val")
_UNLABELLED = "competition_test"
_ORIGIN = "https://www.kaggle.com/datasets/andyczhao/covidx-cxr2"


class _Row(NamedTuple):
    """A line of a list.

    Attributes:
        split: As its list is called.
        patient: With ``_`` for blanks, as later lists have it: ``COVID 1`` is ``COVID_1``.
        file: Name of the image.
        label: As it is written.
        where: List and line.
    """

    split: str
    patient: str
    file: str
    label: str
    where: str


class CovidxCxr2(_files.FileSource):
    """Below the input folder: ``train.txt``, ``test.txt`` and the folders ``train/``, ``test/``.

    ``val.txt`` and ``val/`` are used where a version has them. Classes are negative and positive,
    or normal, pneumonia and COVID-19, as the lists say. The example id is ``split/file``, split and
    file as listed. Files on disk may differ from their names in the lists by case, or by ``-2`` for
    ``(2)``.
    """

    name = "covidx_cxr2"
    description = "COVIDx CXR-2: chest X-rays with and without COVID-19."
    citation = """@article{wang2020covidnet,
  title={COVID-Net: a tailored deep convolutional neural network design for detection of COVID-19
    cases from chest X-ray images},
  author={Wang, Linda and Lin, Zhong Qiu and Wong, Alexander},
  journal={Scientific Reports},
  volume={10},
  pages={19549},
  year={2020}
}"""
    licence = "As the sources of the images say, see the page of the dataset; research only."
    homepage = _ORIGIN
    options = (
        _files.splits_option(
            "official",
            "patient",
            "authors",
            help="official: the lists, val drawn from train by patient if there is no val.txt; "
            "patient: everything drawn by patient; authors: train and test as listed, no val",
        ),
        _files.VAL_FRACTION,
        _files.TEST_FRACTION,
        _files.LEAKY,
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        self.splits = self.settings["splits"]
        self._names: tuple[str, ...] = _VOCABULARIES[0]

    @property
    def labels(self) -> LabelSpace:
        """The classes of the lists."""
        return LabelSpace(MULTICLASS, self._names)

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every line of the lists, and files that no line names.

        Raises:
            UserError: If something is missing, or a list cannot be understood.
        """
        lists = self._require()
        rows = {split: list(self._read(split, path)) for split, path in lists.items()}
        self._names = _vocabulary([row for part in rows.values() for row in part])
        self._facts["layout"] = f"lists and folders {', '.join(f'{split}/' for split in lists)}"
        self._facts["files named otherwise than listed"] = 0
        found: list[Item] = []
        for split, part in rows.items():
            for entry in self._items_of(split, part):
                if isinstance(entry, Item):
                    found.append(entry)
                else:
                    yield entry
        yield from self._split(found, has_val="val" in lists)
        yield from _listing.Listing(self.folder, [_UNLABELLED]).left("in no list")

    def _require(self) -> dict[str, Path]:
        """Returns split -> list; raises a UserError that names everything that is not there."""
        lists = {split: tables.find(self.folder, f"{split}.txt") for split in _LISTED}
        if lists["val"] is None:
            del lists["val"]
        missing = [f"{split}.txt" for split, path in lists.items() if path is None]
        missing += [f"{split}/" for split in lists if not (self.folder / split).is_dir()]
        _listing.refuse_missing(self.folder, missing, _ORIGIN)
        return {split: path for split, path in lists.items() if path}

    def _read(self, split: str, path: Path) -> Iterator[_Row]:
        for number, line in self.read_lines(path):
            where = f"{path}, line {number}"
            # From the right: patients may have blanks in their names, the others have none.
            *patient, file, label, _ = ["", "", "", *line.split()]
            if not any(patient):
                raise UserError(
                    f"{where}: {line!r} has fewer than the four fields patient, file, label, "
                    "source."
                )
            yield _Row(split, "_".join(filter(None, patient)), file, label, where)

    def _items_of(self, split: str, rows: list[_Row]) -> Iterator[Item | Dropped]:
        """Yields the lines of a list, and the files of its folder that none of them names."""
        listing = _listing.Listing(self.folder, [split])
        variants = _variants(listing, {row.file for row in rows})
        seen: set[str] = set()
        for row in rows:
            key = f"{split}/{row.file}"
            if row.file in seen:
                yield Dropped(f"{key} ({row.where})", "second line of this image", defect=True)
                continue
            seen.add(row.file)
            source = listing.take(row.file)
            if source is None and (names := variants.get(_plain(row.file))):
                # Each file once, whatever the number of names that it would fit.
                source = listing.take(names.pop(0))
                self._facts["files named otherwise than listed"] += 1
            label = self._names.index(row.label)
            yield self.found(Item(key, split, source or key, label, row.patient), row.where)
        yield from listing.left("in no list")

    def _split(self, items: list[Item], has_val: bool) -> Iterator[Item | Dropped]:
        if self.splits == "patient":
            yield from self.split_by_patient(items, self.shares())
        elif self.splits == "authors":
            for item in items:
                if item.split == "val":
                    yield Dropped(item.source, "in val.txt, which the authors did not have")
                else:
                    yield item
        else:
            train = [item for item in items if item.split == "train"]
            if not has_val:
                train = self.split_by_patient(train, self.shares(test=False))
            yield from train
            yield from (item for item in items if item.split != "train")


def _vocabulary(rows: list[_Row]) -> tuple[str, ...]:
    """Returns the classes of the lists, all of one vocabulary."""
    if not rows:
        return _VOCABULARIES[0]
    first = rows[0]
    for names in _VOCABULARIES:
        if first.label in names:
            for row in rows:
                if row.label not in names:
                    raise UserError(
                        f"{row.where}: the label {row.label!r} is none of {', '.join(names)}, "
                        f"as the others are ({first.where}: {first.label!r})."
                    )
            return names
    known = " or ".join(", ".join(names) for names in _VOCABULARIES)
    raise UserError(f"{first.where}: the label {first.label!r} is none of {known}.")


def _variants(listing: _listing.Listing, listed: set[str]) -> dict[str, list[str]]:
    """Returns plain name -> files that no list names exactly."""
    variants: dict[str, list[str]] = {}
    for name in listing:
        if name not in listed:
            variants.setdefault(_plain(name), []).append(name)
    return variants


def _plain(name: str) -> str:
    """Returns what equal files have in common: ``COVID(2).PNG`` and ``COVID-2.png``."""
    return re.sub(r"\((\d+)\)", r"-\1", name.lower())


SOURCE = CovidxCxr2
