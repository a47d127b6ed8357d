"""What a build is: the job a user asked for, and the plan of shards made from it, as files.

``plan/items.jsonl`` has one row per item in record order, every shard being a range of its bytes,
so that a worker reads its own items only; ``plan/plan.json`` holds the rest; ``plan/left_out.csv``
lists rows that were left out by rule.
"""

import dataclasses
import importlib.metadata
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import LabelSpace
from keras_transfer.data import records
from tfrecords_builders import sources
from tfrecords_builders.images import Rendering
from tfrecords_builders.privacy import Pseudonyms
from tfrecords_builders.sources import Item, Source

PLAN_DIR = "plan"
ITEMS_FILE, PLAN_FILE = "items.jsonl", "plan.json"
LEFT_OUT_FILE = "left_out.csv"
BEYOND_LIMIT = "beyond --limit"
STATE_NAMES = {
    records.POSITIVE: "positive",
    records.NEGATIVE: "negative",
    records.UNCERTAIN: "uncertain",
    records.NOT_MENTIONED: "not_mentioned",
}
_CODECS = (
    "opencv-python-headless",
    "numpy",
    "pillow",
    "pydicom",
    "python-gdcm",
    "pylibjpeg-openjpeg",
)
_FORMAT = 1  # changes when the writer would make other records of the same items
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the user asked for: equal jobs on equal input give equal bytes.

    Attributes:
        source: Name of the source's module.
        options: Every option of the source and its value.
        input_dir: Where the source reads; "" if it reads nothing.
        seed: Of order, splits and generated content.
        rendering: How images are stored.
        limit: Examples to keep, 0 for all.
        salt_file: Secret that hides names of patients and files; "" writes them as they are.
    """

    source: str
    options: tuple[tuple[str, Any], ...]
    input_dir: str
    seed: int
    rendering: Rendering
    limit: int = 0
    salt_file: str = ""

    @property
    def pseudonyms(self) -> Pseudonyms:
        """What is written instead of names of patients, studies and files."""
        return Pseudonyms(self.salt_file)

    def open_source(self) -> Source:
        """Makes the source; every process makes its own."""
        folder = Path(self.input_dir) if self.input_dir else None
        return sources.get(self.source)(dict(self.options), folder, self.seed)

    @property
    def config(self) -> str:
        """Second level of the dataset's folder: whatever differs from the defaults."""
        source = sources.get(self.source)
        parts = [
            sources.config_name(source, dict(self.options)),
            f"{self.rendering.image_size}px" if self.rendering.image_size else "",
            self.rendering.encoding if self.rendering.encoding != source.encoding else "",
            f"limit_{self.limit}" if self.limit else "",
            f"seed_{self.seed}" if self.seed else "",
            "hashed" if self.salt_file else "",
        ]
        return "_".join(filter(None, parts)) or "default"

    def request(self) -> dict[str, Any]:
        """Returns what decides the dataset beside the input itself, as texts and numbers."""
        source = sources.get(self.source)
        values = dict(self.options)
        return {
            "source": f"{self.source} {source.version}",
            **{f"options.{o.name}": o.show(values[o.name]) for o in source.options},
            **dataclasses.asdict(self.rendering),
            "seed": self.seed,
            "limit": self.limit,
            "salt": self.pseudonyms.fingerprint,
            "format": _FORMAT,
        }

    def image_request(self) -> dict[str, Any]:
        """Returns the part of `request` that decides what the image of an item looks like."""
        others = {f"options.{o.name}" for o in sources.get(self.source).options if not o.images}
        others |= {"limit", "salt"}
        return {key: value for key, value in self.request().items() if key not in others}


@dataclass(frozen=True, slots=True)
class Shard:
    """One file to be written.

    Attributes:
        file: Its name, as TFDS expects it.
        split: Its split.
        count: Items.
        start: First byte of its rows in ``items.jsonl``.
        end: Byte after its last row.
        fingerprint: Of everything its bytes depend on.
    """

    file: str
    split: str
    count: int
    start: int
    end: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything known before the pixels are read.

    Attributes:
        name: Name of the dataset.
        labels: Task and names.
        fingerprint: Of the content of the dataset, whatever the shards.
        request: `Job.request`.
        rows_in: Items and dropped rows that the source gave.
        left_out: Reason -> rows left out by rule.
        defects: (row, reason) of each row with something wrong.
        counts: As of `tally_labels`.
        patients: Split -> known patients.
        shared_patients: Patients that are in several splits.
        checksums: Label file -> SHA-256.
        facts: `Source.facts`.
        shards: In order of split and number.
        bytes_per_example: Mean of a few rendered examples; 0 if none could be rendered.
        seconds_per_example: Likewise, of one core.
    """

    name: str
    labels: LabelSpace
    fingerprint: str
    request: dict[str, Any]
    rows_in: int
    left_out: dict[str, int]
    defects: tuple[tuple[str, str], ...]
    counts: dict[str, dict[str, Any]]
    patients: dict[str, int]
    shared_patients: int
    checksums: dict[str, str]
    facts: dict[str, Any]
    shards: tuple[Shard, ...]
    bytes_per_example: float
    seconds_per_example: float

    def shards_of(self, split: str) -> list[Shard]:
        """Returns the shards of a split, in order."""
        return [shard for shard in self.shards if shard.split == split]

    @property
    def sizes(self) -> dict[str, int]:
        """Split -> number of items."""
        sizes: Counter[str] = Counter()
        for shard in self.shards:
            sizes[shard.split] += shard.count
        return dict(sizes)

    def save(self, folder: Path) -> None:
        """Writes ``plan/plan.json``; the rows must be there already."""
        runs.write_json(folder / PLAN_DIR / PLAN_FILE, dataclasses.asdict(self))


def codecs() -> dict[str, str]:
    """Returns the versions of the packages that decide what bytes an image becomes."""
    return {name: _version(name) for name in _CODECS}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""  # the codecs of DICOM are an extra


def load(folder: Path) -> Plan:
    """Reads the plan of a build folder."""
    path = folder / PLAN_DIR / PLAN_FILE
    if not path.is_file():
        raise UserError(f"{path}: no plan yet: run the same command with --stage=plan or all.")
    content = runs.read_json(path)
    labels = LabelSpace(content["labels"]["task"], tuple(content["labels"]["names"]))
    shards = tuple(Shard(**shard) for shard in content["shards"])
    defects = tuple((source, reason) for source, reason in content["defects"])
    return Plan(**{**content, "labels": labels, "shards": shards, "defects": defects})


def encode_row(item: Item) -> bytes:
    """Returns the row of an item; the split is told by the shard."""
    return _encode((item[0], *item[2:])).encode() + b"\n"


def decode_row(row: bytes, split: str) -> Item:
    """Returns the item of a row."""
    example_id, source, label, *texts = json.loads(row)
    return Item(
        example_id, split, source, tuple(label) if isinstance(label, list) else label, *texts
    )


def read_items(folder: Path, shard: Shard) -> Iterator[Item]:
    """Yields the items of a shard, in record order."""
    with (folder / PLAN_DIR / ITEMS_FILE).open("rb") as stream:
        stream.seek(shard.start)
        for _ in range(shard.count):
            yield decode_row(stream.readline(), shard.split)


def tally_labels(
    labels: LabelSpace, counts: Mapping[tuple[str, Any], int]
) -> dict[str, dict[str, Any]]:
    """Adds up labels.

    Args:
        labels: Task and names.
        counts: (split, label of an item) -> number of items.

    Returns:
        Split -> class -> number of items; for multi-label data split -> finding -> state
        (``positive``, ``negative``, ``uncertain``, ``not_mentioned``) -> number of items.
    """
    result: dict[str, dict[str, Any]] = {}
    for (split, label), count in counts.items():
        if split not in result:
            empty = {name: dict.fromkeys(STATE_NAMES.values(), 0) for name in labels.names}
            result[split] = empty if labels.is_multilabel else dict.fromkeys(labels.names, 0)
        if labels.is_multilabel:
            for name, state in zip(labels.names, label):
                result[split][name][STATE_NAMES[state]] += count
        else:
            result[split][labels.names[label]] += count
    return result
