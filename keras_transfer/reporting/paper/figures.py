"""The figures of the paper (arXiv:2106.00116) and of its poster, from the cells of a table.

What each shows is data (``plans``), one function per kind draws it. Runs of one's own are
drawn like the authors' numbers; what has no number yet is left out and named by ``missing``.
"""

import dataclasses
import string
from collections.abc import Iterable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

from keras_transfer.reporting import figures, formats, style
from keras_transfer.reporting.collection import FULL
from keras_transfer.reporting.figures import bars, lines
from keras_transfer.reporting.paper.names import ARCHS
from keras_transfer.reporting.paper.plans import (
    BAR,
    DIFFERS,
    FEW_SHOT,
    PLANS,
    SCALE,
    Panel,
    Plan,
    columns,
    figure_title,
    panel_title,
)
from keras_transfer.reporting.tables import Cell, Column, Table

_PANEL_INCHES = {BAR: 5.2, SCALE: 3.4, FEW_SHOT: 4.2}
_HEIGHT_INCHES = 3.7


def draw(table: Table) -> list[figures.Figure]:
    """Returns the figures that the table has numbers for, in the order of the paper.

    Error bars are sample standard deviations over seeds; there are none for a single seed.
    """
    looks = style.looks(table.columns)
    return [_draw(plan, table, looks) for plan in PLANS if _filled(plan, table)]


def missing(table: Table) -> list[str]:
    """Returns what the figures lack, a line per figure and target."""
    lost = [
        "Figure 4 (scaling over GPUs) is drawn by `python -m experiments.benchmark scaling`.",
    ]
    for plan in PLANS:
        for panel in plan.panels:
            have = {(cell.arch, cell.source) for cell in _cells(plan.kind, panel, table)}
            absent = [column for column in columns(panel) if column not in have]
            if not absent:
                continue
            which = ", ".join(style.pair_title(*column) for column in absent)
            shots = "full-shot run" if plan.kind == SCALE else "run"
            lost.append(
                f"{figure_title(plan.name)}, {panel_title(panel)}: no {shots} "
                + (f"of {which}." if have else "at all.")
            )
    return lost


def _cells(kind: str, panel: Panel, table: Table) -> list[Cell]:
    """Returns the cells of a panel by column, then shots."""
    rows = [r for r in table.rows if r[0] == panel.target and (kind != SCALE or r[1] == FULL)]
    found = (table.cells.get((row, column)) for column in columns(panel) for row in rows)
    return [cell for cell in found if cell]


def _filled(plan: Plan, table: Table) -> dict[str, tuple[Panel, list[Cell]]]:
    """Returns the panels that have a cell, by their letter in the paper."""
    panels = zip(string.ascii_lowercase, plan.panels)
    found = {letter: (panel, _cells(plan.kind, panel, table)) for letter, panel in panels}
    return {letter: (panel, cells) for letter, (panel, cells) in found.items() if cells}


def _draw(plan: Plan, table: Table, looks: dict[Column, style.Look]) -> figures.Figure:
    filled = _filled(plan, table)
    with mpl.rc_context(figures.SETTINGS):
        width = _PANEL_INCHES[plan.kind] * max(len(filled), 1.8)
        layout = ConstrainedLayoutEngine(w_pad=0.1)
        canvas = figures.new_canvas(width, _HEIGHT_INCHES, layout)
        every = canvas.subplots(1, len(filled), squeeze=False).ravel()
        for axes, (letter, (panel, cells)) in zip(every, filled.items()):
            _PAINTERS[plan.kind](axes, cells, looks)
            prefix = f"{letter}) " if len(plan.panels) > 1 else ""
            axes.set_title(prefix + panel_title(panel))
        _share_heights(every, [panel.target for panel, _ in filled.values()])
        drawn = [cell for _, cells in filled.values() for cell in cells]
        shown = {(cell.arch, cell.source): looks[cell.arch, cell.source] for cell in drawn}
        _KEYS[plan.kind](canvas, shown)
        return figures.finish(
            canvas,
            name=plan.name,
            title=f"{figure_title(plan.name)}. {plan.title}",
            alt=_describe(plan, filled, table),
            csv=formats.to_csv(_only(table, drawn)),
            caption=_caption(plan, filled),
        )


def _share_heights(every: Iterable[Axes], targets: Sequence[str]) -> None:
    """Gives panels of one target the same y axis: they are there to be compared."""
    by_target: dict[str, list[Axes]] = {}
    for axes, target in zip(every, targets):
        by_target.setdefault(target, []).append(axes)
    for same in by_target.values():
        limits = [axes.get_ylim() for axes in same]
        for axes in same:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _only(table: Table, cells: list[Cell]) -> Table:
    """Returns the table of some of its cells."""
    kept = {((cell.target, cell.shots), (cell.arch, cell.source)): cell for cell in cells}
    return dataclasses.replace(
        table,
        cells=kept,
        rows=[row for row in table.rows if any(row == place for place, _ in kept)],
        columns=[c for c in table.columns if any(c == column for _, column in kept)],
    )


def _few_shot(axes: Axes, cells: list[Cell], looks: dict[Column, style.Look]) -> None:
    by_column: dict[Column, list[Cell]] = {}
    for cell in cells:
        by_column.setdefault((cell.arch, cell.source), []).append(cell)
    lines.draw_lines(axes, by_column, looks)
    lines.draw_chance(axes, cells)


def _scale(axes: Axes, cells: list[Cell], looks: dict[Column, style.Look]) -> None:
    """Draws a line per source over networks. Chance is far below, and is not drawn."""
    by_source: dict[str, list[Cell]] = {}
    for cell in cells:
        by_source.setdefault(cell.source, []).append(cell)
    lines.draw_scale(axes, by_source, looks, ARCHS)


_PAINTERS = {BAR: bars.draw, SCALE: _scale, FEW_SHOT: _few_shot}
_KEYS = {
    BAR: bars.add_keys,
    SCALE: lines.add_source_keys,
    FEW_SHOT: lines.add_line_keys,
}
_SAYS = {BAR: "Bars over shots", SCALE: "Lines over networks", FEW_SHOT: "Lines over shots"}


def _caption(plan: Plan, filled: dict) -> str:
    spread = "Means over seeds with the sample standard deviation."
    letters = zip(string.ascii_lowercase, plan.panels)
    lost = [f"{x}) {panel_title(panel)}" for x, panel in letters if x not in filled]
    without = f"Without a run, left out: {'; '.join(lost)}." if lost else ""
    return " ".join(filter(None, (spread, plan.note or DIFFERS[plan.kind], without)))


def _describe(plan: Plan, filled: dict[str, tuple[Panel, list[Cell]]], table: Table) -> str:
    """Says of each panel how far the fewest and the most shots reach, and who stands there."""
    parts = []
    for panel, cells in filled.values():
        shots = sorted({cell.shots for cell in cells})
        name = f"{formats.target_title(table, panel.target)}{panel.about and f', {panel.about}'}"
        ends = dict.fromkeys((shots[-1], shots[0]))
        ranges = [_range([cell for cell in cells if cell.shots == end]) for end in ends]
        parts.append(f"{name}: {'; '.join(ranges)}.")
    return f"{_SAYS[plan.kind]}. {' '.join(parts)}"


def _range(cells: list[Cell]) -> str:
    low, high = (pick(cells, key=lambda cell: cell.mean) for pick in (min, max))
    where = style.regime_title(low.shots)
    texts = [
        f"{cell.text(cell.mean)} ({style.pair_title(cell.arch, cell.source)})"
        for cell in (low, high)
    ]
    return f"{where} from {texts[0]} to {texts[1]}" if low is not high else f"{where} {texts[0]}"
