"""Sortable tables of a page from tables of numbers, with filters of their rows."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import pandas as pd

from keras_transfer.reporting.formats import MISSING
from keras_transfer.reporting.page.parts import chips, filters, scroller, text, unbroken
from keras_transfer.reporting.phrases import p_text

# How a value is shown: as in ``format``, or by a function that returns HTML.
Format = str | Callable[[Any], str]

NARROW = 9  # columns that fit a printed page at the usual size of letters
_LONG = 100  # characters


def frame_table(
    frame: pd.DataFrame,
    columns: Mapping[str, str],
    caption: str,
    formats: Mapping[str, Format] | None = None,
    *,
    name: str,
    facets: Sequence[str] = (),
) -> str:
    """Returns a sortable table.

    Args:
        frame: A row per line. Numbers sort by value, text by letters, missing values last.
        columns: Column -> heading; these are shown, in this order. The first names the row.
        caption: What the table shows.
        formats: Column -> format of a number (as in ``format``), or a function from the value to
            HTML. Without one, values are shown as they are, NaN and None as a dash.
        name: Unique id on the page.
        facets: Columns by whose values rows can be chosen.
    """
    formats = formats or {}
    kinds = {column: _kind(frame[column]) for column in columns}
    head = "".join(
        f'<th scope="col"{kinds[column]}>{text(title)}</th>' for column, title in columns.items()
    )
    rows = []
    for record in frame.to_dict("records"):
        cells = [
            _cell(record[column], formats.get(column, ""), kinds[column], first=place == 0)
            for place, column in enumerate(columns)
        ]
        mark = "".join(f' data-{facet}="{text(record[facet])}"' for facet in facets)
        rows.append(f"<tr{mark}>{''.join(cells)}</tr>")
    wide = " wide" if len(columns) > NARROW else ""
    table = (
        f'<table class="sortable{wide}" id="{name}"><caption>{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return _row_filters(frame, facets, columns, name) + scroller(table, caption)


def _row_filters(
    frame: pd.DataFrame, facets: Sequence[str], columns: Mapping[str, str], name: str
) -> str:
    groups = ""
    for facet in facets:
        counts = Counter(map(str, frame[facet])).most_common()
        shown = {value: f"{value} ({count})" for value, count in counts}
        if len(shown) > 1:
            groups += chips(facet, columns.get(facet, facet.capitalize()), shown)
    return filters(f"{name}-rows", "Which rows are shown", groups) if groups else ""


def _kind(values: pd.Series) -> str:
    """Returns the class of a column: none for numbers."""
    if all(isinstance(value, Real) or value is None for value in values):
        return ""
    longest = max(len(str(value)) for value in values)
    return ' class="text long"' if longest > _LONG else ' class="text"'


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _cell(value: Any, form: Format, kind: str, *, first: bool) -> str:
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    number = isinstance(value, Real) and not _is_missing(value)
    key = f' data-value="{_sort_key(float(value))}"' if number else ""
    if _is_missing(value):
        shown = MISSING
    elif number and math.isinf(value):
        shown = "∞" if value > 0 else "-∞"
    elif callable(form):
        shown = form(value)
    else:
        shown = text(unbroken(format(value, form)))
    return f"<{tag}{scope}{kind}{key}>{shown}</{tag}>"


def badge(value: object) -> str:
    """Returns a verdict that stands out; its colour only repeats what it says."""
    return f'<span class="badge" data-kind="{text(value)}">{text(value)}</span>'


def _sort_key(value: float) -> str:
    """Returns a number as scripts write it."""
    return repr(value).replace("inf", "Infinity")


def p_value(value: float) -> str:
    """Returns p with three digits, or more where these would not tell it from the level."""
    return text(unbroken(p_text(value, fewest=3).removeprefix("= ")))
