"""The claims of arXiv:2106.00116 and of its poster, each with effects, tests and a verdict.

What is claimed is in `catalogue`, how verdicts follow from numbers in `verdicts`. An effect
is a difference of means over seeds, positive if the side named first is better. Few-shot contrasts
are tested seed by seed, full-shot ones by Welch's test (`claim_evidence.seeds_belong_together`).
Predictions that runs have stored are not used: what they show is the business of
``experiments.measure --against``, for two runs at a time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from keras_transfer.reporting import style
from keras_transfer.reporting.claims import evidence as claim_evidence
from keras_transfer.reporting.claims import families as claim_families
from keras_transfer.reporting.claims import reasons as claim_reasons
from keras_transfer.reporting.claims import verdicts as claim_verdicts
from keras_transfer.reporting.claims.catalogue import CLAIMS
from keras_transfer.reporting.claims.evidence import Evidence
from keras_transfer.reporting.claims.terms import Claim, Gain, Question
from keras_transfer.reporting.paper import printed
from keras_transfer.reporting.tables import Table

MARGIN = 1.0  # points

_WORKING = ("key", "margin_key", "estimate", "null", "says")


@dataclass(frozen=True)
class Claims:
    """What was found on the claims.

    Attributes:
        rows: One per contrast: ``claim, family, target, shots, arch, first, second, effect, low,
            high`` (95 %), ``p, p_holm, n1, n2, verdict``; further ``test`` (paired or Welch),
            ``p_margin, p_margin_holm`` (the test of the margin), ``first_mean, second_mean`` (of
            the table; gains, where gains are compared), ``first_printed, second_printed``,
            ``images`` (what other test images could move the effect by, 95 %; see
            `evidence.Measured`) and ``seeds_needed`` (of undecided contrasts: seeds per cell
            for an interval as wide as the margin, corrected for the family, which decides unless
            the effect is close to a bound other than 0). In points, NaN where there is none.
        summary: One per claim: ``id, where, wording, family, says, verdict, supported,
            contradicted, undecided, no_data, reason, disputes``.
        families: One per family: ``family, contrasts`` (different ones), ``tests`` (that Holm's
            correction counts), ``margin_tests``, and ``no_data`` and ``no_spread``, not counted.
        notes: How it was decided and what that leaves out.
    """

    rows: pd.DataFrame
    summary: pd.DataFrame
    families: pd.DataFrame
    notes: list[str]

    @property
    def has_data(self) -> bool:
        """Whether there are numbers for any of the contrasts."""
        return bool((self.rows["verdict"] != claim_verdicts.NO_DATA).any())

    @property
    def files(self) -> dict[str, str]:
        """File name -> csv text."""
        frames = {"claims": self.summary, "contrasts": self.rows, "families": self.families}
        return {f"{name}.csv": frame.to_csv(index=False) for name, frame in frames.items()}


def examine(table: Table, *, margin: float = MARGIN, claims: Sequence[Claim] = CLAIMS) -> Claims:
    """Examines every claim.

    The same test in several claims of a family is one test. Contrasts without data, or without
    spread over seeds, are no tests.

    Args:
        table: The transfer table, of published files or of run directories.
        margin: Points that a difference must stay below to count as none.
        claims: What is claimed.
    """
    numbers = {name: printed.read(name) for name in printed.LAYOUTS}
    records = []
    for claim in claims:
        beside = {k: v for name in reversed(claim.tables) for k, v in numbers[name].items()}
        for question in claim.questions:
            evidence = claim_evidence.find(table, question)
            printed_gains = claim_evidence.printed_gains(question, beside)
            records.append(
                _places(claim, question, evidence)
                | _numbers(claim, question, evidence, margin)
                | _levels(evidence, printed_gains)
            )
    rows = pd.DataFrame(records)
    claim_families.correct(rows, "p", "key")
    claim_families.correct(rows, "p_margin", "margin_key")
    rows["verdict"] = [
        claim_verdicts.of_contrast(
            row["says"], row["null"], row["estimate"], row["p_holm"], row["p_margin_holm"]
        )
        for row in rows.to_dict("records")
    ]
    families = claim_families.overview(rows)
    rows["seeds_needed"] = claim_families.seeds_needed(rows, families, margin)
    notes = claim_reasons.notes(rows, families, margin)
    rows = rows.drop(columns=list(_WORKING))
    summary = pd.DataFrame([_summary(claim, rows[rows["claim"] == claim.id]) for claim in claims])
    return Claims(rows[_ordered(rows)], summary, families, notes)


def _places(claim: Claim, question: Question, evidence: Evidence | None) -> dict:
    """Says which cells a row is about."""
    parts = evidence.parts if evidence else (None,) * len(question.gains)
    sides = [claim_evidence.describe(g, part) for g, part in zip(question.gains, parts)]
    if question.over:
        several = question.gain.target != question.over.target
        first, second = (
            f"{one} over {two}, {_where(gain, several)}"
            for (one, two), gain in zip(sides, question.gains)
        )
    else:
        first, second = sides[0]
    archs = dict.fromkeys(
        arch for side in (question.gain.first, question.gain.second) for arch, _ in side
    )
    return {
        "claim": claim.id,
        "family": claim_evidence.family(question),
        "target": _join(gain.target for gain in question.gains),
        "shots": _join(style.shots_title(gain.shots) for gain in question.gains),
        "arch": _join(archs),
        "first": first,
        "second": second,
    }


def _where(gain: Gain, with_target: bool) -> str:
    shots = "full" if math.isinf(gain.shots) else f"{style.shots_title(gain.shots)}-shot"
    return f"{style.title(gain.target)}, {shots}" if with_target else shots


def _join(parts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(parts))


def _numbers(claim: Claim, question: Question, evidence: Evidence | None, margin: float) -> dict:
    """Returns effect and tests of a row, and under which keys it is corrected."""
    null = claim_verdicts.null_of(claim, margin)
    test = claim_verdicts.margin_test(claim)
    shared = {
        "key": claim_families.key(question, null),
        "margin_key": (question, test),
        "null": null,
        "says": claim.says,
    }
    nothing = dict.fromkeys(("effect", "low", "high", "p", "p_margin"), math.nan)
    if evidence is None:
        return shared | nothing | {"test": "", "n1": 0, "n2": 0, "estimate": None}
    estimate = evidence.estimate
    low, high = estimate.interval()
    # Points mean nothing for a metric that is no share: then only 0 is tested.
    p = estimate.p(null) if evidence.in_points or not null else math.nan
    p_margin = claim_verdicts.margin_p(test, estimate, margin) if evidence.in_points else math.nan
    cells = [cell for part in evidence.parts for cell in (part.first, part.second)]
    half = len(cells) // 2
    return shared | {
        "effect": estimate.value,
        "low": low,
        "high": high,
        "p": p,
        "p_margin": p_margin,
        "test": evidence.test,
        "n1": min(cell.n for cell in cells[:half]),
        "n2": min(cell.n for cell in cells[half:]),
        "estimate": estimate,
    }


def _levels(evidence: Evidence | None, printed_gains: list[list[float]]) -> dict:
    """Returns the two numbers that a row compares, as found and as printed."""
    found = [[math.nan, math.nan]] * len(printed_gains)
    if evidence:
        found = [[part.first.mean, part.second.mean] for part in evidence.parts]
    names = ("first_mean", "second_mean"), ("first_printed", "second_printed")
    result: dict[str, float] = {}
    for keys, gains in zip(names, (found, printed_gains)):
        values = gains[0] if len(gains) == 1 else [first - second for first, second in gains]
        result |= dict(zip(keys, values))
    return result | {"images": evidence.images if evidence else math.nan}


def _summary(claim: Claim, rows: pd.DataFrame) -> dict:
    verdicts = list(rows["verdict"])
    verdict = claim_verdicts.of_claim(verdicts, claim.needed)
    return {
        "id": claim.id,
        "where": claim.where,
        "wording": claim.wording,
        "family": "; ".join(dict.fromkeys(rows["family"])),
        "says": f"{claim.holds_for}: {claim.says}",
        "verdict": verdict,
        "supported": verdicts.count(claim_verdicts.SUPPORTED),
        "contradicted": verdicts.count(claim_verdicts.CONTRADICTED),
        "undecided": verdicts.count(claim_verdicts.NOT_DECIDED),
        "no_data": verdicts.count(claim_verdicts.NO_DATA),
        "reason": claim_reasons.reason(claim, rows, verdict),
        "disputes": claim.disputes,
    }


def _ordered(rows: pd.DataFrame) -> list[str]:
    """Puts what a reader looks for first to the front, the verdict to the end."""
    first = ["claim", "family", "target", "shots", "arch", "first", "second", "effect", "low"]
    first += ["high", "p", "p_holm", "n1", "n2"]
    rest = [name for name in rows.columns if name not in (*first, "verdict")]
    return [*first, *rest, "verdict"]
