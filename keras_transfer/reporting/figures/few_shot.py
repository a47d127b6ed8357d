"""The figure of the transfer table: every number of it, over the shots."""

import matplotlib as mpl
from matplotlib.axes import Axes

from keras_transfer.reporting import formats, style
from keras_transfer.reporting.figures import lines
from keras_transfer.reporting.figures.drawing import SETTINGS, Figure, finish, panels
from keras_transfer.reporting.tables import Column, Table

_PANELS_PER_ROW = 3


def few_shot_curves(table: Table) -> Figure:
    """Draws one panel per target: the metric over shots, a line per source and network.

    Error bars are sample standard deviations over seeds. Shots are evenly spaced categories, the
    whole training split last: its size differs between targets, so it has no place on an axis.
    """
    looks = style.looks(table.columns)
    with mpl.rc_context(SETTINGS):
        canvas, axes_of = panels(len(table.targets), _PANELS_PER_ROW)
        for axes, target in zip(axes_of, table.targets):
            _panel(axes, table, target, looks)
        lines.add_line_keys(canvas, looks)
        return finish(
            canvas,
            name="few_shot",
            title="Transfer over the number of training examples per class",
            alt=_describe(table),
            csv=formats.to_csv(table),
            caption="Means over seeds with the sample standard deviation.",
        )


def _panel(axes: Axes, table: Table, target: str, looks: dict[Column, style.Look]) -> None:
    """Draws a target: its cells over the shots that it has."""
    rows = [row for row in table.rows if row[0] == target]
    found = {
        column: [table.cells[row, column] for row in rows if (row, column) in table.cells]
        for column in table.columns
    }
    lines.draw_lines(axes, {column: cells for column, cells in found.items() if cells}, looks)
    axes.set_title(style.title(target))


def _describe(table: Table) -> str:
    parts = []
    for target in table.targets:
        shots = [row for row in table.rows if row[0] == target]
        parts_of = []
        for column in table.columns:
            cells = [table.cells.get((row, column)) for row in shots]
            values = [
                f"{cell.text(cell.mean)} ({style.shots_title(cell.shots)})"
                for cell in cells
                if cell
            ]
            if values:
                parts_of.append(f"{formats.column_title(table, column)} {', '.join(values)}")
        parts.append(f"{formats.target_title(table, target)}: {'; '.join(parts_of)}.")
    return (
        "Line plots, one per target, over the number of training examples per class "
        f"(in brackets). {' '.join(parts)}"
    )
