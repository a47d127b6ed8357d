"""Why a claim has its verdict, in one sentence, and how all verdicts were come by."""

import pandas as pd

from keras_transfer.reporting import style
from keras_transfer.reporting.claims.terms import AS_GOOD, IMPROVES, SAME, SOME, Claim
from keras_transfer.reporting.claims.verdicts import (
    CONTRADICTED,
    NO_DATA,
    NOT_DECIDED,
    PARTLY,
    SUPPORTED,
)
from keras_transfer.reporting.comparisons import LEVEL

# Rounding, and rows counted twice, move a printed number by one in the last digit.
_MISPRINT = 0.015
_MOST_NAMED = 2
_MOST_PLACES = 4


def reason(claim: Claim, rows: pd.DataFrame, verdict: str) -> str:
    """Returns why a claim has its verdict, from its rows."""
    found = rows[rows["verdict"] != NO_DATA]
    if found.empty:
        count = len(rows)
        return f"None of the cells of its {_count(count, 'contrast')} has data."
    parts = [_tally(rows)]
    if len(found) > 1:
        low, high = found["effect"].min(), found["effect"].max()
        parts.append(f"effects {low:+.2f} to {high:+.2f}, median {found['effect'].median():+.2f}")
    against = found[found["verdict"] == CONTRADICTED]
    for_it = found[found["verdict"] == SUPPORTED]
    if claim.holds_for == SOME and len(for_it):
        parts.append(f"such as {_row(for_it.iloc[0])}")
    elif len(against):
        parts += [f"against it {_places(against)}"] if len(against) > 1 else []
        parts.append(f"most against it {_row(_worst(claim, against))}")
    elif len(found) == 1:
        parts.append(_row(found.iloc[0]))
    if verdict in (PARTLY, NOT_DECIDED):
        parts += _needs(found[found["verdict"] == NOT_DECIDED])
    parts += _misprints(found)
    return "; ".join(parts) + "."


def notes(rows: pd.DataFrame, families: pd.DataFrame, margin: float) -> list[str]:
    """Returns how the verdicts were come by and what they leave out.

    Args:
        rows: All contrasts.
        families: See `claims.Claims`.
        margin: In points.
    """
    found = [
        f"A difference counts where p < {LEVEL} after Holm's correction within its family; "
        f"'no difference' only where an equivalence test shows less than {margin:g} "
        f"{'point' if margin == 1 else 'points'}, never for want of a difference.",
        f"{families['tests'].sum()} different tests of differences and "
        f"{families['margin_tests'].sum()} of the margin stand in {len(families)} families; "
        f"{families['no_data'].sum()} contrasts without data and {families['no_spread'].sum()} "
        "without spread over seeds are no tests.",
        "Few-shot runs of equal seeds were trained on the same examples and are compared seed by "
        "seed; full-shot runs, and cells of different seeds, by Welch's test.",
        "The spread is that between seeds of fine-tuning: one pre-training run stands behind each "
        "network and source, so that a difference is one between these networks.",
    ]
    one = ~rows["target"].str.contains(" / ", regex=False)
    full = rows[one & (rows["shots"] == "full") & rows["images"].notna()]
    if len(full):
        widest = full.groupby("target")["images"].median().sort_values(ascending=False)
        named = ", ".join(f"{style.title(str(t))} ± {size:.1f}" for t, size in widest.items())
        found.append(
            "Other test images would move full-shot differences too, by up to (95 %, as if errors "
            f"were independent): {named} points."
        )
    return found


def _tally(rows: pd.DataFrame) -> str:
    count = rows["verdict"].value_counts()
    total = len(rows)
    words = {CONTRADICTED: "contradicted", NOT_DECIDED: "not decided", NO_DATA: "without data"}
    text = f"{count.get(SUPPORTED, 0)} of {_count(total, 'contrast')} supported"
    return ", ".join([text, *(f"{count[k]} {words[k]}" for k in words if k in count)])


def _worst(claim: Claim, rows: pd.DataFrame) -> pd.Series:
    """Returns the contradicted contrast whose effect is the furthest from what is claimed."""
    effect = rows["effect"]
    if claim.says in (IMPROVES, AS_GOOD):
        return rows.iloc[int(effect.argmin())]
    return rows.iloc[int((effect.abs() if claim.says == SAME else effect).argmax())]


def _row(row: pd.Series) -> str:
    """Returns where, what and how much, and whether the test set is large enough to show it."""
    text = (
        f"({_place(row)}) {row['first']} against {row['second']} "
        f"{row['effect']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
    )
    if abs(row["effect"]) < row["images"]:
        text += f", less than other test images could bring (± {row['images']:.1f})"
    return text


def _place(row: pd.Series) -> str:
    target = " / ".join(style.title(part) for part in row["target"].split(" / "))
    return f"{target} {row['shots']}{'' if 'full' in row['shots'] else '-shot'}"


def _places(rows: pd.DataFrame) -> str:
    """Names where contrasts are, the most frequent places first."""
    count = rows.apply(_place, axis=1).value_counts()
    named = [f"{place} ({number})" for place, number in count.head(_MOST_PLACES).items()]
    more = [f"{len(count) - len(named)} other places"] if len(count) > len(named) else []
    return ", ".join(named + more)


def _needs(undecided: pd.DataFrame) -> list[str]:
    """Says what it would take to decide, by precision: no use is made of the effects."""
    needed = undecided["seeds_needed"].dropna()
    found = []
    if len(needed):
        low, high = _rounded(needed.min()), _rounded(needed.max())
        seeds = low if low == high else f"{low} to {high}"
        found.append(f"to decide the rest takes about {seeds} seeds per cell")
    if len(needed) < len(undecided):
        found.append(f"{len(undecided) - len(needed)} without spread over seeds")
    return found


def _misprints(rows: pd.DataFrame) -> list[str]:
    """Names the contrasts whose print shows another effect than the data, the worst first."""
    printed = rows["first_printed"] - rows["second_printed"]
    rows = rows.assign(gap=(printed - (rows["first_mean"] - rows["second_mean"])).abs())
    worst = rows[rows["gap"] > _MISPRINT].sort_values("gap", ascending=False, kind="stable")
    texts = [
        f"{row['first']} against {row['second']} "
        f"{row['second_printed']:.2f} → {row['first_printed']:.2f} printed, "
        f"{row['second_mean']:.2f} → {row['first_mean']:.2f} found"
        for _, row in worst.head(_MOST_NAMED).iterrows()
    ]
    if not texts:
        return []
    more = f" and {len(worst) - len(texts)} more" if len(worst) > len(texts) else ""
    return [f"print and data disagree on {', '.join(texts)}{more}"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _rounded(seeds: float) -> str:
    """Two significant digits: the spread that it is computed from bears no more."""
    digits = max(0, len(str(int(seeds))) - 2)
    return f"{round(int(seeds), -digits):,}"
