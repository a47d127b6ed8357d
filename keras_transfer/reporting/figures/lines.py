"""Panels of lines: cells as points with error bars, joined; and the legends below them."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from keras_transfer.reporting import style
from keras_transfer.reporting.figures import tags
from keras_transfer.reporting.tables import Cell, Column

AREA_OF_CHANCE = 50.0  # percent: area under the ROC curve of scores that know nothing


def draw_lines(
    axes: Axes, lines: Mapping[Column, Sequence[Cell]], looks: Mapping[Column, style.Look]
) -> None:
    """Draws a panel of lines over shots, which are evenly spaced categories.

    Args:
        axes: Where to.
        lines: Cells of one target, in order of their shots.
        looks: How each is drawn.
    """
    shots = sorted({cell.shots for cells in lines.values() for cell in cells})
    apart = min(0.06, 0.5 / len(lines))
    for number, (column, cells) in enumerate(lines.items()):
        # Side by side, so that error bars of neighbours do not hide each other.
        shift = apart * (number - (len(lines) - 1) / 2)
        draw_line(axes, [(shots.index(cell.shots) + shift, cell) for cell in cells], looks[column])
    name_axes(axes, next(iter(lines.values()))[0])
    axes.set_xlabel("training examples per class")
    axes.set_xticks(range(len(shots)), [style.shots_title(s) for s in shots])
    axes.set_xlim(-0.5, len(shots) - 0.5)


def draw_scale(
    axes: Axes,
    lines: Mapping[str, Sequence[Cell]],
    looks: Mapping[Column, style.Look],
    archs: Sequence[str],
) -> None:
    """Draws a panel of lines over networks.

    Args:
        axes: Where to.
        lines: Source -> cells of one target and number of shots, in order of their networks.
        looks: The colours and markers.
        archs: The networks, from left to right.
    """
    for number, cells in enumerate(lines.values()):
        shift = 0.03 * (number - (len(lines) - 1) / 2)
        look = looks[cells[0].arch, cells[0].source]
        points = [(archs.index(cell.arch) + shift, cell) for cell in cells]
        draw_line(axes, points, dataclasses.replace(look, dash="-"))  # dashes tell networks apart
    name_axes(axes, next(iter(lines.values()))[0])
    axes.set_xlabel("network")
    axes.set_xticks(range(len(archs)), [style.arch_title(arch) for arch in archs])
    axes.set_xlim(-0.35, len(archs) - 0.65)


def name_axes(axes: Axes, cell: Cell) -> None:
    """Names metric and unit of a panel of one target, and tags it."""
    tags.tag_panel(axes, cell.target)
    unit = f", {cell.unit}" if cell.unit else ""
    axes.set_ylabel(f"{style.metric_title(cell.metric)}{unit}")


def draw_line(axes: Axes, points: Sequence[tuple[float, Cell]], look: style.Look) -> None:
    """Draws cells as points with error bars (sample sd), neighbours joined; all are tagged.

    Args:
        axes: Where to.
        points: Place on the x axis and cell, from left to right.
        look: Colour, marker and dash.
    """
    for (left, one), (right, two) in itertools.pairwise(points):
        (joint,) = axes.plot(
            [left, right], [one.mean, two.mean], color=look.colour, linestyle=look.dash, zorder=2
        )
        archs, shots = dict.fromkeys((one.arch, two.arch)), dict.fromkeys((one.shots, two.shots))
        tags.tag(joint, target=one.target, source=one.source, arch=list(archs), shots=list(shots))
    for place, cell in points:
        reach = cell.sd if cell.n > 1 else 0.0
        # Bar and point as one line, so that they are one thing for a page.
        (mark,) = axes.plot(
            [place] * 3,
            [cell.mean - reach, cell.mean, cell.mean + reach],
            linewidth=1,
            markevery=[1],
            zorder=3,
            **marker(look),
        )
        tags.tag_cell(mark, cell)


def is_area(cell: Cell) -> bool:
    """Whether a cell is an area under a ROC curve."""
    return cell.metric.partition("/")[0] in ("auc", "mean_auc")


def chance(cells: Sequence[Cell]) -> float | None:
    """Returns what guessing gives, in percent; None where that is not known.

    Half for an area under a ROC curve. One by the number of classes for accuracy: that number is
    known from one-shot runs, which were trained on one image of each.

    Args:
        cells: Cells of one target.
    """
    if is_area(cells[0]):
        return AREA_OF_CHANCE
    classes = {cell.num_train_examples for cell in cells if cell.shots == 1}
    count = classes.pop() if len(classes) == 1 else None
    return 100.0 / count if count and cells[0].metric == "accuracy" else None


def draw_chance(axes: Axes, cells: Sequence[Cell]) -> None:
    """Draws a dotted line at what guessing gives, named at the right of the panel."""
    value = chance(cells)
    if value is None:
        return
    axes.axhline(value, color=style.INK, linestyle=":", linewidth=1, zorder=4)
    axes.annotate(
        "chance",
        (1, value),
        xycoords=axes.get_yaxis_transform(),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
    )


def add_line_keys(canvas: Canvas, looks: Mapping[Column, style.Look]) -> None:
    """Adds a legend below: a colour per source and, where there are several, a dash per network."""
    archs: dict[str, Any] = {arch: look.dash for (arch, _), look in looks.items()}
    networks = {
        style.arch_title(arch): Line2D([], [], linestyle=archs[arch], color=style.INK)
        for arch in style.order_archs(archs)
    }
    add_keys(canvas, (networks if len(networks) > 1 else {}) | _source_keys(looks))


def add_source_keys(canvas: Canvas, looks: Mapping[Column, style.Look]) -> None:
    """Adds a legend below: a colour per source."""
    add_keys(canvas, _source_keys(looks))


def _source_keys(looks: Mapping[Column, style.Look]) -> dict[str, Artist]:
    sources = {source: look for (_, source), look in looks.items()}
    return {
        style.title(source): Line2D([], [], linestyle="-", **marker(sources[source]))
        for source in style.order(sources)
    }


def add_keys(canvas: Canvas, keys: Mapping[str, Artist]) -> None:
    """Adds a legend below all panels, in as few rows as fit."""
    canvas.legend(
        list(keys.values()),
        list(keys),
        loc="outside lower center",
        ncols=_columns_that_fit(list(keys), canvas.get_figwidth()),
        frameon=False,
        handlelength=3.2,
    )


def _columns_that_fit(titles: Sequence[str], width: float) -> int:
    """Returns the number of columns of a legend that is so many inches wide at most."""
    for rows in range(1, len(titles) + 1):
        count = math.ceil(len(titles) / rows)
        columns = np.array_split(titles, count)  # as Matplotlib fills a legend
        # Line, gap and text in inches.
        if sum(0.75 + 0.075 * max(map(len, column)) for column in columns) <= width:
            return count
    return 1


def marker(look: style.Look) -> dict[str, Any]:
    """Returns colour and marker of a look, as ``plot`` takes them."""
    return {
        "color": look.colour,
        "marker": look.marker,
        "markersize": 5,
        "markerfacecolor": look.colour if look.filled else "none",
    }
