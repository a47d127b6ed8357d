"""The claims of arXiv:2106.00116 and of its poster, each with effects, tests and a verdict.

What is claimed is in `catalogue`, how verdicts follow from numbers in `verdicts`. An effect
is a difference of means over seeds, positive if the side named first is better. Few-shot contrasts
are tested seed by seed, full-shot ones by Welch's test (`evidence.seeds_belong_together`).
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
from keras_transfer.reporting.claims import notes as claim_notes
from keras_transfer.reporting.claims import reasons as claim_reasons
from keras_transfer.reporting.claims import verdicts as claim_verdicts
from keras_transfer.reporting.claims.catalogue import CLAIMS
from keras_transfer.reporting.claims.evidence import Evidence
from keras_transfer.reporting.claims.terms import SOME, Claim, Gain, Question
from keras_transfer.reporting.paper import printed
from keras_transfer.reporting.tables import Table

MARGIN = 1.0  # points

_WORKING = ("key", "margin_key", "beyond_key", "estimate", "null", "says")


@dataclass(frozen=True)
class Claims:
    """What was found on the claims.

    Attributes:
        rows: One per contrast: ``claim, family, target, shots, arch, first, second, effect, low,
            high`` (95 %), ``p, p_holm, n1, n2, verdict``; further ``test`` (paired or Welch),
            ``p_margin, p_margin_holm`` (the test that it is inside the margin), ``p_beyond,
            p_beyond_holm`` (that it is beyond), ``unit`` ("points" or ""), ``first_mean,
            second_mean`` (of the table; gains, where gains are compared), ``first_printed,
            second_printed`` (NaN where another metric is printed), ``images`` (what other test
            images could move the effect by, 95 %; see `evidence.Measured`) and ``seeds_needed``
            (of undecided contrasts: at most so many seeds per cell decide, see
            `families.seeds_needed`). In points, NaN where there is none.
        summary: One per claim: ``id, where, wording, family, says, verdict, supported,
            contradicted, undecided, not_needed, no_data, reason, disputes``. Where some contrast
            is enough, and found, the others are ``not_needed``.
        families: One per family: ``family, contrasts`` (different ones), ``tests`` (that Holm's
            correction counts), ``margin_tests`` and ``beyond_tests`` (corrected separately), and
            ``no_data`` and ``no_spread``, not counted.
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


def examine(
    table: Table,
    *,
    margin: float = MARGIN,
    claims: Sequence[Claim] = CLAIMS,
    of_authors: bool = False,
) -> Claims:
    """Examines every claim.

    The same test in several claims of a family is one test. Contrasts without data, or without
    spread over seeds, are no tests.

    Args:
        table: The transfer table, of published files or of run directories.
        margin: Points that a difference must stay below to count as none.
        claims: What is claimed.
        of_authors: Whether the table holds what was printed: then any difference from print is an
            error of either. Of other runs, differences beyond their intervals are named.
    """
    numbers = {name: printed.read(name) for name in printed.LAYOUTS}
    records = []
    for claim in claims:
        beside = {k: v for name in reversed(claim.tables) for k, v in numbers[name].items()}
        for question in claim.questions:
            evidence = claim_evidence.find(table, question)
            printed_gains = claim_evidence.printed_gains(question, evidence, beside)
            records.append(
                _places(claim, question, evidence)
                | _numbers(claim, question, evidence, margin)
                | _levels(evidence, printed_gains)
            )
    rows = pd.DataFrame(records)
    claim_families.correct(rows, "p", "key")
    claim_families.correct(rows, "p_margin", "margin_key")
    claim_families.correct(rows, "p_beyond", "beyond_key")
    decisive = ["says", "null", "estimate", "p_holm", "p_margin_holm", "p_beyond_holm"]
    rows["verdict"] = [
        claim_verdicts.of_contrast(*row)
        for row in rows[decisive].astype(object).itertuples(index=False)
    ]
    families = claim_families.overview(rows)
    rows["seeds_needed"] = claim_families.seeds_needed(rows, families, margin)
    notes = claim_notes.notes(rows, families, margin)
    rows = rows.drop(columns=list(_WORKING))
    summary = pd.DataFrame(
        [
            _summary(claim, rows[rows["claim"] == claim.id], margin, of_authors=of_authors)
            for claim in claims
        ]
    )
    return Claims(rows[_ordered(rows)], summary, families, notes)


def _places(claim: Claim, question: Question, evidence: Evidence | None) -> dict:
    """Says which cells a row is about."""
    parts = evidence.parts if evidence else (None,) * len(question.gains)
    sides = [claim_evidence.describe(g, part) for g, part in zip(question.gains, parts)]
    if question.over:
        several = question.gain.target != question.over.target
        names = [f"the gain of {one} over {two}" for one, two in sides]
        names[1] = "the same gain" if names[1] == names[0] else names[1]
        first, second = (
            f"{name} ({_where(gain, several)})" for name, gain in zip(names, question.gains)
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
    shots = style.regime_title(gain.shots)
    return f"{style.title(gain.target)}, {shots}" if with_target else shots


def _join(parts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(parts))


def _numbers(claim: Claim, question: Question, evidence: Evidence | None, margin: float) -> dict:
    """Returns effect and tests of a row, and under which keys it is corrected."""
    inside, beyond = claim_verdicts.inside_test(claim), claim_verdicts.beyond_test(claim)
    asked = evidence.answered if evidence else question
    shared = {
        "key": claim_families.key(asked, claim.by),
        "margin_key": (asked, inside),
        "beyond_key": (asked, beyond),
        "null": claim.by,
        "says": claim.says,
    }
    nothing = dict.fromkeys(("effect", "low", "high", "p", "p_margin", "p_beyond"), math.nan)
    if evidence is None:
        return shared | nothing | {"unit": "", "test": "", "n1": 0, "n2": 0, "estimate": None}
    estimate = evidence.estimate
    low, high = estimate.interval()
    # Points mean nothing for a metric that is no share: then only 0 is tested.
    points = evidence.in_points
    p = estimate.p(claim.by) if points or not claim.by else math.nan
    cells = [cell for part in evidence.parts for cell in (part.first, part.second)]
    half = len(cells) // 2
    return shared | {
        "effect": estimate.value,
        "low": low,
        "high": high,
        "p": p,
        "p_margin": claim_verdicts.inside_p(inside, estimate, margin) if points else math.nan,
        "p_beyond": claim_verdicts.beyond_p(beyond, estimate, margin) if points else math.nan,
        "unit": "points" if points else "",
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


def _summary(claim: Claim, rows: pd.DataFrame, margin: float, *, of_authors: bool) -> dict:
    verdicts = list(rows["verdict"])
    doubts = sum(
        verdict == claim_verdicts.CONTRADICTED and claim_verdicts.doubted(effect, images)
        for verdict, effect, images in zip(verdicts, rows["effect"], rows["images"])
    )
    verdict = claim_verdicts.of_claim(verdicts, claim.holds_for, doubts)
    against = verdicts.count(claim_verdicts.CONTRADICTED)
    open_ = verdicts.count(claim_verdicts.NOT_DECIDED)
    enough = claim.holds_for == SOME and verdict == claim_verdicts.SUPPORTED
    return {
        "id": claim.id,
        "where": claim.where,
        "wording": claim.wording,
        "family": "; ".join(dict.fromkeys(rows["family"])),
        "says": claim.in_words(claim_notes.counted_points(margin)),
        "verdict": verdict,
        "supported": verdicts.count(claim_verdicts.SUPPORTED),
        "contradicted": 0 if enough else against,
        "undecided": 0 if enough else open_,
        "not_needed": against + open_ if enough else 0,
        "no_data": verdicts.count(claim_verdicts.NO_DATA),
        "reason": claim_reasons.reason(claim, rows, verdict, margin, of_authors=of_authors),
        "disputes": claim.disputes,
    }


def _ordered(rows: pd.DataFrame) -> list[str]:
    """Puts what a reader looks for first to the front, the verdict to the end."""
    first = ["claim", "family", "target", "shots", "arch", "first", "second", "effect", "low"]
    first += ["high", "p", "p_holm", "n1", "n2"]
    rest = [name for name in rows.columns if name not in (*first, "verdict")]
    return [*first, *rest, "verdict"]
