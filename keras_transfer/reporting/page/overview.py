"""What was collected, and what of it is unfinished, missing, double or doubtful."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import pandas as pd

from keras_transfer.core.config import TRANSFER
from keras_transfer.reporting import formats, style
from keras_transfer.reporting.collect import Collection, Run
from keras_transfer.reporting.page import missing as page_missing
from keras_transfer.reporting.page.parts import facts, folded, items, text
from keras_transfer.reporting.page.tables import Format, frame_table
from keras_transfer.reporting.tables import Column, Table


def overview(collection: Collection, table: Table) -> str:
    """Returns the facts in short; ``attention`` names what they count."""
    seeds = sorted({seed for cell in table.cells.values() for seed in cell.values})
    sources = dict.fromkeys(source for _, source in table.columns)
    few = sum(cell.n < table.usual_n for cell in table.cells.values())
    return facts(
        _origin(collection)
        | {
            "Numbers in the table": f"{len(table.cells):,} means, "
            f"usually over {_count(table.usual_n, 'seed')}",
            "Means over fewer seeds": str(few or ""),
            "Runs that stopped early": str(len(collection.stopped_early) or ""),
            "Sources": ", ".join(_with_size(table, source) for source in sources),
            "Targets": ", ".join(map(style.title, table.targets)),
            "Networks": ", ".join(map(style.arch_title, table.archs)),
            "Seeds": ", ".join(map(str, seeds)),
        }
    )


def _origin(collection: Collection) -> dict[str, str]:
    if collection.files:
        rows = sum(file.rows for file in collection.files)
        copies = rows - sum(file.distinct for file in collection.files)
        return {
            "Published files": str(len(collection.files)),
            "Rows": f"{rows:,}",
            "Rows that repeat another": f"{copies:,}, counted once",
            "Runs": f"{len(collection.runs):,}",
        }
    kinds = Counter(run.kind for run in collection.runs if run.finished)
    return {
        "Runs finished": f"{sum(kinds.values()):,} ({kinds[TRANSFER]:,} transfers)",
        "Runs unfinished": f"{len(collection.unfinished):,}",
        "Code": _code(collection.runs),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _with_size(table: Table, source: str) -> str:
    size = table.source_sizes.get(source)
    return style.title(source) + (f" ({size:,} images)" if size else "")


def _code(runs: Sequence[Run]) -> str:
    commits = Counter(commit or "unknown" for run in runs for commit in run.commits or ("",))
    if len(commits) == 1:
        return f"commit {next(iter(commits))}"
    return ", ".join(f"{commit} ({count} runs)" for commit, count in commits.most_common())


def attention(collection: Collection, table: Table) -> str:
    """Returns what a reader must know before trusting a number, and what is still to be run."""
    parts = []
    notes = [*table.notes, *code_notes(collection.runs)]
    if notes:
        parts.append(f"<h3>Before trusting a number</h3>{items(map(text, notes))}")
    if few := few_seeds(table):
        lines = (
            f"{style.title(target)}, {formats.column_title(table, column)}, "
            f"shots {', '.join(shots)}: {_count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
            for (target, column), cells in few.items()
            for seeds, shots in cells.items()
        )
        parts.append(f"<h3>Means over fewer seeds than usual</h3>{items(map(text, lines))}")
    if collection.stopped_early:
        parts.append(f"<h3>Runs that stopped early</h3>{_stopped(collection.stopped_early)}")
    if collection.duplicates:
        lines = (
            f"{text(d.what)}: {', '.join(f'<code>{text(p)}</code>' for p in d.directories)} – "
            + ("equal, counted once" if d.equal else "different, left out of the table")
            for d in collection.duplicates
        )
        parts.append(f"<h3>Runs that claim the same numbers</h3>{items(lines)}")
    if collection.unfinished:
        parts.append(f"<h3>Unfinished runs</h3>{_unfinished(collection.unfinished)}")
    parts.append(_missing(collection, table))
    return (
        "\n".join(filter(None, parts)) or "<p>Nothing: all runs have finished, none is missing.</p>"
    )


def few_seeds(table: Table) -> dict[tuple[str, Column], dict[tuple[int, ...], list[str]]]:
    """Returns what is a mean over fewer seeds than usual.

    Returns:
        Target and column -> the seeds there are -> the shots that have only these.
    """
    found: dict = defaultdict(lambda: defaultdict(list))
    for ((target, shots), column), cell in table.cells.items():
        if cell.n < table.usual_n:
            found[target, column][tuple(cell.values)].append(style.shots_title(shots))
    return found


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


def _stopped(runs: Sequence[Run]) -> str:
    frame = pd.DataFrame(
        {
            "what": [run.what for run in runs],
            "step": [run.step for run in runs],
            "total": [run.total_steps for run in runs],
            "directory": [run.directory for run in runs],
        }
    )
    columns = {"what": "Run", "step": "Last step", "total": "Of", "directory": "Directory"}
    caption = f"{_count(len(runs), 'run')} with a result of fewer steps than planned; they count"
    form: dict[str, Format] = {"step": ",d", "total": ",d", "directory": _as_code}
    return frame_table(frame, columns, caption, form, name="stopped-runs")


def _unfinished(runs: Sequence[Run]) -> str:
    frame = pd.DataFrame(
        {
            "what": [run.what for run in runs],
            "step": [
                "nothing logged yet" if run.step is None else f"last logged step {run.step:,}"
                for run in runs
            ],
            "directory": [run.directory for run in runs],
            "command": [page_missing.continuation(run) for run in runs],
        }
    )
    columns = {
        "what": "Run",
        "step": "How far",
        "directory": "Directory",
        "command": "Command that goes on",
    }
    caption = f"{_count(len(runs), 'run')} without a result"
    form = {"directory": _as_code, "command": _as_code}
    return frame_table(frame, columns, caption, form, name="unfinished-runs")


def _missing(collection: Collection, table: Table) -> str:
    found = page_missing.find(collection, table)
    if not found:
        return ""
    lead = "What other columns of a row of the table have, and this one has not."
    hint = ""
    if collection.files:
        paper, poster = map(_as_code, page_missing.GRID_COMMANDS)
        hint = (
            f"<p>Every source on every target of the paper, also what the paper left out: {paper}. "
            f"The poster's table with its 48 numbers that have no published data: {poster}.</p>"
        )
    columns = {
        "target": "Target",
        "source": "Source",
        "network": "Network",
        "missing": "Missing",
        "commands": "Command",
    }
    frame = page_missing.to_frame(found)
    shown = frame_table(frame, columns, lead, {"commands": _commands}, name="missing-runs")
    total = _count(sum(len(seeds) for one in found for seeds in one.lost.values()), "run")
    return f"<h3>Missing from the table</h3>{hint}" + folded(
        f"{total} missing, for {_count(len(found), 'pair')} of target and column", shown
    )


def _as_code(value: object) -> str:
    return f"<code>{text(value)}</code>"


def _commands(commands: Sequence[str]) -> str:
    return "<br>".join(map(_as_code, commands)) or "–"
