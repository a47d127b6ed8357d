"""The sections of claims, laws and proximity: what they show of the findings."""

import html
import re

import numpy as np
import pandas as pd
import pytest

from keras_transfer.reporting import claims, laws, proximity
from keras_transfer.reporting.page import claims as page_claims
from keras_transfer.reporting.page import laws as page_laws
from keras_transfer.reporting.page import proximity as page_proximity
from keras_transfer.reporting.tables import Cell, Table

_SHOTS = {1: 37, 5: 185, 10: 370, np.inf: 3680}


def small_table():
    """Two sources whose errors on Pets follow a law each, and one whose do not."""
    rng = np.random.default_rng(0)
    laws_of = {"imagenet1k": (90, 0.3), "imagenet21k": (80, 0.4), "chexpert": (90, 0.0)}
    cells = {}
    for source, (scale, exponent) in laws_of.items():
        for shots, images in _SHOTS.items():
            errors = scale * images**-exponent * np.exp(rng.normal(0, 0.01, 5))
            values = {seed: 100 - float(error) for seed, error in enumerate(errors)}
            cells[("pets", float(shots)), ("r50x1", source)] = Cell(
                target="pets", shots=float(shots), source=source, arch="r50x1", metric="accuracy",
                split="test", num_examples=3669, values=values, num_train_examples=images, step=500,
            )  # fmt: skip
    rows = sorted({row for row, _ in cells})
    columns = [("r50x1", source) for source in laws_of]
    return Table(cells=cells, rows=rows, columns=columns, source_sizes={}, notes=[])


def distances():
    """Distances of the sources of `small_table` to its target, made up."""
    return pd.DataFrame(
        {
            "network": "bit-r50x1",
            "source": ["imagenet1k", "imagenet21k", "chexpert"],
            "target": "pets",
            "measure": "frechet",
            "value": [1.0, 2.0, 3.0],
            "low": [0.9, 1.9, 2.9],
            "high": [1.1, 2.1, 3.1],
            "null": 0.1,
            "num_source": 100,
            "num_target": 100,
        }
    )


@pytest.fixture(scope="module")
def table():
    return small_table()


def _rows(section, name):
    """Returns the texts of the cells of a table, row by row, without its head."""
    body = re.search(rf'id="{name}">.*?<tbody>(.*?)</tbody>', section, re.DOTALL)[1]
    return [
        [
            html.unescape(re.sub("<[^>]+>", "", cell)).replace("\u00a0", " ")
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in body.split("</tr>")
        if row
    ]


def test_laws(table):
    found = laws.fit_all(table)
    section = page_laws.section(found)
    holding = _rows(section, "laws-holding")
    assert [row[:5] for row in holding] == [
        ["Pets", title, "R50x1", "", "training images"] for title in ("ImageNet-1k", "ImageNet-21k")
    ]
    for row, b in zip(holding, (0.3, 0.4)):
        assert float(row[6]) == pytest.approx(b, abs=0.02)
        assert float(row[7]) < float(row[6]) < float(row[8])
    every = _rows(section, "laws-all")
    assert len(every) == len(found.rows) and {row[5] for row in every} == {"holds", "refused"}
    reasons = {row[1]: row[-1] for row in every if row[4] == "training images"}
    assert reasons["ImageNet-1k"] == "" and "slope" in reasons["CheXpert"]
    effective = _rows(section, "effective-data")
    assert len(effective) == len(found.effective)
    assert all(html.escape(line) in section.replace("\u00a0", " ") for line in found.statements)
    assert section.count("<figure") == len(found.figures) > 0


def test_claims(table):
    found = claims.examine(table)
    section = page_claims.section(found)
    shown = _rows(section, "claim-list")
    assert [row[3] for row in shown] == list(found.summary["verdict"])
    assert all(
        name in row[0] and why == row[4]
        for row, name, why in zip(shown, found.summary["id"], found.summary["reason"])
    )
    contrasts = _rows(section, "contrasts")
    assert len(contrasts) == len(found.rows)
    tested = next(place for place, p in enumerate(found.rows["p_holm"]) if p < 0.001)
    row = found.rows.iloc[tested]
    assert contrasts[tested][1:3] == ["Pets", row["shots"]]
    assert contrasts[tested][5:9] == [
        row["verdict"], f"{row['effect']:+.2f}", f"{row['low']:+.2f}", f"{row['high']:+.2f}",
    ]  # fmt: skip
    assert contrasts[tested][9] == "< 0.001" and contrasts[tested][-1] == "5, 5"
    assert "contrasts are not printed: contrasts.csv has them" in section


def test_proximity(table):
    found = proximity.correlate(table, distances())
    section = page_proximity.section(found)
    rows = _rows(section, "proximity-rows")
    assert len(rows) == len(found.rows) > 0
    for shown, reason, verdict in zip(rows, found.rows["reason"], found.rows["verdict"]):
        assert shown[0] == "frechet" and shown[-2:] == [verdict, reason]
        assert shown[4] == "–" and reason  # three pairs are too few
    assert section.count("<li>") == len(found.statements)
