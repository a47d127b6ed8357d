"""Why a claim has its verdict, in one sentence."""

from collections.abc import Iterator

import pandas as pd

from keras_transfer.reporting import style
from keras_transfer.reporting.claims.notes import counted_points
from keras_transfer.reporting.claims.terms import (
    AS_GOOD,
    IMPROVES,
    MOST,
    NOT_SIGNIFICANT,
    SAME,
    SOME,
    Claim,
)
from keras_transfer.reporting.claims.verdicts import (
    CONTRADICTED,
    NO_DATA,
    NOT_DECIDED,
    PARTLY,
    SUPPORTED,
    SUPPORTED_SO_FAR,
    doubted,
    of_claim,
)
from keras_transfer.reporting.comparisons import LEVEL
from keras_transfer.reporting.phrases import counted

# Rounding, and rows counted twice, move a printed number by one in the last digit.
_MISPRINT = 0.015
_MOST_NAMED = 2
_MOST_PLACES = 4


def reason(
    claim: Claim, rows: pd.DataFrame, verdict: str, margin: float, *, of_authors: bool
) -> str:
    """Returns why a claim has its verdict, from its rows.

    Args:
        claim: What is claimed.
        rows: Its contrasts.
        verdict: On the claim.
        margin: In points.
        of_authors: Whether the rows come from what was printed (see `examination.examine`).
    """
    found = rows[rows["verdict"] != NO_DATA]
    if found.empty:
        count = len(rows)
        return f"None of the cells of its {counted(count, 'contrast')} has data."
    parts = [_tally(claim, rows, verdict), *_counts(claim, found)]
    if len(found) > 1:
        unit = _unit(found["unit"].iloc[0] if found["unit"].nunique() == 1 else "")
        low, high = found["effect"].min(), found["effect"].max()
        middle = found["effect"].median()
        parts.append(f"effects {low:+.2f} to {high:+.2f}{unit}, median {middle:+.2f}")
    if claim.holds_for != SOME or verdict != SUPPORTED:
        parts += _against(claim, rows, verdict)
    open_ = found[found["verdict"] == NOT_DECIDED]
    if verdict in (PARTLY, NOT_DECIDED, SUPPORTED_SO_FAR):
        size_open = _differs(claim, open_)
        parts += _near_margin(open_[size_open], len(found), margin)
        parts += _needs(claim, open_[~size_open], margin)
    parts += _misprints(found, of_authors=of_authors)
    return "; ".join(parts) + "."


def _tally(claim: Claim, rows: pd.DataFrame, verdict: str) -> str:
    count = rows["verdict"].value_counts()
    total, for_it = len(rows), count.get(SUPPORTED, 0)
    if claim.holds_for == SOME and verdict == SUPPORTED:
        example = rows[rows["verdict"] == SUPPORTED].iloc[0]
        text = f"Holds in {for_it} of {counted(total, 'contrast')}, such as {_row(example)}"
        return text + _without_data(count.get(NO_DATA, 0))
    verb, of_what = "Holds" if claim.holds_for == SOME else "Supported", ""
    if verdict == SUPPORTED_SO_FAR:
        total, of_what = total - count[NO_DATA], " with data"
    text = f"{verb} in {for_it} of {counted(total, 'contrast')}{of_what}"
    if CONTRADICTED in count:
        text += f", contradicted in {count[CONTRADICTED]} of {total}"
    if NOT_DECIDED in count:
        text += f", not decided in {count[NOT_DECIDED]}"
    return text + _without_data(count.get(NO_DATA, 0))


def _without_data(number: int) -> str:
    return f", without data in {counted(number, 'other')}" if number else ""


def _counts(claim: Claim, found: pd.DataFrame) -> Iterator[str]:
    """Counts what a sentence on significance, or on most cases, speaks of."""
    total = len(found)
    if claim.says == NOT_SIGNIFICANT:
        after, before = ((found[p] < LEVEL).sum() for p in ("p_holm", "p"))
        yield (
            f"{after} of {total} significant after Holm's correction, {before} before; that none "
            "is found does not show that there is none"
        )
    elif claim.holds_for == MOST:
        higher = found["effect"] > 0
        significant = higher & (found["p_holm"] < LEVEL)
        yield f"better mean in {higher.sum()} of {total}, significantly in {significant.sum()}"


def _against(claim: Claim, rows: pd.DataFrame, verdict: str) -> Iterator[str]:
    """Names what speaks against a claim; of a single contrast, it, unless `_near_margin` does."""
    found = rows[rows["verdict"] != NO_DATA]
    against = found[found["verdict"] == CONTRADICTED]
    if len(against) > 1:
        yield f"against it {_places(against)}"
        yield f"most against it {_row(_worst(claim, against))}"
    elif len(against):
        yield f"against it {_row(against.iloc[0])}"
    elif len(found) == 1 and not _differs(claim, found).any():
        yield _row(found.iloc[0])
    if verdict == NOT_DECIDED and of_claim(list(rows["verdict"]), claim.holds_for) == CONTRADICTED:
        yield "what other test images could bring does not contradict the claim alone"


def _worst(claim: Claim, rows: pd.DataFrame) -> pd.Series:
    """Returns the contradicted contrast whose effect is the furthest from what is claimed."""
    effect = rows["effect"]
    if claim.says in (IMPROVES, AS_GOOD):
        return rows.iloc[int(effect.argmin())]
    either_way = claim.says in (SAME, NOT_SIGNIFICANT)
    return rows.iloc[int((effect.abs() if either_way else effect).argmax())]


def _row(row: pd.Series) -> str:
    """Returns where, what and how much, and whether the test set is large enough to show it."""
    text = f"({_place(row)}) {row['first']} against {row['second']}: {_effect(row)}"
    if doubted(row["effect"], row["images"]):
        text += f", less than other test images could bring (± {row['images']:.1f})"
    return text


def _effect(row: pd.Series) -> str:
    effect = f"{row['effect']:+.2f}{_unit(row['unit'])}"
    if pd.isna(row["low"]):
        return f"{effect} (no spread over seeds)"
    return f"{effect} [{row['low']:+.2f}, {row['high']:+.2f}]"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _place(row: pd.Series) -> str:
    target = " and ".join(style.title(part) for part in row["target"].split(" / "))
    shots = (k if k == "full" else f"{k}-shot" for k in row["shots"].split(" / "))
    return f"{target}, {' and '.join(shots)}"


def _places(rows: pd.DataFrame) -> str:
    """Names where contrasts are, the most frequent places first."""
    count = rows.apply(_place, axis=1).value_counts()
    named = [f"{place} ({number})" for place, number in count.head(_MOST_PLACES).items()]
    rest = len(count) - len(named)
    more = [f"{rest} other place{'' if rest == 1 else 's'}"] if rest else []
    return " / ".join(named + more)


def _differs(claim: Claim, undecided: pd.DataFrame) -> pd.Series:
    """Whether a difference is there, so that only its size is open, of a claim on its size."""
    significant = (undecided["p_holm"] < LEVEL) & (undecided["verdict"] == NOT_DECIDED)
    return significant & (undecided["unit"] != "") & (claim.says != IMPROVES)


def _near_margin(near: pd.DataFrame, total: int, margin: float) -> Iterator[str]:
    """Says which differences are there, while it is open on which side of the margin."""
    if near.empty:
        return
    row = near.iloc[0]
    whether = f"whether by less than {counted_points(margin)} is open"
    if total == 1:
        both = f"{row['first']} differs from {row['second']}"
        yield f"({_place(row)}) {both} by {_effect(row)}: {whether}"
    else:
        yield f"in {len(near)} the sides differ, but {whether}, such as {_row(row)}"


def _needs(claim: Claim, undecided: pd.DataFrame, margin: float) -> Iterator[str]:
    """Says what it would take to decide, by precision: no use is made of the effects."""
    needed = undecided["seeds_needed"].dropna()
    if len(needed):
        low, high = _rounded(needed.min()), _rounded(needed.max())
        seeds = low if low == high else f"{low} to {high}"
        rest = "the rest" if len(needed) == len(undecided) else f"{len(needed)} of the rest"
        unless = ""
        if claim.says != IMPROVES or claim.by:
            unless = f", unless an effect is within {counted_points(margin / 2)} of the bound"
        yield f"to decide {rest} takes at most about {seeds} seeds per cell{unless}"
    unspread = undecided["low"].isna()
    if unspread.any():
        yield f"{unspread.sum()} without spread over seeds"
    unitless = (undecided["unit"] == "") & ~unspread
    if unitless.any():
        yield f"{unitless.sum()} in a metric that has no points to hold against the margin"
    near = undecided["seeds_needed"].isna() & ~unspread & ~unitless
    if near.any():
        yield f"{near.sum()} so near a bound that no number of seeds is sure to decide"


def _misprints(rows: pd.DataFrame, *, of_authors: bool) -> list[str]:
    """Names the contrasts whose print shows another effect than the data, the worst first."""
    printed = rows["first_printed"] - rows["second_printed"]
    rows = rows.assign(gap=(printed - rows["effect"]).abs())
    differs = rows["gap"] > _MISPRINT
    if not of_authors:
        # Other runs need not give the same digits.
        differs &= ~printed.between(rows["low"], rows["high"])
    worst = rows[differs].sort_values("gap", ascending=False, kind="stable")
    texts = [
        f"{row['first']} against {row['second']} "
        f"{row['second_printed']:.2f} → {row['first_printed']:.2f} printed, "
        f"{row['second_mean']:.2f} → {row['first_mean']:.2f} found"
        for _, row in worst.head(_MOST_NAMED).iterrows()
    ]
    if not texts:
        return []
    more = f" and {len(worst) - len(texts)} more" if len(worst) > len(texts) else ""
    what = "print and data disagree on" if of_authors else "differs from print:"
    return [f"{what} {', '.join(texts)}{more}"]


def _rounded(seeds: float) -> str:
    """Two significant digits: the spread that it is computed from bears no more."""
    digits = max(0, len(str(int(seeds))) - 2)
    return f"{round(int(seeds), -digits):,}"
