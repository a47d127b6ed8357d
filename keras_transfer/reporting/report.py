"""The verb that turns what was collected into tables, figures, statistics and a page."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from absl import logging

from keras_transfer.core.errors import UserError
from keras_transfer.core.runs import atomic_write
from keras_transfer.reporting import (
    claims,
    figures,
    formats,
    laws,
    missing,
    page,
    paper,
    proximity,
    tables,
    wording,
)
from keras_transfer.reporting.collection import Collection
from keras_transfer.reporting.page import paper as page_paper
from keras_transfer.reporting.paper import figures as paper_figures
from keras_transfer.reporting.paper import formats as paper_formats
from keras_transfer.reporting.proximity import reading as proximity_reading

PAGE_FILE = "index.html"
TABLES_DIR, FIGURES_DIR = "tables/", "figures/"

# Wider tables are not printed.
_MOST_COLUMNS = 8

_Files = dict[str, str | bytes]


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: The HTML page.
        files: All files, the page included.
        text: Table, sentences and what is missing, to print.
    """

    page: Path
    files: tuple[Path, ...]
    text: str


def write_report(
    collection: Collection,
    out_dir: str | os.PathLike,
    *,
    spread: str = tables.SEEDS,
    distances: str | os.PathLike | None = None,
) -> Report:
    """Writes the report of what `collect.collect` or `published.collect` found.

    Files, each with what the page shows of it:
        ``results.csv`` (every number), ``table.{csv,md,tex}`` (every transfer);
        ``tables/{table1,table2,poster}.{md,tex,csv,html}``, those that have a number;
        ``figures/*.{png,pdf,svg,csv}``: ``few_shot``, ``figure1`` to ``figure9``, ``poster1``,
        ``poster2``, laws and proximity;
        ``claims.csv``, ``contrasts.csv`` and ``families.csv``, if a claim of the paper has data;
        ``laws.csv``, ``effective_data.csv``, ``proximity.csv``;
        ``index.html``, which shows all without network.

    Args:
        collection: What was collected.
        out_dir: Folder to write to; created if missing, files of the same name are replaced.
        spread: What mean and ± are taken over, see `tables.tabulate`.
        distances: A ``proximity.csv`` of ``experiments.proximity``, to be held against transfer.

    Raises:
        UserError: If there is no finished transfer run, or a file is wrong or cannot be written.
    """
    table = tables.tabulate(collection, spread)
    rows = proximity_reading.read(Path(distances)) if distances else None
    near = proximity.correlate(table, rows) if rows is not None else None
    examined = claims.examine(table, of_authors=bool(collection.files))
    found = laws.fit_all(table)
    filled, absent = paper.fill_all(table)
    drawn = [figures.few_shot_curves(table), *paper_figures.draw(table)]
    if filled:
        absent += paper_figures.missing(table)

    frames = {"laws": found.rows, "effective_data": found.effective}
    if near:
        frames["proximity"] = near.rows
    content: _Files = dict(_transfers(collection, table))
    content |= dict(_paper_files(filled))
    content |= dict(_figure_files([*drawn, *found.figures, *(near.figures if near else ())]))
    content |= examined.files if examined.has_data else {}
    content |= {f"{name}.csv": _csv(frame) for name, frame in frames.items() if len(frame)}
    # Last, so that a page never stands beside files of another report.
    content[PAGE_FILE] = page.render(
        page.Content(
            collection=collection,
            table=table,
            paper_tables=[page_paper.to_html(one) for one in filled],
            figures=drawn,
            claims=examined if examined.has_data else None,
            laws=found,
            proximity=near,
            absent=absent if filled else (),
            links=list(content),
            figure_folder=FIGURES_DIR,
        )
    )
    paths = [_write(Path(out_dir) / name, value) for name, value in content.items()]
    logging.info("Report of %d runs written to %s.", len(collection.runs), out_dir)
    return Report(paths[-1], tuple(paths), _printable(collection, table, filled, examined))


def _transfers(collection: Collection, table: tables.Table) -> Iterator[tuple[str, str]]:
    yield "results.csv", formats.rows_to_csv(collection)
    yield "table.csv", formats.to_csv(table)
    yield "table.md", f"{formats.to_markdown(table)}\n{formats.caption(table)}\n"
    yield "table.tex", formats.to_latex(table)


def _paper_files(filled: Iterable[paper.PaperTable]) -> Iterator[tuple[str, str]]:
    writers = {
        "md": paper_formats.to_markdown,
        "tex": paper_formats.to_latex,
        "csv": paper_formats.to_csv,
        "html": page_paper.to_html,
    }
    for one in filled:
        for kind, write in writers.items():
            yield f"{TABLES_DIR}{one.layout.name}.{kind}", write(one)


def _figure_files(drawn: Iterable[figures.Figure]) -> Iterator[tuple[str, str | bytes]]:
    for figure in drawn:
        for kind in figures.FILES:
            yield f"{FIGURES_DIR}{figure.name}.{kind}", getattr(figure, kind)


def _csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False)


def _write(path: Path, value: str | bytes) -> Path:
    try:
        with atomic_write(path, "w" if isinstance(value, str) else "wb") as stream:
            stream.write(value)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None
    return path


def _printable(
    collection: Collection,
    table: tables.Table,
    filled: Iterable[paper.PaperTable],
    examined: claims.Claims,
) -> str:
    """Returns what a terminal has room for: of wide tables only what the files hold."""
    if len(table.columns) <= _MOST_COLUMNS:
        parts = [formats.to_markdown(table), formats.caption(table) + "\n"]
        parts += [f"- {sentence}" for sentence in wording.statements(table)]
    else:
        parts = [
            f"{len(table.cells)} means in {len(table.rows)} rows and {len(table.columns)} columns: "
            "see the page, or table.md.",
        ]
    parts += [one.summary for one in filled]
    if examined.has_data:
        counts = Counter(examined.summary["verdict"])
        found = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        parts.append(f"{counts.total()} claims of the paper and its poster: {found}.")
    concerns = [*table.notes, *collection.code_notes]
    concerns += [
        f"{' and '.join(map(str, d.directories))} claim the same numbers ({d.what}): "
        + ("equal, counted once." if d.equal else "different, left out.")
        for d in collection.duplicates
    ]
    repeated = sum(file.rows - file.distinct for file in collection.files)
    if repeated:
        concerns.append(f"{repeated:,} rows of {len(collection.files)} files repeat another.")
    concerns += [f"unfinished: {run.what} ({run.directory})" for run in collection.unfinished]
    concerns += [
        f"ended at step {run.step} of {run.total_steps}: {run.what} ({run.directory})"
        for run in collection.stopped_early
    ]
    concerns += [f"missing: {text}" for text in missing.texts(table)]
    if concerns:
        parts += ["", "Mind:", *(f"- {text}" for text in concerns)]
    return "\n".join(parts) + "\n"
