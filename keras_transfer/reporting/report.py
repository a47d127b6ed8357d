"""The verb that turns a folder of runs into tables, figures, sentences and a page."""

import os
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from keras_transfer.core.errors import UserError
from keras_transfer.core.runs import atomic_write
from keras_transfer.reporting import collect, figures, formats, page, tables, wording

PAGE_FILE = "index.html"


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
    runs_dir: str | os.PathLike, out_dir: str | os.PathLike, *, strict: bool = False
) -> Report:
    """Writes the report of every run below a folder.

    Files: ``results.csv`` (every number), ``table.csv`` (one line per cell), ``table.md``,
    ``table.tex``, ``few_shot.{png,pdf,csv}`` and ``index.html``, which shows them without network.

    Args:
        runs_dir: Folder of runs.
        out_dir: Folder to write to; created if missing, files of the same name are replaced.
        strict: Whether finished runs that claim the same numbers are an error. If not, they are
            named in the report, and left out of the table unless they agree to the last bit.

    Raises:
        UserError: If there is no finished transfer run, or a file of a run is wrong.
    """
    collection = collect.collect(runs_dir, strict=strict)
    table = tables.tabulate(collection)
    few_shot = figures.few_shot_curves(table)
    content: dict[str, str | bytes] = {
        "results.csv": formats.rows_to_csv(collection),
        "table.csv": formats.to_csv(table),
        "table.md": f"{formats.to_markdown(table)}\n{formats.caption(table)}\n",
        "table.tex": formats.to_latex(table),
        f"{few_shot.name}.png": few_shot.png,
        f"{few_shot.name}.pdf": few_shot.pdf,
        f"{few_shot.name}.csv": few_shot.csv,
    }
    # Last, so that a page never stands beside files of another report.
    content[PAGE_FILE] = page.render(collection, table, [few_shot], list(content))
    files = []
    for name, value in content.items():
        path = Path(out_dir) / name
        _write(path, value)
        files.append(path)
    logging.info("Report of %d runs written to %s.", len(collection.runs), out_dir)
    return Report(files[-1], tuple(files), _printable(collection, table))


def _write(path: Path, value: str | bytes) -> None:
    try:
        with atomic_write(path, "w" if isinstance(value, str) else "wb") as stream:
            stream.write(value)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None


def _printable(collection: collect.Collection, table: tables.Table) -> str:
    parts = [formats.to_markdown(table), formats.caption(table) + "\n"]
    parts += [f"- {sentence}" for sentence in wording.statements(table)]
    concerns = [*table.notes, *page.code_notes(collection.runs)]
    concerns += [
        f"{' and '.join(map(str, d.directories))} claim the same numbers ({d.what}): "
        + ("equal, counted once." if d.equal else "different, left out.")
        for d in collection.duplicates
    ]
    concerns += [f"unfinished: {run.what} ({run.directory})" for run in collection.unfinished]
    concerns += [f"missing: {text}" for text in page.missing_texts(table)]
    if concerns:
        parts += ["", "Mind:", *(f"- {text}" for text in concerns)]
    return "\n".join(parts) + "\n"
