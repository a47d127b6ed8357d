"""From corrected p values to verdicts: on a contrast, and on the claim that it belongs to.

A contrast. Up to three tests stand behind it, each corrected by Holm within its family: whether the
gain differs from 0, or from the b points of "more than b" (two-sided); whether it is inside the
margin (one-sided; two one-sided tests for "no difference"); whether it is beyond the margin.

==========================  ================================  =====================================
claimed                     supported                         contradicted, if not supported
==========================  ================================  =====================================
improves                    differs, gain > 0                 differs, gain < 0; or gain below the
                                                              margin and 0 in the 95 % interval
improves by more than b     differs from b, gain > b          differs from b, gain < b
improves by less than the   gain below the margin, and no     gain beyond the margin; or differs,
margin                      significant loss                  gain < 0
no difference               within the margin, both ways      beyond the margin, either way
no improvement              gain below the margin             gain beyond the margin
at least as good            gain above minus the margin       loss beyond the margin
no significant difference   tested, and does not differ       differs
==========================  ================================  =====================================

Everything else is not decided: so is a difference that is significant, but may be less or more than
the margin. "Does not differ" supports only the sentence that says no more than that ("no
significant difference"). A margin in points means nothing for a metric that is no share (a loss):
there only what needs no margin can be decided.

A claim needs all, almost all (80 %), most (more than half) or some (one) of its contrasts.

* ``no data``: none of them has data.
* ``supported``: as many are supported as it needs.
* ``supported where there are data``: the same of those that have data.
* ``partly``: not so, but more are supported than contradicted.
* ``contradicted``: not so, and the number that it needs cannot be reached any more. Contrasts whose
  effect is smaller than what other test images could bring (`doubted`) do not count here: a claim
  on all of many cells must not fall by one that a few images decide. Where that is unknown (no
  accuracy), the spread over seeds alone decides.
* ``not decided``: everything else.
"""

from collections.abc import Sequence

from keras_transfer.reporting.claims.terms import (
    AS_GOOD,
    IMPROVES,
    IMPROVES_LITTLE,
    NO_GAIN,
    NOT_SIGNIFICANT,
    SAME,
    Claim,
    needed,
)
from keras_transfer.reporting.comparisons import LEVEL
from keras_transfer.reporting.estimates import Estimate

SUPPORTED = "supported"
SUPPORTED_SO_FAR = "supported where there are data"
PARTLY = "partly"
CONTRADICTED = "contradicted"
NOT_DECIDED = "not decided"
NO_DATA = "no data"


def inside_test(claim: Claim) -> str:
    """Returns what the test that a gain is inside the margin would show; "" if there is none."""
    if claim.says == IMPROVES_LITTLE or (claim.says == IMPROVES and not claim.by):
        return NO_GAIN
    return claim.says if claim.says in (NO_GAIN, SAME, AS_GOOD) else ""


def beyond_test(claim: Claim) -> str:
    """Returns what the test that a gain is beyond the margin would refute; "" if none."""
    return "" if claim.says == IMPROVES else inside_test(claim)


def inside_p(test: str, estimate: Estimate, margin: float) -> float:
    """Returns the p of the test that a gain is inside the margin; NaN if there is none."""
    if test == NO_GAIN:
        return estimate.p_below(margin)
    if test == AS_GOOD:
        return estimate.p_above(-margin)
    return estimate.p_within(margin) if test == SAME else float("nan")


def beyond_p(test: str, estimate: Estimate, margin: float) -> float:
    """Returns the p of the test that a gain is beyond the margin; NaN if there is none."""
    if test == NO_GAIN:
        return estimate.p_above(margin)
    if test == AS_GOOD:
        return estimate.p_below(-margin)
    if test != SAME:
        return float("nan")
    # Two ways to be beyond it.
    return min(1.0, 2 * min(estimate.p_above(margin), estimate.p_below(-margin)))


def of_contrast(
    says: str,
    null: float,
    estimate: Estimate | None,
    p_holm: float,
    inside_holm: float,
    beyond_holm: float,
) -> str:
    """Decides on one contrast.

    Args:
        says: What is claimed of it.
        null: The gain that ``p_holm`` speaks against.
        estimate: The gain; None without data.
        p_holm: Corrected p of the difference; NaN if not tested.
        inside_holm: Corrected p of the test that it is inside the margin; NaN if there is none.
        beyond_holm: The same of the test that it is beyond the margin.
    """
    if estimate is None:
        return NO_DATA
    above = p_holm < LEVEL and estimate.value > null
    below = p_holm < LEVEL and estimate.value < null
    inside, beyond = inside_holm < LEVEL, beyond_holm < LEVEL
    if says == IMPROVES:
        for_it, against = above, below or (inside and estimate.interval()[0] <= null)
    elif says == IMPROVES_LITTLE:
        for_it, against = inside and not below, beyond or below
    elif says == NOT_SIGNIFICANT:
        for_it, against = p_holm >= LEVEL, p_holm < LEVEL
    else:
        for_it, against = inside, beyond
    return SUPPORTED if for_it else CONTRADICTED if against else NOT_DECIDED


def doubted(effect: float, images: float) -> bool:
    """Whether other test images could bring as much as an effect; False where that is unknown."""
    return abs(effect) < images


def of_claim(verdicts: Sequence[str], holds_for: str, doubts: int = 0) -> str:
    """Decides on a claim.

    Args:
        verdicts: Those on its contrasts.
        holds_for: How many of them it needs: ``terms.EVERY``, ``MOST``, ...
        doubts: How many of the contradicted ones are `doubted`.
    """
    total = len(verdicts)
    for_it, against, lost = map(list(verdicts).count, (SUPPORTED, CONTRADICTED, NO_DATA))
    if lost == total:
        return NO_DATA
    if for_it >= needed(holds_for, total):
        return SUPPORTED
    if for_it >= needed(holds_for, total - lost):
        return SUPPORTED_SO_FAR
    if for_it > against:
        return PARTLY
    lacking = against - doubts > total - needed(holds_for, total)
    return CONTRADICTED if lacking else NOT_DECIDED
