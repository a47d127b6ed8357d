"""What sources share whose images are files and whose labels are tables below one folder."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_transfer.core.errors import UserError
from keras_transfer.core.sampling import grouped_split
from tfrecords_builders import sources, tables
from tfrecords_builders.sources import Dropped, Item, Option

VAL_FRACTION = Option(
    "val_fraction",
    0.1,
    "share of the examples for val, drawn by patient, where the source has no val of its own",
    sources.number(0, 1),
    images=False,
)
TEST_FRACTION = Option(
    "test_fraction",
    0.2,
    "share of the examples for test, drawn by patient, where the source has no test of its own",
    sources.number(0, 1),
    images=False,
)
LEAKY = Option(
    "leaky",
    False,
    "true allows patients and equal images in several splits; the card says how many there are",
    sources.boolean,
    named="never",
    images=False,
)
RENDER = Option(
    "render",
    "dicom",
    "dicom: look-up tables and windows of the DICOM standard; mimic_jpg: as MIMIC-CXR-JPG was made",
    sources.choice("dicom", "mimic_jpg"),
)


def _open_at_once(path: str, flags: int) -> int:
    # A pipe would otherwise be waited for until somebody writes into it; so it is empty.
    return os.open(path, flags | os.O_NONBLOCK)


def splits_option(*known: str, help: str) -> Option:
    """Returns the option ``splits``; the first value is the default."""
    return Option("splits", known[0], help, sources.choice(*known), images=False)


class FileSource(sources.Source):
    """Base of sources that read files below the input folder.

    Attributes:
        folder: The input folder.
    """

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        assert input_dir is not None
        self.folder = input_dir
        self._root = os.fspath(input_dir)
        self.leaky = "declared by the user" if self.settings.get("leaky") else ""
        self._facts: dict[str, Any] = {}
        self._checksums: dict[str, str] = {}

    def load(self, item: Item) -> bytes:
        """Returns the file as it is."""
        # Unbuffered and without pathlib, which together take as long as reading the file.
        path = f"{self._root}/{item.source}"
        with open(path, "rb", buffering=0, opener=_open_at_once) as stream:
            return stream.read() or b""

    def checksums(self) -> dict[str, str]:
        """Returns the checksums of the tables that were read."""
        return self._checksums

    def facts(self) -> dict[str, Any]:
        """Returns the layout found, and what the source counted."""
        return self._facts

    def read_table(
        self, path: Path, columns: Sequence[str], **arguments: Any
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Reads a table as `tables.read` does, and notes its checksum."""
        self._note(path)
        return tables.read(path, columns, **arguments)

    def read_lines(self, path: Path) -> Iterator[tuple[int, str]]:
        """Reads a list as `tables.lines` does, and notes its checksum."""
        self._note(path)
        return tables.lines(path)

    def _note(self, path: Path) -> None:
        # A table of another folder (MIMIC-CXR) is known by its name.
        inside = path.is_relative_to(self.folder)
        name = path.relative_to(self.folder).as_posix() if inside else path.name
        self._checksums[name] = tables.checksum(path)

    def found(self, item: Item, where: str) -> Item | Dropped:
        """Returns an item whose file exists, else that it is missing.

        Args:
            item: ``source`` is a path below the input folder, as some table has it.
            where: File and line of the table, for messages.

        Raises:
            UserError: If the path leaves the input folder.
        """
        if sources.inside(self.folder, item.source, where).is_file():
            return item
        return Dropped(f"{item.source} ({where})", "no such file", defect=True)

    def split_by_patient(self, items: Sequence[Item], shares: Mapping[str, float]) -> list[Item]:
        """Gives every item a split so that no patient is in two of them; see `grouped_split`.

        Args:
            items: Their splits are ignored; items without a patient stand for themselves.
            shares: Split -> share of the examples, empty shares left out; they sum to 1.
        """
        shares = {split: share for split, share in shares.items() if share > 0}
        splits = grouped_split([item.patient_id for item in items], shares, self.seed)
        return [item._replace(split=str(split)) for item, split in zip(items, splits)]

    def shares(self, *, val: bool = True, test: bool = True) -> dict[str, float]:
        """Returns the shares that ``val_fraction`` and ``test_fraction`` ask for.

        Args:
            val: Whether there is a val to draw.
            test: Whether there is a test to draw.

        Raises:
            UserError: If nothing is left to train on.
        """
        shares = {
            "val": self.settings["val_fraction"] if val else 0.0,
            "test": self.settings["test_fraction"] if test else 0.0,
        }
        rest = 1 - sum(shares.values())
        if rest <= 0:
            named = ", ".join(f"{split}_fraction={share:g}" for split, share in shares.items())
            raise UserError(f"--options: {named} leave nothing to train on.")
        return {"train": rest, **shares}
