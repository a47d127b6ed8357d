"""From corrected p values to verdicts: on a contrast, and on the claim that it belongs to.

A contrast. Two tests stand behind it, each corrected by Holm within its family: whether the gain
differs from 0 (two-sided), and whether it is inside the margin (one-sided; two one-sided tests for
"no difference"). p > 0.05 alone never supports anything.

===============================  ==============================  ================================
claimed                          supported                       contradicted, if not supported
===============================  ==============================  ================================
improves                         differs, gain > 0               differs, gain < 0; or gain below
                                                                 the margin and 0 in the interval
improves by more than b points   differs from b, gain > b        differs from b, gain < b
improves by less than margin     differs from margin, gain less  differs from margin, gain more
no difference                    within the margin, both ways    differs
no improvement                   gain below the margin           differs, gain > 0
at least as good                 gain above minus the margin     differs, gain < 0
===============================  ==============================  ================================

Everything else is not decided. A claim is supported if as many of its contrasts are as it needs
(all, almost all: 80 %, most: more than half, some: one; those without data count as not supported).
If not, more contrasts for it than against it make it partly supported; else it is contradicted if
the number that it needs cannot be reached any more, and not decided otherwise.
"""

from collections.abc import Sequence

from keras_transfer.reporting.claims.terms import (
    AS_GOOD,
    IMPROVES,
    IMPROVES_LITTLE,
    NO_GAIN,
    SAME,
    Claim,
)
from keras_transfer.reporting.comparisons import LEVEL
from keras_transfer.reporting.estimates import Estimate

SUPPORTED = "supported"
PARTLY = "partly"
CONTRADICTED = "contradicted"
NOT_DECIDED = "not decided"
NO_DATA = "no data"


def null_of(claim: Claim, margin: float) -> float:
    """Returns the gain that a claim is tested against."""
    return margin if claim.says == IMPROVES_LITTLE else claim.by


def margin_test(claim: Claim) -> str:
    """Returns what the second test of a claim would show; "" if it has none."""
    if claim.says == IMPROVES and not claim.by:
        return NO_GAIN
    return claim.says if claim.says in (NO_GAIN, SAME, AS_GOOD) else ""


def margin_p(test: str, estimate: Estimate, margin: float) -> float:
    """Returns the p of the second test; NaN if there is none."""
    if test == NO_GAIN:
        return estimate.p_below(margin)
    if test == AS_GOOD:
        return estimate.p_above(-margin)
    return estimate.p_within(margin) if test == SAME else float("nan")


def of_contrast(
    says: str, null: float, estimate: Estimate | None, p_holm: float, margin_holm: float
) -> str:
    """Decides on one contrast.

    Args:
        says: What is claimed of it.
        null: The gain that ``p_holm`` speaks against.
        estimate: The gain; None without data.
        p_holm: Corrected p of the difference; NaN if not tested.
        margin_holm: Corrected p of the test of the margin; NaN if there is none.
    """
    if estimate is None:
        return NO_DATA
    above = p_holm < LEVEL and estimate.value > null
    below = p_holm < LEVEL and estimate.value < null
    inside = margin_holm < LEVEL
    if says == IMPROVES:
        for_it, against = above, below or (inside and estimate.interval()[0] <= null)
    elif says == IMPROVES_LITTLE:
        for_it, against = below, above
    else:
        differs = {NO_GAIN: above, AS_GOOD: below, SAME: above or below}
        for_it, against = inside, differs[says]
    return SUPPORTED if for_it else CONTRADICTED if against else NOT_DECIDED


def of_claim(verdicts: Sequence[str], needed: int) -> str:
    """Decides on a claim from the verdicts on its contrasts."""
    count = {verdict: list(verdicts).count(verdict) for verdict in set(verdicts)}
    for_it, against = count.get(SUPPORTED, 0), count.get(CONTRADICTED, 0)
    if count.get(NO_DATA, 0) == len(verdicts):
        return NO_DATA
    if for_it >= needed:
        return SUPPORTED
    if for_it > against:
        return PARTLY
    return CONTRADICTED if against > len(verdicts) - needed else NOT_DECIDED
