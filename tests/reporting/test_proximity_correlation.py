"""Distances joined with results of runs: gains, correlations, what is refused, the figure."""

import csv
import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.evaluation.association import associate
from keras_transfer.evaluation.proximity.estimates import ProximityRow
from keras_transfer.evaluation.proximity.measures import MEASURES
from keras_transfer.reporting import proximity
from keras_transfer.reporting.collect import collect
from keras_transfer.reporting.proximity.gains import gains
from keras_transfer.reporting.proximity.reading import read
from keras_transfer.reporting.tables import tabulate

NETWORK = "bit-r14x0.25.things"
# Distances; the gain of a pair falls with them, but for what a target adds.
DISTANCES = {
    "near": {"t1": 1.0, "t2": 1.5, "t3": 2.0, "t4": 1.2},
    "mid": {"t1": 3.0, "t2": 2.5, "t3": 3.5, "t4": 4.0},
    "far": {"t1": 5.0, "t2": 4.5, "t3": 6.0, "t4": 5.5},
}
SCRATCH = {"t1": 0.5, "t2": 0.4, "t3": 0.6, "t4": 0.3}


def rows_of(distances=DISTANCES, network=NETWORK, **changes):
    """Rows of all measures: similarity falls where distance grows."""
    return [
        ProximityRow(
            network=network,
            source=source,
            target=target,
            measure=name,
            **{"null": 0.5, "num_source": 60, "num_target": 60}
            | dict(zip(("value", "low", "high"), _ends(d if m.nearer_is_smaller else 1 / d)))
            | changes,
        )
        for source, of_source in distances.items()
        for target, d in of_source.items()
        for name, m in MEASURES.items()
    ]


def _ends(value):
    return value, 0.9 * value, 1.1 * value


def write(path, rows):
    with path.open("w") as stream:
        writer = csv.DictWriter(stream, [f.name for f in dataclasses.fields(ProximityRow)])
        writer.writeheader()
        writer.writerows(dataclasses.asdict(row) for row in rows)
    return path


def frame(rows):
    return pd.DataFrame([dataclasses.asdict(row) for row in rows])


def value_of(source, target, shots, seed):
    """What a run gives: 10 points less per unit of distance, more with many shots."""
    scratch = SCRATCH[target] + (0.1 if shots is None else 0)
    if source == "scratch":
        return scratch + 0.001 * seed
    gain = 0.02 * (8 - DISTANCES[source][target]) * (2 if shots == 1 else 1)
    return scratch + gain + 0.001 * seed


@pytest.fixture(scope="module")
def table(shared_folder):
    for source in ("scratch", *DISTANCES):
        for target in SCRATCH:
            for shots in (1, None):
                for seed in range(2):
                    value = value_of(source, target, shots, seed)
                    shared_folder.transfer(target, source, shots, seed, value)
    return tabulate(collect(shared_folder.path))


@pytest.fixture(scope="module")
def found(table):
    return proximity.correlate(table, frame(rows_of()))


def test_rows_correlate_distance_with_gain_against_scratch(found):
    rows = found.rows.set_index(["measure", "shots"])
    assert set(rows.index) == {(m, s) for m in MEASURES for s in ("all", "1", "full")}
    distance = np.array([list(of.values()) for of in DISTANCES.values()])
    for (measure, _), row in rows.iterrows():
        sign = -1 if MEASURES[measure].nearer_is_smaller else 1
        assert row["spearman"] == pytest.approx(sign) and row["kendall"] == pytest.approx(sign)
        expected = associate(distance, -distance)
        assert row["p"] == expected.p and row["exchanges"] == 6 * 24 and row["exact"]
        assert row["p_holm"] == pytest.approx(min(1, 4 * expected.p))
        assert (row["pairs"], row["sources"], row["targets"]) == (12, 3, 4)
        assert row["reference"] == "scratch" and row["reason"] == ""
        assert row["verdict"] == ("nearer gains more" if row["p_holm"] < 0.05 else "undecided")
    assert rows.loc[("cka", "all"), "settings"] == 2
    assert rows.loc[("cka", "1"), "settings"] == 1
    assert (rows["p_holm"] < 0.05).all()


def test_points_are_pairs_with_mean_gains(found):
    points = found.points.set_index(["measure", "source", "target"])
    assert len(points) == 12 * len(MEASURES)
    for source, of_source in DISTANCES.items():
        for target, d in of_source.items():
            # In points of percent: the mean of 1-shot, twice as large, and full.
            gain = 100 * 0.02 * (8 - d) * 1.5
            assert points.loc[("frechet", source, target), "gain"] == pytest.approx(gain)
            assert points.loc[("frechet", source, target), "value"] == d


def test_statements_say_what_was_compared(found):
    first, *measures, last = found.statements
    assert "against training from scratch" in first
    assert len(measures) == len(MEASURES)
    for measure, sentence in zip(MEASURES.values(), measures):
        sign = "-" if measure.nearer_is_smaller else "+"
        assert sentence.startswith(f"{measure.title} in the features of {NETWORK}: nearer gains")
        assert f"Spearman {sign}1.00 over 12 pairs of 3 sources and 4 targets, p = " in sentence
    assert "need not be its cause" in last


def test_noise_is_not_claimed(table):
    rng = np.random.default_rng(0)
    distances = {s: {t: rng.random() + 1 for t in SCRATCH} for s in DISTANCES}
    found = proximity.correlate(table, frame(rows_of(distances)))
    over_all = found.rows[found.rows["shots"] == "all"].set_index("measure")
    points = found.points[found.points["measure"] == "frechet"]
    expected = stats.spearmanr(points["value"], points["gain"]).statistic
    assert over_all.loc["frechet", "spearman"] == pytest.approx(expected)
    assert set(over_all["verdict"]) == {"undecided"}
    assert sum("no link with gain can be claimed" in s for s in found.statements) == len(MEASURES)
    assert not any("so few" in s for s in found.statements)


def test_without_scratch_gains_are_against_the_mean(folder):
    for source in DISTANCES:
        for target in SCRATCH:
            folder.transfer(target, source, 1, 0, value_of(source, target, 1, 0))
    for target in ("t1", "t2"):  # not everywhere: one reference for all
        folder.transfer(target, "scratch", 1, 0, 0.1)
    folder.transfer("t5", "near", 1, 0, 0.9)  # alone: its own mean
    distances = {s: {**of, "t5": 3.0} for s, of in DISTANCES.items()}
    found = proximity.correlate(tabulate(collect(folder.path)), frame(rows_of(distances)))
    assert set(found.rows["reference"]) == {"mean"}
    points = found.points[found.points["measure"] == "frechet"]
    np.testing.assert_allclose(points.groupby("target")["gain"].sum(), 0, atol=1e-9)
    assert len(points) == 12 and "against the mean of the sources" in found.statements[0]
    assert any("one source only, as t5 has" in s for s in found.statements)


def test_pairs_share_their_settings_or_are_refused(folder):
    for source in DISTANCES:
        for target in SCRATCH:
            few = (source, target) == ("near", "t1")
            for shots in (1,) if few else (1, None):
                folder.transfer(target, source, shots, 0, value_of(source, target, shots, 0))
    for target in SCRATCH:
        for shots in (1, None):
            folder.transfer(target, "scratch", shots, 0, value_of("scratch", target, shots, 0))
    table = tabulate(collect(folder.path))
    found = proximity.correlate(table, frame(rows_of()))
    rows = found.rows.set_index(["measure", "shots"])
    assert rows.loc[("frechet", "all"), "settings"] == 1  # one shot: the only one that all have
    assert rows.loc[("frechet", "full"), "pairs"] == 11
    folder.transfer("t6", "near", None, 0, 0.8)
    folder.transfer("t6", "scratch", None, 0, 0.7)
    distances = {s: {**of, "t6": 3.0} for s, of in DISTANCES.items()}
    found = proximity.correlate(tabulate(collect(folder.path)), frame(rows_of(distances)))
    rows = found.rows.set_index(["measure", "shots"])
    assert rows.loc[("frechet", "all"), "verdict"] == "refused"
    assert str(rows.loc[("frechet", "all"), "reason"]).startswith("no setting")
    assert rows.loc[("frechet", "1"), "verdict"] == "nearer gains more"
    assert found.points.empty and not found.figures


def test_what_is_too_little_is_refused_with_the_reason(table):
    few = {"near": {"t1": 1.0, "t2": 2.0, "t3": 3.0}}
    found = proximity.correlate(table, frame(rows_of(few)))
    assert set(found.rows["verdict"]) == {"refused"}
    assert set(found.rows["reason"]) == {"3 pairs; a correlation needs 4"}
    assert found.rows["p"].isna().all()
    assert sum("no correlation with gain, because 3 pairs" in s for s in found.statements) == 4
    assert any("No distance is measured for 9 pairs" in s for s in found.statements)
    holes = [r for r in rows_of() if (r.source, r.target) != ("mid", "t2")]
    found = proximity.correlate(table, frame(holes))
    assert set(found.rows["reason"]) == {"1 of the distances are not measured"}


def test_metrics_of_different_units_are_not_pooled(folder):
    for target, metric in (("t1", "accuracy"), ("t2", "accuracy"), ("t3", "loss")):
        for source in ("scratch", *DISTANCES):
            value = value_of(source, target, 1, 0)
            folder.transfer(target, source, 1, 0, value, metric=metric)
    found = proximity.correlate(tabulate(collect(folder.path)), frame(rows_of()))
    assert set(found.rows["reason"]) == {"the metrics of the targets have different units"}
    # Of a metric that is better low, less is a gain.
    found = gains(tabulate(collect(folder.path)), {("near", "t3")})
    assert [g.value < 0 for g in found.all] == [True]


def test_what_could_never_be_claimed_is_said(table):
    few = {source: {t: DISTANCES[source][t] for t in ("t1", "t2")} for source in ("near", "far")}
    found = proximity.correlate(table, frame(rows_of(few)))
    assert set(found.rows["verdict"]) == {"undecided"} and found.rows["p"].min() >= 1 / 4
    hopeless = [s for s in found.statements if "so few sources and targets could not show one" in s]
    assert len(hopeless) == len(MEASURES)


def test_names_that_do_not_join_are_an_error(table):
    other = {f"other {s}": of for s, of in DISTANCES.items()}
    with pytest.raises(UserError, match=r"distances are of other far, .* runs of far, mid, near"):
        proximity.correlate(table, frame(rows_of(other)))


def test_networks_are_told_apart(table):
    both = rows_of() + rows_of({"near": {"t1": 1.0}}, network="other")
    found = proximity.correlate(table, frame(both))
    assert dict(found.rows.groupby("network")["verdict"].first()) == {
        NETWORK: "nearer gains more",
        "other": "refused",
    }
    assert set(found.points["network"]) == {NETWORK, "other"}


def test_the_figure_has_all_points_and_words(found):
    (figure,) = found.figures
    assert figure.name == "proximity_bit_r14x0_25_things"
    points = pd.read_csv(io.StringIO(figure.csv))
    assert len(points) == len(found.points) and {"gain", "value", "null"} <= set(points)
    assert figure.png.startswith(b"\x89PNG") and figure.pdf.startswith(b"%PDF")
    for words in (MEASURES["otdd"].title, "near to t1 1 and +21.00", "Spearman -1.00"):
        assert words in figure.alt
    assert "training from scratch" in figure.caption and "Near is on the left" in figure.caption


def test_a_point_stands_where_its_numbers_are(found):
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation

    from keras_transfer.reporting import style
    from keras_transfer.reporting.proximity import figure as proximity_figure

    points = found.points[found.points["measure"] == "cka"]
    looks = {s: look for (_, s), look in style.looks([("", s) for s in DISTANCES]).items()}
    axes = Figure().subplots()
    proximity_figure.draw_panel(axes, points, looks, found.gains)
    for line, point in zip(axes.lines, points.to_dict("records")):
        np.testing.assert_allclose(
            np.asarray(line.get_xdata()), [point[k] for k in ("low", "value", "high")]
        )
        np.testing.assert_allclose(np.asarray(line.get_ydata()), [point["gain"]] * 3)
        assert line.get_color() == looks[point["source"]].colour
        numbers = {t.xy: t.get_text() for t in axes.texts if isinstance(t, Annotation)}
        target = list(SCRATCH).index(point["target"]) + 1
        assert numbers[point["value"], point["gain"]] == str(target)
        assert f'"data-source": "{point["source"]}"' in str(line.get_gid())
    assert axes.xaxis_inverted()  # of a similarity, so that near is on the left


def test_what_was_written_is_read(tmp_path):
    rows = rows_of()
    assert read(write(tmp_path / "p.csv", rows)).to_dict("records") == [
        dataclasses.asdict(row) for row in rows
    ]


def test_a_wrong_file_is_named_with_row_and_column(tmp_path):
    path = write(tmp_path / "p.csv", rows_of())
    with pytest.raises(UserError, match=r"no such file\. python -m experiments"):
        read(tmp_path / "gone.csv")
    right = path.read_text()
    head, first = right.splitlines()[:2]
    for text, message in (
        (right.replace("measure", "mesure", 1), "row 1: no column 'measure'"),
        (head + "\n", "no row below the names"),
        (right.replace(",1.0,", ",one,", 1), "row 2, column value: 'one' is not a number"),
        (right.replace(",1.0,", ",nan,", 1), "row 2, column value: 'nan' is not a number"),
        (right.replace(",60,60", ",60,6.5", 1), "row 2, column num_target: '6.5' is not a whole"),
        (f"{head}\n{NETWORK},a\n", "row 2, column target: None is not a name"),
        (right.replace("otdd", "otd", 1), "row 5, column measure: unknown 'otd'.*'otdd'"),
        ("\n".join([head, first, first]), "frechet of near and t1 .* is there twice"),
        (right.replace(",60,60", ",60,61", 1), "num_target: 60, 61 images .* in one call"),
    ):
        path.write_text(text)
        with pytest.raises(CorruptFileError, match=message):
            read(path)
