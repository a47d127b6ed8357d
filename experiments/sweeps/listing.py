"""What ``--list`` prints, and a sweep when it starts and ends."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.configs.grids import Cell
from experiments.sweeps.state import DONE, FAILED, MISSING, RUNNING, STATES, TO_DO, read_failure

_MARKS = {RUNNING: "r", FAILED: "f", MISSING: "m"}


def totals(states: Mapping[str, str]) -> str:
    """Returns the number of cells by status."""
    counts = Counter(states.values())
    return f"{len(states)} cells: " + ", ".join(f"{counts[s]} {s}" for s in STATES)


def table(cells: Sequence[Cell], states: Mapping[str, str]) -> Iterator[str]:
    """Yields a table of sources by targets: done/all, then running, failed and missing cells."""
    targets = list(dict.fromkeys(cell.target for cell in cells))
    rows = [["source", *targets]]
    for source in dict.fromkeys(cell.source for cell in cells):
        row = [source]
        for target in targets:
            here = [states[c.name] for c in cells if (c.source, c.target) == (source, target)]
            row.append(_entry(Counter(here)))
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
    yield "done/all; r running, f failed, m weights or data missing; the rest is to do"


def _entry(counts: Counter) -> str:
    if not counts.total():
        return "."
    marks = [f" {counts[status]}{mark}" for status, mark in _MARKS.items() if counts[status]]
    return f"{counts[DONE]}/{counts.total()}{''.join(marks)}"


def missing(
    cells: Sequence[Cell], states: Mapping[str, str], inputs: Mapping[str, str]
) -> Iterator[str]:
    """Yields one line per dataset and weights that are not there: who waits, and what makes it."""
    waiting = [cell for cell in cells if states[cell.name] == MISSING]
    for path, advice in inputs.items():
        count = sum(path in (c.config.model.init, *c.config.data.dirs) for c in waiting)
        if count:
            yield f"missing: {path} ({count} cells); {advice}"


def failures(workdir: Path, states: Mapping[str, str]) -> Iterator[str]:
    """Yields one line per cell that has failed, also of those that will be tried again."""
    for name, status in states.items():
        failure = read_failure(workdir / name) if status in (FAILED, TO_DO) else None
        if failure is not None:
            outlook = "given up" if status == FAILED else "to be tried again"
            yield f"failed: {name} ({failure.attempts} x, {outlook}): {failure.error}"
