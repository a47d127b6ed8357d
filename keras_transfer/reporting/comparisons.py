"""Which numbers of the table are worth comparing, and whether their difference can be claimed."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras_transfer.core import runs
from keras_transfer.reporting import estimates, style
from keras_transfer.reporting.estimates import Estimate
from keras_transfer.reporting.tables import Cell, Row, Table, best

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two cells of one row.

    Attributes:
        first: A cell.
        second: Another one.
        estimate: Difference of their means over distinct seeds, first minus second, with its error.
    """

    first: Cell
    second: Cell
    estimate: Estimate

    @property
    def p(self) -> float:
        """Two-sided p of the t-test; NaN where there is no spread to test with."""
        return self.estimate.p()

    @property
    def claimed(self) -> bool:
        """Whether a difference can be claimed."""
        return self.p < LEVEL

    @property
    def tested(self) -> bool:
        """Whether there was a spread to test with."""
        return self.estimate.tested


def compare(first: Cell, second: Cell, *, paired: bool = False) -> Comparison:
    """Compares two cells by Welch's t-test over their seeds, or seed by seed.

    One seed has no spread, and seeds that all agree have none either (few test images give coarse
    numbers): then nothing is tested, and nothing claimed.

    Args:
        first: A cell.
        second: Another one.
        paired: Whether runs of equal seeds belong together (same examples of few shots, say); both
            cells then need the same seeds.
    """
    kind = estimates.paired if paired else estimates.welch
    if paired and set(first.values) != set(second.values):
        raise ValueError("Cells of different seeds cannot be compared seed by seed.")
    # By seed: the order in which runs were found must not pair them.
    values = ([cell.values[seed] for seed in sorted(cell.values)] for cell in (first, second))
    return Comparison(first, second, kind(*values))


@dataclass(frozen=True)
class Contrast:
    """A question asked of every row of a target: is the best of these better than of those?

    Attributes:
        first: What the first sources have in common, in words.
        second: What the second have in common.
        first_sources: Sources on one side.
        second_sources: Sources on the other.
    """

    first: str
    second: str
    first_sources: frozenset[str]
    second_sources: frozenset[str]

    def compare(self, cells: Sequence[Cell]) -> Comparison | None:
        """Compares the best of both sides among the cells of a row; None if a side is missing."""
        first = [cell for cell in cells if cell.source in self.first_sources]
        second = [cell for cell in cells if cell.source in self.second_sources]
        return compare(best(first), best(second)) if first and second else None


def contrasts(table: Table, rows: Sequence[Row], arch: str) -> list[Contrast]:
    """Returns the questions that the sources of a target and network allow."""
    sources = {cell.source for row in rows for cell in table.row(row) if cell.arch == arch}
    ordered = [source for source in sorted(sources) if source != runs.SCRATCH]
    found = []
    if runs.SCRATCH in sources and ordered:
        first = _named(ordered, "the best pre-training")
        found.append(_contrast(first, ordered, "training from scratch", [runs.SCRATCH]))
    kind = style.kind_of(rows[0][0])
    near = [source for source in ordered if kind and style.kind_of(source) == kind]
    far = [source for source in ordered if style.kind_of(source) not in (kind, "")]
    if near and far:
        same = f"the same kind of image ({kind})"
        first = f"{_named(near)}, {same}," if len(near) == 1 else f"the best pre-training on {same}"
        second = _named(far, "the best pre-training on another kind")
        found.append(_contrast(first, near, second, far))
    return found + _size_contrasts(table.source_sizes, ordered)


def _size_contrasts(sizes: dict[str, int], sources: Sequence[str]) -> list[Contrast]:
    """Smallest against largest source of each kind of image."""
    kinds: dict[str, list[str]] = {}
    for source in sources:
        if source in sizes and style.kind_of(source):
            kinds.setdefault(style.kind_of(source), []).append(source)
    found = []
    for members in kinds.values():
        small, large = min(members, key=sizes.__getitem__), max(members, key=sizes.__getitem__)
        if sizes[small] < sizes[large]:
            first, second = (
                f"pre-training on {style.title(source)}, {sizes[source]:,} images,"
                for source in (large, small)
            )
            found.append(_contrast(first, [large], second, [small]))
    return found


def _contrast(first: str, sources: Sequence[str], second: str, others: Sequence[str]) -> Contrast:
    return Contrast(first, second, frozenset(sources), frozenset(others))


def _named(sources: Sequence[str], several: str = "") -> str:
    return several if len(sources) > 1 else f"pre-training on {style.title(sources[0])}"
