"""Families of tests: which tests are one, Holm's correction, and what it takes to decide."""

import math
from collections.abc import Hashable

import numpy as np
import pandas as pd

from keras_transfer.evaluation.testing import holm
from keras_transfer.reporting.claims import verdicts as claim_verdicts
from keras_transfer.reporting.claims.terms import Question
from keras_transfer.reporting.comparisons import LEVEL


def key(question: Question, null: float) -> Hashable:
    """Returns the same for the same two-sided test, whichever side is named first."""
    gain = question.gain
    if null:
        return question, null
    if question.over:
        return frozenset(question.gains)
    return gain.target, gain.shots, frozenset((gain.first, gain.second))


def correct(rows: pd.DataFrame, p: str, key: str) -> None:
    """Adds the column ``<p>_holm``: every different test of a family counts once."""
    adjusted = pd.Series(math.nan, rows.index)
    for _, members in rows.groupby("family"):
        once = members.drop_duplicates(key)
        known = dict(zip(once[key], holm(once[p].to_numpy(np.float64))))
        adjusted[members.index] = members[key].map(known)
    rows[f"{p}_holm"] = adjusted


def seeds_needed(rows: pd.DataFrame, families: pd.DataFrame, margin: float) -> list[float]:
    """Asks for intervals as narrow as decides at the first, strictest step of Holm's correction.

    No use is made of the effects. An interval no wider than the margin decides at any later step,
    too, so that the numbers are upper bounds, except for effects within half the margin of a bound
    other than 0 (of a claim on sizes): these may stay open.

    Returns:
        Seeds per cell of each undecided contrast; NaN without spread, for metrics in other units
        than the margin, and where the interval is narrow enough already: the effect is near a
        bound.
    """
    tests = families.set_index("family")[["tests", "margin_tests"]].max(axis=1)
    found = []
    for row in rows.to_dict("records"):
        needed = None
        if row["verdict"] == claim_verdicts.NOT_DECIDED and row["unit"]:
            level = 1 - LEVEL / max(tests[row["family"]], 1)
            needed = row["estimate"].seeds_needed(margin, level)
        narrow = needed is None or needed <= max(row["n1"], row["n2"])
        found.append(math.nan if needed is None or narrow else float(needed))
    return found


def overview(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts the tests of each family (see `claims.Claims`)."""
    found = []
    for name, members in rows.groupby("family"):
        once = members.drop_duplicates("key")
        lost = once["estimate"].isna()
        found.append(
            {
                "family": name,
                "contrasts": len(once),
                "tests": int(once["p"].notna().sum()),
                "margin_tests": int(
                    members.drop_duplicates("margin_key")["p_margin"].notna().sum()
                ),
                "beyond_tests": int(
                    members.drop_duplicates("beyond_key")["p_beyond"].notna().sum()
                ),
                "no_data": int(lost.sum()),
                "no_spread": int((once["p"].isna() & ~lost).sum()),
            }
        )
    return pd.DataFrame(found)
