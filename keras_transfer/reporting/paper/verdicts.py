"""Whether a number that was found is the number that was printed."""

from dataclasses import dataclass

from keras_transfer.reporting import style
from keras_transfer.reporting.formats import number_text
from keras_transfer.reporting.paper.printed import Printed
from keras_transfer.reporting.tables import Cell

# Kinds of verdict.
REPRODUCES = "reproduces"
MEAN_ONLY = "mean only"
DIFFERS = "differs"
NO_DATA = "no data"
OTHER_MEASURE = "other measure"
NEW = "new"
NOT_PRINTED = "not printed"
KINDS = (REPRODUCES, MEAN_ONLY, DIFFERS, NO_DATA, OTHER_MEASURE, NEW, NOT_PRINTED)
# How those of printed numbers are counted, in words.
COUNTED = {
    REPRODUCES: "reproduced (mean and ± equal at two decimals)",
    MEAN_ONLY: "with equal mean and another ±",
    DIFFERS: "with another mean",
    OTHER_MEASURE: "found in another measure",
    NO_DATA: "without data",
}


@dataclass(frozen=True)
class Verdict:
    """How found and printed compare.

    Attributes:
        kind: One of ``KINDS``.
        text: In words, with both numbers where they differ.
    """

    kind: str
    text: str


def judge(cell: Cell | None, printed: Printed | None, metric: str) -> Verdict:
    """Compares at the two decimals that were printed.

    Args:
        cell: What was found, if anything.
        printed: What was printed, if anything.
        metric: What the print is measured in, on the test split.
    """
    if cell is None:
        kind = NO_DATA if printed else NOT_PRINTED
        return Verdict(kind, kind)
    if printed is None:
        return Verdict(NEW, "new: not printed")
    if (cell.metric, cell.split) != (metric, "test"):
        found, of = (
            f"{style.metric_title(name)} of {split}"
            for name, split in ((cell.metric, cell.split), (metric, "test"))
        )
        return Verdict(OTHER_MEASURE, f"not comparable: found {found}, printed {of}")
    both = f"(printed {printed.text}, found {number_text(cell)})"
    change = float(cell.text(cell.mean)) - printed.mean
    if f"{printed.mean:.2f}" != cell.text(cell.mean):
        return Verdict(DIFFERS, f"differs by {change:+.2f} {both}")
    if cell.n == 1:
        return Verdict(MEAN_ONLY, f"mean equal, one seed has no ± {both}")
    if f"{printed.sd:.2f}" != cell.text(cell.sd):
        change = float(cell.text(cell.sd)) - printed.sd
        return Verdict(MEAN_ONLY, f"mean equal, ± differs by {change:+.2f} {both}")
    return Verdict(REPRODUCES, REPRODUCES)
