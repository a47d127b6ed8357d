"""Which cells of a table make a series that a law of scale can be sought in.

Errors are 100 minus the value for shares that are better high, and the value itself where less is
better. An area under a ROC curve is treated like an accuracy: 100 - AUC is the share of pairs
(positive, negative) in the wrong order, an error that may fall to 0. Its distance from 50, chance,
would be a skill, with no power law to expect; that 100 - AUC levels off at 50 for few images, as
errors of classes do at chance, is for the fit to find and the checks to refuse.

More images often come with longer training, as in the paper (500 steps, 10,000 in full): an error
that falls then falls for two reasons. So the points of a series have one number of steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from keras_transfer.core import networks, runs
from keras_transfer.core.errors import UserError
from keras_transfer.evaluation import metrics
from keras_transfer.reporting import style
from keras_transfer.reporting.tables import Cell, Table

TRAINING, SOURCE, PARAMETERS = AGAINST = ("training images", "source images", "parameters")

Point = tuple[float, Cell]

_UNKNOWN = {
    TRAINING: "the number of training images is not known",
    SOURCE: "the size of the sources is not known",
    PARAMETERS: "the number of parameters is not known",
}


@dataclass(frozen=True)
class Series:
    """Cells of one target that differ in what is scaled.

    Attributes:
        against: What is scaled, one of ``AGAINST``.
        target: Evaluated data.
        source: Pre-training data; its kind of image where their size is scaled.
        arch: Network; "" where networks are scaled.
        shots: Shots per class; None where training images are scaled.
        points: (x, cell), in order of x, all trained for the same number of steps.
        others: (x, cell) of known x but another number of steps: drawn, not fitted.
        left_out: What is not among the points and why, each in a few words.
        refusal: Why no law can be sought, "" if one can.
    """

    against: str
    target: str
    source: str
    arch: str
    shots: float | None
    points: tuple[Point, ...]
    others: tuple[Point, ...] = ()
    left_out: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def every(self) -> tuple[Point, ...]:
        """All of known x, whatever their number of steps, in order of x."""
        return tuple(sorted((*self.points, *self.others), key=lambda point: point[0]))

    @property
    def step(self) -> int | None:
        """The number of steps of the points."""
        return self.points[0][1].step if self.points else None

    @property
    def title(self) -> str:
        """All but target and ``against``: ``R50x1, ImageNet-1k, full shot``."""
        parts = [style.arch_title(self.arch), style.title(self.source)]
        shots = "" if self.shots is None else style.regime_title(self.shots)
        return ", ".join(filter(None, (*parts, shots)))


def errors_of(cell: Cell) -> dict[int, float] | None:
    """Returns the error by seed, in percent for shares; None if the metric knows no best value."""
    metric = metrics.find(cell.metric)
    if not metric.higher_is_better:
        return dict(cell.values)
    if not metric.percent:
        return None
    return {seed: 100 - value for seed, value in cell.values.items()}


def all_series(table: Table) -> list[Series]:
    """Returns every series of a table, those that cannot be fitted too."""
    return [*_over_images(table), *_over_sources(table), *_over_networks(table)]


def _over_images(table: Table) -> Iterable[Series]:
    for target in table.targets:
        for arch, source in table.columns:
            rows = [row for row in table.rows if row[0] == target]
            cells = [table.cells[row, (arch, source)] for row in rows
                     if (row, (arch, source)) in table.cells]  # fmt: skip
            if cells:
                sizes = {id(cell): cell.num_train_examples for cell in cells}
                lost = [style.regime_title(c.shots) for c in cells if not sizes[id(c)]]
                left_out = [f"{', '.join(lost)}: number of images unknown"] if lost else []
                yield _series(TRAINING, target, source, arch, None, cells, sizes, left_out)


def _over_sources(table: Table) -> Iterable[Series]:
    for row in table.rows:
        for arch in table.archs:
            kinds: dict[str, list[Cell]] = {}
            for cell in table.row(row):
                if cell.arch == arch and cell.source != runs.SCRATCH:
                    kinds.setdefault(style.kind_of(cell.source), []).append(cell)
            for kind, cells in kinds.items():
                yield _over_sources_of(table, row, arch, kind, cells)


def _over_sources_of(
    table: Table, row: tuple[str, float], arch: str, kind: str, cells: list[Cell]
) -> Series:
    if not kind:
        names = ", ".join(style.title(cell.source) for cell in cells)
        return Series(
            *(SOURCE, row[0], "sources of unknown kind", arch, row[1], ()),
            refusal=f"what kind of image {names} holds is not known",
        )
    chain, alone = nested({cell.source: table.source_sizes.get(cell.source) for cell in cells})
    unsized = [cell.source for cell in cells if not table.source_sizes.get(cell.source)]
    left_out = [f"{style.title(source)}: in none of the nested unions" for source in alone]
    left_out += [f"{style.title(source)}: size unknown" for source in unsized]
    chosen = [cell for cell in cells if cell.source in chain]
    sizes = {id(cell): table.source_sizes[cell.source] for cell in chosen}
    return _series(SOURCE, row[0], kind, arch, row[1], chosen, sizes, left_out)


def nested(sizes: Mapping[str, int | None]) -> tuple[list[str], list[str]]:
    """Returns the sources that can be compared by size alone, and those that cannot.

    Where there are unions (``a+b``), it is a chain in which each source is part of the next: data
    are added, where unlike sources differ in more than size. Of several such parts the one named
    first goes on. Without unions all sources count, as when each is a fraction of the same data.
    """
    known = {source: size for source, size in sizes.items() if size}
    if not any("+" in source for source in known):
        return list(known), []
    parts = {source: source.split("+") for source in known}
    chain = [max(known, key=lambda source: (len(parts[source]), known[source]))]
    while True:
        last = parts[chain[-1]]
        inside = [s for s in known if set(parts[s]) < set(last)]
        if not inside:
            return chain[::-1], [s for s in known if s not in chain]
        chain.append(max(inside, key=lambda s: (len(parts[s]), [-last.index(p) for p in parts[s]])))


def _over_networks(table: Table) -> Iterable[Series]:
    counts = {arch: _count(arch) for arch in table.archs}
    for row in table.rows:
        for source in dict.fromkeys(source for _, source in table.columns):
            cells = [cell for cell in table.row(row) if cell.source == source]
            if cells:
                sizes = {id(cell): counts[cell.arch] for cell in cells}
                lost = [cell.arch for cell in cells if not counts[cell.arch]]
                left_out = [f"{style.arch_title(a)}: number of parameters unknown" for a in lost]
                yield _series(PARAMETERS, row[0], source, "", row[1], cells, sizes, left_out)


def _count(arch: str) -> int | None:
    try:
        return networks.count_parameters(arch)
    except UserError:
        return None


def _series(
    against: str,
    target: str,
    source: str,
    arch: str,
    shots: float | None,
    cells: list[Cell],
    sizes: Mapping[int, int | None],
    left_out: list[str],
) -> Series:
    known = sorted(
        ((float(size), cell) for cell in cells if (size := sizes[id(cell)])),
        key=lambda point: point[0],
    )
    step = _usual_step(known)
    points = tuple(point for point in known if point[1].step == step is not None)
    others = tuple(point for point in known if point not in points)
    refusal = ""
    if not points:
        refusal = "the seeds differ in training steps" if known else _UNKNOWN[against]
    if any(errors_of(cell) is None for _, cell in known):
        title = style.metric_title(cells[0].metric)
        refusal = f"{title} has no best value that an error could be measured from"
    left_out = [*left_out, *_of_other_steps(others, against, step)] if points else left_out
    return Series(*(against, target, source, arch, shots, points, others, tuple(left_out), refusal))


def _usual_step(points: Sequence[Point]) -> int | None:
    """Returns the number of steps that most x have, of equals the larger; None if there is none."""
    images: dict[int, set[float]] = {}
    for x, cell in points:
        if cell.step is not None:
            images.setdefault(cell.step, set()).add(x)
    return max(images, key=lambda step: (len(images[step]), step), default=None)


def _of_other_steps(others: Iterable[Point], against: str, step: int | None) -> Iterable[str]:
    """Returns what else is left out: ``full shot: trained for 10,000 steps, not 500``."""
    for _, cell in others:
        names = {
            TRAINING: style.regime_title(cell.shots),
            SOURCE: style.title(cell.source),
            PARAMETERS: style.arch_title(cell.arch),
        }
        steps = "its seeds differ in training steps"
        if cell.step is not None:
            steps = f"trained for {cell.step:,} steps, not {step:,}"
        yield f"{names[against]}: {steps}"
