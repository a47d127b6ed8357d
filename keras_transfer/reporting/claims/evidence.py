"""The numbers behind a question: which cells, which test, what was printed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keras_transfer.evaluation import metrics
from keras_transfer.reporting import comparisons, style
from keras_transfer.reporting.claims.terms import Gain, Question
from keras_transfer.reporting.collection import FULL
from keras_transfer.reporting.estimates import Estimate
from keras_transfer.reporting.paper import printed
from keras_transfer.reporting.paper.printed import Place, Printed
from keras_transfer.reporting.tables import Cell, Column, Table, best

PAIRED, WELCH = "paired", "Welch"

_KINDS = {"natural images": "natural", "chest X-rays": "medical"}
_IMAGES_QUANTILE = 1.959964  # 95 % of a normal distribution


@dataclass(frozen=True)
class Measured:
    """A gain as it was found.

    Attributes:
        first: The cell on the one side; of several, the best (by its mean, which flatters it).
        second: On the other.
        estimate: Difference of their means in the unit of the cells; positive if the first is
            better, whichever direction is good.
        paired: Whether it was taken seed by seed.
    """

    first: Cell
    second: Cell
    estimate: Estimate
    paired: bool

    @property
    def images_variance(self) -> float:
        """Variance that other test images would bring; NaN unless the metric is accuracy.

        Binomial, as if the two networks' errors were independent: they are mostly errors on the
        same images, so that the true one is smaller.
        """
        if self.first.metric != "accuracy":
            return math.nan
        cells = (self.first, self.second)
        return sum(c.mean * (100 - c.mean) / c.num_examples for c in cells)


@dataclass(frozen=True)
class Evidence:
    """What was found on a question.

    Attributes:
        parts: Its gains.
        estimate: The gain, or the difference of the gains.
    """

    parts: tuple[Measured, ...]
    estimate: Estimate

    @property
    def answered(self) -> Question:
        """The question that the cells found answer: of several, the best has been taken."""
        gains = (
            Gain(
                part.first.target,
                part.first.shots,
                *(((cell.arch, cell.source),) for cell in (part.first, part.second)),
            )
            for part in self.parts
        )
        return Question(*gains)

    @property
    def test(self) -> str:
        """``paired`` or ``Welch``; both, if gains of both sorts are compared."""
        kinds = (PAIRED if part.paired else WELCH for part in self.parts)
        return " and ".join(dict.fromkeys(kinds))

    @property
    def in_points(self) -> bool:
        """Whether everything is in percent, so that a margin in points means something."""
        return all(part.first.unit for part in self.parts)

    @property
    def images(self) -> float:
        """Half width of a 95 % interval from the number of test images alone; NaN if unknown."""
        return _IMAGES_QUANTILE * math.sqrt(sum(part.images_variance for part in self.parts))


def find(table: Table, question: Question) -> Evidence | None:
    """Looks a question up in the table; None if a side of it has no cell."""
    parts = [measured for gain in question.gains if (measured := _measure(table, gain))]
    if len(parts) < len(question.gains):
        return None
    estimate = parts[0].estimate
    for part in parts[1:]:
        estimate = estimate.minus(part.estimate)
    return Evidence(tuple(parts), estimate)


def _measure(table: Table, gain: Gain) -> Measured | None:
    first, second = (_best(table, gain, side) for side in (gain.first, gain.second))
    if first is None or second is None:
        return None
    paired = seeds_belong_together(table, first, second)
    estimate = comparisons.compare(first, second, paired=paired).estimate
    if not metrics.find(first.metric).higher_is_better:
        estimate = Estimate(-estimate.value, estimate.parts)
    return Measured(first, second, estimate, paired)


def _best(table: Table, gain: Gain, columns: Iterable[Column]) -> Cell | None:
    places = (((gain.target, gain.shots), column) for column in columns)
    cells = [table.cells[place] for place in places if place in table.cells]
    return best(cells) if cells else None


def seeds_belong_together(table: Table, first: Cell, second: Cell) -> bool:
    """Whether runs of equal seeds of two cells of a row share something that moves both.

    They do in few-shot transfer: the seed selects the training examples, whatever the network. In
    full shot it only draws order, augmentation and the new head, which different networks do not
    share; so too where the "few" shots are all examples there are (500 of CIFAR-100). The seeds
    must be the same ones, so that the effect is that of the printed means.
    """
    if first.shots == FULL or set(first.values) != set(second.values):
        return False
    full = [cell for cell in table.row((first.target, FULL)) if cell.num_train_examples]
    if not full or first.num_train_examples is None:
        return True
    return first.num_train_examples < max(cell.num_train_examples or 0 for cell in full)


def family(question: Question) -> str:
    """Returns within which family a question is corrected: ``natural-medical, full``."""
    gain = question.gain
    sides = [{_kind(source) for _, source in side} for side in (gain.first, gain.second)]
    if sides[0] == sides[1]:
        domains = f"{'+'.join(sorted(sides[0]))}-{_kind(gain.target)}"
    else:
        domains = "medical against natural source"
    shots = dict.fromkeys("full" if g.shots == FULL else "few-shot" for g in question.gains)
    return f"{domains}, {' against '.join(sorted(shots, reverse=True))}"


def _kind(name: str) -> str:
    return _KINDS.get(style.kind_of(name), "other")


def printed_gains(
    question: Question, evidence: Evidence | None, numbers: Mapping[Place, Printed]
) -> list[list[float]]:
    """Returns [first, second] as printed of each gain; NaN where nothing comparable is printed.

    Only full-shot numbers are printed. Of several cells the best printed one counts. What was found
    in another metric, or on another split, is not held against print.
    """
    parts = evidence.parts if evidence else (None,) * len(question.gains)
    return [
        [_printed(gain, side, numbers) for side in (gain.first, gain.second)]
        if part is None or _as_printed(part)
        else [math.nan, math.nan]
        for gain, part in zip(question.gains, parts)
    ]


def _as_printed(part: Measured) -> bool:
    measure = printed.metric_of(part.first.target), "test"
    return all((cell.metric, cell.split) == measure for cell in (part.first, part.second))


def _printed(gain: Gain, side: Iterable[Column], numbers: Mapping[Place, Printed]) -> float:
    places = [(gain.target, source, arch) for arch, source in side]
    found = [numbers[place].mean for place in places if place in numbers]
    return max(found) if found and gain.shots == FULL else math.nan


def describe(gain: Gain, evidence: Measured | None) -> tuple[str, str]:
    """Returns both sides in words: ``R152x4 on NIH``; of several without data, ``the best``."""
    cells = (evidence.first, evidence.second) if evidence else (None, None)
    return _side(gain.first, cells[0]), _side(gain.second, cells[1])


def _side(columns: tuple[Column, ...], cell: Cell | None) -> str:
    arch, source = (cell.arch, cell.source) if cell else columns[0]
    if cell is None and len(columns) > 1:
        return f"the best of {len(columns)}"
    return style.pair_title(arch, source)
