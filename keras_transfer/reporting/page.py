"""One self-contained HTML page: sentences, table, figures, and what is missing. No network."""

import datetime
import html
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template

from keras_transfer.core.config import TRANSFER
from keras_transfer.reporting import formats, style, wording
from keras_transfer.reporting.collect import Collection, Run
from keras_transfer.reporting.figures import Figure
from keras_transfer.reporting.tables import Row, Table

TITLE = "What pre-training buys"


def render(
    collection: Collection,
    table: Table,
    figures: Sequence[Figure],
    links: Sequence[str],
) -> str:
    """Returns the page.

    Args:
        collection: Every run.
        table: The transfer table.
        figures: Figures to show, in order.
        links: Names of the files beside the page.
    """
    source = resources.files(__package__)
    template = Template((source / "page.html").read_text())
    return template.substitute(
        title=TITLE,
        css=(source / "page.css").read_text(),
        js=(source / "page.js").read_text(),
        overview=_overview(collection, table),
        statements=_statements(table),
        table=_table(table),
        figures="\n".join(_figure(figure) for figure in figures),
        attention=_attention(collection, table),
        links=" · ".join(f'<a href="{_text(name)}">{_text(name)}</a>' for name in links),
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def _unbroken(text: str) -> str:
    """Keeps a number, its spread and its unit on one line."""
    return text.replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def _overview(collection: Collection, table: Table) -> str:
    kinds = Counter(run.kind for run in collection.runs if run.finished)
    finished = f"{sum(kinds.values())} ({kinds[TRANSFER]} transfers)"
    seeds = sorted({seed for cell in table.cells.values() for seed in cell.values})
    sources = dict.fromkeys(source for _, source in table.columns)
    facts = {
        "Runs finished": finished,
        "Runs unfinished": len(collection.unfinished),
        "Sources": ", ".join(_with_size(table, source) for source in sources),
        "Targets": ", ".join(map(style.title, table.targets)),
        "Networks": ", ".join(map(style.arch_title, table.archs)),
        "Seeds": ", ".join(map(str, seeds)),
        "Code": _code(collection.runs),
    }
    pairs = (f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts.items())
    return f"<dl>{''.join(pairs)}</dl>"


def _with_size(table: Table, source: str) -> str:
    size = table.source_sizes.get(source)
    return style.title(source) + (f" ({size:,} images)" if size else "")


def _code(runs: Sequence[Run]) -> str:
    commits = Counter(commit or "unknown" for run in runs for commit in run.commits or ("",))
    if len(commits) == 1:
        return f"commit {next(iter(commits))}"
    return ", ".join(f"{commit} ({count} runs)" for commit, count in commits.most_common())


def _statements(table: Table) -> str:
    parts = []
    for target, sentences in wording.by_target(table):
        items = _list(_text(_unbroken(sentence)) for sentence in sentences)
        if target:
            parts.append(f"<h3>{_text(style.title(target))}</h3>{items}")
        else:
            parts.append("".join(f'<p class="method">{_text(s)}</p>' for s in sentences))
    return "\n".join(parts)


def _table(table: Table) -> str:
    titles = ["Target", "Shots", *(formats.column_title(table, c) for c in table.columns)]
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{_text(text)}</button></th>'
        for text in titles
    )
    body = "\n".join(_table_row(table, row, place) for place, row in enumerate(table.rows))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table of results">'
        f'<table class="sortable"><caption>{_text(formats.caption(table))}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _table_row(table: Table, row: Row, place: int) -> str:
    best = table.best(row)
    shots = style.shots_title(row[1])
    cells = [
        f'<th scope="row" data-value="{place}">{_text(formats.target_title(table, row[0]))}</th>',
        f'<td data-value="{row[1] if shots != "full" else 1e12}">{shots}</td>',
    ]
    for column in table.columns:
        cell = table.cells.get((row, column))
        value = f' data-value="{cell.mean!r}"' if cell else ""
        seeds = (
            ", ".join(f"seed {s}: {cell.text(v)}" for s, v in cell.values.items())
            if cell
            else "no finished run"
        )
        text = _text(formats.cell_text(table, row, column))
        if column in best:
            text = f"<strong>{text}</strong>"
        cells.append(f'<td{value} title="{_text(seeds)}">{text}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _figure(figure: Figure) -> str:
    files = " · ".join(
        f'<a href="{figure.name}.{kind}">{kind}</a>' for kind in ("png", "pdf", "csv")
    )
    svg = figure.svg.replace("<svg ", f'<svg role="img" aria-label="{_text(figure.alt)}" ', 1)
    return (
        f"<figure>{svg}<figcaption>{_text(figure.title)}. Error bars: sample standard deviation "
        f"over seeds. {files}</figcaption></figure>"
    )


def _attention(collection: Collection, table: Table) -> str:
    """What is unfinished, missing, double or not comparable."""
    parts = []
    notes = list(table.notes) + code_notes(collection.runs)
    if notes:
        parts.append(f"<h3>Before trusting a number</h3>{_list(map(_text, notes))}")
    if collection.duplicates:
        items = (
            f"{_text(d.what)}: {', '.join(f'<code>{_text(p)}</code>' for p in d.directories)} – "
            + ("equal, counted once" if d.equal else "different, left out of the table")
            for d in collection.duplicates
        )
        parts.append(f"<h3>Runs that claim the same numbers</h3>{_list(items)}")
    if collection.unfinished:
        items = (
            f"{_text(run.what)}: "
            + ("nothing logged yet" if run.step is None else f"last logged step {run.step}")
            + f" <code>{_text(run.directory)}</code>"
            for run in collection.unfinished
        )
        parts.append(f"<h3>Unfinished runs</h3>{_list(items)}")
    missing = [_text(text) for text in missing_texts(table)]
    if missing:
        parts.append(f"<h3>Missing from the table</h3>{_list(missing)}")
    return "\n".join(parts) or "<p>Nothing: every run below the folder has finished.</p>"


def missing_texts(table: Table) -> list[str]:
    """Returns what other columns of a row have and one has not, a line per target and column."""
    shots_of: dict[tuple, list[str]] = {}
    for (target, shots), column, seeds in table.missing():
        number = "seed" if len(seeds) == 1 else "seeds"
        text = f"{style.shots_title(shots)} ({number} {', '.join(map(str, seeds))})"
        shots_of.setdefault((target, column), []).append(text)
    texts = []
    for (target, column), missing in shots_of.items():
        rows = [row for row in table.rows if row[0] == target]
        whole = not any((row, column) in table.cells for row in rows)
        lost = "everything" if whole else f"shots {', '.join(missing)}"
        texts.append(f"{style.title(target)}, {formats.column_title(table, column)}: {lost}")
    return texts


def code_notes(runs: Sequence[Run]) -> list[str]:
    """Returns warnings about the code that the runs were made with."""
    commits = {commit for run in runs for commit in run.commits}
    notes = []
    if len({commit.rstrip("+") for commit in commits}) > 1:
        notes.append("The runs were made with different versions of the code.")
    if any(commit.endswith("+") for commit in commits):
        notes.append(
            "Some runs were made with uncommitted changes (marked +); "
            "their manifests hold the difference."
        )
    return notes
