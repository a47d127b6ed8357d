"""CheXpert: chest X-rays of Stanford, labelled from reports; valid and test by radiologists."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import LabelSpace
from tfrecords_builders.sources import Dropped, Item, _cxr, _files

# Table -> the word that stands for its images in example ids. The valid and test tables of
# CheXlocalize have labels only.
_TABLES = {
    "train.csv": "train",
    "valid.csv": "valid",
    "val_labels.csv": "valid",
    "test_labels.csv": "test",
}
_LABELS_ONLY = ("val_labels.csv", "test_labels.csv")
_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_WORDS = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}
_PATIENT = re.compile(r"patient\d+")
_PATH = re.compile(r"(?:^|(.*)/)(train|valid|val|test)/((patient\d+)/[^/]+/[^/]+)")
_DETAILS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
_DEPTH = 4  # input_dir, AIMI's container, a batch of it, train/
_ORIGIN = (
    "the Stanford AIMI pages 'CheXpert: Chest X-rays' (train.csv, valid.csv, images) and "
    "'CheXlocalize' (test_labels.csv, test/)"
)


class _Found(NamedTuple):
    """What lies below the input folder.

    Attributes:
        tables: Name of a table -> its paths, relative.
        holders: Folder that holds patient folders -> their names.
    """

    tables: dict[str, list[str]]
    holders: dict[str, list[str]]

    @property
    def words(self) -> set[str]:
        """What the holders are for: ``train``, ...; "" where their names do not tell."""
        return set(map(_word, self.holders))


class Chexpert(_files.FileSource):
    """CheXpert v1.0 in full size or small, and its test set, which CheXlocalize published.

    The input folder is the folder of ``train.csv``, its parent, the folder of the batches of
    Stanford AIMI, or that of CheXlocalize. Images are looked for where they are, whatever the
    batch, and example ids are always ``train/...``, ``valid/...`` or ``test/...``.

    Where a table has no views (CheXlocalize), the file names tell the lateral ones.
    """

    name = "chexpert"
    description = "CheXpert chest X-rays with 13 findings."
    citation = """@inproceedings{irvin2019chexpert,
  title={CheXpert: A large chest radiograph dataset with uncertainty labels and expert comparison},
  author={Irvin, Jeremy and Rajpurkar, Pranav and Ko, Michael and Yu, Yifan and others},
  booktitle={Proceedings of the AAAI Conference on Artificial Intelligence},
  volume={33},
  pages={590--597},
  year={2019}
}"""
    licence = "Stanford University Dataset Research Use Agreement; not to be redistributed."
    homepage = "https://stanfordmlgroup.github.io/competitions/chexpert/"
    options = (
        _files.splits_option(
            "official",
            "patient",
            help="official: train, valid and test as published; patient: all drawn anew by patient",
        ),
        _cxr.SUPPORT_DEVICES,
        _cxr.PARTIAL,
        _files.VAL_FRACTION,
        _files.TEST_FRACTION,
        _files.LEAKY,
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        if self.settings["splits"] == "official":
            self.published = {"train": 223_414, "val": 234, "test": 668}

    @property
    def labels(self) -> LabelSpace:
        """The 13 findings."""
        return _cxr.FINDINGS

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every row of the tables, and every file without a row.

        Raises:
            UserError: If something is missing, or a table cannot be understood, naming the line.
        """
        found = _survey(self.folder)
        chosen = self._choose_tables(found)
        files: dict[str, str] = {}
        for holder, patients in found.holders.items():
            for patient in patients:
                top = _join(holder, patient)
                for path in _cxr.walk(self.folder, top):
                    key = f"{_word(holder)}/{path[len(top) - len(patient) :]}"
                    if files.setdefault(key, path) != path:
                        yield Dropped(path, "another copy of an image")
        stored = []
        for entry in self._read(chosen, files):
            if isinstance(entry, Item):
                stored.append(entry)
            else:
                yield entry
        for path in sorted(set(files.values()) - {item.source for item in stored}):
            yield Dropped(path, "no row in the csv")
        if self.settings["splits"] == "patient":
            stored = self.split_by_patient(stored, self.shares())
        yield from stored

    def _choose_tables(self, found: _Found) -> list[str]:
        """Returns the paths of the tables to read, and notes the layout.

        Raises:
            UserError: If tables or images are missing, or there are several of a kind.
        """
        names = [name for name in _TABLES if name in found.tables]
        if "valid.csv" in names and "val_labels.csv" in names:
            names.remove("val_labels.csv")  # the same images; valid.csv knows more of them
        present = {_TABLES[name] for name in names}
        localize = bool(names) and set(names) <= set(_LABELS_ONLY) and "train" not in found.words
        wanted = present if localize else present | {"train", "valid"}
        missing = [f"{word}.csv" for word in sorted(wanted - present)]
        if not self.settings["partial"] and "" not in found.words:
            folders = sorted(wanted - found.words)
            missing += [f"a folder {word}/ with patient folders" for word in folders]
        _cxr.refuse_missing(self.folder, missing, _ORIGIN)
        for name in names:
            if len(found.tables[name]) > 1:
                raise UserError(
                    f"{self.folder}: several {name} ({', '.join(found.tables[name])}): name the "
                    "folder of one of them as --input_dir."
                )
        chosen = [found.tables[name][0] for name in names]
        self._facts["layout"] = _layout(found, chosen, localize)
        return chosen

    def _read(self, chosen: list[str], files: Mapping[str, str]) -> Iterator[Item | Dropped]:
        """Yields the rows of tables.

        Args:
            chosen: Paths of the tables.
            files: ``train/patient00001/study1/view1_frontal.jpg`` -> path; without the word before
                the first ``/`` where it is not known.
        """
        labels = _cxr.Labels(self.settings["support_devices"])
        prefixes: Counter[str] = Counter()
        seen: set[str] = set()
        for table in chosen:
            name = _name(table).removesuffix(".gz")
            details = () if name in _LABELS_ONLY else _DETAILS
            columns = ("Path", *details, *_cxr.COLUMNS)
            for line, row in self.read_table(self.folder / table, columns):
                where = f"{self.folder / table}, line {line}"
                prefix, key, patient = _parse_path(row["Path"], where)
                prefixes[prefix] += 1
                if key in seen:
                    again = f"{row['Path']} ({table}, line {line})"
                    yield Dropped(again, "second row of this image", defect=True)
                    continue
                seen.add(key)
                states = labels.states(row, where)
                source = files.get(key) or files.get(key[key.index("/") :])
                if source is None:
                    missing = f"{row['Path']} ({table}, line {line})"
                    yield _cxr.no_file(missing, partial=self.settings["partial"])
                    continue
                yield Item(
                    key,
                    _SPLITS[_TABLES[name]],
                    source,
                    states,
                    patient,
                    _view(row, where),
                    row.get("Sex", ""),
                    row.get("Age", ""),
                )
        # Tells which version the tables are of, whatever the folder is called.
        self._facts["prefixes"] = ", ".join(
            f"{prefix or 'none'} in {count:,} rows" for prefix, count in sorted(prefixes.items())
        )
        self._facts |= labels.facts


def _survey(folder: Path) -> _Found:
    """Looks for tables and patient folders in the upper levels of a folder."""
    found = _Found({}, {})
    level = [""]
    for _ in range(_DEPTH):
        below = []
        for place in level:
            with os.scandir(folder / place) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
            folders = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
            files = {e.name for e in entries if e.is_file()}
            for table in _TABLES:
                for name in [n for n in (table, f"{table}.gz") if n in files][:1]:
                    found.tables.setdefault(table, []).append(_join(place, name))
            patients = [name for name in folders if _PATIENT.fullmatch(name)]
            if patients:
                found.holders[place] = patients
            below += [_join(place, name) for name in folders if not _PATIENT.fullmatch(name)]
        level = below
    # CheXlocalize's copy of valid comes last: CheXpert's own has the size of the training images.
    return found._replace(
        holders=dict(sorted(found.holders.items(), key=lambda holder: _name(holder[0]) == "val"))
    )


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _word(holder: str) -> str:
    """Returns ``train``, ``valid`` or ``test`` for ``train``, ``batch 2 (train 1)``, ...; or ""."""
    match = re.search(r"\b(train|val|test)", _name(holder).lower())
    return _WORDS[match[1]] if match else ""


def _layout(found: _Found, chosen: list[str], localize: bool) -> str:
    """Describes in words what was found."""
    kind = "CheXpert-v1.0"
    if localize:
        kind = "CheXlocalize"
    elif any(_name(h) != "train" for h in found.holders if _word(h) == "train"):
        kind = "batch folders of Stanford AIMI"
    holders = ", ".join(holder or "." for holder in found.holders) or "no folder"
    return f"{kind}: {', '.join(chosen)}; images in {holders}"


def _parse_path(path: str, where: str) -> tuple[str, str, str]:
    """Returns the prefix of a ``Path``, the example id, and the patient."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise UserError(
            f"{where}: the Path {path!r} is not train/, valid/ or test/ followed by "
            "patientNNNNN/studyN/file."
        )
    return match[1] or "", f"{_WORDS[match[2]]}/{match[3]}", match[4]


def _view(row: Mapping[str, str], where: str) -> str:
    """Returns ``L`` for a lateral image, else how a frontal one was taken, "" if not known."""
    side = row.get("Frontal/Lateral", "")
    if not side and "Frontal/Lateral" not in row:
        side = "Lateral" if row["Path"].endswith("_lateral.jpg") else "Frontal"
    if side not in ("Frontal", "Lateral"):
        raise UserError(f"{where}: Frontal/Lateral is {side!r}, not Frontal or Lateral.")
    return "L" if side == "Lateral" else row.get("AP/PA", "")


SOURCE = Chexpert
