"""PadChest: 160,861 chest X-rays of 67,625 patients with terms from reports."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from tfrecords_builders import sources, tables
from tfrecords_builders.sources import Dropped, Item, Option, _files, _listing
from tfrecords_builders.sources import _padchest_terms as rules

VIEWS = ("PA", "AP", "AP Supine", "L", "COSTAL", "EXCLUDE", "UNK")
_AUTHORS_VIEWS = ("PA", "AP")
_RENAMED_VIEWS = {"AP_horizontal": "AP Supine"}
_AUTHORS_SEED, _AUTHORS_TRAIN = 42, 0.9
_TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
_COLUMNS = ("ImageID", "PatientID", "Projection", "Labels")
_COUNTED_TERMS = ("exclude", "suboptimal study")
_ORIGIN = "https://bimcv.cipf.es/bimcv-projects/padchest/"


def _parse_views(text: str) -> tuple[str, ...]:
    views = sources.words(text)
    for view in views:
        if view not in VIEWS:
            raise ValueError(f"{view!r} is no view.{did_you_mean(view, VIEWS)}")
    return views


class PadChest(_files.FileSource):
    """Below the input folder: the table (plain or gzipped), and the images.

    Images are in ``0/`` to ``54/`` (one folder per zip), in ``images/``, or beside the table. The
    example id is the file name. A finding is positive if a term of the image says so, else
    negative; see `_padchest_terms` for the two rules. With equal options, seed and input,
    `padchest` and `padchest_cl` give an image the same split.

    The authors' split is drawn as they drew it, but they first left out 30 files by name, and this
    leaves out the files that are missing: no list holds for every download. Files that cannot be
    decoded are found when they are written.
    """

    name = "padchest"
    description = "PadChest: chest X-rays in several views; 27 findings from the terms of reports."
    citation = """@article{bustos2020padchest,
  title={PadChest: A large chest x-ray image dataset with multi-label annotated reports},
  author={Bustos, Aurelia and Pertusa, Antonio and Salinas, Jose-Maria and
    de la Iglesia-Vay{\\'a}, Maria},
  journal={Medical Image Analysis},
  volume={66},
  pages={101797},
  year={2020}
}"""
    licence = "PadChest Dataset Research Use Agreement (BIMCV): research only, not to be passed on."
    homepage = _ORIGIN
    options = (
        Option(
            "labels",
            "exact",
            "exact: by whole terms; authors: by texts anywhere in the list of terms, which takes "
            "pseudonodules for nodules",
            sources.choice("exact", "authors"),
            images=False,
        ),
        _files.splits_option(
            "patient",
            "authors",
            help="patient: drawn by patient; authors: 90 % train and 10 % test, drawn by image",
        ),
        Option(
            "views",
            (),
            f"views to keep, of {', '.join(VIEWS)}; all by default, PA,AP with splits=authors",
            _parse_views,
            images=False,
            show=sources.show_words,
        ),
        _files.VAL_FRACTION,
        dataclasses.replace(_files.TEST_FRACTION, default=0.1),
        _files.LEAKY,
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        authors = self.settings["splits"] == "authors"
        self.views = self.settings["views"] or (_AUTHORS_VIEWS if authors else ())
        if authors:
            self.leaky = "the authors drew images, not patients"
        self._differing: Counter[str] = Counter()
        self._counted: Counter[str] = Counter()

    @property
    def bits(self) -> int:
        """16: the files are scaled to the full range, whatever the detector's was."""
        return 16

    @property
    def labels(self) -> LabelSpace:
        """The 27 findings, in the authors' order."""
        return LabelSpace(MULTILABEL, rules.FINDINGS)

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every row of the table, and files that no row names.

        Raises:
            UserError: If something is missing, or the table cannot be understood.
        """
        listing = _listing.Listing(self.folder, self._image_folders())
        table = self._require(listing)
        found: list[Item] = []
        for entry in self._rows(table, listing):
            if isinstance(entry, Item):
                found.append(entry)
            else:
                yield entry
        self._facts = {"layout": _layout(listing)} | self._counted | self._differences()
        for item in self._split(found):
            yield self._finished(item)
        yield from listing.left("no row in the table")

    def _finished(self, item: Item) -> Item | Dropped:
        """Returns an item that has its split as it is stored.

        After splitting, so that what is left out here does not change the split of the others.
        """
        if not item.label:
            return Dropped(item.source, "no labels")
        return item

    def _image_folders(self) -> list[str]:
        numbers = [path.name for path in self.folder.iterdir() if re.fullmatch(r"\d+", path.name)]
        return [*sorted(numbers, key=int), "images", ""]

    def _require(self, listing: _listing.Listing) -> Path:
        """Returns the table; raises a UserError that names everything that is not there."""
        packed = [p.name for p in self.folder.glob("*.zip") if re.fullmatch(r"\d+", p.stem)]
        if packed and not len(listing):
            raise UserError(
                f"{self.folder}: {len(packed)} zip files are still packed, such as {min(packed)}: "
                "unpack each into a folder of its name (for f in *.zip; do unzip -d ${f%.zip} $f; "
                "done)."
            )
        table = tables.find(self.folder, _TABLE)
        missing = [] if table else [f"{_TABLE} (plain or .gz)"]
        if not len(listing):
            missing.append("the PNG files, in 0/ to 54/, in images/ or beside the table")
        _listing.refuse_missing(self.folder, missing, _ORIGIN)
        assert table is not None
        return table

    def _rows(self, table: Path, listing: _listing.Listing) -> Iterator[Item | Dropped]:
        """Yields the rows, without splits."""
        seen: set[str] = set()
        for number, row in self.read_table(table, _COLUMNS):
            where = f"{table}, line {number}"
            name = row["ImageID"]
            view = _RENAMED_VIEWS.get(row["Projection"], row["Projection"])
            if name in seen:
                yield Dropped(f"{name} ({where})", "second row of this image", defect=True)
                continue
            seen.add(name)
            _refuse_rounded(row["PatientID"], where)
            source = listing.take(name) or name
            if self.views and view not in self.views:
                yield Dropped(f"{name} ({where})", "another view")
            elif not row["Labels"]:
                yield Dropped(f"{name} ({where})", "no labels")
            else:
                item = Item(
                    example_id=name,
                    split="",
                    source=source,
                    label=(),
                    patient_id=row["PatientID"],
                    view=view,
                    sex=row.get("PatientSex_DICOM", ""),
                    age=_age(row),
                )
                entry = self.found(item, where)
                if isinstance(entry, Item):
                    entry = entry._replace(label=self._label(row["Labels"], where))
                yield entry

    def _label(self, text: str, where: str) -> tuple[int, ...]:
        """Returns the state of every finding, () if no rule can tell; counts what is unusual."""
        terms = rules.parse(text, where)
        exact, authors = rules.exact(terms), rules.authors(text)
        for name, one, other in zip(rules.FINDINGS, exact, authors):
            self._differing[name] += one != other
        for term in _COUNTED_TERMS:
            self._counted[f"images marked {term}"] += term in terms
        if self.settings["labels"] == "authors":
            return authors
        return exact if terms else ()

    def _differences(self) -> dict[str, int]:
        """Returns the number of images that the two rules tell apart, where there are any."""
        return {
            f"labels differing from the authors' rule: {name}": self._differing[name]
            for name in rules.FINDINGS
            if self._differing[name]
        }

    def _split(self, items: list[Item]) -> list[Item]:
        if self.settings["splits"] == "patient":
            return self.split_by_patient(items, self.shares())
        order = np.arange(len(items))
        np.random.RandomState(_AUTHORS_SEED).shuffle(order)
        train = set(order[: int(_AUTHORS_TRAIN * len(items))].tolist())
        return [
            item._replace(split="train" if number in train else "test")
            for number, item in enumerate(items)
        ]


def _refuse_rounded(patient: str, where: str) -> None:
    """Raises a UserError if a spreadsheet has rounded the 39 digits, which merges patients."""
    if re.fullmatch(r"\d[.,\d]*[eE][+]?\d+", patient):
        raise UserError(
            f"{where}: PatientID is {patient}, rounded by a spreadsheet: get the table again from "
            f"{_ORIGIN}."
        )


def _age(row: Mapping[str, str]) -> str:
    """Returns the year of the study minus the year of birth; "" where one is not known."""
    study = re.match(r"(19|20)\d\d", row.get("StudyDate_DICOM", ""))
    birth = re.match(r"(18|19|20)\d\d", row.get("PatientBirth", ""))
    return str(int(study[0]) - int(birth[0])) if study and birth else ""


def _layout(listing: _listing.Listing) -> str:
    folders = listing.taken()
    numbered = sorted((folder for folder in folders if folder.isdigit()), key=int)
    parts = []
    if numbered:
        parts.append(f"{len(numbered)} folders by zip, {numbered[0]}/ to {numbered[-1]}/")
    parts += ["images/"] * ("images" in folders) + ["images beside the table"] * ("" in folders)
    return ", ".join(parts) or "no image of the table"


SOURCE = PadChest
