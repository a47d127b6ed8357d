"""Panels of bars: cells grouped by shots, each bar with its error bar."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch
from matplotlib.path import Path

from keras_transfer.reporting import style
from keras_transfer.reporting.figures import lines, tags
from keras_transfer.reporting.tables import Cell, Column

_GROUP = 0.86  # of the distance between groups
_PALE = 0.3


def draw(axes: Axes, cells: Sequence[Cell], looks: Mapping[Column, style.Look]) -> None:
    """Draws bars over shots: a colour per source, the first network pale, the others full.

    Bars stand on 0, or on chance for an area under a curve: below it nothing was learnt.

    Args:
        axes: Where to.
        cells: Cells of one target, by column in the order of the bars, then by shots.
        looks: The colours.
    """
    shots = sorted({cell.shots for cell in cells})
    columns = list(dict.fromkeys((cell.arch, cell.source) for cell in cells))
    pale = _pale_arch(columns)
    floor = lines.AREA_OF_CHANCE if lines.is_area(cells[0]) else 0.0
    step = _GROUP / len(columns)
    for cell in cells:
        column = (cell.arch, cell.source)
        left = shots.index(cell.shots) - _GROUP / 2 + step * columns.index(column)
        colour = looks[column].colour
        bar = _bar(cell, left, 0.88 * step, floor, colour, cell.arch == pale)
        tags.tag_cell(bar, cell)
        axes.add_collection(bar)
    reach = [cell.sd if cell.n > 1 else 0.0 for cell in cells]
    top = max(cell.mean + sd for cell, sd in zip(cells, reach))
    axes.set_xlim(-0.5, len(shots) - 0.5)
    axes.set_ylim(
        min(floor, *(cell.mean - sd for cell, sd in zip(cells, reach))),
        floor + 1.04 * (top - floor),
    )
    axes.set_xticks(range(len(shots)), [style.shots_title(s) for s in shots])
    axes.set_xlabel("training examples per class")
    axes.tick_params(axis="x", length=0)
    lines.name_axes(axes, cells[0])
    lines.draw_chance(axes, cells)


def add_keys(canvas: Canvas, looks: Mapping[Column, style.Look]) -> None:
    """Adds a legend below: a colour per source and, where there are several, how networks look."""
    sources = {source: look.colour for (_, source), look in looks.items()}
    archs = style.order_archs(arch for arch, _ in looks)
    keys = {}
    if len(archs) > 1:
        for arch in archs:
            face = to_rgba(style.INK, _PALE if arch == archs[0] else 1)
            keys[style.arch_title(arch)] = Patch(facecolor=face, edgecolor=style.INK)
    keys |= {style.title(source): Patch(color=sources[source]) for source in style.order(sources)}
    lines.add_keys(canvas, keys)


def _pale_arch(columns: Sequence[Column]) -> str:
    """Returns the network drawn pale, "" if there is only one."""
    archs = style.order_archs(arch for arch, _ in columns)
    return archs[0] if len(archs) > 1 else ""


def _bar(
    cell: Cell, left: float, width: float, floor: float, colour: str, pale: bool
) -> PathCollection:
    """Returns bar and error bar as one artist, so that they are one thing for a page."""
    right, middle = left + width, left + width / 2
    corners = [(left, floor), (left, cell.mean), (right, cell.mean), (right, floor)]
    paths = [Path([*corners, corners[0]], closed=True)]
    if cell.n > 1:
        paths.append(Path([(middle, cell.mean - cell.sd), (middle, cell.mean + cell.sd)]))
    return PathCollection(
        paths,
        facecolors=[to_rgba(colour, _PALE if pale else 1), "none"],
        edgecolors=[colour, style.INK],
        linewidths=[0.8, 0.9],
        zorder=2,
    )
