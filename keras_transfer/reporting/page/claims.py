"""The section of the claims of paper and poster: verdicts, contrasts, families of tests."""

import pandas as pd

from keras_transfer.reporting import style
from keras_transfer.reporting.claims.examination import Claims
from keras_transfer.reporting.page.parts import folded, sentences, text, unbroken
from keras_transfer.reporting.page.tables import Format, badge, frame_table, p_value

_SIGNED = "+.2f"


def section(found: Claims) -> str:
    """Returns the claims with their verdicts, and every contrast behind them."""
    columns = {
        "wording": "Claim",
        "where": "Where",
        "says": "Says",
        "verdict": "Verdict",
        "reason": "Why",
    }
    summary = found.summary.assign(wording=_with_id(found.summary))
    caption = (
        f"{len(summary)} sentences of paper and poster that compare scales, summarised; "
        "claims.csv counts the contrasts behind each"
    )
    forms: dict[str, Format] = {"wording": str, "verdict": badge, "reason": _sentence}
    table = frame_table(summary, columns, caption, forms, name="claim-list", facets=("verdict",))
    return f"{sentences(found.notes)}{table}{_contrasts(found.rows)}{_families(found.families)}"


def _with_id(summary: pd.DataFrame) -> list[str]:
    shown = zip(summary["wording"], summary["id"], summary["disputes"])
    return [
        f"{text(wording)} <small>{text(name)}{text(f'; disputes {other}') if other else ''}</small>"
        for wording, name, other in shown
    ]


def _contrasts(rows: pd.DataFrame) -> str:
    columns = {
        "claim": "Claim",
        "target": "Target",
        "shots": "Shots",
        "first": "First",
        "second": "Second",
        "verdict": "Verdict",
        "effect": "Effect, points",
        "low": "Low",
        "high": "High",
        "p_holm": "p, Holm",
        "test": "Test",
        "seeds": "Seeds",
    }
    forms: dict[str, Format] = {
        "target": _targets,
        "effect": _SIGNED,
        "low": _SIGNED,
        "high": _SIGNED,
        "p_holm": p_value,
        "verdict": badge,
    }
    caption = "Contrasts: first minus second, 95 % interval, positive where the first is better"
    seeds = [f"{first}, {second}" for first, second in zip(rows["n1"], rows["n2"])]
    table = frame_table(
        rows.assign(seeds=seeds),
        columns,
        caption,
        forms,
        name="contrasts",
        facets=("verdict", "family"),
    )
    return folded(f"All {len(rows):,} contrasts", table, instead="contrasts.csv has them.")


def _families(frame: pd.DataFrame) -> str:
    columns = {
        "family": "Family",
        "contrasts": "Different contrasts",
        "tests": "Tests of a difference",
        "margin_tests": "Tests inside the margin",
        "beyond_tests": "Tests beyond it",
        "no_data": "Without data",
        "no_spread": "Without spread",
    }
    caption = "Families within which p is corrected; contrasts without data or spread are no tests"
    table = frame_table(frame, columns, caption, name="claim-families")
    return folded(f"The {len(frame)} families of tests", table)


def _sentence(value: object) -> str:
    return text(unbroken(str(value)))


def _targets(value: str) -> str:
    return text(" / ".join(map(style.title, value.split(" / "))))
