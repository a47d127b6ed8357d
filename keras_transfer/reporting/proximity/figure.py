"""The figure of proximity: gain over distance, a panel per measure, a point per pair."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from keras_transfer.evaluation.proximity.measures import MEASURES
from keras_transfer.reporting import figures, style
from keras_transfer.reporting.figures import tags
from keras_transfer.reporting.figures.lines import marker
from keras_transfer.reporting.phrases import p_text
from keras_transfer.reporting.proximity.gains import SCRATCH, Gains

_PANELS_PER_ROW = 2


def draw(points: pd.DataFrame, rows: pd.DataFrame, gains: Gains) -> figures.Figure:
    """Draws the pairs of one network.

    Args:
        points: `Proximity.points` of that network.
        rows: `Proximity.rows` of it.
        gains: What was averaged.
    """
    network = str(points["network"].iloc[0])
    evidence = {
        row["measure"]: _evidence(row) for row in rows[rows["shots"] == "all"].to_dict("records")
    }
    looks = _looks(points)
    with mpl.rc_context(figures.SETTINGS):
        canvas, panels = figures.panels(
            len(evidence), _PANELS_PER_ROW, least_width=1.3 * figures.PANEL_INCHES[0], below=0.4
        )
        for axes, (measure, words) in zip(panels, evidence.items()):
            draw_panel(axes, points[points["measure"] == measure], looks, gains)
            kind = "distance" if MEASURES[measure].nearer_is_smaller else "similarity"
            axes.set(xlabel=kind + words, ylabel="gain, points" if gains.unit else "gain")
        _add_keys(canvas, points, looks)
        return figures.finish(
            canvas,
            name=f"proximity_{''.join(c if c.isalnum() else '_' for c in network)}",
            title=f"Gain over the distance of source and target, in the features of {network}",
            alt=_describe(points, evidence),
            csv=points.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
            caption=_caption(gains.reference),
        )


def draw_panel(
    axes: Axes, points: pd.DataFrame, looks: Mapping[str, style.Look], gains: Gains
) -> None:
    """Draws the pairs of one measure, each with the interval of its distance; all are tagged."""
    targets = style.order(points["target"])
    for point in points.to_dict("records"):
        # Bar and point as one line, so that they are one thing for a page.
        (mark,) = axes.plot(
            [point["low"], point["value"], point["high"]],
            [point["gain"]] * 3,
            linewidth=1,
            markevery=[1],
            **marker(looks[point["source"]]),
        )
        tags.tag(
            mark,
            target=point["target"],
            source=point["source"],
            arch=sorted({gain.arch for gain in gains.all}),
            shots=sorted({gain.shots for gain in gains.all}),
            text=f"{_pair(point)}: {point['value']:.4g}, gain {point['gain']:+.2f} {gains.unit}",
        )
        number = str(targets.index(point["target"]) + 1)
        place = (point["value"], point["gain"])
        axes.annotate(number, place, (3, 3), textcoords="offset points", fontsize=7)
    for source, null in points.groupby("source", sort=False)["null"].first().items():
        axes.axvline(null, color=looks[str(source)].colour, linestyle=":", linewidth=1)
    axes.axhline(0, color=style.INK, linewidth=0.6)
    measure = MEASURES[points["measure"].iloc[0]]
    axes.set_title(measure.title)
    if not measure.nearer_is_smaller:
        axes.invert_xaxis()  # near is on the left in all panels


def _add_keys(canvas: Canvas, points: pd.DataFrame, looks: Mapping[str, style.Look]) -> None:
    """Says which marker is which source, and which number which target."""
    targets = [style.title(target) for target in style.order(points["target"])]
    keys = {style.title(s): Line2D([], [], linestyle="none", **marker(k)) for s, k in looks.items()}
    keys |= {f"{n} {name}": Line2D([], [], linestyle="none") for n, name in enumerate(targets, 1)}
    longest = max(map(len, keys))
    canvas.legend(
        list(keys.values()),
        list(keys),
        loc="outside lower center",
        ncols=max(1, min(len(keys), 90 // (longest + 6))),
        frameon=False,
    )


def _looks(points: pd.DataFrame) -> dict[str, style.Look]:
    looks = style.looks([("", source) for source in style.order(points["source"])])
    return {source: look for (_, source), look in looks.items()}


def _evidence(row: Mapping[Any, Any]) -> str:
    if row["reason"]:
        return ""
    return f" (Spearman {row['spearman']:+.2f}, p {p_text(row['p_holm'])})"


def _pair(point: Mapping[Any, Any]) -> str:
    return f"{style.title(point['source'])} to {style.title(point['target'])}"


def _caption(reference: str) -> str:
    against = "training from scratch" if reference == SCRATCH else "the mean of the sources"
    return (
        f"A point is a source and a target: its gain against {against}, the mean over shots and "
        "networks; bars are 95 % intervals of the distance. Dotted lines: two halves of the "
        "source, which is as near as can be measured. Near is on the left. Spearman's p is from "
        "exchanging whole sources and whole targets, corrected over the measures."
    )


def _describe(points: pd.DataFrame, evidence: Mapping[str, str]) -> str:
    parts = []
    for measure, of_measure in points.groupby("measure", sort=False):
        pairs = ", ".join(
            f"{_pair(point)} {point['value']:.3g} and {point['gain']:+.2f}"
            for point in of_measure.to_dict("records")
        )
        parts.append(f"{MEASURES[str(measure)].title}{evidence[str(measure)]}: {pairs}.")
    return f"Scatter plots, distance and gain of each pair. {' '.join(parts)}"
