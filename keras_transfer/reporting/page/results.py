"""The sections of results: the table of all transfers, and what it shows in sentences."""

from keras_transfer.reporting import formats, style, wording
from keras_transfer.reporting.page.parts import folded, paragraphs, scroller, sentences, text
from keras_transfer.reporting.page.tables import NARROW
from keras_transfer.reporting.tables import Row, Table

_FEW_TARGETS = 4  # whose sentences are shown at once


def statements(table: Table) -> str:
    """Returns what the table shows, in sentences by target."""
    parts = []
    many = len(table.targets) > _FEW_TARGETS
    for target, lines in wording.by_target(table):
        if target:
            title, shown = style.title(target), sentences(lines)
            parts.append(folded(title, shown) if many else f"<h3>{text(title)}</h3>{shown}")
        else:
            parts.append(paragraphs(lines, "method"))
    return "\n".join(parts)


def transfer_table(table: Table) -> str:
    """Returns all cells, sortable, best means marked, with the values of seeds as titles."""
    titles = ["Target", "Shots", *(formats.column_title(table, c) for c in table.columns)]
    head = "".join(f'<th scope="col">{text(title)}</th>' for title in titles)
    body = "\n".join(_row(table, row, place) for place, row in enumerate(table.rows))
    wide = " wide" if len(titles) > NARROW else ""
    return scroller(
        f'<table class="sortable{wide}" id="transfer"><caption>{text(formats.caption(table))}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        "Table of all transfers",
    )


def _row(table: Table, row: Row, place: int) -> str:
    best = table.best(row)
    shots = style.shots_title(row[1])
    cells = [
        f'<th scope="row" data-value="{place}">{text(formats.target_title(table, row[0]))}</th>',
        f'<td data-value="{row[1] if shots != "full" else 1e12}">{shots}</td>',
    ]
    for column in table.columns:
        cell = table.cells.get((row, column))
        value = f' data-value="{cell.mean!r}"' if cell else ""
        seeds = "no finished run"
        if cell:
            seeds = ", ".join(f"seed {s}: {cell.text(v)}" for s, v in cell.values.items())
        shown = text(formats.cell_text(table, row, column))
        if column in best:
            shown = f"<strong>{shown}</strong>"
        cells.append(f'<td{value} title="{text(seeds)}">{shown}</td>')
    return f"<tr>{''.join(cells)}</tr>"
