"""What a table shows, in plain words: computed from its numbers, claiming no more than they bear.

A difference is claimed where Welch's t-test over seeds gives p < 0.05. Everything else is said to
be undecided, with the number of seeds.
"""

from collections.abc import Sequence

from keras_transfer.core import runs
from keras_transfer.evaluation import metrics
from keras_transfer.reporting import style
from keras_transfer.reporting.comparisons import LEVEL, Comparison, Contrast, compare, contrasts
from keras_transfer.reporting.formats import value_text
from keras_transfer.reporting.phrases import joined, p_text
from keras_transfer.reporting.tables import Cell, Row, Table, best

_MOST_NAMED = 4


def statements(table: Table) -> list[str]:
    """Returns sentences on what the table shows, target by target, then how they were decided."""
    return [sentence for _, sentences in by_target(table) for sentence in sentences]


def by_target(table: Table) -> list[tuple[str, list[str]]]:
    """Returns (target, sentences) in the order of display; the last has no target: the method.

    The sentences of a target say first what holds over its shots, then what each row shows.
    """
    made: list[Comparison] = []
    result = []
    for target in table.targets:
        rows = [row for row in table.rows if row[0] == target]
        sentences = [
            sentence
            for arch in table.archs
            for contrast in contrasts(table, rows, arch)
            for sentence in _over_rows(table, rows, arch, contrast, made)
        ]
        result.append((target, sentences + [_of_row(table, row, made) for row in rows]))
    return [*result, ("", [_method(made)])]


def _over_rows(
    table: Table, rows: Sequence[Row], arch: str, contrast: Contrast, made: list[Comparison]
) -> list[str]:
    """Says at which shots one side of a contrast is better, worse or not told apart."""
    better, worse, open_ = [], [], []
    cells: list[Cell] = []
    for row in rows:
        comparison = contrast.compare([cell for cell in table.row(row) if cell.arch == arch])
        if comparison is None:
            continue
        made.append(comparison)
        cells += [comparison.first, comparison.second]
        if not comparison.claimed:
            open_.append(row[1])
        elif comparison.first.better_than(comparison.second):
            better.append(row[1])
        else:
            worse.append(row[1])
    if not cells:
        return []
    network = f" with {style.arch_title(arch)}" if len(table.archs) > 1 else ""
    where = f"On {style.title(rows[0][0])}{network}, "
    if not better and not worse:
        return [
            f"{where}{_from_seeds(cells)} no difference can be claimed between {contrast.first} "
            f"and {contrast.second} {_shots(open_)}."
        ]
    decided = [(word, shots) for word, shots in (("better", better), ("worse", worse)) if shots]
    text = f"{contrast.first} does {decided[0][0]} than {contrast.second} {_shots(decided[0][1])}"
    for word, shots in decided[1:]:
        text += f", {word} {_shots(shots)}"
    if open_:
        text += f"; no difference can be claimed {_shots(open_)}"
    return [f"{where}{text}."]


def _of_row(table: Table, row: Row, made: list[Comparison]) -> str:
    """Says which source is best, and what of that can be claimed."""
    cells = table.row(row)
    top = best(cells)
    where = f"On {style.title(row[0])} {_shots([row[1]])}, "
    metric = style.metric_title(top.metric)
    others = [cell for cell in cells if cell is not top]
    if not others:
        return f"{where}only {_subject(table, top)} has a result: {metric} {value_text(top)}."
    equal = [cell for cell in others if not top.better_than(cell)]
    if equal:
        return _of_tie(table, where, [top, *equal], [c for c in others if c not in equal], made)
    compared = [compare(top, cell) for cell in others]
    made += compared
    open_ = [c for c in compared if not c.claimed]
    told = [c for c in compared if c.claimed]
    if open_:
        names = _candidates(table, open_)
        seeds = _from_seeds([top, *(c.second for c in open_)])
        text = (
            f"{where}{_subject(table, top)} has the {_extreme(top)} {metric}, {value_text(top)}, "
            f"but {seeds} no difference can be claimed from {names}."
        )
    else:
        second = best([c.second for c in told])
        runner_up = next(c for c in told if c.second is second)
        told.remove(runner_up)
        text = (
            f"{where}{_subject(table, top)} is best: {metric} {value_text(top)}, "
            f"{_gap(runner_up)} the runner-up, {_subject(table, second)} ({_evidence(runner_up)})."
        )
    for c in told:
        if c.second.source == runs.SCRATCH and c.second.arch == top.arch:
            text += f" It is {_gap(c)} {_subject(table, c.second)} ({_evidence(c)})."
    return text


def _of_tie(
    table: Table, where: str, tied: Sequence[Cell], others: Sequence[Cell], made: list[Comparison]
) -> str:
    """Says which sources share the best mean, and what of the others cannot be told from it."""
    top = tied[0]
    names = joined([_subject(table, cell) for cell in tied])
    metric = style.metric_title(top.metric)
    text = f"{where}{names} share the {_extreme(top)} {metric}, {value_text(top)}"
    compared = [compare(top, cell) for cell in others]
    made += compared
    open_ = [c for c in compared if not c.claimed]
    if open_:
        text += f"; no difference can be claimed from {_candidates(table, open_)}"
    return f"{text}."


def _candidates(table: Table, open_: Sequence[Comparison]) -> str:
    """Names what cannot be told from the best, nearest first; of a long list, only these."""
    near = sorted(open_, key=lambda c: abs(c.first.mean - c.second.mean))
    shown = near if len(near) <= _MOST_NAMED else near[: _MOST_NAMED - 1]
    texts = [f"{_subject(table, c.second)} ({_evidence(c)})" for c in shown]
    if len(near) > len(shown):
        texts.append(f"{len(near) - len(shown)} others")
    return joined(texts)


def _method(made: Sequence[Comparison]) -> str:
    """Says how differences were decided and what the spread leaves out."""
    # The same two cells may answer several questions; they are one test.
    tests = {frozenset((id(c.first), id(c.second))) for c in made if c.tested}
    if not tests:
        return (
            "No difference is claimed: no two results that differ have a spread over seeds to "
            "compare."
        )
    return (
        f"A difference is claimed where Welch's t-test over seeds gives p < {LEVEL}. "
        f"{len(tests)} {'test stands' if len(tests) == 1 else 'tests stand'} behind these "
        "sentences, not corrected for their number or for picking the best first: at least one in "
        "twenty comparisons of equals is expected to be claimed by chance. The spread is that "
        "between seeds; another set of test images would move the numbers too."
    )


def _subject(table: Table, cell: Cell) -> str:
    network = f" {style.arch_title(cell.arch)}" if len(table.archs) > 1 else ""
    if cell.source == runs.SCRATCH:
        return f"training{network} from scratch"
    return f"pre-training{network} on {style.title(cell.source)}"


def _extreme(cell: Cell) -> str:
    return "highest" if metrics.find(cell.metric).higher_is_better else "lowest"


def _gap(comparison: Comparison) -> str:
    """Returns the difference of the means: ``3.40 points above``."""
    cell, other = comparison.first, comparison.second
    size = cell.text(abs(cell.mean - other.mean)) + (" points" if cell.unit else "")
    return f"{size} {'above' if cell.mean > other.mean else 'below'}"


def _evidence(comparison: Comparison) -> str:
    """Returns the second number, and the p-value if there was a test."""
    other = comparison.second
    value = other.text(other.mean) + (f" {other.unit}" if other.unit else "")
    return f"{value}, p {p_text(comparison.p)}" if comparison.tested else value


def _from_seeds(cells: Sequence[Cell]) -> str:
    fewest, most = min(cell.n for cell in cells), max(cell.n for cell in cells)
    if most == 1:
        return "from one seed"
    return f"from {most} seeds" if fewest == most else f"from {fewest} to {most} seeds"


def _shots(shots: Sequence[float]) -> str:
    few = [style.shots_title(s) for s in shots if s != float("inf")]
    parts = [f"with {joined(few)} shot{'s' if few != ['1'] else ''}"] if few else []
    if len(few) < len(shots):
        parts.append("with all training data")
    return " and ".join(parts)
