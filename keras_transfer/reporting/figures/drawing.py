"""What every figure is made with: settings, a canvas, panels, and files of all kinds."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import LayoutEngine

from keras_transfer.core.runs import atomic_write
from keras_transfer.reporting import style
from keras_transfer.reporting.figures import tags

FILES = ("png", "pdf", "svg", "csv")

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


def new_canvas(width: float, height: float, layout: str | LayoutEngine = "constrained") -> Canvas:
    """Returns a canvas of a size in inches; needs the context of ``SETTINGS``, as all drawing."""
    canvas = Canvas(figsize=(width, height), layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(canvas)
    return canvas


def panels(
    count: int, per_row: int, *, least_width: float = 4.6, below: float = 0.0
) -> tuple[Canvas, list[Axes]]:
    """Returns a canvas with rows of panels, and these.

    Args:
        count: Number of panels.
        per_row: Most panels in a row.
        least_width: Of the canvas, in inches, that the legend may need.
        below: Room for the legend, in inches.
    """
    across = min(count, per_row)
    down = math.ceil(count / across)
    width, height = PANEL_INCHES
    canvas = new_canvas(max(width * across, least_width), height * down + below)
    found = list(canvas.subplots(down, across, squeeze=False).ravel())
    for axes in found[count:]:
        axes.set_axis_off()
    return canvas, found[:count]


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
    engine = canvas.get_layout_engine()
    assert engine is not None  # `new_canvas` has given it one
    engine.execute(canvas)
    canvas.set_layout_engine("none")  # arranged once, for all files alike
    files = {kind: _render(canvas, kind) for kind in ("svg", "png", "pdf")}
    return Figure(
        name=name,
        title=title,
        alt=alt,
        svg=tags.embeddable(files["svg"].decode(), name),
        png=files["png"],
        pdf=files["pdf"],
        csv=csv,
        caption=caption,
    )


def _render(canvas: Canvas, kind: str) -> bytes:
    # Dates would make equal figures differ.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    stream = io.BytesIO()
    canvas.savefig(stream, format=kind, dpi=200, metadata=undated[kind], transparent=kind == "svg")
    return stream.getvalue()
