"""Tables and pictures that look like those of CheXpert and MIMIC-CXR, made up for tests."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

from conftest import write_image

from tfrecords_builders import stages
from tfrecords_builders.sources import Dropped, Item

# The order of the real tables.
COLUMNS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)


def cells(labels: Mapping[str, str]) -> list[str]:
    """Returns the 14 cells of a row; what is not named is blank."""
    assert set(labels) <= set(COLUMNS)
    return [labels.get(name, "") for name in COLUMNS]


def write_csv(path: Path, rows: Sequence[Sequence[str]], end: str = "\n") -> Path:
    """Writes a table, its header first; gzipped if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(",".join(row) + end for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_film(path: Path, seed: int) -> Path:
    """Writes a grey JPEG that no other seed gives."""
    return write_image(path, seed, (12, 16), "jpeg")


def read(source: str, folder: Path, *options: str):
    """Returns the source, its items by example id, and what it dropped."""
    opened = stages.make_job(source, input_dir=str(folder), options=options).open_source()
    entries = list(opened.items())
    items = {entry.example_id: entry for entry in entries if isinstance(entry, Item)}
    dropped = [entry for entry in entries if isinstance(entry, Dropped)]
    assert len(items) + len(dropped) == len(entries), "an example id occurs twice"
    return opened, items, dropped


def states(source, item: Item) -> dict[str, int]:
    """Returns finding -> state, without those that are not mentioned."""
    assert isinstance(item.label, tuple)
    named = zip(source.labels.names, item.label, strict=True)
    return {name: state for name, state in named if state != -2}
