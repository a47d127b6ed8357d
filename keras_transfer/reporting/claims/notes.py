"""How all verdicts were come by, and what they leave out."""

import pandas as pd

from keras_transfer.reporting import style
from keras_transfer.reporting.comparisons import LEVEL


def counted_points(number: float) -> str:
    """Returns a number of points in words: ``1 point``, ``0.5 points``."""
    return f"{number:g} {'point' if number == 1 else 'points'}"


def notes(rows: pd.DataFrame, families: pd.DataFrame, margin: float) -> list[str]:
    """Returns how the verdicts were come by and what they leave out.

    Args:
        rows: All contrasts.
        families: See `claims.Claims`.
        margin: In points.
    """
    found = [
        f"A difference counts where p < {LEVEL} after Holm's correction within its family. "
        f"'No difference' takes a test that shows less than {counted_points(margin)}, and is "
        "contradicted only by one that shows more; a difference that may be either leaves it open.",
        "Effects smaller than what other test images could bring contradict no claim alone.",
        f"{families['tests'].sum()} different tests of differences, "
        f"{families['margin_tests'].sum()} inside and {families['beyond_tests'].sum()} beyond the "
        f"margin stand in {len(families)} families; "
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
