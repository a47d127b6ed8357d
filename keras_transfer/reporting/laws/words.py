"""What the laws say, in plain words, claiming no more than the verdicts."""

import math
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from keras_transfer.core import runs
from keras_transfer.evaluation.power_law import LEVEL
from keras_transfer.reporting import style
from keras_transfer.reporting.laws import effective_data
from keras_transfer.reporting.laws.fits import Fit
from keras_transfer.reporting.laws.series import AGAINST, PARAMETERS, SOURCE, TRAINING

_SCALED = {
    TRAINING: "the number of training images of the target",
    SOURCE: "the size of the source",
    PARAMETERS: "the number of parameters of the network",
}
_UNITS = {TRAINING: "images", SOURCE: "images", PARAMETERS: "parameters"}
_MOST_NAMED = 8

_JUDGED = (
    "A law is refused unless it has three points (five with a floor), all trained for the same "
    "number of steps. Its slope must be told from 0. Its points must be no further off the curve "
    "than seeds explain. And the curve of the others must foretell the point of the largest x, "
    "within an interval whose upper end is at most twice its lower end. What a law predicts is for "
    "that number of steps."
)
_DOUBTS = (
    f"Intervals are of {100 * LEVEL:.0f} % and not corrected for the number of series: about one "
    "in ten laws that are true is refused by chance, and more where seeds spread widely, as they "
    "then leave the largest x open. A law that is not refused is not proved: few "
    "points and wide spreads let much pass. Spreads are those between seeds; another set of test "
    "images would move all points of a target together."
)
# x is known exactly from run directories. The authors' files do not say it; see `published`.
_ASSUMED_TARGET = "padchest_cl"
_ASSUMED = (
    " In the authors' files the numbers of PadChest-Cl are not: few-shot ones assume that many "
    "images in each of its 26 classes, and the size of its training part is an estimate."
)
_RELABELLED = (
    " Unions of sources also change the labels that are learnt (in the paper 13, and 7 once NIH "
    "is added), so laws over the size of the source are not of size alone."
)


def statements(fits: Sequence[Fit], effective: pd.DataFrame) -> list[str]:
    """Returns sentences: per ``against`` what holds and why the rest is refused; then D_E."""
    said = []
    for against in AGAINST:
        group = [fit for fit in fits if fit.series.against == against]
        if group:
            said += _of_group(against, group)
    return [*said, *_method(fits), *_transferred(effective)]


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
        unit = ", error in percent" if laws[0].series.points[0][1].unit else ""
        said.append(f"{style.title(target)}, x being {scaled}{unit}: {shown}{more}.")
    return said


def _law(fit: Fit) -> str:
    law = fit.law
    assert law is not None  # as it holds
    b = law.parameters["b"]
    reach = f"may predict up to {law.reach:,.0f} {_UNITS[fit.series.against]}"
    return f"{fit.formula} (exponent {b.low:.2f} to {b.high:.2f}; {reach})"


def _method(fits: Sequence[Fit]) -> list[str]:
    """Returns how laws were judged, and what a reader must know before trusting one."""
    laws = [fit.law for fit in fits if fit.law and fit.law.form]
    untested = sum(math.isnan(law.lack_of_fit) for law in laws)
    doubts, exact = _DOUBTS, "x is taken as exact."
    if untested:
        doubts += (
            f" In {untested} series no x has runs that differ, so whether the points are too "
            "far off the curve could not be tested."
        )
    if any(fit.series.target == _ASSUMED_TARGET for fit in fits):
        exact += _ASSUMED
    if any("+" in c.source for f in fits if f.series.against == SOURCE for _, c in f.series.every):
        exact += _RELABELLED
    return [_JUDGED, doubts, exact]


def _transferred(effective: pd.DataFrame) -> list[str]:
    """Returns what pre-training is worth, a sentence per target and network."""
    said = []
    if len(effective):
        said.append(
            "Effective data transferred: how many images of the target the reference would need "
            "for the error of another source. It is read off the reference's law where that holds, "
            "else off straight lines between its points, never beyond them and never across a "
            "change of training steps. Intervals are of 95 %, over seeds; where one is open at "
            "both ends the number is not determined. Shown is for each source the largest number "
            "of images that could be matched; the others are in the table."
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

    Where none was measured, the bound with the most images; ``not determined`` if there is none.
    """
    bounds = (effective_data.MORE, effective_data.FEWER)
    for verdicts in ((effective_data.MEASURED,), bounds, (effective_data.UNDETERMINED,)):
        found = rows[rows["verdict"].isin(verdicts)]
        if len(found):
            break
    row = found.sort_values("images").iloc[-1]
    return f"{style.title(row['source'])} with {row['images']:,} images {_images(row)}"


def _images(row: pd.Series) -> str:
    low, high = row["effective_low"], row["effective_high"]
    fewest, most = row["reference_fewest"], row["reference_most"]
    verdict, one_seed = row["verdict"], math.isnan(low)
    if verdict == effective_data.UNDETERMINED:
        return effective_data.UNDETERMINED
    if verdict == effective_data.MORE:
        shown = f"more than {most if one_seed else low:,.0f}"
    elif verdict == effective_data.FEWER:
        shown = f"fewer than {fewest if one_seed else high:,.0f}"
    else:
        shown = f"{row['effective']:,.0f}"
        if not one_seed:
            first = f"{low:,.0f}" if low else f"fewer than {fewest:,.0f}"
            last = f"more than {most:,.0f}" if math.isinf(high) else f"{high:,.0f}"
            shown += f" ({first} to {last})"
    return f"{shown} (from one seed)" if one_seed else shown
