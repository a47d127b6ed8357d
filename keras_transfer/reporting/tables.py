"""The transfer table: targets and shots by sources and networks, mean ± spread over seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from keras_transfer.core.config import TRANSFER
from keras_transfer.core.errors import UserError
from keras_transfer.evaluation import metrics
from keras_transfer.reporting import style
from keras_transfer.reporting.collection import Collection

Row = tuple[str, float]  # target, shots
Column = tuple[str, str]  # arch, source

# What mean and spread are taken over.
SEEDS, AUTHORS = "seeds", "authors"

_PLACE = ("target", "shots", "arch", "source", "split")


@dataclass(frozen=True)
class Cell:
    """One number of the table.

    Attributes:
        target: Evaluated data.
        shots: Training examples per class; infinity is the whole training split.
        source: Pre-training data, or ``scratch``.
        arch: Network.
        metric: The target's primary metric.
        split: Evaluated split.
        num_examples: Examples of that split.
        values: Seed -> value; in percent if the metric is a share.
        num_train_examples: Images of the target that the runs were trained on, the most of its
            seeds; None if unknown.
        every: What mean and spread are taken over, if not one value per seed.
        step: Step of the runs' results: the length of their training; None if seeds differ.
    """

    target: str
    shots: float
    source: str
    arch: str
    metric: str
    split: str
    num_examples: int
    values: dict[int, float]
    num_train_examples: int | None = None
    every: tuple[float, ...] = ()
    step: int | None = None

    @property
    def n(self) -> int:
        """Number of distinct seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.every or list(self.values.values())))

    @property
    def sd(self) -> float:
        """Sample standard deviation over seeds (ddof 1); NaN for one seed."""
        values = self.every or list(self.values.values())
        return float(np.std(values, ddof=1)) if self.n > 1 else float("nan")

    @property
    def unit(self) -> str:
        """``"%"``, or "" for a metric that is no share."""
        return "%" if metrics.find(self.metric).percent else ""

    def text(self, value: float) -> str:
        """Returns a value in the unit of this cell, with the digits that are printed."""
        return f"{value:.2f}" if self.unit else f"{value:.4f}"

    def better_than(self, other: "Cell") -> bool:
        """Whether the mean is better than another cell's, whichever direction is good."""
        if metrics.find(self.metric).higher_is_better:
            return self.mean > other.mean
        return self.mean < other.mean


def best(cells: Sequence[Cell]) -> Cell:
    """Returns the cell with the best mean, of equals the first."""
    found = cells[0]
    for cell in cells[1:]:
        found = cell if cell.better_than(found) else found
    return found


def all_best(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells whose mean prints like the best; none if there is one alone."""
    if len(cells) < 2:
        return []
    first = best(cells)
    return [cell for cell in cells if cell.text(cell.mean) == first.text(first.mean)]


@dataclass(frozen=True)
class Table:
    """Cells by (target, shots) and (arch, source).

    Attributes:
        cells: The cells that have at least one value.
        rows: (target, shots) in the order of display.
        columns: (arch, source) in the order of display.
        source_sizes: Training images per source, where known.
        notes: What a reader must know before trusting a number.
    """

    cells: dict[tuple[Row, Column], Cell]
    rows: list[Row]
    columns: list[Column]
    source_sizes: dict[str, int]
    notes: list[str]

    @property
    def usual_n(self) -> int:
        """The most frequent number of seeds; of equals, the largest."""
        counts = Counter(cell.n for cell in self.cells.values())
        return max(counts, key=lambda n: (counts[n], n))

    @property
    def targets(self) -> list[str]:
        """The targets in the order of display."""
        return list(dict.fromkeys(target for target, _ in self.rows))

    @property
    def archs(self) -> list[str]:
        """The networks in the order of display."""
        return list(dict.fromkeys(arch for arch, _ in self.columns))

    def row(self, row: Row) -> list[Cell]:
        """Returns the cells of a row that have a value."""
        found = (self.cells.get((row, column)) for column in self.columns)
        return [cell for cell in found if cell]

    def best(self, row: Row) -> set[Column]:
        """Returns the columns whose printed mean is the row's best; none if there is one cell."""
        return {(cell.arch, cell.source) for cell in all_best(self.row(row))}

    def of(self, target: str) -> Cell:
        """Returns any cell of a target: metric, unit and split are the same for all."""
        return next(cell for cell in self.cells.values() if cell.target == target)

    def missing(self) -> list[tuple[Row, Column, list[int]]]:
        """Returns the seeds that other columns of a row have and this one has not."""
        result = []
        for row in self.rows:
            seeds = {seed for cell in self.row(row) for seed in cell.values}
            for column in self.columns:
                cell = self.cells.get((row, column))
                lost = sorted(seeds - set(cell.values if cell else ()))
                if lost:
                    result.append((row, column, lost))
        return result


def tabulate(collection: Collection, spread: str = SEEDS) -> Table:
    """Builds the table of transfer runs from their primary metrics.

    A target's test split is shown; its validation split only if no run has a test result.

    Args:
        collection: What was collected.
        spread: ``seeds``: mean and spread over distinct seeds. ``authors``: over every row of
            published files, also those logged twice, which makes the spread too small; this is
            how the tables of arXiv:2106.00116 were made (their ± is smaller by sqrt(8 / 9)).

    Raises:
        UserError: If no transfer run has finished, or runs on one target name different primary
            metrics.
    """
    rows = collection.rows
    rows = rows[(rows["kind"] == TRANSFER) & (rows["metric"] == rows["primary_metric"])]
    every = {}
    if spread == AUTHORS:
        every = {place: tuple(group["value"]) for place, group in rows.groupby(list(_PLACE))}
    rows = rows[rows["used"]]
    if rows.empty:
        state = f"{len(collection.unfinished)} of {len(collection.runs)} runs are unfinished"
        raise UserError(f"No transfer run has a result to show ({state}).")
    notes: list[str] = []
    cells: dict[tuple[Row, Column], Cell] = {}
    for target in style.order(rows["target"]):
        of_target = _one_split(target, rows[rows["target"] == target], notes)
        _check_comparable(target, of_target, notes)
        for place, group in of_target.groupby(list(_PLACE)):
            cell = _cell(group, every.get(place, ()), notes)
            if cell:
                cells[(target, cell.shots), (cell.arch, cell.source)] = cell
    if not cells:
        raise UserError("Every result is undefined (NaN): there is nothing to show.")
    places = {target: i for i, target in enumerate(style.order(row[0] for row, _ in cells))}
    archs = style.order_archs(column[0] for _, column in cells)
    sources = style.order((column[1] for _, column in cells), collection.source_sizes)
    return Table(
        cells=cells,
        rows=sorted({row for row, _ in cells}, key=lambda row: (places[row[0]], row[1])),
        columns=sorted(
            {column for _, column in cells},
            key=lambda column: (archs.index(column[0]), sources.index(column[1])),
        ),
        source_sizes=collection.source_sizes,
        notes=notes,
    )


def _one_split(target: str, rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    splits = sorted(set(rows["split"]), key=lambda split: (split != "test", split != "val", split))
    shown = rows[rows["split"] == splits[0]]
    if splits[0] != "test":
        notes.append(
            f"{style.title(target)}: no run has a result on a test split; "
            f"the numbers are from the split {splits[0]!r}."
        )
    without = set(rows["directory"]) - set(shown["directory"])
    if without:
        notes.append(
            f"{style.title(target)}: {len(without)} finished runs have no result on the split "
            f"{splits[0]!r} and are not in the table, the first is {min(without)}."
        )
    return shown


def _check_comparable(target: str, rows: pd.DataFrame, notes: list[str]) -> None:
    first_of = rows.drop_duplicates("metric").set_index("metric")["directory"]
    if len(first_of) > 1:
        raise UserError(
            f"Runs on {target} name different primary metrics: "
            + ", ".join(f"{metric} in {where}" for metric, where in first_of.items())
            + "."
        )
    sizes = sorted(set(rows["num_examples"]))
    if len(sizes) > 1:
        notes.append(
            f"{style.title(target)}: runs were evaluated on different numbers of examples "
            f"({', '.join(map(str, sizes))}); their numbers cannot be compared."
        )


def _cell(group: pd.DataFrame, every: Sequence[float], notes: list[str]) -> Cell | None:
    first = group.iloc[0]
    scale = 100 if metrics.find(first["metric"]).percent else 1
    defined = group[group["value"].notna()]
    for directory in group[group["value"].isna()]["directory"]:
        notes.append(f"{directory}: {first['metric']} is undefined (NaN); the run is left out.")
    if defined.empty:
        return None
    most = defined["num_train_examples"].max()
    return Cell(
        target=first["target"],
        shots=first["shots"],
        source=first["source"],
        arch=first["arch"],
        metric=first["metric"],
        split=first["split"],
        num_examples=int(first["num_examples"]),
        values={
            int(s): scale * float(v) for s, v in sorted(zip(defined["seed"], defined["value"]))
        },
        num_train_examples=None if np.isnan(most) else int(most),
        every=tuple(scale * value for value in every),
        step=int(defined["step"].iloc[0]) if defined["step"].nunique() == 1 else None,
    )
