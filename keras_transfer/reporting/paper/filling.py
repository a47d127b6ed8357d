"""The tables of arXiv:2106.00116 and of its poster, filled with what was found, and marked.

What was printed comes from ``printed``, what was found from a ``tables.Table``, the rules of the
marks are in ``marks``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from keras_transfer.reporting.collection import FULL
from keras_transfer.reporting.paper import marks, printed, verdicts
from keras_transfer.reporting.paper.printed import ARCHS, LAYOUTS, Layout, Printed
from keras_transfer.reporting.paper.verdicts import Verdict
from keras_transfer.reporting.phrases import counted
from keras_transfer.reporting.tables import AUTHORS, SEEDS, Cell, Table, all_best

# Above what stands before the numbers.
HEAD = ("Target", "Domain")

_SPREADS = {
    SEEDS: "± is the sample standard deviation over distinct seeds.",
    AUTHORS: (
        "± is the sample standard deviation over every published row. Nearly every run logged its "
        "last value twice, which makes it too small: by the root of 8/9, 0.94, for five seeds."
    ),
}
# Where the print's ± is over something else.
_PRINTED_SPREADS = {
    SEEDS: "The printed ± is over distinct seeds (--spread=seeds).",
    AUTHORS: "The printed ± is over every row of the authors' files (--spread=authors).",
}


@dataclass(frozen=True)
class Entry:
    """One place of a table.

    Attributes:
        target: Evaluated data.
        source: Pre-training data.
        arch: Network.
        domain: Domain of the source.
        metric: What was found is measured in; without data, what was printed is.
        cell: What was found; None without data.
        printed: What was printed; None where the print has a dash.
        verdict: How they compare.
        best: Whether it is the best of its target and network.
        flat: Whether the amount of data makes no significant difference here.
        top: Whether it is the best of its target.
    """

    target: str
    source: str
    arch: str
    domain: str
    metric: str
    cell: Cell | None
    printed: Printed | None
    verdict: Verdict
    best: bool = False
    flat: bool = False
    top: bool = False


@dataclass(frozen=True)
class PaperRow:
    """The entries of a target.

    Attributes:
        domain: Domain of the target.
        target: Evaluated data.
        entries: One per network and source, in the order of print.
    """

    domain: str
    target: str
    entries: Sequence[Entry]

    @property
    def title(self) -> str:
        """The target and what is measured."""
        metric = next((e.metric for e in self.entries if e.cell), self.entries[0].metric)
        return printed.target_title(self.target, metric)

    @property
    def names(self) -> tuple[str, str]:
        """What stands before the numbers, below ``HEAD``."""
        return self.title, self.domain


@dataclass(frozen=True)
class PaperTable:
    """A printed table, filled with what was found.

    Attributes:
        layout: What it looks like.
        rows: One per target.
        spread: What the ± that was found is over: ``tables.SEEDS`` or ``tables.AUTHORS``.
        usual_n: The usual number of seeds.
    """

    layout: Layout
    rows: Sequence[PaperRow]
    spread: str
    usual_n: int

    @property
    def entries(self) -> Iterator[Entry]:
        """Every place, row by row."""
        return (entry for row in self.rows for entry in row.entries)

    @property
    def lead(self) -> int:
        """Number of columns before the numbers: the domain only where there are two."""
        return len({row.domain for row in self.rows})

    @property
    def has_data(self) -> bool:
        """Whether anything was found for it."""
        return any(entry.cell for entry in self.entries)

    @property
    def counts(self) -> dict[str, int]:
        """Kind of verdict -> how many, in the order of ``verdicts.KINDS``."""
        found = Counter(entry.verdict.kind for entry in self.entries)
        return {kind: found[kind] for kind in verdicts.KINDS}

    @property
    def frame(self) -> pd.DataFrame:
        """One row per place, in percent: what `formats.to_csv` writes."""
        return pd.DataFrame([_record(entry) for entry in self.entries]).astype({"n": "Int64"})

    @property
    def caption(self) -> str:
        """What the table shows."""
        return f"{self.layout.subject}. Full shot; {printed.METRICS_NOTE}."

    @property
    def summary(self) -> str:
        """How many of the printed numbers were found again."""
        number = sum(entry.printed is not None for entry in self.entries)
        counts = self.counts
        parts = [
            f"{counts[kind]} {text}" for kind, text in verdicts.COUNTED.items() if counts[kind]
        ]
        return f"{self.layout.title} prints {number} numbers: {', '.join(parts)}."

    @property
    def notes(self) -> list[str]:
        """What a reader must know: the rule of ±, and of the marks."""
        spread = _SPREADS[self.spread]
        if self.spread != self.layout.spread:
            spread += f" {_PRINTED_SPREADS[self.layout.spread]}"
        n = f"Numbers are of {counted(self.usual_n, 'distinct seed')}"
        if any(entry.cell and entry.cell.n != self.usual_n for entry in self.entries):
            n += ", of others where n is given"
        return [f"{spread} {n}.", marks.RULE]

    @property
    def differences(self) -> list[str]:
        """A line for every number whose mean is not the printed one, with both."""
        return [
            f"{row.title}, {printed.ARCHS[entry.arch]}, {label}: {entry.verdict.text}"
            for row in self.rows
            for entry, label in zip(row.entries, self.layout.labels)
            if entry.verdict.kind in (verdicts.DIFFERS, verdicts.OTHER_MEASURE)
        ]


def fill(table: Table, name: str) -> PaperTable:
    """Puts what was found into the layout of a printed table.

    Args:
        table: The transfer table (`tables.tabulate`); its full-shot rows are used.
        name: One of ``printed.LAYOUTS``.

    Raises:
        UserError: If there is no such layout.
    """
    layout = printed.layout(name)
    numbers = printed.read(name)
    rows = [
        PaperRow(domain, target, _marked(_entries(table, layout, target, numbers)))
        for domain, targets in layout.targets.items()
        for target in targets
    ]
    spread = AUTHORS if any(cell.every for cell in table.cells.values()) else SEEDS
    return PaperTable(layout, rows, spread, table.usual_n)


def fill_all(table: Table) -> tuple[list[PaperTable], list[str]]:
    """Returns the tables for which anything was found, and the titles of the others."""
    filled = [fill(table, name) for name in LAYOUTS]
    return (
        [paper_table for paper_table in filled if paper_table.has_data],
        [paper_table.layout.title for paper_table in filled if not paper_table.has_data],
    )


def _entries(
    table: Table, layout: Layout, target: str, numbers: Mapping[printed.Place, Printed]
) -> list[Entry]:
    metric = printed.metric_of(target)
    entries = []
    for arch in ARCHS:
        for column in layout.sources:
            source = column.of(target)
            cell = table.cells.get(((target, FULL), (arch, source)))
            number = numbers.get((target, source, arch))
            entries.append(
                Entry(
                    target=target,
                    source=source,
                    arch=arch,
                    domain=column.domain,
                    metric=cell.metric if cell else metric,
                    cell=cell,
                    printed=number,
                    verdict=verdicts.judge(cell, number, metric),
                )
            )
    return entries


def _marked(entries: Sequence[Entry]) -> list[Entry]:
    """Returns the entries of a target with their marks."""
    best, flat = [], []
    for arch in ARCHS:
        of_arch = [entry for entry in entries if entry.arch == arch]
        best += all_best(_cells(of_arch))
        for domain in {entry.domain for entry in of_arch}:
            flat += marks.flat(_cells(entry for entry in of_arch if entry.domain == domain))
    top = all_best(_cells(entries))
    return [
        replace(entry, best=entry.cell in best, flat=entry.cell in flat, top=entry.cell in top)
        for entry in entries
    ]


def _cells(entries: Iterable[Entry]) -> list[Cell]:
    return [entry.cell for entry in entries if entry.cell]


def _record(entry: Entry) -> dict[str, object]:
    cell, number = entry.cell, entry.printed
    return {
        "target": entry.target,
        "source": entry.source,
        "arch": entry.arch,
        "metric": entry.metric,
        "n": cell.n if cell else None,
        "mean": cell.mean if cell else None,
        "sd": cell.sd if cell else None,
        "printed_mean": number.mean if number else None,
        "printed_sd": number.sd if number else None,
        "verdict": entry.verdict.text,
    }
