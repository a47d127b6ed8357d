"""What pre-training on a source gains on a target: differences of cells of the transfer table."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.evaluation import metrics
from keras_transfer.reporting.tables import Cell, Table

# What a gain is measured against.
SCRATCH, MEAN = runs.SCRATCH, "mean"

Pair = tuple[str, str]  # source, target


class Gain(NamedTuple):
    """One difference.

    Attributes:
        pair: Source and target.
        shots: Training examples per class; infinity is the whole training split.
        arch: Network that was transferred.
        value: In the unit of the cells; above 0 is better than the reference.
        unit: ``"%"``, or "" for a metric that is no share.
    """

    pair: Pair
    shots: float
    arch: str
    value: float
    unit: str


@dataclass(frozen=True)
class Gains:
    """Gains of pairs of source and target.

    Attributes:
        all: All of them.
        reference: ``scratch``, or ``mean``: of the sources on the same target, with the same shots
            and network.
        alone: Targets of which something is left out: a single source is its own mean.
    """

    all: list[Gain]
    reference: str
    alone: frozenset[str] = frozenset()

    @property
    def unit(self) -> str:
        """Unit of all gains; "" if they are of different metrics."""
        units = {gain.unit for gain in self.all}
        return units.pop() if len(units) == 1 else ""


def gains(table: Table, pairs: Collection[Pair]) -> Gains:
    """Computes the gains of some pairs.

    Training from scratch is the reference if it is there wherever a pair is, else for no pair:
    gains against two references could not be compared.
    """
    groups: list[tuple[list[Cell], Cell | None]] = []
    for row in table.rows:
        for arch in table.archs:
            cells = [cell for cell in table.row(row) if cell.arch == arch]
            scratch = next((cell for cell in cells if cell.source == runs.SCRATCH), None)
            mine = [cell for cell in cells if (cell.source, cell.target) in pairs]
            if mine:
                groups.append((mine, scratch))
    from_scratch = all(scratch for _, scratch in groups)
    single = {cells[0].target for cells, _ in groups if len(cells) == 1}
    found = []
    for cells, scratch in groups:
        mean = float(np.mean([cell.mean for cell in cells]))
        reference = scratch.mean if from_scratch and scratch else mean
        if from_scratch or len(cells) > 1:
            found += [_gain(cell, reference) for cell in cells]
    if from_scratch:
        return Gains(found, SCRATCH)
    return Gains(found, MEAN, frozenset(single))


def _gain(cell: Cell, reference: float) -> Gain:
    sign = 1 if metrics.find(cell.metric).higher_is_better else -1
    value = sign * (cell.mean - reference)
    return Gain((cell.source, cell.target), cell.shots, cell.arch, value, cell.unit)


def average(of: Sequence[Gain]) -> tuple[dict[Pair, float], int]:
    """Averages the gains of each pair over the settings (shots and network) that all pairs have.

    A pair that was tried with one shot only would else gain most, for there gains are largest.

    Returns:
        Pair -> mean gain, and the number of settings.

    Raises:
        UserError: Saying why, if there is no such setting, or gains are in different units.
    """
    if len({gain.unit for gain in of}) > 1:
        raise UserError("the metrics of the targets have different units")
    by_pair: dict[Pair, dict[tuple[float, str], float]] = {}
    for gain in of:
        by_pair.setdefault(gain.pair, {})[gain.shots, gain.arch] = gain.value
    if not by_pair:
        return {}, 0
    common = set.intersection(*map(set, by_pair.values()))
    if not common:
        raise UserError("no setting (shots and network) is there for all pairs")
    means = {
        pair: float(np.mean([values[setting] for setting in sorted(common)]))
        for pair, values in by_pair.items()
    }
    return means, len(common)
