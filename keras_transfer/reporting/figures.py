"""Figures of the transfer table: functions of its cells, each with the csv behind it."""

import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Canvas

from keras_transfer.core.runs import atomic_write
from keras_transfer.reporting import formats, style
from keras_transfer.reporting.tables import Cell, Column, Table

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
    """

    name: str
    title: str
    alt: str
    svg: str
    png: bytes
    pdf: bytes
    csv: str


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
        handles: dict[Column, Any] = {}
        for axes, target in zip(panels, table.targets):
            handles |= _panel(axes, table, target)
        for axes in panels[count:]:
            axes.set_axis_off()
        titles = [formats.column_title(table, column) for column in table.columns]
        entry = 0.75 + 0.075 * max(map(len, titles))  # inches: line, gap and text
        canvas.legend(
            [handles[column] for column in table.columns],
            titles,
            loc="outside lower center",
            ncols=min(len(titles), max(1, int(width / entry))),
            frameon=False,
            handlelength=3.2,
        )
        return finish(
            canvas,
            name="few_shot",
            title="Transfer over the number of training examples per class",
            alt=_describe(table),
            csv=formats.to_csv(table),
        )


def write(figure: Figure, folder: Path) -> list[Path]:
    """Writes a figure as ``.png``, ``.pdf`` and ``.csv``; returns the files."""
    paths = []
    for kind in ("png", "pdf", "csv"):
        content: str | bytes = getattr(figure, kind)
        paths.append(folder / f"{figure.name}.{kind}")
        with atomic_write(paths[-1], "w" if isinstance(content, str) else "wb") as stream:
            stream.write(content)
    return paths


def finish(canvas: Canvas, *, name: str, title: str, alt: str, csv: str) -> Figure:
    """Renders a canvas to all kinds of files."""
    files = {kind: _render(canvas, kind) for kind in ("svg", "png", "pdf")}
    return Figure(
        name=name,
        title=title,
        alt=alt,
        svg=_embeddable(files["svg"].decode(), name),
        png=files["png"],
        pdf=files["pdf"],
        csv=csv,
    )


def _panel(axes: Axes, table: Table, target: str) -> dict[Column, Any]:
    """Draws a target and returns what the legend shows of each line."""
    looks, lines = style.looks(table.columns), {}
    apart = min(0.06, 0.5 / len(table.columns))
    shots = [row[1] for row in table.rows if row[0] == target]
    for number, column in enumerate(table.columns):
        cells = [table.cells.get(((target, s), column)) for s in shots]
        points = [(place, cell) for place, cell in enumerate(cells) if cell]
        if points:
            # Side by side, so that error bars of neighbours do not hide each other.
            shift = apart * (number - (len(table.columns) - 1) / 2)
            lines[column] = _line(axes, points, shift, looks[column])
    cell = table.of(target)
    unit = f", {cell.unit}" if cell.unit else ""
    axes.set_title(style.title(target))
    axes.set_ylabel(f"{style.metric_title(cell.metric)}{unit}")
    axes.set_xlabel("training examples per class")
    axes.set_xticks(range(len(shots)), [style.shots_title(s) for s in shots])
    axes.set_xlim(-0.5, len(shots) - 0.5)
    return lines


def _line(
    axes: Axes, points: list[tuple[int, Cell]], shift: float, look: style.Look
) -> ErrorbarContainer:
    return axes.errorbar(
        [place + shift for place, _ in points],
        [cell.mean for _, cell in points],
        yerr=[cell.sd for _, cell in points],
        color=look.colour,
        linestyle=look.dash,
        linewidth=1.5,
        marker=look.marker,
        markersize=5,
        markerfacecolor=look.colour if look.filled else "none",
        capsize=2.5,
        elinewidth=1,
    )


def _render(canvas: Canvas, kind: str) -> bytes:
    # Dates would make equal figures differ.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    stream = io.BytesIO()
    canvas.savefig(stream, format=kind, dpi=200, metadata=undated[kind], transparent=kind == "svg")
    return stream.getvalue()


def _embeddable(svg: str, name: str) -> str:
    """Makes an SVG file part of a page: unique ids, the page's text colour, its own width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace(style.INK, "currentColor")
    size = re.compile(r'width="([\d.]+)pt" height="[\d.]+pt"')
    return size.sub(lambda found: f'style="max-width:{1.3 * float(found[1]):.0f}pt"', svg, count=1)


def _describe(table: Table) -> str:
    parts = []
    for target in table.targets:
        shots = [row for row in table.rows if row[0] == target]
        lines = []
        for column in table.columns:
            cells = [table.cells.get((row, column)) for row in shots]
            values = [
                f"{cell.text(cell.mean)} ({style.shots_title(cell.shots)})"
                for cell in cells
                if cell
            ]
            if values:
                lines.append(f"{formats.column_title(table, column)} {', '.join(values)}")
        parts.append(f"{formats.target_title(table, target)}: {'; '.join(lines)}.")
    return (
        "Line plots, one per target, over the number of training examples per class "
        f"(in brackets). {' '.join(parts)}"
    )
