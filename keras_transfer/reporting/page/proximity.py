"""The section of proximity: what distances say of gains."""

from keras_transfer.reporting.page.parts import figure, sentences
from keras_transfer.reporting.page.tables import Format, badge, frame_table, p_value
from keras_transfer.reporting.proximity.correlation import Proximity


def section(found: Proximity, folder: str = "") -> str:
    """Returns what distances say of gains.

    Args:
        found: The correlations.
        folder: Where the figures' files are, as in `parts.figure`.
    """
    columns = {
        "measure": "Measure",
        "network": "Network that measured",
        "shots": "Shots",
        "pairs": "Pairs",
        "spearman": "Spearman",
        "kendall": "Kendall",
        "p": "p",
        "p_holm": "p, Holm",
        "verdict": "Verdict",
        "reason": "Why not",
    }
    forms: dict[str, Format] = {
        "spearman": "+.2f",
        "kendall": "+.2f",
        "p": p_value,
        "p_holm": p_value,
        "verdict": badge,
    }
    caption = "Rank correlation of distance with gain, over pairs of source and target"
    table = frame_table(
        found.rows, columns, caption, forms, name="proximity-rows", facets=("verdict",)
    )
    drawn = "".join(figure(one, folder) for one in found.figures)
    return f"{sentences(found.statements)}{drawn}{table}"
