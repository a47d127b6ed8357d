"""Whether sources that are near a target transfer better to it.

`correlate` joins the distances of ``proximity.csv`` with the transfer table. A pair of source and
target is one point, however many runs it has; how chance is judged: `evaluation.association`.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.evaluation.association import associate
from keras_transfer.evaluation.proximity.measures import MEASURES
from keras_transfer.evaluation.testing import holm
from keras_transfer.reporting import figures, style
from keras_transfer.reporting.comparisons import LEVEL
from keras_transfer.reporting.phrases import p_text
from keras_transfer.reporting.proximity.figure import draw
from keras_transfer.reporting.proximity.gains import SCRATCH, Gain, Gains, Pair, average, gains
from keras_transfer.reporting.tables import Table

ALL = "all"

MORE, LESS = "nearer gains more", "nearer gains less"
UNDECIDED, REFUSED = "undecided", "refused"
_MOST_NAMED = 4


@dataclass(frozen=True)
class Proximity:
    """What distances say of gains.

    Attributes:
        rows: One per network that measured, measure and shots (``all`` is the mean over shots):
            pairs, sources, targets, settings, reference, spearman, kendall, p, p_holm (over the
            measures), exchanges, exact, verdict, and the reason of what is refused.
        points: One per network, measure and pair: value, low, high, null and the gain over all.
        gains: What was correlated.
        statements: What the rows show, in sentences.
    """

    rows: pd.DataFrame
    points: pd.DataFrame
    gains: Gains
    statements: list[str]

    @functools.cached_property
    def figures(self) -> list[figures.Figure]:
        """One figure per network whose pairs have a gain over all shots."""
        return [
            draw(points, self.rows[self.rows["network"] == network], self.gains)
            for network, points in self.points.groupby("network", sort=False)
        ]


def correlate(table: Table, distances: pd.DataFrame, *, seed: int = 0) -> Proximity:
    """Correlates the distances of pairs with what pre-training gained.

    Args:
        table: The transfer table.
        distances: From `reading.read`.
        seed: Of random arrangements, where there are too many to look at all.

    Raises:
        UserError: If no pair of the table has a distance.
    """
    measured = set(zip(distances["source"], distances["target"]))
    found = gains(table, measured)
    if not found.all:
        raise UserError(_not_joined(table, distances))
    rows: list[dict[str, Any]] = []
    for network, of_network in distances.groupby("network", sort=False):
        rows += [{"network": network, **row} for row in _of_network(of_network, found, seed)]
    result = pd.DataFrame(rows)
    points = _points(distances, found)
    return Proximity(result, points, found, _statements(table, result, found, measured))


def _not_joined(table: Table, distances: pd.DataFrame) -> str:
    run = sorted({source for _, source in table.columns} - {runs.SCRATCH})
    return (
        "No run has both the source and the target of a measured distance: distances are of "
        f"{', '.join(sorted(set(distances['source'])))} to "
        f"{', '.join(sorted(set(distances['target'])))}, runs of {', '.join(run) or 'no source'} "
        f"to {', '.join(table.targets)}. Write NAME=DIR for experiments.proximity."
    )


def _of_network(distances: pd.DataFrame, found: Gains, seed: int) -> list[dict[str, Any]]:
    """Returns the rows of all shots and measures."""
    rows = []
    for shots in (None, *sorted({gain.shots for gain in found.all})):
        of_shots = []
        for measure, values in distances.groupby("measure", sort=False):
            distance = dict(zip(zip(values["source"], values["target"]), values["value"]))
            chosen = [g for g in found.all if g.pair in distance and shots in (None, g.shots)]
            row: dict[str, Any] = {
                "measure": measure,
                "shots": ALL if shots is None else style.shots_title(shots),
                "reference": found.reference,
            }
            of_shots.append(row | _association(distance, chosen, seed))
        adjusted = holm(np.array([row["p"] for row in of_shots]))
        rows += [row | {"p_holm": p} for row, p in zip(of_shots, adjusted)]
    return [row | {"verdict": _verdict(row)} for row in rows]


def _association(distance: Mapping[Pair, float], chosen: list[Gain], seed: int) -> dict[str, Any]:
    """Returns the numbers of one measure, or the reason why there are none."""
    sources, targets = (sorted({gain.pair[side] for gain in chosen}) for side in (0, 1))
    row: dict[str, Any] = {
        "pairs": len({gain.pair for gain in chosen}),
        "sources": len(sources),
        "targets": len(targets),
        "settings": 0,
        **dict.fromkeys(("spearman", "kendall", "p"), np.nan),
        "exchanges": 0,
        "exact": False,
        "reason": "",
    }
    try:
        mean, row["settings"] = average(chosen)
        grids = (
            np.array([[of.get((s, t), np.nan) for t in targets] for s in sources]).reshape(
                len(sources), len(targets)
            )
            for of in (distance, mean)
        )
        return row | asdict(associate(*grids, seed=seed))
    except UserError as error:
        return row | {"reason": str(error)}


def _points(distances: pd.DataFrame, found: Gains) -> pd.DataFrame:
    """Adds gains over all settings to distances; empty where gains cannot be averaged."""
    parts = []
    for _, values in distances.groupby(["network", "measure"], sort=False):
        pairs = list(zip(values["source"], values["target"]))
        try:
            mean, _ = average([gain for gain in found.all if gain.pair in pairs])
        except UserError:
            continue
        parts.append(values.assign(gain=[mean.get(pair, np.nan) for pair in pairs]))
    empty = distances.head(0).assign(gain=0.0)
    return pd.concat([empty, *parts]).dropna(subset="gain").reset_index(drop=True)


def _verdict(row: dict[str, Any]) -> str:
    if row["reason"]:
        return REFUSED
    if row["p_holm"] >= LEVEL:
        return UNDECIDED
    falls = row["spearman"] < 0
    return MORE if falls == MEASURES[row["measure"]].nearer_is_smaller else LESS


def _statements(table: Table, rows: pd.DataFrame, found: Gains, measured: set) -> list[str]:
    """Says how gains were taken, what each measure shows, and what it does not."""
    against = (
        "training from scratch"
        if found.reference == SCRATCH
        else "the mean of the sources of the same target, shots and network, for training from "
        "scratch is not there everywhere"
    )
    said = [
        f"Gains are against {against}; a pair of source and target is one point, the mean over "
        "the settings (shots and network) that all pairs have."
    ]
    for network, of_network in rows[rows["shots"] == ALL].groupby("network", sort=False):
        for row in of_network.to_dict("records"):
            named = {str(name): value for name, value in row.items()}
            said.append(_sentence(str(network), named, len(of_network)))
    if found.alone:
        names = _listed(sorted(style.title(target) for target in found.alone))
        said.append(
            f"Where a target has one source only, as {names} has somewhere, there is nothing to "
            "compare: left out."
        )
    missing = sorted(
        {
            f"{style.title(source)} to {style.title(target)}"
            for (target, _), (_, source) in table.cells
            if source != runs.SCRATCH and (source, target) not in measured
        }
    )
    if missing:
        said.append(
            f"No distance is measured for {len(missing)} pairs that have runs, which take no part: "
            f"{_listed(missing)}."
        )
    return [
        *said,
        "p is from exchanging whole sources and whole targets, corrected over the measures by "
        "Holm's method. A distance that goes with gain need not be its cause: near sources may "
        "also be larger, or labelled alike.",
    ]


def _sentence(network: str, row: dict[str, Any], measures: int) -> str:
    title = f"{MEASURES[row['measure']].title} in the features of {network}"
    if row["reason"]:
        return f"{title}: no correlation with gain, because {row['reason']}."
    ways = "all" if row["exact"] else "random ones of all"
    evidence = (
        f"Spearman {row['spearman']:+.2f} over {row['pairs']} pairs of {row['sources']} sources "
        f"and {row['targets']} targets, p {p_text(row['p_holm'])} by "
        f"{row['exchanges']:,} exchanges, {ways} there are"
    )
    if row["verdict"] == UNDECIDED:
        hopeless = row["exact"] and measures / row["exchanges"] >= LEVEL
        few = "; so few sources and targets could not show one" if hopeless else ""
        return f"{title}: no link with gain can be claimed ({evidence}){few}."
    return f"{title}: {row['verdict']} ({evidence})."


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        shown.append(f"{len(names) - _MOST_NAMED} others")
    return ", ".join(shown)
