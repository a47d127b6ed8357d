"""What CheXpert and MIMIC-CXR share: the findings of the CheXpert labeller, and walking folders."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.data import records
from tfrecords_builders import sources, tables
from tfrecords_builders.sources import Dropped, Option

# The order of the authors' models; "Effusion" is "Pleural Effusion", as NIH and PadChest call it.
FINDINGS = LabelSpace(
    MULTILABEL,
    (
        "Atelectasis",
        "Cardiomegaly",
        "Consolidation",
        "Edema",
        "Enlarged Cardiomediastinum",
        "Fracture",
        "Lung Lesion",
        "Lung Opacity",
        "Effusion",
        "Pleural Other",
        "Pneumonia",
        "Pneumothorax",
        "Support Devices",
    ),
)
_FINDING_COLUMNS = tuple(
    "Pleural Effusion" if name == "Effusion" else name for name in FINDINGS.names
)
COLUMNS = ("No Finding", *_FINDING_COLUMNS)
_DEVICES = FINDINGS.names.index("Support Devices")

SUPPORT_DEVICES = Option(
    "support_devices",
    "keep",
    "where No Finding = 1: keep leaves Support Devices as labelled, zero makes it negative "
    "(the authors)",
    sources.choice("keep", "zero"),
    images=False,
)
PARTIAL = Option(
    "partial",
    False,
    "true leaves out rows whose image is not there, for a part of the download",
    sources.boolean,
    images=False,
)


class Labels:
    """Reads the labels of rows, and counts what the No-Finding rule does.

    Where No Finding = 1 every finding becomes negative, but Support Devices as the option says: a
    chest with nothing to find may well have a pacemaker.

    Attributes:
        facts: Counts for `sources.Source.facts`. Contradictions are rows with No Finding = 1 and
            another finding, not Support Devices, that is positive or uncertain.
    """

    def __init__(self, support_devices: str):
        self._keep = support_devices == "keep"
        devices = f"support_devices_{'kept' if self._keep else 'set_negative'}_beside_no_finding"
        self._devices_facts = {
            records.POSITIVE: f"positive_{devices}",
            records.UNCERTAIN: f"uncertain_{devices}",
        }
        names = ("no_finding_rows", "no_finding_contradictions", *self._devices_facts.values())
        self.facts = dict.fromkeys(names, 0)

    def states(self, row: Mapping[str, str], where: str) -> tuple[int, ...]:
        """Returns the state of every finding of a row that has `COLUMNS`.

        Args:
            row: Column -> text.
            where: File and line, for messages.

        Raises:
            UserError: If a value is not a state, naming the column.
        """
        no_finding = tables.state(row["No Finding"], f"{where}: No Finding")
        states = [tables.state(row[name], f"{where}: {name}") for name in _FINDING_COLUMNS]
        if no_finding != records.POSITIVE:
            return tuple(states)
        devices = states.pop(_DEVICES)
        self.facts["no_finding_rows"] += 1
        if any(state in (records.POSITIVE, records.UNCERTAIN) for state in states):
            self.facts["no_finding_contradictions"] += 1
        if devices in self._devices_facts:
            self.facts[self._devices_facts[devices]] += 1
        result = [records.NEGATIVE] * FINDINGS.num_classes
        if self._keep:
            result[_DEVICES] = devices
        return tuple(result)


def no_file(row: str, *, partial: bool) -> Dropped:
    """Returns what becomes of a row whose image is not there.

    Args:
        row: Path, file and line.
        partial: Whether that is expected.
    """
    if partial:
        return Dropped(row, "no such file (partial=true)")
    return Dropped(row, "no such file (partial=true leaves such rows out)", defect=True)


def walk(folder: Path, top: str) -> Iterator[str]:
    """Yields every file below a folder in a fixed order, and links to folders, not followed.

    Args:
        folder: The input folder; paths are relative to it.
        top: Where to start, relative.

    Raises:
        UserError: If a link leaves the input folder.
    """
    refuse_outside(folder, top)
    below = []
    with os.scandir(folder / top) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{top}/{entry.name}"
            if entry.is_symlink():
                refuse_outside(folder, path)
            if entry.is_dir(follow_symlinks=False):
                below.append(path)
            else:
                yield path
    for path in below:
        yield from walk(folder, path)


def refuse_outside(folder: Path, path: str) -> None:
    """Raises a UserError if a path is a link that leaves the input folder."""
    joined = folder / path
    if joined.is_symlink() and not joined.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{joined}: a link to a place outside {folder}, which is not followed: name the folder "
            "that holds the files themselves as --input_dir."
        )


def refuse_missing(folder: Path, missing: list[str], origin: str) -> None:
    """Raises a UserError that lists all that is missing, if anything is.

    Args:
        folder: Where it was looked for.
        missing: Names of files and folders.
        origin: Where to get them.
    """
    if missing:
        raise UserError(
            f"{folder}: not found: {'; '.join(missing)} (links to folders are not followed). "
            f"Get them from {origin}."
        )
