"""A printed table as a fragment of HTML: for the page, and as a file of its own."""

from keras_transfer.reporting.page.parts import paragraphs, scroller, text, unbroken
from keras_transfer.reporting.page.tables import NARROW
from keras_transfer.reporting.paper import formats, marks, printed, verdicts
from keras_transfer.reporting.paper.filling import HEAD, Entry, PaperRow, PaperTable


def to_html(table: PaperTable) -> str:
    """Returns a fragment: summary, table, notes; the table's last header row sorts it.

    Below each number stands what was printed, unless it is the same. Classes: ``best`` of a td is
    the best of its target; ``verdict`` of a small, with the kind of verdict as a second class.
    """
    lead = table.lead
    width = len(table.layout.sources)
    groups = "".join(
        f'<th scope="colgroup" colspan="{width}">{title}</th>' for title in printed.ARCHS.values()
    )
    head = "".join(f'<th scope="col" class="text">{name}</th>' for name in HEAD[:lead])
    head += "".join(f'<th scope="col">{text(label)}</th>' for label in table.layout.labels)
    body = "\n".join(_html_row(table, row) for row in table.rows)
    wide = " wide" if lead + len(table.layout.labels) > NARROW else ""
    whole = (
        f'<table class="sortable paper{wide}" id="{table.layout.name}">'
        f"<caption>{text(f'{table.layout.title}. {table.caption}')}</caption>"
        f'<thead><tr><td colspan="{lead}"></td>{groups}</tr>\n<tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table>"
    )
    return "\n".join(
        [
            paragraphs([table.summary]),
            scroller(whole, table.layout.title),
            paragraphs([" ".join(table.notes)], "method"),
        ]
    )


def _html_row(table: PaperTable, row: PaperRow) -> str:
    title, domain = map(text, row.names)
    cells = [f'<th scope="row" class="text">{title}</th>']
    if table.lead > 1:
        cells.append(f'<td class="text">{domain}</td>')
    cells += [_html_cell(table, entry) for entry in row.entries]
    return f"<tr>{''.join(cells)}</tr>"


def _html_cell(table: PaperTable, entry: Entry) -> str:
    number = text(unbroken(formats.number(table, entry)))
    shown = formats.wrapped(
        number, entry, lambda t: f"<strong>{t}</strong>", lambda t: f"<em>{t}</em>"
    )
    shown += f" {marks.TOP}" if entry.top else ""
    # An empty value is a missing one: what was printed is no value to sort by.
    value = repr(entry.cell.mean) if entry.cell else ""
    kind = ' class="best"' if entry.top else ""
    note = text(unbroken(_against_print(entry)))
    if note:
        verdict = entry.verdict.kind.replace(" ", "-")
        shown += f'<br><small class="verdict {verdict}">{note}</small>'
    return f'<td data-value="{value}"{kind} title="{text(entry.verdict.text)}">{shown}</td>'


def _against_print(entry: Entry) -> str:
    """Returns the second line of a cell: what was printed, as far as it differs."""
    kind, number = entry.verdict.kind, entry.printed
    if number is None:
        return "not printed" if kind == verdicts.NEW else ""
    if kind == verdicts.REPRODUCES:
        return "as printed"
    if kind == verdicts.MEAN_ONLY:
        return f"printed ± {number.sd:.2f}"
    prefix = "differs: " if kind == verdicts.DIFFERS else ""
    return f"{prefix}printed {number.text}"
