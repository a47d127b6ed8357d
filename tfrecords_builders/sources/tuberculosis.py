"""Tuberculosis: the chest X-rays of Shenzhen and Montgomery, normal or with tuberculosis."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, LabelSpace
from tfrecords_builders import sources
from tfrecords_builders.sources import Dropped, Item, _ages, _files, _listing

_SETS = {"CHNCXR": "Shenzhen", "MCUCXR": "Montgomery"}
_IMAGES, _READINGS = "CXR_png", "ClinicalReadings"
_DEPTH = 4
_READING_BYTES = 4096  # what is asked of a reading stands in its first lines
_AUTHORS_SEED, _AUTHORS_TRAIN = 42, 0.85
_ORIGIN = (
    "https://lhncbc.nlm.nih.gov/LHC-downloads/downloads.html#tuberculosis-image-data-sets "
    "(ChinaSet_AllFiles.zip, NLM-MontgomeryCXRSet.zip)"
)
_MONTGOMERY = re.compile(
    r"sex\s*:\s*(?P<sex>[a-z])\w*\s*(?:patient\S*\s+)?age\s*:\s*(?P<age>\d+[ \t]*[a-z]*)",
    re.IGNORECASE,
)
_SHENZHEN = re.compile(r"\b(?P<sex>male|female)\b\W*(?P<age>\d+[ \t]*[a-z]*)?", re.IGNORECASE)


class Tuberculosis(_files.FileSource):
    """Below the input folder: one or both sets, wherever their folders ``CXR_png`` lie.

    The class is the last digit of the file name. Sex and age are those of the clinical readings
    beside the images. The example id is the file name; every image is of another patient.
    """

    name = "tuberculosis"
    description = "Shenzhen and Montgomery: frontal chest X-rays, normal or with tuberculosis."
    citation = """@article{jaeger2014two,
  title={Two public chest X-ray datasets for computer-aided screening of pulmonary diseases},
  author={Jaeger, Stefan and Candemir, Sema and Antani, Sameer and W{\\'a}ng, Y{\\`i}-Xi{\\'a}ng J.
    and Lu, Pu-Xuan and Thoma, George},
  journal={Quantitative Imaging in Medicine and Surgery},
  volume={4},
  number={6},
  pages={475--477},
  year={2014}
}"""
    licence = "Public, from the U.S. National Library of Medicine; cite the paper."
    homepage = _ORIGIN.split(" ")[0]
    options = (
        _files.splits_option(
            "patient",
            "authors",
            help="patient: drawn by patient; authors: 85 % train and 15 % test of each set",
        ),
        _files.VAL_FRACTION,
        _files.TEST_FRACTION,
        _files.LEAKY,
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        if self.settings["splits"] == "authors":
            self.published = {"train": 679, "test": 121}

    @property
    def labels(self) -> LabelSpace:
        """Normal, tuberculosis."""
        return LabelSpace(MULTICLASS, ("normal", "tuberculosis"))

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every file of the folders of images.

        Raises:
            UserError: If there is no such folder, or two of one set.
        """
        found: dict[str, list[Item]] = {}
        folder_of: dict[str, str] = {}
        self._facts = {"layout": "", "images without a reading": 0, "readings not understood": 0}
        for folder in self._image_folders():
            for entry in self._entries(folder):
                if isinstance(entry, Dropped):
                    yield entry
                    continue
                name = _SETS[entry.patient_id.split("_")[0]]
                if folder_of.setdefault(name, folder) != folder:
                    raise UserError(
                        f"{self.folder}: {folder_of[name]} and {folder} both hold {name}: "
                        "move one of them away."
                    )
                found.setdefault(name, []).append(entry)
        parts = [f"{name} in {folder}" for name, folder in folder_of.items()]
        parts += [f"no {name}" for name in _SETS.values() if name not in folder_of]
        self._facts["layout"] = ", ".join(parts)
        yield from self._split(found)

    def _image_folders(self) -> list[str]:
        """Returns the folders of images below the input folder."""
        found = []
        for root, folders, _ in os.walk(self.folder):
            relative = Path(root).relative_to(self.folder)
            if _IMAGES in folders:
                found.append((relative / _IMAGES).as_posix())
            folders[:] = sorted(set(folders) - {_IMAGES})
            if len(relative.parts) >= _DEPTH - 1:
                folders.clear()
        missing = [] if found else [f"a folder {_IMAGES}/ of Shenzhen or Montgomery, unpacked"]
        _listing.refuse_missing(self.folder, missing, _ORIGIN)
        return sorted(found)

    def _entries(self, folder: str) -> Iterator[Item | Dropped]:
        readings = self._readings(self.folder / folder)
        for name in sorted(path.name for path in (self.folder / folder).iterdir()):
            path = f"{folder}/{name}"
            match = re.fullmatch(r"((CHNCXR|MCUCXR)_\d+)_([01])\.png", name, re.IGNORECASE)
            if match:
                sources.inside(self.folder, path, self._root)
                sex, age = self._person(readings.get(Path(name).stem.lower()))
                patient = match[1].upper()
                yield Item(name, "", path, int(match[3]), patient, "PA", sex, age)
            elif name.lower().endswith(".png"):
                yield Dropped(path, "the name tells no label", defect=True)
            else:
                yield Dropped(path, "not an image")

    def _readings(self, images: Path) -> dict[str, Path]:
        """Returns lower-case stem of an image -> its reading."""
        folder = images.parent / _READINGS
        if not folder.is_dir():
            return {}
        return {path.stem.lower(): path for path in folder.iterdir() if path.is_file()}

    def _person(self, reading: Path | None) -> tuple[str, str]:
        """Returns sex and age of a reading, "" where it does not tell."""
        if reading is None:
            self._facts["images without a reading"] += 1
            return "", ""
        with reading.open("rb") as stream:
            # Some hold other characters in the findings, which are not read.
            text = stream.read(_READING_BYTES).decode("utf-8", "replace")
        match = _MONTGOMERY.search(text) or _SHENZHEN.search(text)
        sex = match["sex"][0].upper() if match else ""
        age = _ages.years(match["age"] or "") if match else ""
        if not (sex and age):
            self._facts["readings not understood"] += 1
        return sex, age

    def _split(self, found: Mapping[str, list[Item]]) -> Iterator[Item]:
        if self.settings["splits"] == "patient":
            items = [item for part in found.values() for item in part]
            yield from self.split_by_patient(items, self.shares())
            return
        for part in found.values():
            order = np.arange(len(part))
            np.random.RandomState(_AUTHORS_SEED).shuffle(order)
            train = int(_AUTHORS_TRAIN * len(part))
            for position, number in enumerate(order.tolist()):
                yield part[number]._replace(split="train" if position < train else "test")


SOURCE = Tuberculosis
