"""Figures of the transfer table: functions of its cells, each with the csv behind it."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from keras_transfer.core.runs import atomic_write
from keras_transfer.reporting import formats, style
from keras_transfer.reporting.figures import lines as figure_lines
from keras_transfer.reporting.figures import tags as figure_tags
from keras_transfer.reporting.figures.tags import tag, tag_panel
from keras_transfer.reporting.tables import Column, Table

__all__ = [
    "FILES",
    "PANEL_INCHES",
    "SETTINGS",
    "Figure",
    "few_shot_curves",
    "finish",
    "tag",
    "tag_panel",
    "write",
]

FILES = ("png", "pdf", "svg", "csv")

_PANELS_PER_ROW = 3
PANEL_INCHES = (3.7, 2.9)
SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # bundled with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "text.parse_math": False,  # a $ in a name is a $
    "pdf.fonttype": 42,  # editable text in the pdf
    "svg.fonttype": "none",  # text as text: small, and can be searched and read aloud
    "svg.hashsalt": "keras_transfer",  # the same input gives the same file
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color",
         "grid.color"),
        style.INK,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: File name without ending.
        title: What it shows, one line.
        alt: What it shows, for those who cannot see it.
        svg: ``<svg>`` element; text has the colour of the surrounding page.
        png: The picture at 200 dpi.
        pdf: The picture as vectors.
        csv: The numbers in it.
        caption: What a reader must know beyond the title, in sentences; may be empty.
    """

    name: str
    title: str
    alt: str
    svg: str
    png: bytes
    pdf: bytes
    csv: str
    caption: str = ""


def few_shot_curves(table: Table) -> Figure:
    """Draws one panel per target: the metric over shots, a line per source and network.

    Error bars are sample standard deviations over seeds. Shots are evenly spaced categories, the
    whole training split last: its size differs between targets, so it has no place on an axis.
    """
    count = len(table.targets)
    across = min(count, _PANELS_PER_ROW)
    down = math.ceil(count / across)
    with mpl.rc_context(SETTINGS):
        width = max(PANEL_INCHES[0] * across, 4.6)
        canvas = Canvas(figsize=(width, PANEL_INCHES[1] * down), layout="constrained")
        FigureCanvasAgg(canvas)
        panels = canvas.subplots(down, across, squeeze=False).ravel()
        looks = style.looks(table.columns)
        for axes, target in zip(panels, table.targets):
            _panel(axes, table, target, looks)
        for axes in panels[count:]:
            axes.set_axis_off()
        figure_lines.add_line_keys(canvas, looks)
        return finish(
            canvas,
            name="few_shot",
            title="Transfer over the number of training examples per class",
            alt=_describe(table),
            csv=formats.to_csv(table),
            caption="Means over seeds with the sample standard deviation.",
        )


def write(figure: Figure, folder: Path) -> list[Path]:
    """Writes a figure as ``.png``, ``.pdf``, ``.svg`` and ``.csv``; returns the files."""
    paths = []
    for kind in FILES:
        content: str | bytes = getattr(figure, kind)
        paths.append(folder / f"{figure.name}.{kind}")
        with atomic_write(paths[-1], "w" if isinstance(content, str) else "wb") as stream:
            stream.write(content)
    return paths


def finish(
    canvas: Canvas, *, name: str, title: str, alt: str, csv: str, caption: str = ""
) -> Figure:
    """Renders a canvas to all kinds of files."""
    canvas.draw_without_rendering()
    canvas.set_layout_engine("none")  # arranged once, for all files alike
    files = {kind: _render(canvas, kind) for kind in ("svg", "png", "pdf")}
    return Figure(
        name=name,
        title=title,
        alt=alt,
        svg=figure_tags.embeddable(files["svg"].decode(), name),
        png=files["png"],
        pdf=files["pdf"],
        csv=csv,
        caption=caption,
    )


def _panel(axes: Axes, table: Table, target: str, looks: dict[Column, style.Look]) -> None:
    """Draws a target: its cells over the shots that it has."""
    rows = [row for row in table.rows if row[0] == target]
    found = {
        column: [table.cells[row, column] for row in rows if (row, column) in table.cells]
        for column in table.columns
    }
    figure_lines.draw_lines(
        axes, {column: cells for column, cells in found.items() if cells}, looks
    )
    axes.set_title(style.title(target))


def _render(canvas: Canvas, kind: str) -> bytes:
    # Dates would make equal figures differ.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    stream = io.BytesIO()
    canvas.savefig(stream, format=kind, dpi=200, metadata=undated[kind], transparent=kind == "svg")
    return stream.getvalue()


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
