"""The section of the laws of scale, with effective data transferred."""

import pandas as pd

from keras_transfer.reporting import style
from keras_transfer.reporting.laws.findings import Laws
from keras_transfer.reporting.page.parts import figure, folded, sentences, text
from keras_transfer.reporting.page.tables import Format, badge, frame_table, p_value

_IN_FILES = "the csv files beside the page have them."
_FEW_SENTENCES = 12  # that are shown at once
_SERIES = {
    "target": "Target",
    "source": "Source",
    "arch": "Network",
    "shots": "Shots",
}


def section(found: Laws, folder: str = "") -> str:
    """Returns the laws that hold, all series with why others do not, and effective data.

    Args:
        found: The fits.
        folder: Where the figures' files are, as in `parts.figure`.
    """
    rows = found.rows.assign(target=found.rows["target"].map(style.title))
    holding = rows[rows["verdict"] == "holds"]
    drawn = "".join(figure(one, folder) for one in found.figures)
    said = sentences(found.statements)
    if len(found.statements) > _FEW_SENTENCES:
        said = folded(f"In words: {len(found.statements)} sentences", said)
    return (
        f"{said}{drawn}{_holding(holding) if len(holding) else ''}"
        f"{_series(rows)}{_effective(found.effective)}"
    )


def _holding(rows: pd.DataFrame) -> str:
    columns = {
        **_SERIES,
        "against": "x",
        "a": "a",
        "b": "b",
        "b_low": "b, low",
        "b_high": "b, high",
        "c": "c",
        "n_points": "Points",
        "held_out_predicted": "Largest x foretold",
        "held_out_measured": "measured",
    }
    forms: dict[str, Format] = dict.fromkeys(("a", "b", "b_low", "b_high", "c"), ".3g")
    forms |= dict.fromkeys(("held_out_predicted", "held_out_measured"), ".2f")
    caption = (
        "Laws that hold: error = c + a x^-b, with the 95 % interval of b, and what the other "
        "points foretell of the largest x"
    )
    return frame_table(
        rows, columns, caption, forms | _names(), name="laws-holding", facets=("against",)
    )


def _series(rows: pd.DataFrame) -> str:
    columns = {
        **_SERIES,
        "against": "x",
        "verdict": "Verdict",
        "n_points": "Points",
        "form": "Form",
        "lack_of_fit": "p, lack of fit",
        "delta_aic": "AICc, floor minus power",
        "reason": "Why not",
    }
    forms: dict[str, Format] = {"lack_of_fit": p_value, "delta_aic": "+.1f", "verdict": badge}
    table = frame_table(
        rows,
        columns,
        "Every series that was fitted, and why a law is refused",
        forms | _names(),
        name="laws-all",
        facets=("verdict", "against"),
    )
    return folded(f"All {len(rows):,} series", table, instead=_IN_FILES)


def _effective(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    columns = {
        **_SERIES,
        "images": "Images",
        "verdict": "Verdict",
        "effective": "Effective images",
        "effective_low": "Low",
        "effective_high": "High",
        "multiplier": "Times",
        "reference": "Reference",
        "read_off": "Read off",
        "reason": "Why",
    }
    forms: dict[str, Format] = dict.fromkeys(
        ("images", "effective", "effective_low", "effective_high"), ",.0f"
    )
    own: dict[str, Format] = {"multiplier": ".2f", "verdict": badge, "reference": _title}
    caption = (
        "Effective data transferred: images of the target with which the reference makes the same "
        "error, and how many times the images that were used"
    )
    table = frame_table(
        rows.assign(target=rows["target"].map(style.title)),
        columns,
        caption,
        forms | own | _names(),
        name="effective-data",
        facets=("target", "verdict"),
    )
    return folded(f"Effective data of {len(rows):,} numbers", table, instead=_IN_FILES)


def _names() -> dict[str, Format]:
    """How names are shown; several sources of one kind are named by the kind."""
    return {"source": _title, "arch": lambda arch: text(style.arch_title(arch))}


def _title(source: str) -> str:
    return text(style.title(source))
