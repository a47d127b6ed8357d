"""What the laws say, in plain words, claiming no more than the verdicts."""

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from keras_transfer.core import runs
from keras_transfer.evaluation.power_law.fitting import LEVEL
from keras_transfer.reporting import style
from keras_transfer.reporting.laws import effective_data
from keras_transfer.reporting.laws.fits import Fit
from keras_transfer.reporting.laws.series import AGAINST, PARAMETERS, SOURCE, TRAINING

_SCALED = {
    TRAINING: "the number of training images of the target",
    SOURCE: "the size of the source",
    PARAMETERS: "the number of parameters of the network",
}
_MOST_NAMED = 8


def statements(fits: Sequence[Fit], effective: pd.DataFrame) -> list[str]:
    """Returns sentences: per ``against`` what holds and why the rest is refused; then D_E."""
    said = []
    for against in AGAINST:
        group = [fit for fit in fits if fit.series.against == against]
        if group:
            said += _of_group(against, group)
    return [*said, _method(fits), *_transferred(effective)]


def _of_group(against: str, fits: Sequence[Fit]) -> list[str]:
    holding = [fit for fit in fits if fit.holds]
    refused = Counter(kind for fit in fits for kind in fit.reasons)
    scaled = _SCALED[against]
    text = f"Error against {scaled}: a law holds in {len(holding)} of {len(fits)} series."
    if refused:
        why = ", ".join(f"{kind} ({count})" for kind, count in refused.most_common())
        text += f" The reasons for refusing the others, some of which have several: {why}."
    said = [text, *_laws(holding)]
    left_out = Counter(text for fit in fits for text in fit.series.left_out)
    if left_out:
        names = "; ".join(f"{text} ({count} series)" for text, count in left_out.most_common())
        said.append(f"Not among the points over {scaled}: {names}.")
    return said


def _laws(fits: Sequence[Fit]) -> list[str]:
    """Returns one sentence per target that a law holds on."""
    said = []
    for target in dict.fromkeys(fit.series.target for fit in fits):
        laws = [fit for fit in fits if fit.series.target == target]
        shown = "; ".join(f"{fit.series.title}: {_law(fit)}" for fit in laws[:_MOST_NAMED])
        more = f"; and {len(laws) - _MOST_NAMED} more" if len(laws) > _MOST_NAMED else ""
        scaled = _SCALED[laws[0].series.against]
        said.append(f"{style.title(target)}, x being {scaled}: {shown}{more}.")
    return said


def _law(fit: Fit) -> str:
    law = fit.law
    assert law is not None  # as it holds
    b = law.parameters["b"]
    return f"{fit.formula} (exponent {b.low:.2f} to {b.high:.2f}, up to x = {law.reach:,.0f})"


def _method(fits: Sequence[Fit]) -> str:
    laws = [fit.law for fit in fits if fit.law and fit.law.form]
    untested = sum(math.isnan(law.lack_of_fit) for law in laws)
    text = (
        "A law is refused unless it has three points, its slope is told from 0, its points are no "
        "further off the curve than seeds explain, and the curve of the others foretells the one "
        f"of the largest x ({100 * LEVEL:.0f} % intervals, not corrected for the number of series: "
        "about one in ten laws that are true is refused by chance). A law that is not refused is "
        "not proved: few points and wide spreads let much pass. Spreads are those between seeds; "
        "another set of test images would move all points of a target together."
    )
    if untested:
        text += (
            f" In {untested} series no x has runs that differ, so whether the points are too "
            "far off the curve could not be tested."
        )
    return text


def _transferred(effective: pd.DataFrame) -> list[str]:
    """Returns what pre-training is worth, a sentence per target and network."""
    said = []
    if len(effective):
        said.append(
            "Effective data transferred: for each source the most images that the reference could "
            "match within its own range, read off its law where it holds, else off straight lines "
            "between its points; 95 % intervals over seeds. All other numbers are in the table."
        )
    known = effective[effective["verdict"] != effective_data.REFUSED]
    for _, rows in known.groupby(["target", "arch"], sort=False):
        first = rows.iloc[0]
        parts = [_worth(of) for _, of in rows.groupby("source", sort=False)]
        said.append(
            f"{style.title(first['target'])} with {style.arch_title(first['arch'])}, images that "
            f"{_reference(first['reference'])} would need for the same error: {'; '.join(parts)}."
        )
    refused = len(effective) - len(known)
    if refused:
        why = Counter(effective["reason"][effective["verdict"] == effective_data.REFUSED])
        texts = "; ".join(f"{text} ({count})" for text, count in why.most_common())
        said.append(f"For {refused} of {len(effective)} cells that number is refused: {texts}.")
    return said


def _reference(source: str) -> str:
    from_scratch = source == runs.SCRATCH
    return "training from scratch" if from_scratch else f"pre-training on {style.title(source)}"


def _worth(rows: pd.DataFrame) -> str:
    """Returns ``Pets with 500 images 1,230 (800 to 1,900)``: the measured row with most images.

    Where none was measured, the bound with the most images.
    """
    measured = rows[rows["verdict"] == effective_data.MEASURED]
    row = (measured if len(measured) else rows).sort_values("images").iloc[-1]
    return f"{style.title(row['source'])} with {row['images']:,} images {_images(row)}"


def _images(row: pd.Series) -> str:
    low, high = row["effective_low"], row["effective_high"]
    fewest, most = row["reference_fewest"], row["reference_most"]
    verdict, one_seed = row["verdict"], math.isnan(low)
    if verdict == effective_data.MORE:
        shown = f"more than {most if one_seed else low:,.0f}"
    elif verdict == effective_data.FEWER:
        shown = f"fewer than {fewest if one_seed else high:,.0f}"
    else:
        shown = f"{row['effective']:,.0f}"
        if not one_seed:
            first = f"{low:,.0f}" if low else f"fewer than {fewest:,}"
            last = f"more than {most:,}" if math.isinf(high) else f"{high:,.0f}"
            shown += f" ({first} to {last})"
    return f"{shown} (from one seed)" if one_seed else shown
