"""NIH ChestX-ray14: 112,120 frontal chest X-rays with 14 findings."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.data import records
from tfrecords_builders import tables
from tfrecords_builders.sources import Dropped, Item, _ages, _files, _listing

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
_NO_FINDING = "No Finding"
_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_TRAIN_LIST, _TEST_LIST = "train_val_list.txt", "test_list.txt"
_ORIGIN = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID")
_OLDEST = 120


class NihCxr14(_files.FileSource):
    """Below the input folder: the table, the two lists, and the images.

    Images are in ``images/`` (the Box folder, unpacked) or in ``images_001/images/`` to
    ``images_012/images/`` (Kaggle). The example id is the file name. A finding is positive or
    negative: the labels were mined from reports and know neither doubt nor blanks.
    """

    name = "nih_cxr14"
    description = (
        "NIH ChestX-ray14: frontal chest X-rays of 30,805 patients; 14 findings mined from reports."
    )
    citation = """@inproceedings{wang2017chestxray8,
  title={ChestX-ray8: Hospital-scale chest X-ray database and benchmarks on weakly-supervised
    classification and localization of common thorax diseases},
  author={Wang, Xiaosong and Peng, Yifan and Lu, Le and Lu, Zhiyong and Bagheri, Mohammadhadi and
    Summers, Ronald M.},
  booktitle={CVPR},
  year={2017}
}"""
    licence = (
        "Free use with reference to the NIH Clinical Center and the paper; see the Box folder."
    )
    homepage = _ORIGIN
    options = (
        _files.splits_option(
            "official",
            "patient",
            "authors",
            help="official: the two lists, val drawn from train_val by patient; patient: "
            "everything drawn by patient; authors: train_val_list is train, test_list is val",
        ),
        _files.VAL_FRACTION,
        _files.TEST_FRACTION,
        _files.LEAKY,
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        self.splits = self.settings["splits"]
        if self.splits == "official":
            self.published = {"test": 25_596}
        elif self.splits == "authors":
            self.published = {"train": 86_524, "val": 25_596}

    @property
    def labels(self) -> LabelSpace:
        """The 14 findings, in alphabetical order."""
        return LabelSpace(MULTILABEL, FINDINGS)

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every row of the table, and files that no row names.

        Raises:
            UserError: If something is missing, or a table or list cannot be understood.
        """
        listing = _listing.Listing(self.folder, self._image_folders())
        table = self._require(listing)
        listed = {} if self.splits == "patient" else self._read_lists()
        found: list[Item] = []
        for entry in self._rows(table, listing, listed):
            if isinstance(entry, Item):
                found.append(entry)
            else:
                yield entry
        self._facts = {"layout": _layout(listing), "table": table.name} | self._facts
        yield from self._split(found)
        yield from listing.left("no row in the table")

    def _image_folders(self) -> list[str]:
        parts = sorted(
            path.name for path in self.folder.glob("images_*") if re.search(r"_\d+$", path.name)
        )
        return ["images", *(f"{part}/images" for part in parts), *parts, ""]

    def _require(self, listing: _listing.Listing) -> Path:
        """Returns the table; raises a UserError that names everything that is not there."""
        packed = [*self.folder.glob("images_*.tar*"), *self.folder.glob("images/images_*.tar*")]
        if packed and not len(listing):
            raise UserError(
                f"{min(packed)}: still packed. Unpack all {len(packed)} archives in {self.folder} "
                f"(for f in {min(packed).parent}/images_*.tar.gz; do tar xzf $f; done)."
            )
        table = tables.find(self.folder, *_TABLES)
        missing = [] if table else [" or ".join(_TABLES)]
        if self.splits != "patient":
            lists = (_TRAIN_LIST, _TEST_LIST)
            missing += [name for name in lists if not tables.find(self.folder, name)]
        if not len(listing):
            missing.append("images/ with the PNG files")
        _listing.refuse_missing(self.folder, missing, _ORIGIN)
        assert table is not None
        return table

    def _read_lists(self) -> dict[str, str]:
        """Returns file name -> ``train`` or ``test``."""
        listed: dict[str, str] = {}
        for split, name in (("train", _TRAIN_LIST), ("test", _TEST_LIST)):
            path = tables.require(self.folder, name, origin=_ORIGIN)
            for number, file in self.read_lines(path):
                if listed.setdefault(file, split) != split:
                    raise UserError(
                        f"{path}, line {number}: {file} is in {_TRAIN_LIST}, too: "
                        f"get both lists again from {_ORIGIN}."
                    )
        return listed

    def _rows(
        self, table: Path, listing: _listing.Listing, listed: Mapping[str, str]
    ) -> Iterator[Item | Dropped]:
        """Yields the rows; splits are those of the lists, "" if there are none."""
        seen: set[str] = set()
        rows = self.read_table(
            table, _COLUMNS, renamed={"Patient Gender": "sex", "Patient Sex": "sex"}, width=1
        )
        for number, row in rows:
            where = f"{table}, line {number}"
            name = row["Image Index"]
            if name in seen:
                yield Dropped(f"{name} ({where})", "second row of this image", defect=True)
                continue
            seen.add(name)
            source = listing.take(name) or name
            if not row["Finding Labels"]:
                yield Dropped(f"{name} ({where})", "no labels", defect=True)
            elif listed and name not in listed:
                yield Dropped(f"{name} ({where})", "in neither list", defect=True)
            else:
                yield self.found(self._item(row, source, listed.get(name, ""), where), where)
        if unknown := len(listed.keys() - seen):
            self._facts["names in the lists without a row"] = unknown

    def _item(self, row: Mapping[str, str], source: str, split: str, where: str) -> Item:
        age = _ages.years(row.get("Patient Age", ""))
        if age and int(age) > _OLDEST:
            # Typing errors of the source; kept, because nobody knows the right ones.
            key = f"ages above {_OLDEST}"
            self._facts[key] = self._facts.get(key, 0) + 1
        return Item(
            example_id=row["Image Index"],
            split=split,
            source=source,
            label=_states(row["Finding Labels"], where),
            patient_id=row["Patient ID"],
            view=row.get("View Position", ""),
            sex=row.get("sex", ""),
            age=age,
        )

    def _split(self, items: list[Item]) -> Iterator[Item]:
        if self.splits == "patient":
            yield from self.split_by_patient(items, self.shares())
            return
        train = [item for item in items if item.split == "train"]
        test = [item for item in items if item.split == "test"]
        if self.splits == "authors":
            yield from train
            yield from (item._replace(split="val") for item in test)
        else:
            yield from self.split_by_patient(train, self.shares(test=False))
            yield from test


def _states(text: str, where: str) -> tuple[int, ...]:
    """Returns the state of every finding of a cell such as ``Edema|Effusion``."""
    words = [word.strip() for word in text.split("|")]
    known = (*FINDINGS, _NO_FINDING)
    for word in words:
        if word not in known:
            raise UserError(f"{where}: Finding Labels has {word!r}.{did_you_mean(word, known)}")
    if _NO_FINDING in words and len(set(words)) > 1:
        raise UserError(f"{where}: Finding Labels has {_NO_FINDING!r} beside a finding: {text!r}.")
    return tuple(records.POSITIVE if name in words else records.NEGATIVE for name in FINDINGS)


def _layout(listing: _listing.Listing) -> str:
    folders: Counter[str] = listing.taken()
    if set(folders) <= {"images"}:
        return "Box: images/"
    if set(folders) == {""}:
        return "images beside the table"
    return f"Kaggle: {len(folders)} folders, {min(folders)}/ to {max(folders)}/"


SOURCE = NihCxr14
