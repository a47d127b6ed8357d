"""Figures of the laws of scale: every run as a point, laws that hold as lines with bands."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from keras_transfer.reporting import figures, style
from keras_transfer.reporting.figures import lines, tags
from keras_transfer.reporting.laws.fits import Fit
from keras_transfer.reporting.laws.series import AGAINST, PARAMETERS, SOURCE, TRAINING, errors_of
from keras_transfer.reporting.tables import Cell, Column, Table

_PANELS_PER_ROW = 3
_NAMES = {TRAINING: "law_images", SOURCE: "law_sources", PARAMETERS: "law_parameters"}
_LABELS = {
    TRAINING: "training images of the target",
    SOURCE: "images of the source",
    PARAMETERS: "parameters of the network, without head",
}
_BAND_POINTS = 60


def draw(table: Table, fits: Sequence[Fit]) -> list[figures.Figure]:
    """Returns one figure per ``against``, of at most one panel per target.

    There is none where every series is a single point: nothing is plotted against anything.
    Over source size and parameters only the most shots of each target are drawn (usually all
    training images): the tables have the others.
    """
    found = []
    for against in AGAINST:
        group = [fit for fit in fits if fit.series.against == against and fit.series.every]
        most: dict[str, float] = {}
        for fit in group:
            shots = fit.series.shots or 0
            most[fit.series.target] = max(shots, most.get(fit.series.target, 0))
        shown = [fit for fit in group if (fit.series.shots or 0) == most[fit.series.target]]
        drawn = [fit for fit in shown if any(error > 0 for error in _errors(fit))]
        if any(len(fit.series.every) > 1 for fit in drawn):
            found.append(_draw(against, table, drawn))
    return found


def _draw(against: str, table: Table, fits: Sequence[Fit]) -> figures.Figure:
    targets = [t for t in table.targets if any(fit.series.target == t for fit in fits)]
    looks = _looks(against, table, fits)
    with mpl.rc_context(figures.SETTINGS):
        canvas, panels = figures.panels(len(targets), _PANELS_PER_ROW, below=0.4)
        for axes, target in zip(panels, targets):
            _panel(axes, [fit for fit in fits if fit.series.target == target], looks)
            axes.set_xlabel(_LABELS[against])
        lines.add_keys(canvas, _keys(fits, looks))
        return figures.finish(
            canvas,
            name=_NAMES[against],
            title=f"Error over {_LABELS[against]}",
            alt=_describe(against, fits),
            csv=_csv(fits),
            caption=_caption(fits),
        )


def _looks(against: str, table: Table, fits: Sequence[Fit]) -> dict[Column, style.Look]:
    columns = dict.fromkeys(_key(fit) for fit in fits)
    return style.looks(table.columns if against == TRAINING else columns)


def _key(fit: Fit) -> Column:
    return fit.series.arch, fit.series.source


def _keys(fits: Sequence[Fit], looks: dict[Column, style.Look]) -> dict[str, Line2D]:
    keys = {}
    for arch, source in dict.fromkeys(_key(fit) for fit in fits):
        look = looks[arch, source]
        title = ", ".join(filter(None, (style.title(source), style.arch_title(arch))))
        keys[title] = Line2D([], [], linestyle=look.dash, **_marker(look))  # type: ignore[arg-type]
    return keys


def _panel(axes: Axes, fits: Sequence[Fit], looks: dict[Column, style.Look]) -> None:
    """Draws a target on log axes."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    for fit in fits:
        look = looks[_key(fit)]
        for x, cell in fit.series.every:
            errors = [error for error in (errors_of(cell) or {}).values() if error > 0]
            (mark,) = axes.plot([x] * len(errors), errors, linestyle="", zorder=3, **_marker(look))
            tags.tag_cell(mark, cell)
        if fit.holds:
            _line(axes, fit, look)
    cell = fits[0].series.every[0][1]
    tags.tag_panel(axes, cell.target)
    axes.set_title(style.title(cell.target))
    axes.set_ylabel(f"{_error_title(cell)}{f', {cell.unit}' if cell.unit else ''}")
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_major_locator(LogLocator(subs=(1,) if high > 300 * low else (1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.set_minor_locator(NullLocator())


def _line(axes: Axes, fit: Fit, look: style.Look) -> None:
    """Draws a law and its band over the measured range."""
    assert fit.law is not None  # as it holds
    x = np.geomspace(fit.law.x[0], fit.law.x[-1], _BAND_POINTS)
    value, low, high = fit.law.predict(x)
    (line,) = axes.plot(x, value, color=look.colour, linestyle=look.dash, linewidth=1.5, zorder=2)
    band = axes.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0, zorder=1)
    cells = [cell for _, cell in fit.series.points]
    for artist in (line, band):
        tags.tag(
            artist,
            target=fit.series.target,
            source=cells[-1].source,
            arch=list(dict.fromkeys(cell.arch for cell in cells)),
            shots=list(dict.fromkeys(cell.shots for cell in cells)),
        )


def _marker(look: style.Look) -> dict[str, Any]:
    # No line tells networks apart where laws are refused: the markers of the first are filled.
    return {
        "color": look.colour,
        "marker": look.marker,
        "markersize": 4.5,
        "markeredgewidth": 0.7,
        "fillstyle": ("full" if look.dash == "-" else "bottom") if look.filled else "none",
        "markerfacecoloralt": "none",
    }


def _error_title(cell: Cell) -> str:
    title = style.metric_title(cell.metric)
    return f"100 − {title}" if cell.unit and errors_of(cell) != cell.values else title


def _short(value: float) -> str:
    """Returns 0.5, 20, 5k, 2M: short, and without mathematical text."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _errors(fit: Fit) -> list[float]:
    return [e for _, cell in fit.series.every for e in (errors_of(cell) or {}).values()]


def _caption(fits: Sequence[Fit]) -> str:
    refused = [fit for fit in fits if not fit.holds]
    text = "Points are runs, one per seed; bands are 95 % intervals of the law."
    zeros = sum(error <= 0 for fit in fits for error in _errors(fit))
    if zeros:
        text += f" {zeros} runs without error have no place on a log scale."
    if any(fit.series.others for fit in fits):
        text += " Points of another number of training steps are drawn and not fitted."
    if not refused:
        return f"{text} A law holds in every series."
    names = "; ".join(f"{style.title(f.series.target)}: {f.series.title}" for f in refused)
    return f"{text} Points without a line: the law is refused ({names})."


def _describe(against: str, fits: Sequence[Fit]) -> str:
    parts = []
    for fit in fits:
        name = f"{style.title(fit.series.target)}, {fit.series.title}"
        said = fit.formula if fit.holds else f"refused, {'; '.join(fit.reasons.values())}"
        parts.append(f"{name}: {said}.")
    return (
        f"Points on logarithmic axes, one panel per target: error over {_LABELS[against]}; lines "
        f"with bands where a law holds. {' '.join(parts)}"
    )


def _csv(fits: Sequence[Fit]) -> str:
    """Returns one line per run, with the curve where a law holds."""
    rows = []
    for fit in fits:
        for x, cell in fit.series.every:
            fitted = fit.law if fit.holds and cell.step == fit.series.step else None
            curve = fitted.predict(x) if fitted else [[np.nan]] * 3
            for seed, error in (errors_of(cell) or {}).items():
                rows.append(
                    {
                        "target": cell.target,
                        "source": cell.source,
                        "arch": cell.arch,
                        "shots": style.shots_title(cell.shots),
                        "seed": seed,
                        "x": x,
                        "error": error,
                        **dict(zip(("law", "law_low", "law_high"), (part[0] for part in curve))),
                    }
                )
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
