"""The facts in short: what was collected, and what of it the table shows."""

from collections import Counter
from collections.abc import Sequence

from keras_transfer.core.config import TRANSFER
from keras_transfer.reporting import style
from keras_transfer.reporting.collection import Collection, Run
from keras_transfer.reporting.page.parts import facts
from keras_transfer.reporting.phrases import counted
from keras_transfer.reporting.tables import Table


def section(collection: Collection, table: Table) -> str:
    """Returns the facts in short; `attention` names what they count."""
    seeds = sorted({seed for cell in table.cells.values() for seed in cell.values})
    sources = dict.fromkeys(source for _, source in table.columns)
    few = sum(cell.n < table.usual_n for cell in table.cells.values())
    return facts(
        _origin(collection)
        | {
            "Numbers in the table": f"{len(table.cells):,} means, "
            f"usually over {counted(table.usual_n, 'seed')}",
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


def _with_size(table: Table, source: str) -> str:
    size = table.source_sizes.get(source)
    return style.title(source) + (f" ({size:,} images)" if size else "")


def _code(runs: Sequence[Run]) -> str:
    commits = Counter(commit or "unknown" for run in runs for commit in run.commits or ("",))
    if len(commits) == 1:
        return f"commit {next(iter(commits))}"
    return ", ".join(f"{commit} ({count} runs)" for commit, count in commits.most_common())
