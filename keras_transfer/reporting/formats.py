"""The transfer table as text: Markdown, LaTeX (booktabs) and csv."""

import csv
import io
from collections.abc import Callable, Sequence

from keras_transfer.reporting import style
from keras_transfer.reporting.collection import Collection
from keras_transfer.reporting.tables import Cell, Column, Row, Table

MISSING = "–"


def number_text(cell: Cell, usual_n: int | None = None) -> str:
    """Returns ``mean ± sd``, the mean alone for one seed.

    Args:
        cell: The number.
        usual_n: The usual number of seeds; another one is named behind the number.
    """
    text = cell.text(cell.mean)
    if cell.n > 1:
        text += f" ± {cell.text(cell.sd)}"
    return text if usual_n in (None, cell.n) else f"{text} (n={cell.n})"


def value_text(cell: Cell) -> str:
    """Returns ``mean ± sd`` with its unit, if it has one."""
    return number_text(cell) + (f" {cell.unit}" if cell.unit else "")


def cell_text(table: Table, row: Row, column: Column) -> str:
    """Returns ``mean ± sd``, with n where it is unusual, or a dash."""
    cell = table.cells.get((row, column))
    return number_text(cell, table.usual_n) if cell else MISSING


def column_title(table: Table, column: Column) -> str:
    """Returns the source, with the network where there are several."""
    arch, source = column
    text = style.title(source)
    return text if len(table.archs) == 1 else f"{text}, {style.arch_title(arch)}"


def target_title(table: Table, target: str) -> str:
    """Returns the target with its metric and unit: ``Pets (accuracy, %)``."""
    cell = table.of(target)
    measure = ", ".join(filter(None, (style.metric_title(cell.metric), cell.unit)))
    split = "" if cell.split == "test" else f", split {cell.split!r}"
    return f"{style.title(target)} ({measure}{split})"


def caption(table: Table) -> str:
    """Returns what the numbers are."""
    n = table.usual_n
    spread = (
        f"Mean ± sample standard deviation over {n} seeds"
        if n > 1
        else "One seed per number, so no spread is known"
    )
    if len({cell.n for cell in table.cells.values()}) > 1:
        spread += "; other numbers of seeds as n"
    networks = ", ".join(map(style.arch_title, table.archs))
    whole = len(table.cells) == len(table.rows) * len(table.columns)
    missing = "" if whole else f"; {MISSING} is a missing run"
    return (
        f"Transfer of {networks} by source (columns), target and shots per class (rows). "
        f"{spread}. The best mean of each row is bold{missing}."
    )


def _body(table: Table, bold: Callable[[str], str]) -> list[list[str]]:
    lines = []
    for row in table.rows:
        best = table.best(row)
        texts = [
            bold(cell_text(table, row, c)) if c in best else cell_text(table, row, c)
            for c in table.columns
        ]
        lines.append([target_title(table, row[0]), style.shots_title(row[1]), *texts])
    return lines


def to_markdown(table: Table) -> str:
    """Returns a table in GitHub's Markdown, padded so that it is readable as text."""
    head = ["target", "shots", *(column_title(table, column) for column in table.columns)]
    body = _body(table, lambda text: f"**{text}**")
    return markdown_grid(head, body)


def markdown_grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Returns a table in GitHub's Markdown, padded; the first column is aligned to the left.

    Args:
        head: Headings.
        body: Lines of as many texts, which may hold Markdown.
    """
    lines = [[text.replace("|", "\\|") for text in line] for line in (head, *body)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    padded = [
        [
            text.ljust(w) if i == 0 else text.rjust(w)
            for i, (text, w) in enumerate(zip(line, widths))
        ]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded) + "\n"


def to_latex(table: Table) -> str:
    r"""Returns a LaTeX table; needs ``\usepackage{booktabs}``."""
    archs = [(arch, sum(1 for a, _ in table.columns if a == arch)) for arch in table.archs]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_escape(caption(table))}}}",
        rf"\begin{{tabular}}{{lr{'r' * len(table.columns)}}}",
        r"\toprule",
    ]
    if len(archs) > 1:
        lines += latex_spans([(style.arch_title(arch), n) for arch, n in archs], skip=2)
    sources = [latex_escape(style.title(source)) for _, source in table.columns]
    lines += [rf"target & shots & {' & '.join(sources)} \\"]
    previous = None
    for row, texts in zip(table.rows, _body(table, lambda text: f"\0{text}")):
        escaped = [latex_escape(text.lstrip("\0")) for text in texts]
        escaped = [
            rf"\textbf{{{new}}}" if old.startswith("\0") else new
            for new, old in zip(escaped, texts)
        ]
        if row[0] != previous:
            lines.append(r"\midrule")
        else:
            escaped[0] = ""
        previous = row[0]
        lines.append(rf"{' & '.join(escaped)} \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def latex_spans(groups: Sequence[tuple[str, int]], skip: int) -> list[str]:
    """Returns the headings above groups of columns, and the rules below them.

    Args:
        groups: Heading and number of columns of each.
        skip: Columns before the first group.
    """
    spans = [rf"\multicolumn{{{n}}}{{c}}{{{latex_escape(title)}}}" for title, n in groups]
    rules = ""
    start = skip + 1
    for _, n in groups:
        rules += rf"\cmidrule(lr){{{start}-{start + n - 1}}}"
        start += n
    return [rf"{'& ' * skip}{' & '.join(spans)} \\", rules]


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "–": "--",
    "≥": r"$\geq$",
    "†": r"\dag{}",
    "\u200b": "{}",
}


def latex_escape(text: str) -> str:
    """Returns text that LaTeX prints as it is."""
    apart = text.replace("--", "-\u200b-")  # else an option's two hyphens become a dash
    return "".join(_LATEX.get(character, character) for character in apart)


def to_csv(table: Table) -> str:
    """Returns one line per cell; mean and sd in ``unit``, with all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["target", "shots", "source", "arch", "metric", "n", "mean", "sd", "unit", "split",
         "num_examples"]
    )  # fmt: skip
    for row in table.rows:
        for cell in table.row(row):
            sd = "" if cell.n == 1 else repr(cell.sd)
            writer.writerow(
                [cell.target, style.shots_title(cell.shots), cell.source, cell.arch, cell.metric,
                 cell.n, repr(cell.mean), sd, cell.unit, cell.split, cell.num_examples]
            )  # fmt: skip
    return stream.getvalue()


def rows_to_csv(collection: Collection) -> str:
    """Returns every number of every finished run, one per line; shots as text."""
    rows = collection.rows.copy()
    rows["shots"] = [style.shots_title(shots) for shots in rows["shots"]]
    return rows.to_csv(index=False, lineterminator="\n")
