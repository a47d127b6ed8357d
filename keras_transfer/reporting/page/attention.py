"""What of the collected runs is unfinished, missing, double or doubtful."""

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from keras_transfer.reporting import formats, missing, style
from keras_transfer.reporting.collection import Collection, Run
from keras_transfer.reporting.page.parts import folded, items, text
from keras_transfer.reporting.page.tables import Format, frame_table
from keras_transfer.reporting.phrases import counted
from keras_transfer.reporting.tables import Column, Table


def section(collection: Collection, table: Table) -> str:
    """Returns what a reader must know before trusting a number, and what is still to be run."""
    parts = []
    notes = [*table.notes, *collection.code_notes]
    if notes:
        parts.append(f"<h3>Before trusting a number</h3>{items(map(text, notes))}")
    if few := few_seeds(table):
        lines = (
            f"{style.title(target)}, {formats.column_title(table, column)}, shots "
            f"{', '.join(shots)}: {counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
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
    caption = f"{counted(len(runs), 'run')} with a result of fewer steps than planned; they count"
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
            "command": [missing.continuation(run) for run in runs],
        }
    )
    columns = {
        "what": "Run",
        "step": "How far",
        "directory": "Directory",
        "command": "Command that goes on",
    }
    caption = f"{counted(len(runs), 'run')} without a result"
    form = {"directory": _as_code, "command": _as_code}
    return frame_table(frame, columns, caption, form, name="unfinished-runs")


def _missing(collection: Collection, table: Table) -> str:
    found = missing.find(collection, table)
    if not found:
        return ""
    lead = "What other columns of a row of the table have, and this one has not."
    hint = ""
    if collection.files:
        paper, poster = map(_as_code, missing.GRID_COMMANDS)
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
    frame = missing.to_frame(found)
    shown = frame_table(frame, columns, lead, {"commands": _commands}, name="missing-runs")
    total = counted(sum(len(seeds) for one in found for seeds in one.lost.values()), "run")
    return f"<h3>Missing from the table</h3>{hint}" + folded(
        f"{total} missing, for {counted(len(found), 'pair')} of target and column", shown
    )


def _as_code(value: object) -> str:
    return f"<code>{text(value)}</code>"


def _commands(commands: Sequence[str]) -> str:
    return "<br>".join(map(_as_code, commands)) or "–"
