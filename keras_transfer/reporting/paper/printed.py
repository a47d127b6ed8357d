"""What arXiv:2106.00116 and its poster print: the layouts of three tables, and 138 numbers.

The numbers are in ``printed.csv``, in percent. All three tables are of full-shot transfer.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from keras_transfer.core.errors import UserError
from keras_transfer.reporting import style
from keras_transfer.reporting.paper.names import (
    LARGE_NET,
    LARGE_XRAYS,
    MEDICAL,
    MEDICAL_SOURCES,
    NATURAL,
    SMALL_NET,
)
from keras_transfer.reporting.tables import AUTHORS, SEEDS

# target, source, arch
Place = tuple[str, str, str]

ARCHS = {SMALL_NET: "ResNet-50x1", LARGE_NET: "ResNet-152x4"}

# Metrics as the captions number them.
_NUMBERS = {"accuracy": "(1)", "mean_auc": "(2)"}
METRICS_NOTE = "(1) top-1 accuracy, (2) mean AUC, both in %"
_TITLES = {"mimic": "MIMIC CXR", "nih": "NIH CXR"}
_ONE, _TWO, _THREE, _FOUR = MEDICAL_SOURCES


@dataclass(frozen=True)
class Printed:
    """A printed number, in percent.

    Attributes:
        mean: Its mean.
        sd: What stands after ±.
    """

    mean: float
    sd: float

    @property
    def text(self) -> str:
        """``mean ± sd`` as it was printed."""
        return f"{self.mean:.2f} ± {self.sd:.2f}"


@dataclass(frozen=True)
class Source:
    """A column, the same for each network.

    Attributes:
        label: Its heading.
        source: Pre-training data.
        domain: ``natural`` or ``medical``: data scale is compared within one.
        instead: Target -> the data that stands in this column for it.
    """

    label: str
    source: str
    domain: str
    instead: Mapping[str, str] = field(default_factory=dict)

    def of(self, target: str) -> str:
        """Returns the pre-training data of this column for a target."""
        return self.instead.get(target, self.source)


@dataclass(frozen=True)
class Layout:
    """What a printed table looks like.

    Attributes:
        name: ``table1``, ``table2`` or ``poster``.
        title: What it is called.
        subject: What it compares.
        targets: Domain -> its targets, in the order of print.
        sources: Columns within each network.
        spread: What the printed ± is over: ``tables.SEEDS`` or ``tables.AUTHORS``.
    """

    name: str
    title: str
    subject: str
    targets: Mapping[str, Sequence[str]]
    sources: Sequence[Source]
    spread: str

    @property
    def labels(self) -> list[str]:
        """The headings of the columns, network after network."""
        return [source.label for _ in ARCHS for source in self.sources]


LAYOUTS = {
    entry.name: entry
    for entry in (
        Layout(
            "table1",
            "Table 1",
            "Transfer from ImageNet-1k (1K) and ImageNet-21k (21K)",
            {
                NATURAL: ("cifar10", "cifar100", "flowers102", "pets"),
                MEDICAL: ("padchest_cl", "covidx", "tuberculosis"),
            },
            (Source("1K", "imagenet1k", NATURAL), Source("21K", "imagenet21k", NATURAL)),
            AUTHORS,
        ),
        Layout(
            "table2",
            "Table 2",
            "Transfer from chest X-rays; + is a source added to those left of it",
            {MEDICAL: ("padchest_cl", "covidx", "tuberculosis")},
            (
                Source("CheXpert", _ONE, MEDICAL),
                Source("+MIMIC", _TWO, MEDICAL),
                Source("+NIH", _THREE, MEDICAL),
                Source("+PadChest", _FOUR, MEDICAL),
            ),
            AUTHORS,
        ),
        Layout(
            "poster",
            "Poster, Table 1",
            "Transfer within and between domains from small and large sets of chest X-rays "
            "(S-MED: CheXpert, L-MED: all four; for PadChest-Cl the three without PadChest) and "
            "of natural images (1K-NAT: ImageNet-1k, 21K-NAT: ImageNet-21k)",
            {
                NATURAL: ("cifar10", "cifar100", "flowers102", "pets"),
                MEDICAL: (
                    "covidx", "tuberculosis", "mimic", "chexpert", "padchest", "padchest_cl", "nih",
                ),
            },
            (
                Source("S-MED", _ONE, MEDICAL),
                Source("L-MED", _FOUR, MEDICAL, {"padchest_cl": _THREE}),
                Source("1K-NAT", "imagenet1k", NATURAL),
                Source("21K-NAT", "imagenet21k", NATURAL),
            ),
            SEEDS,
        ),
    )
}  # fmt: skip


def layout(name: str) -> Layout:
    """Returns the layout of a table.

    Raises:
        UserError: If there is no such table.
    """
    if name not in LAYOUTS:
        raise UserError(f"There is no printed table {name!r}: choose of {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def read(name: str) -> dict[Place, Printed]:
    """Returns what a table prints."""
    text = (resources.files(__package__) / "printed.csv").read_text()
    return {
        (row["target"], row["source"], row["arch"]): Printed(float(row["mean"]), float(row["sd"]))
        for row in csv.DictReader(text.splitlines())
        if row["table"] == name
    }


def metric_of(target: str) -> str:
    """Returns what the tables print of a target."""
    return "mean_auc" if target in LARGE_XRAYS else "accuracy"


def target_title(target: str, metric: str) -> str:
    """Returns a target as a table names it, with the number of the metric: ``Pets (1)``."""
    measure = _NUMBERS.get(metric) or f"({style.metric_title(metric)})"
    return f"{_TITLES.get(target, style.title(target))} {measure}"
