"""The figure of scaling: throughput and speed-up over the number of workers or GPUs."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from keras_transfer.reporting import figures, style


def scaling_curves(
    series: Mapping[str, Mapping[int, Sequence[float]]], *, unit: str = "GPUs"
) -> figures.Figure:
    """Draws throughput and speed-up over the number of workers, both with what would be ideal.

    Reference: arXiv:2106.00116, figure 4 (supplement A.2): E(N) = T(N) / (N T(1)).

    Args:
        series: Name -> number of workers, 1 among them -> images/s, one per round of measurement.
            Points are medians; bars reach from the smallest to the largest. A ratio to T(1) is
            taken round by round.
        unit: What is counted, for the labels.
    """
    counts = sorted({count for rates in series.values() for count in rates})
    rows = [_row(name, n, series[name]) for name in series for n in sorted(series[name])]
    looks = style.looks([("", name) for name in series])
    with mpl.rc_context(figures.SETTINGS):
        canvas = figures.new_canvas(2 * figures.PANEL_INCHES[0], 3.3)
        left, right = canvas.subplots(1, 2)
        for place, name in enumerate(series):
            mine = [row for row in rows if row["series"] == name]
            for axes, what in ((left, "images_per_second"), (right, "speed_up")):
                _line(axes, mine, what, looks["", name], name, above=not place)
        right.plot(counts, counts, color=style.INK, linestyle=":", linewidth=1.2, label="ideal")
        for axes, label, title in (
            (left, "images/s", "Throughput"),
            (right, "speed-up", "Speed-up and efficiency"),
        ):
            axes.set(xlabel=f"number of {unit}", ylabel=label, title=title, ylim=(0, None))
            axes.set_xticks(counts if len(counts) < 6 else counts[-5:])
        handles, labels = right.get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        return figures.finish(
            canvas,
            name="scaling_curves",
            title=f"Throughput and speed-up over the number of {unit}",
            alt="; ".join(
                f"{row['series']}, {row['workers']} {unit}: "
                f"{row['images_per_second']:.4g} images/s, speed-up {row['speed_up']:.2f}, "
                f"efficiency {row['efficiency']:.1%}"
                for row in rows
            ),
            csv=rows_to_csv(rows),
        )


def _row(name: str, count: int, rates: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """Returns medians, smallest and largest of a point, and what would be ideal."""
    speed_ups = [many / one for many, one in zip(rates[count], rates[1], strict=True)]
    row: dict[str, Any] = {"series": name, "workers": count}
    for what, values in (("images_per_second", rates[count]), ("speed_up", speed_ups)):
        row |= {what: statistics.median(values), f"{what}_min": min(values)}
        row |= {f"{what}_max": max(values)}
    ideal = count * statistics.median(rates[1])
    return row | {"ideal_images_per_second": ideal, "efficiency": row["speed_up"] / count}


def _line(
    axes: Axes,
    rows: Sequence[dict[str, Any]],
    what: str,
    look: style.Look,
    label: str,
    above: bool,
) -> None:
    counts = [row["workers"] for row in rows]
    middle = [row[what] for row in rows]
    around = [
        [value - row[f"{what}_min"] for value, row in zip(middle, rows)],
        [row[f"{what}_max"] - value for value, row in zip(middle, rows)],
    ]
    axes.errorbar(
        *(counts, middle, around),
        color=look.colour,
        marker=look.marker,
        markersize=5,
        capsize=2.5,
        linewidth=1.5,
        elinewidth=1,
        label=label,
    )
    if what == "images_per_second":
        ideal = [row["ideal_images_per_second"] for row in rows]
        axes.plot(counts, ideal, color=look.colour, linestyle=":", linewidth=1.2)
        return
    for row in rows[1:]:  # the first is 100 % by definition
        place = (row["workers"], row[what])
        text = f"{row['efficiency']:.1%}"
        axes.annotate(
            text,
            place,
            xytext=(0, 7 if above else -7),
            textcoords="offset points",
            ha="center" if row is not rows[-1] else "right",
            va="bottom" if above else "top",
            color=look.colour,
            fontsize=8,
        )


def rows_to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns csv, numbers with six digits; the first row names the columns."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
    )
    return stream.getvalue()
