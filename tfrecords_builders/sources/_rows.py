"""What sources share whose labels are a user's own csv with a row per image."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from tfrecords_builders import sources, tables
from tfrecords_builders.sources import Item, Option, _files

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
} | dict.fromkeys(("val", "valid", "validate", "validation"), "val")
_TEXTS = ("patient_id", "view", "sex", "age")

about_rows = functools.partial(Option, named="never", images=False)


def options(*, csv: str, channels: int) -> tuple[Option, ...]:
    """Returns the options that these sources have in common.

    Args:
        csv: Default of ``csv``.
        channels: Default of ``channels``.
    """
    return (
        about_rows("csv", csv, "table of files and labels, below input_dir"),
        about_rows(
            "labels",
            (),
            "columns of the csv that are findings, for several labels per image",
            parse=sources.words,
            show=sources.show_words,
        ),
        about_rows("name", "", "name of the dataset; the folder's by default"),
        _files.VAL_FRACTION,
        _files.TEST_FRACTION,
        about_rows(
            "leaky",
            False,
            "true allows patients and equal images in several splits",
            parse=sources.boolean,
        ),
        Option("channels", channels, "1 stores grey, 3 colour", sources.one_of(1, 3)),
    )


class RowSource(_files.FileSource):
    """Base of sources whose csv has a row per image.

    A column names the file, another, ``label``, its class; with ``labels=a,b`` the columns ``a``
    and ``b`` are findings, several of which may be true: 1 positive, 0 negative, -1 uncertain,
    empty or -2 not mentioned. The columns ``split``, ``patient_id``, ``view``, ``sex`` and ``age``
    are used where they are there.

    Where no split is given, examples are drawn at random, all images of a patient into one split.
    """

    licence = "As the owner of the images says."

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        base = self.settings["name"] or self.folder.resolve().name
        name = re.sub(r"[^a-z0-9]+", "_", base.lower()).strip("_") or "images"
        self.name = name if name[0].isalpha() else f"images_{name}"
        self._names: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """As the option says."""
        return self.settings["channels"]

    @property
    def labels(self) -> LabelSpace:
        """Findings, or classes in alphabetical order (in numerical order if all are numbers)."""
        if self.settings["labels"]:
            return LabelSpace(MULTILABEL, self.settings["labels"])
        return LabelSpace(MULTICLASS, self._names)

    def rows(self, key: str) -> Iterator[tuple[str, Item]]:
        """Yields (file and line, item) for every row of the csv.

        Id and source of an item are what the column ``key`` says; its label is the name of a class
        or a tuple of states; its split is "" if there is no such column.

        Raises:
            UserError: If the csv cannot be understood, naming line and column.
        """
        findings = self.settings["labels"]
        path = sources.inside(self.folder, self.settings["csv"], "--options: csv")
        if not path.is_file():
            raise UserError(f"{path}: no such file: name the table with --options=csv=FILE.")
        advice = "" if findings else "; several findings per image are named with labels=a,b"
        columns = (key, *(findings or ["label"]))
        for line, row in self.read_table(path, columns, advice=advice):
            where = f"{path}, line {line}"
            if not row[key]:
                raise UserError(f"{where}: the {key} is empty.")
            yield where, self._item(row, key, where)

    def _item(self, row: dict[str, str], key: str, where: str) -> Item:
        split = row.get("split")
        if split is not None:
            split = SPLITS.get(split.lower(), split.lower())
            if not split:
                raise UserError(f"{where}: the split is empty; fill in all, or drop the column.")
        label: Any
        if self.settings["labels"]:
            label = tuple(
                tables.state(row[name], f"{where}: {name}") for name in self.settings["labels"]
            )
        else:
            label = row["label"]
            if not label:
                raise UserError(f"{where}: the label is empty.")
        texts = {name: row.get(name, "") for name in _TEXTS}
        return Item(row[key], split or "", row[key], label, **texts)

    def completed(self, items: Sequence[Item]) -> list[Item]:
        """Gives classes their numbers, and splits to items that have none.

        Args:
            items: All there are, with labels and splits as of `rows`.

        Raises:
            UserError: If nothing would be left to train on.
        """
        found = list(items)
        if not self.labels.is_multilabel:
            self._names = tuple(sorted({str(item.label) for item in found}, key=_natural))
            number = {name: i for i, name in enumerate(self._names)}
            found = [item._replace(label=number[str(item.label)]) for item in found]
        if found and not found[0].split:
            found = self.split_by_patient(found, self.shares())
        return found


def _natural(name: str) -> tuple[int, int, str]:
    """Sorts 2 before 10; whole numbers come first."""
    return (0, int(name), name) if re.fullmatch(r"\d+", name) else (1, 0, name)
