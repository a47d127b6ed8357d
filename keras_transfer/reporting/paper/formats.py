"""The printed tables as text: Markdown, LaTeX (booktabs, xcolor), csv and a fragment of HTML.

Bold, italic and the dagger mean the same everywhere (``marks``); colour is never alone.
"""

import re
from collections.abc import Callable, Iterator
from itertools import groupby

from keras_transfer.reporting import formats
from keras_transfer.reporting.page import parts as page_parts
from keras_transfer.reporting.paper import marks as paper_marks
from keras_transfer.reporting.paper import printed, verdicts
from keras_transfer.reporting.paper.filling import Entry, PaperRow, PaperTable

_HEAD = ("Target", "Domain")
_NARROW = 9  # columns that fit a printed page at the usual size of letters


def to_markdown(table: PaperTable) -> str:
    """Returns the table in GitHub's Markdown, what differs from the print, and the notes."""
    lead = _lead(table)
    networks = [title for title in printed.ARCHS.values() for _ in table.layout.sources]
    labels = [f"{title} {label}" for title, label in zip(networks, table.layout.labels)]
    body = [
        [*_row_names(row)[:lead], *(_markdown_cell(table, entry) for entry in row.entries)]
        for row in table.rows
    ]
    parts = [
        formats.markdown_grid([*_HEAD[:lead], *labels], body),
        f"{table.layout.title}. {table.caption}\n",
        f"{table.summary}\n",
    ]
    if table.differences:
        parts.append("".join(f"- {line}\n" for line in table.differences))
    return "\n".join([*parts, *(f"{note}\n" for note in table.notes)])


def to_latex(table: PaperTable) -> str:
    r"""Returns a LaTeX table; needs ``\usepackage{booktabs,xcolor}`` and a text width of 16 cm.

    What was found of the printed numbers stands above it, in comments.
    """
    escape = formats.latex_escape
    labels = table.layout.labels
    groups = [(title, len(table.layout.sources)) for title in printed.ARCHS.values()]
    lines = [
        *(f"% {line}" for line in (table.summary, *table.differences)),
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{escape(' '.join([table.caption, *table.notes]))}}}",
        rf"\label{{tab:{table.layout.name}}}",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{1.8pt}",
        rf"\begin{{tabular}}{{l{'r' * len(labels)}}}",
        r"\toprule",
        *formats.latex_spans(groups, skip=1),
        rf"{_HEAD[0]} & {' & '.join(map(escape, labels))} \\",
        *_latex_body(table),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def to_csv(table: PaperTable) -> str:
    """Returns one line per place of the table, in percent, with all digits of what was found.

    Columns: target, source, arch, metric, n (distinct seeds), mean, sd, printed_mean, printed_sd,
    verdict.
    """
    return table.frame.to_csv(index=False, lineterminator="\n")


def to_html(table: PaperTable) -> str:
    """Returns a fragment: summary, table, notes; the table's last header row sorts it.

    Below each number stands what was printed, unless it is the same. Classes: ``best`` of a td is
    the best of its target; ``verdict`` of a small, with the kind of verdict as a second class.
    """
    lead = _lead(table)
    width = len(table.layout.sources)
    groups = "".join(
        f'<th scope="colgroup" colspan="{width}">{title}</th>' for title in printed.ARCHS.values()
    )
    head = "".join(f'<th scope="col" class="text">{name}</th>' for name in _HEAD[:lead])
    head += "".join(
        f'<th scope="col">{page_parts.text(label)}</th>' for label in table.layout.labels
    )
    body = "\n".join(_html_row(table, row) for row in table.rows)
    wide = " wide" if lead + len(table.layout.labels) > _NARROW else ""
    whole = (
        f'<table class="sortable paper{wide}" id="{table.layout.name}">'
        f"<caption>{page_parts.text(f'{table.layout.title}. {table.caption}')}</caption>"
        f'<thead><tr><td colspan="{lead}"></td>{groups}</tr>\n<tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table>"
    )
    return "\n".join(
        [
            page_parts.paragraphs([table.summary]),
            page_parts.scroller(whole, table.layout.title),
            page_parts.paragraphs([" ".join(table.notes)], "method"),
        ]
    )


def _lead(table: PaperTable) -> int:
    """Returns the number of columns before the numbers: the domain only where there are two."""
    return len({row.domain for row in table.rows})


def _row_names(row: PaperRow) -> tuple[str, str]:
    return row.title, row.domain


def _number(table: PaperTable, entry: Entry) -> str:
    return formats.number_text(entry.cell, table.usual_n) if entry.cell else formats.MISSING


def _wrapped(text: str, entry: Entry, bold: Callable[[str], str], italic: Callable) -> str:
    text = italic(text) if entry.flat else text
    return bold(text) if entry.best else text


def _markdown_cell(table: PaperTable, entry: Entry) -> str:
    text = _wrapped(_number(table, entry), entry, lambda t: f"**{t}**", lambda t: f"*{t}*")
    return f"{text} {paper_marks.TOP}" if entry.top else text


def _latex_body(table: PaperTable) -> Iterator[str]:
    for domain, rows in groupby(table.rows, key=lambda row: row.domain):
        yield r"\midrule"
        if _lead(table) > 1:
            width = 1 + len(table.layout.labels)
            yield rf"\multicolumn{{{width}}}{{l}}{{{formats.latex_escape(domain)}:}} \\"
        for row in rows:
            cells = (_latex_cell(table, entry) for entry in row.entries)
            yield rf"{formats.latex_escape(row.title)} & {' & '.join(cells)} \\"


def _latex_cell(table: PaperTable, entry: Entry) -> str:
    # Without its spaces, and n small: eight numbers stand side by side.
    text = formats.latex_escape(_number(table, entry)).replace(r" $\pm$ ", r"$\pm$")
    text = re.sub(r" \(n=(\d+)\)", r"$_{n=\1}$", text)
    text = _wrapped(text, entry, lambda t: rf"\textbf{{{t}}}", lambda t: rf"\textit{{{t}}}")
    return rf"\textcolor{{red!75!black}}{{{text}\dag}}" if entry.top else text


def _html_row(table: PaperTable, row: PaperRow) -> str:
    title, domain = map(page_parts.text, _row_names(row))
    cells = [f'<th scope="row" class="text">{title}</th>']
    if _lead(table) > 1:
        cells.append(f'<td class="text">{domain}</td>')
    cells += [_html_cell(table, entry) for entry in row.entries]
    return f"<tr>{''.join(cells)}</tr>"


def _html_cell(table: PaperTable, entry: Entry) -> str:
    text = page_parts.text(page_parts.unbroken(_number(table, entry)))
    text = _wrapped(text, entry, lambda t: f"<strong>{t}</strong>", lambda t: f"<em>{t}</em>") + (
        f" {paper_marks.TOP}" if entry.top else ""
    )
    # An empty value is a missing one: what was printed is no value to sort by.
    value = repr(entry.cell.mean) if entry.cell else ""
    kind = ' class="best"' if entry.top else ""
    note = page_parts.text(page_parts.unbroken(_against_print(entry)))
    if note:
        verdict = entry.verdict.kind.replace(" ", "-")
        text += f'<br><small class="verdict {verdict}">{note}</small>'
    return (
        f'<td data-value="{value}"{kind} title="{page_parts.text(entry.verdict.text)}">{text}</td>'
    )


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
