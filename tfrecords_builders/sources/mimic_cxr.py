"""MIMIC-CXR: chest X-rays of Beth Israel Deaconess, as JPEG or DICOM, labelled by study."""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import LabelSpace
from tfrecords_builders import sources, tables
from tfrecords_builders.sources import Dropped, Item, Option, _cxr, _files

_METADATA = "mimic-cxr-2.0.0-metadata.csv"
_SPLIT = "mimic-cxr-2.0.0-split.csv"
_LABELS = "mimic-cxr-2.0.0-{labeler}.csv"  # 2.1.0 keeps the names of 2.0.0
_RADIOLOGIST = "mimic-cxr-2.1.0-test-set-labeled.csv"
_SPLITS = {"train": "train", "validate": "val", "test": "test"}
_LATERAL = ("LATERAL", "LL")
_SUFFIXES = (".jpg", ".dcm", ".dcm.gz")
_GROUP = re.compile(r"p\d\d")
_MAX_UNPACKED = 2**30  # a DICOM file of this set has 12 MB: no bomb shall fill the memory
_ORIGIN = (
    "the PhysioNet pages 'MIMIC-CXR-JPG' (tables, JPEG images) and 'MIMIC-CXR Database' (DICOM "
    "images; its tables are those of MIMIC-CXR-JPG, in any folder named with --options=tables=DIR)"
)

# Study -> subject ("" where the table has none), and states of the findings.
_Studies = dict[str, tuple[str, tuple[int, ...]]]


class MimicCxr(_files.FileSource):
    """MIMIC-CXR-JPG 2.0.0 and 2.1.0, or MIMIC-CXR (DICOM) with the tables of MIMIC-CXR-JPG.

    The input folder holds ``files/p10/...`` (or ``p10/...``), and the tables, plain or ``.gz``.
    Labels are those of the study. Views are as the metadata have them, but LATERAL and LL are
    ``L``; many are not known. The example id is the dicom_id, the patient the subject_id. Files
    that are no images, such as reports, are counted and not part of the dataset.
    """

    name = "mimic_cxr"
    description = "MIMIC-CXR chest X-rays with 13 findings."
    citation = """@article{johnson2019mimiccxrjpg,
  title={MIMIC-CXR-JPG, a large publicly available database of labeled chest radiographs},
  author={Johnson, Alistair E. W. and Pollard, Tom J. and Greenbaum, Nathaniel R. and others},
  journal={arXiv:1901.07042},
  year={2019}
}"""
    licence = "PhysioNet Credentialed Health Data License; not to be redistributed."
    homepage = "https://physionet.org/content/mimic-cxr-jpg/"
    options = (
        Option(
            "labeler",
            "chexpert",
            "program that read the reports: chexpert or negbio",
            sources.choice("chexpert", "negbio"),
            images=False,
        ),
        _files.splits_option(
            "official",
            "patient",
            "authors",
            help="official: train, validate, test as published; patient: all drawn anew by "
            "patient; authors: official without test",
        ),
        Option(
            "test_labels",
            "labeler",
            "labels of the official test split: the labeler's, or the radiologist's of release "
            "2.1.0, other studies being left out of it",
            sources.choice("labeler", "radiologist"),
            images=False,
        ),
        _cxr.SUPPORT_DEVICES,
        Option(
            "tables",
            "",
            "folder of the csv files, absolute or relative to input_dir; input_dir by default",
            named="never",
            images=False,
            # Where a table lies changes nothing, and is nobody's business who gets the dataset.
            show=lambda value: "given" if value else "",
        ),
        _cxr.PARTIAL,
        _files.RENDER,
        _files.VAL_FRACTION,
        _files.TEST_FRACTION,
        _files.LEAKY,
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        # What `items` reads: image -> suffix, study -> labels, image -> split.
        self._files: dict[str, str] = {}
        self._studies: _Studies = {}
        self._reviewed: _Studies = {}
        self._splits: dict[str, str] = {}

    @property
    def labels(self) -> LabelSpace:
        """The 13 findings."""
        return _cxr.FINDINGS

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every row of the metadata, and what the other tables and folders have beyond it.

        Raises:
            UserError: If something is missing, or a table cannot be understood, naming the line.
        """
        paths, top = self._locate()
        yield from self._find_images(top)
        counts = _cxr.Labels(self.settings["support_devices"])
        self._studies = self._read_labels(paths["labels"], counts)
        if "test" in paths:
            self._reviewed = self._read_labels(paths["test"], counts)
        self._facts |= counts.facts
        if "split" in paths:
            self._splits = self._read_splits(paths["split"])
        stored = []
        for entry in self._join(paths, top):
            if isinstance(entry, Item):
                stored.append(entry)
            else:
                yield entry
        if self.settings["splits"] == "patient":
            stored = self.split_by_patient(stored, self.shares())
        yield from stored

    def load(self, item: Item) -> bytes:
        """Returns the file as it is, or what a ``.gz`` holds."""
        path = self.folder / item.source
        if path.suffix != ".gz":
            return super().load(item)
        try:
            with gzip.open(path) as stream:
                content = stream.read(_MAX_UNPACKED + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CorruptFileError(f"damaged gzip file ({error})") from None
        if len(content) > _MAX_UNPACKED:
            raise CorruptFileError(f"more than {_MAX_UNPACKED:,} bytes when unpacked")
        return content

    def _locate(self) -> tuple[dict[str, Path], str]:
        """Returns the paths of the tables, and the folder of the images: ``files/`` or "".

        Raises:
            UserError: If something is missing, listing all of it.
        """
        if self.settings["test_labels"] == "radiologist" and self.settings["splits"] != "official":
            raise UserError("--options: test_labels=radiologist needs splits=official.")
        names = {"metadata": _METADATA, "labels": _LABELS.format(**self.settings)}
        if self.settings["splits"] != "patient":
            names["split"] = _SPLIT
        if self.settings["test_labels"] == "radiologist":
            names["test"] = _RADIOLOGIST
        folder = self.folder / self.settings["tables"]
        found = {key: tables.find(folder, name) for key, name in names.items()}
        missing = [f"{names[key]} or .csv.gz in {folder}" for key in names if not found[key]]
        top = "files/" if (self.folder / "files").is_dir() else ""
        _cxr.refuse_outside(self.folder, top)
        if not self._groups(top):
            missing.append("files/p10, files/p11, ... with the images")
        _cxr.refuse_missing(self.folder, missing, _ORIGIN)
        return {key: path for key, path in found.items() if path}, top

    def _groups(self, top: str) -> list[str]:
        """Returns p10, p11, ... as far as they are there."""
        names = (path.name for path in (self.folder / top).iterdir())
        return sorted(filter(_GROUP.fullmatch, names))

    def _find_images(self, top: str) -> Iterator[Dropped]:
        """Fills `_files` (path without folder and suffix -> suffix), and notes the layout."""
        kinds, others = set(), 0
        for group in self._groups(top):
            for path in _cxr.walk(self.folder, f"{top}{group}"):
                suffix = next(filter(path.endswith, _SUFFIXES), "")
                key = path[len(top) : len(path) - len(suffix)]
                if not suffix:
                    others += 1
                    continue
                kinds.add(suffix)
                if self._files.setdefault(key, suffix) != suffix:
                    yield Dropped(path, "another copy of an image")
        named = " and ".join(sorted(kinds)) or "no"
        if ".jpg" in kinds and len(kinds) > 1:
            raise UserError(
                f"{self.folder} holds both {named} files: keep JPEG and DICOM images in folders of "
                "their own, and build one of them."
            )
        release = "MIMIC-CXR-JPG" if kinds == {".jpg"} else "MIMIC-CXR (DICOM)"
        self._facts["layout"] = f"{release}: {named} files in {top or '.'}"
        self._facts["files_that_are_no_images"] = others

    def _read_labels(self, path: Path, counts: _cxr.Labels) -> _Studies:
        """Returns the labels of a table by study."""
        # The radiologist's table has no subjects, and another word for a finding.
        reviewed = path.name.startswith(_RADIOLOGIST)
        columns = ("study_id", *(() if reviewed else ("subject_id",)), *_cxr.COLUMNS)
        studies: _Studies = {}
        for line, row in self.read_table(
            path, columns, renamed={"Airspace Opacity": "Lung Opacity"}
        ):
            where = f"{path}, line {line}"
            if row["study_id"] in studies:
                raise UserError(f"{where}: study {row['study_id']} has a second row.")
            studies[row["study_id"]] = (row.get("subject_id", ""), counts.states(row, where))
        return studies

    def _read_splits(self, path: Path) -> dict[str, str]:
        """Returns dicom_id -> split."""
        splits: dict[str, str] = {}
        for line, row in self.read_table(path, ("dicom_id", "split")):
            where = f"{path}, line {line}"
            if row["split"] not in _SPLITS:
                raise UserError(f"{where}: split {row['split']!r} is not one of {list(_SPLITS)}.")
            if row["dicom_id"] in splits:
                raise UserError(f"{where}: image {row['dicom_id']} has a second row.")
            splits[row["dicom_id"]] = _SPLITS[row["split"]]
        return splits

    def _join(self, paths: Mapping[str, Path], top: str) -> Iterator[Item | Dropped]:
        """Yields the rows of the metadata, then the rows of other tables and files without one."""
        images, studies, tested, used = set(), set(), set(), set()
        metadata = paths["metadata"]
        columns = ("dicom_id", "subject_id", "study_id", "ViewPosition")
        for line, row in self.read_table(metadata, columns):
            image, subject, study = row["dicom_id"], row["subject_id"], row["study_id"]
            if image in images:
                where = f"{image} ({metadata.name}, line {line})"
                yield Dropped(where, "second row of this image", defect=True)
                continue
            labelled = self._studies.get(study, (subject, ()))[0]
            if labelled != subject:
                raise UserError(
                    f"{metadata}, line {line}: study {study} is of subject {subject}, but of "
                    f"{labelled} in {paths['labels'].name}."
                )
            key = f"p{subject[:2]}/p{subject}/s{study}/{image}"
            images.add(image)
            studies.add(study)
            used.add(key)
            if self._splits.get(image) == "test":
                tested.add(study)
            yield self._entry(row, key, top, f"{metadata.name}, line {line}")
        for image in sorted(self._splits.keys() - images):
            yield Dropped(f"{image} ({paths['split'].name})", "no row in the metadata", defect=True)
        for study in sorted(self._studies.keys() - studies):
            yield Dropped(f"{study} ({paths['labels'].name})", "labelled study without images")
        for study in sorted(self._reviewed.keys() - tested):
            yield Dropped(f"{study} ({paths['test'].name})", "labelled study without test images")
        for key in sorted(self._files.keys() - used):
            yield Dropped(f"{top}{key}{self._files[key]}", "no row in the metadata")

    def _entry(self, row: Mapping[str, str], key: str, top: str, where: str) -> Item | Dropped:
        """Decides about a row of the metadata.

        Args:
            row: Column -> text.
            key: Of its image in `_files`.
            top: Folder of the images.
            where: File and line.
        """
        named = f"{top}{key} ({where})"
        split = self._splits.get(row["dicom_id"], "")
        if not split and self.settings["splits"] != "patient":
            return Dropped(named, "no row in the split table", defect=True)
        if split == "test" and self.settings["splits"] == "authors":
            return Dropped(named, "test split (splits=authors)")
        if split == "test" and self.settings["test_labels"] == "radiologist":
            labels, lacking = self._reviewed, "study has no label of the radiologist"
        else:
            labels, lacking = self._studies, "study has no label row"
        if row["study_id"] not in labels:
            return Dropped(named, lacking)
        if key not in self._files:
            return _cxr.no_file(named, partial=self.settings["partial"])
        return Item(
            row["dicom_id"],
            split,
            f"{top}{key}{self._files[key]}",
            labels[row["study_id"]][1],
            row["subject_id"],
            "L" if row["ViewPosition"] in _LATERAL else row["ViewPosition"],
        )


SOURCE = MimicCxr
