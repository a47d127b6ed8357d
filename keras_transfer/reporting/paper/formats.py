"""The printed tables as text: Markdown, LaTeX (booktabs, xcolor) and csv; HTML is in ``page``.

Bold, italic and the dagger mean the same everywhere (``marks``); colour is never alone.
"""

import re
from collections.abc import Callable, Iterator
from itertools import groupby

from keras_transfer.reporting import formats
from keras_transfer.reporting.paper import marks, printed
from keras_transfer.reporting.paper.filling import HEAD, Entry, PaperTable


def to_markdown(table: PaperTable) -> str:
    """Returns the table in GitHub's Markdown, what differs from the print, and the notes."""
    lead = table.lead
    networks = [title for title in printed.ARCHS.values() for _ in table.layout.sources]
    labels = [f"{title} {label}" for title, label in zip(networks, table.layout.labels)]
    body = [
        [*row.names[:lead], *(_markdown_cell(table, entry) for entry in row.entries)]
        for row in table.rows
    ]
    parts = [
        formats.markdown_grid([*HEAD[:lead], *labels], body),
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
        rf"{HEAD[0]} & {' & '.join(map(escape, labels))} \\",
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


def number(table: PaperTable, entry: Entry) -> str:
    """Returns what was found, or a dash."""
    return formats.number_text(entry.cell, table.usual_n) if entry.cell else formats.MISSING


def wrapped(
    text: str, entry: Entry, bold: Callable[[str], str], italic: Callable[[str], str]
) -> str:
    """Returns the text of a place with its marks but the dagger."""
    text = italic(text) if entry.flat else text
    return bold(text) if entry.best else text


def _markdown_cell(table: PaperTable, entry: Entry) -> str:
    text = wrapped(number(table, entry), entry, lambda t: f"**{t}**", lambda t: f"*{t}*")
    return f"{text} {marks.TOP}" if entry.top else text


def _latex_body(table: PaperTable) -> Iterator[str]:
    for domain, rows in groupby(table.rows, key=lambda row: row.domain):
        yield r"\midrule"
        if table.lead > 1:
            width = 1 + len(table.layout.labels)
            yield rf"\multicolumn{{{width}}}{{l}}{{{formats.latex_escape(domain)}:}} \\"
        for row in rows:
            cells = (_latex_cell(table, entry) for entry in row.entries)
            yield rf"{formats.latex_escape(row.title)} & {' & '.join(cells)} \\"


def _latex_cell(table: PaperTable, entry: Entry) -> str:
    # Without its spaces, and n small: eight numbers stand side by side.
    text = formats.latex_escape(number(table, entry)).replace(r" $\pm$ ", r"$\pm$")
    text = re.sub(r" \(n=(\d+)\)", r"$_{n=\1}$", text)
    text = wrapped(text, entry, lambda t: rf"\textbf{{{t}}}", lambda t: rf"\textit{{{t}}}")
    return rf"\textcolor{{red!75!black}}{{{text}\dag}}" if entry.top else text
