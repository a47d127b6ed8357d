"""Laws of scale in tables: which series, what is refused, effective data, figures and sentences."""

import io
import re
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.core.networks import UNITS, count_parameters
from keras_transfer.reporting import laws, tables
from keras_transfer.reporting.laws import effective_data, figures, words
from keras_transfer.reporting.laws.effective_data import (
    FEWER,
    LAW,
    MEASURED,
    MORE,
    POINTS,
    REFUSED,
    UNDETERMINED,
)
from keras_transfer.reporting.laws.fits import UNFIT, fit, frame
from keras_transfer.reporting.laws.series import (
    AGAINST,
    PARAMETERS,
    SOURCE,
    TRAINING,
    all_series,
    errors_of,
)
from keras_transfer.reporting.tables import Cell, Table

FULL = np.inf
IMAGES = {1: 10, 5: 50, 10: 100, 100: 1000, 500: 5000, FULL: 50000}


def cell(target, shots, source, arch, errors, *, metric="accuracy", images=None, step=500):
    """A cell with these errors, in percent for shares."""
    values = errors if metric == "loss" else [100 - error for error in errors]
    return Cell(
        *(target, shots, source, arch, metric, "test", 1000, dict(enumerate(map(float, values)))),
        num_train_examples=images,
        step=step,
    )


def table(cells, sizes=()):
    return Table(
        cells={((c.target, c.shots), (c.arch, c.source)): c for c in cells},
        rows=sorted({(c.target, c.shots) for c in cells}),
        columns=list(dict.fromkeys((c.arch, c.source) for c in cells)),
        source_sizes=dict(sizes),
        notes=[],
    )


def curve(source, a, b, c, *, target="pets", arch="r50x1", seeds=5, sd=0.02, rng=None):
    """Cells over shots whose errors follow a law."""
    rng = rng or np.random.default_rng(0)
    return [
        cell(target, shots, source, arch, noisy(rng, c + a * x**-b, sd, seeds), images=x)
        for shots, x in IMAGES.items()
    ]


def noisy(rng, error, sd, seeds=5):
    """Errors whose geometric mean is the one given, exactly."""
    noise = rng.normal(size=seeds)
    return error * np.exp(sd * (noise - noise.mean()))


def row_of(frame, **wanted):
    found = frame[np.logical_and.reduce([frame[k] == v for k, v in wanted.items()])]
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def made(only_svg):
    """Two sources that follow known laws, one that is bent."""
    rng = np.random.default_rng(3)
    cells = curve("scratch", 200, 0.4, 0, rng=rng) + curve("imagenet1k", 60, 0.4, 1, rng=rng)
    bent = [
        cell("pets", s, "cifar10", "r50x1", noisy(rng, 1 / (1 / 45 + x**0.6 / 400), 0.01), images=x)
        for s, x in IMAGES.items()
    ]
    with only_svg():
        return laws.fit_all(table([*cells, *bent], {"imagenet1k": 1000, "cifar10": 100}))


@pytest.fixture(scope="module")
def authors(primary, only_svg):
    found = tables.tabulate(primary)
    start = time.process_time()
    with only_svg():
        result = laws.fit_all(found)
    return found, result, time.process_time() - start


# Of the released checkpoints, without head.
@pytest.mark.parametrize(
    ("arch", "count"),
    [
        ("r50x1", 23_500_352),
        ("r101x1", 42_492_480),
        ("r50x3", 211_174_080),
        ("r101x3", 381_789_888),
        ("r152x2", 232_238_208),
        ("bit-r152x4", 928_340_224),
    ],
)
def test_parameters_are_those_of_the_released_networks(arch, count):
    assert count_parameters(arch) == count


def test_every_depth_that_can_be_built_is_counted():
    source = Path(__file__).parents[2] / "keras_transfer/models/resnetv2.py"
    listed = re.findall(r'"bit-r(\d+)x\d+": Variant\(\(([\d, ]+)\)', source.read_text())
    assert {int(d): tuple(map(int, units.split(","))) for d, units in listed} == UNITS


@pytest.mark.parametrize("arch", ["r51x1", "r50x0", "r50", "r50x1 linear probe", "vit"])
def test_unknown_networks_have_no_count(arch):
    with pytest.raises(UserError, match=f"{arch!r} is not known"):
        count_parameters(arch)


def test_errors_by_metric():
    assert errors_of(cell("a", 1, "b", "c", [20, 30])) == {0: 20, 1: 30}
    assert errors_of(cell("a", 1, "b", "c", [20], metric="mean_auc")) == {0: 20}
    assert errors_of(cell("a", 1, "b", "c", [0.7], metric="loss")) == {0: 0.7}


def test_laws_that_are_true_hold(made):
    assert list(made.rows["against"].unique()) == list(AGAINST)
    for source, form, truth in (
        ("scratch", "power", {"a": 200, "b": 0.4, "c": 0}),
        ("imagenet1k", "floor", {"a": 60, "b": 0.4, "c": 1}),
    ):
        row = row_of(made.rows, against=TRAINING, source=source)
        assert (row.verdict, row.reason, row.form) == ("holds", "", form)
        assert (row.n_points, row.n_seeds, row.held_out_x) == (6, 5, 50000)
        assert row.held_out_predicted_low < row.held_out_measured < row.held_out_predicted_high
        for name, value in truth.items():
            assert row[f"{name}_low"] <= value <= row[f"{name}_high"]
        assert row.delta_aic == pytest.approx(row.aic_floor - row.aic_power)


def test_what_is_no_law_stays_in_with_the_reason(made):
    row = row_of(made.rows, against=TRAINING, source="cifar10")
    assert row.verdict == "refused" and "further off the curve than seeds explain" in row.reason
    rest = made.rows[made.rows["against"] != TRAINING]
    assert set(rest["verdict"]) == {"refused"}
    # The kind of both is natural images: two sizes. One network: one size.
    reasons = {SOURCE: "2 points, and a law takes 3", PARAMETERS: "1 point, and a law takes 3"}
    assert (rest["reason"] == rest["against"].map(reasons)).all()


def series_of(cells, against, sizes=()):
    return [s for s in all_series(table(cells, sizes)) if s.against == against]


def test_sources_grow_by_unions():
    sizes = {"chexpert": 224, "mimic": 377, "chexpert+mimic": 601, "nih": 112,
             "chexpert+mimic+nih": 713}  # fmt: skip
    sources = ["scratch", *sizes, "padchest", "imagenet1k", "my_set"]
    cells = [cell("covidx", FULL, source, "r50x1", [20]) for source in sources]
    found = {s.source: s for s in series_of(cells, SOURCE, sizes | {"imagenet1k": 1})}
    chain = found["chest X-rays"]
    assert [(x, c.source) for x, c in chain.points] == [
        (224, "chexpert"), (601, "chexpert+mimic"), (713, "chexpert+mimic+nih")
    ]  # fmt: skip
    assert chain.left_out == (
        "MIMIC: in none of the nested unions",
        "NIH: in none of the nested unions",
        "PadChest: size unknown",
    )
    assert [x for x, _ in found["natural images"].points] == [1]
    unknown = found["sources of unknown kind"]
    assert unknown.refusal == "what kind of image my set holds is not known"
    assert len(found) == 3


def test_sources_without_unions_are_all_compared():
    sizes = {"phantom small": 10, "phantom large": 90, "phantom medium": 30}
    cells = [cell("phantom b", 5, source, "r14x1", [20]) for source in sizes]
    (found,) = series_of(cells, SOURCE, sizes)
    assert [x for x, _ in found.points] == [10, 30, 90] and found.left_out == ()


def test_unknown_numbers_are_named():
    cells = [cell("pets", 1, "scratch", "r50x1", [20]),
             cell("pets", 5, "scratch", "r50x1", [10], images=50),
             cell("pets", 5, "scratch", "r50x1 linear probe", [10])]  # fmt: skip
    first, second = series_of(cells, TRAINING)
    assert first.left_out == ("1-shot: number of images unknown",) and len(first.points) == 1
    assert second.refusal == "the number of training images is not known"
    last = series_of(cells, PARAMETERS)[-1]
    assert [x for x, _ in last.points] == [count_parameters("r50x1")]
    assert last.left_out == ("R50x1 linear probe: number of parameters unknown",)
    result = laws.fit_all(table(cells))
    assert any("R50x1 linear probe: number of parameters unknown" in s for s in result.statements)
    assert set(result.effective["verdict"]) <= {REFUSED}


def cifar(source, errors, steps):
    """Cells over shots whose training steps change on the way."""
    rng = np.random.default_rng(0)
    return [
        cell("cifar10", s, source, "r50x1", noisy(rng, e, 0.003), images=x, step=step)
        for (s, x), e, step in zip(IMAGES.items(), errors, steps)
    ]


REFERENCE = cifar("imagenet1k", [60, 35, 25, 11.9, 11.1, 5.7], [500] * 5 + [10_000])


def test_points_have_one_number_of_steps():
    """The others are left out with the reason, and drawn."""
    (found,) = series_of(REFERENCE, TRAINING)
    assert [x for x, _ in found.points] == [10, 50, 100, 1000, 5000] and found.step == 500
    assert [(x, c.step) for x, c in found.others] == [(50000, 10_000)]
    assert found.left_out == ("full shot: trained for 10,000 steps, not 500",)
    assert [x for x, _ in found.every] == list(IMAGES.values())
    # The last two are of another number of steps.
    steps = [500] * 4 + [10_000] * 2
    result = laws.fit_all(table(cifar("scratch", 200 * np.array(list(IMAGES.values())) ** -0.3,
                                      steps)))  # fmt: skip
    row = row_of(result.rows, against=TRAINING)
    assert (row.verdict, row.step, row.n_points, row.held_out_x) == ("holds", 500, 4, 1000)
    rows = pd.read_csv(io.StringIO(result.figures[0].csv))
    assert len(rows) == 30 and set(rows[rows["law"].isna()]["x"]) == {5000, 50000}
    assert "Points of another number of training steps are drawn and not" in (
        result.figures[0].caption
    )
    marks = [g for g in ElementTree.fromstring(result.figures[0].svg).iter()
             if g.attrib.get("class") == "mark"]  # fmt: skip
    assert len(marks) == 6


@pytest.mark.parametrize(
    ("steps", "left"),
    [([500] * 3 + [9000] * 3, [1000, 5000, 50000]), ([None] + [500] * 5, list(IMAGES.values())[1:]),
     ([500, 500, 900, 900, None, None], [100, 1000]), ([None] * 6, [])],
)  # fmt: skip
def test_which_number_of_steps_is_fitted(steps, left):
    (found,) = series_of(cifar("imagenet1k", [60, 35, 25, 12, 11, 6], steps), TRAINING)
    assert [x for x, _ in found.points] == left and len(found.every) == 6
    reasons = fit(found).reasons
    if not left:
        assert reasons == {UNFIT: "the seeds differ in training steps"}
        assert found.left_out == ()
    else:
        assert len(found.left_out) == 6 - len(left)
        assert ("law takes 3" in "".join(reasons.values())) == (len(left) < 3)
        differ = [text.endswith("its seeds differ in training steps") for text in found.left_out]
        assert sum(differ) == steps.count(None)


def test_laws_over_sources_have_one_number_of_steps():
    sizes = {"phantom small": 10, "phantom large": 90, "phantom medium": 30}
    steps = {"phantom small": 500, "phantom medium": None, "phantom large": 500}
    cells = [cell("phantom b", 5, source, "r14x1", [20], step=steps[source]) for source in sizes]
    (found,) = series_of(cells, SOURCE, sizes)
    assert [x for x, _ in found.points] == [10, 90]
    assert found.left_out == ("phantom medium: its seeds differ in training steps",)


def test_steps_of_a_table_are_those_of_all_its_seeds(authors):
    cells = authors[0].cells.values()
    assert {c.step for c in cells if (c.target, c.shots) == ("cifar10", FULL)} == {10_000}
    assert {c.step for c in cells if (c.target, c.shots) == ("cifar10", 500)} == {500}
    mixed = {(c.target, c.shots, c.source) for c in cells if c.step is None}
    assert mixed == {
        ("covidx", 1, "chexpert+mimic+nih"),
        ("tuberculosis", 1, "nih"),
        ("tuberculosis", 1, "chexpert+mimic+nih+padchest"),
    }


def test_laws_over_sources_and_parameters():
    rng = np.random.default_rng(0)
    sizes = {f"phantom {n}": n for n in (100, 1000, 10_000, 100_000)}
    archs = ("r14x1", "r26x1", "r50x1", "r101x1")
    cells = [
        cell("phantom b", FULL, source, arch,
             noisy(rng, 1e4 * size**-0.3 * count_parameters(arch) ** -0.2, 0.02))
        for source, size in sizes.items() for arch in archs
    ]  # fmt: skip
    found = [fit(series) for series in all_series(table(cells, sizes))]
    rows = frame(found)
    rows = rows[rows["against"] != TRAINING]
    assert len(rows) == 8 and (rows["verdict"] == "holds").mean() > 0.7
    over = rows.groupby("against")["b"].mean()
    assert over[SOURCE] == pytest.approx(0.3, abs=0.01)
    assert over[PARAMETERS] == pytest.approx(0.2, abs=0.02)


def effective_of(cells, sizes=()):
    fits = [fit(series) for series in series_of(cells, TRAINING)]
    return effective_data.measure(fits, dict(sizes))


def test_effective_data_of_a_known_law(made):
    """imagenet1k with x images reaches 1 + 60 x^-0.4, scratch 200 x^-0.4: solved by hand."""
    row = row_of(made.effective, source="imagenet1k", shots="10")
    true = ((1 + 60 * 100**-0.4) / 200) ** (-1 / 0.4)
    assert (row.reference, row.read_off, row.verdict) == ("scratch", LAW, MEASURED)
    assert row.effective == pytest.approx(true, rel=0.1)
    assert row.effective_low < true < row.effective_high
    assert row.transferred == pytest.approx(row.effective - 100)
    assert row.multiplier_low == pytest.approx(row.effective_low / 100)
    last = row_of(made.effective, source="imagenet1k", shots="full")
    assert last.verdict == MORE and np.isnan(last.effective)
    assert last.effective_low == 50000 and last.effective_high == np.inf
    assert last.reason == "the reference does not get there with its most, 50,000 images"
    assert "scratch" not in set(made.effective["source"])


def test_effective_data_between_points():
    """Where the reference's law is refused it is read off the line through its points."""
    steps = dict(zip(IMAGES.values(), (40, 39, 20, 19, 10, 9.9)))
    rng = np.random.default_rng(0)
    cells = [cell("pets", s, "cifar10", "r50x1", noisy(rng, steps[x], 0.003), images=x)
             for s, x in IMAGES.items()]  # fmt: skip
    cells += [
        cell("pets", s, "imagenet1k", "r50x1", noisy(rng, error, 0.003), images=IMAGES[s])
        for s, error in ((1, np.sqrt(39 * 20)), (5, 60), (10, 9.9))
    ]
    found = effective_of(cells, {"imagenet1k": 1000, "cifar10": 100})
    row = row_of(found, shots="1")
    assert (row.reference, row.read_off, row.verdict) == ("cifar10", POINTS, MEASURED)
    assert row.effective == pytest.approx(np.sqrt(50 * 100), rel=1e-6)
    assert 65 < row.effective_low < row.effective < row.effective_high < 76
    row = row_of(found, shots="5")
    assert row.verdict == FEWER and row.effective_high == 10 and row.effective_low == 0
    assert row.reason == "the reference is there with its fewest, 10 images"
    row = row_of(found, shots="10")
    assert row.effective_high == np.inf


@pytest.mark.parametrize(
    ("shots", "error", "step", "verdict", "said"),
    [
        (100, 11.5, 500, MEASURED, ""),
        # On the line from 11.1 with 500 steps to 5.7 with 10,000 this would be 12,000 images.
        (500, 8.5, 500, REFUSED, "the schedule changes: above 5,000 images the reference trains "
         "for 10,000 steps, not 500"),
        (FULL, 8.5, 10_000, REFUSED, "the schedule changes: below 50,000 images the reference "
         "trains for 500 steps, not 10,000"),
        (FULL, 3, 10_000, MORE, "the reference does not get there with its most, 50,000 images"),
        (5, 80, 500, FEWER, "the reference is there with its fewest, 10 images"),
        (5, 30, 700, REFUSED, "no run of the reference was trained for 700 steps"),
        (5, 30, None, REFUSED, "its seeds differ in training steps"),
    ],
)  # fmt: skip
def test_effective_data_never_cross_a_change_of_steps(shots, error, step, verdict, said):
    errors = noisy(np.random.default_rng(1), error, 0.003)
    ours = cell("cifar10", shots, "imagenet21k", "r50x1", errors, images=IMAGES[shots], step=step)
    found = effective_of([*REFERENCE, ours], {"imagenet1k": 1, "imagenet21k": 14})
    assert len(found) == 1
    assert (found.verdict[0], found.reason[0]) == (verdict, said)
    if verdict == MEASURED:
        assert 1000 < found.effective_low[0] < found.effective[0] < found.effective_high[0] < 5000
        assert found.reference_most[0] == 5000
    elif verdict == REFUSED:
        assert np.isnan(
            found[["effective", "effective_low", "effective_high"]].to_numpy(float)
        ).all()


def test_effective_data_of_wide_spreads_are_not_determined():
    """An interval that is open at both ends says nothing, and no number is named."""
    rng = np.random.default_rng(0)
    cells = [cell("pets", s, source, "r50x1", noisy(rng, 30 * x**-0.01, 0.2), images=x)
             for source in ("scratch", "imagenet1k") for s, x in IMAGES.items()]  # fmt: skip
    result = laws.fit_all(table(cells))
    row = row_of(result.effective, shots="10")
    assert row.verdict == UNDETERMINED and np.isnan(row.effective) and np.isnan(row.multiplier)
    assert (row.effective_low, row.effective_high) == (0, np.inf)
    assert row.reason == "seeds leave it open: fewer than 10 to more than 50,000 images"
    assert set(result.effective["verdict"]) == {UNDETERMINED}
    assert result.statements[-1].endswith("ImageNet-1k with 50,000 images not determined.")


def test_all_networks_have_the_same_reference():
    """The smallest of the chain of unions, though one network also has a smaller source alone."""
    sizes = {"chexpert": 224, "chexpert+mimic": 601, "nih": 112, "padchest": 160}
    of = {"r50x1": ("chexpert", "chexpert+mimic"), "r152x4": tuple(sizes)}
    cells = [c for arch, sources in of.items() for source in sources
             for c in curve(source, 100, 0.3, 0, arch=arch)]  # fmt: skip
    found = effective_of(cells, sizes)
    assert set(found["arch"]) == set(of) and set(found["reference"]) == {"chexpert"}


def test_what_x_assumes_is_said():
    sizes = {"chexpert": 224, "chexpert+mimic": 601}
    of = {}
    for name, cells in {
        "plain": curve("chexpert", 100, 0.3, 0),
        "padchest": curve("chexpert", 100, 0.3, 0, target="padchest_cl"),
        "union": curve("chexpert", 100, 0.3, 0) + curve("chexpert+mimic", 90, 0.3, 0),
    }.items():
        fits = [fit(series) for series in all_series(table(cells, sizes))]
        of[name] = "\n".join(words.statements(fits, effective_data.measure(fits, sizes)))
    assert all("x is taken as exact." in text for text in of.values())
    assert [n for n in of if "that many images in each of its 26 classes" in of[n]] == ["padchest"]
    assert [n for n in of if "Unions of sources also change the labels" in of[n]] == ["union"]


def test_intervals_of_effective_data_cover():
    rng = np.random.default_rng(0)
    true, covered = (20 / 200) ** (-1 / 0.4), []
    for _ in range(60):
        cells = [
            cell("pets", s, "scratch", "r50x1", 200 * x**-0.4 * np.exp(0.05 * rng.normal(size=5)),
                 images=x) for s, x in IMAGES.items()
        ]  # fmt: skip
        errors = 20 * np.exp(0.05 * rng.normal(size=5))
        cells.append(cell("pets", 1, "imagenet1k", "r50x1", errors, images=10))
        row = row_of(effective_of(cells), source="imagenet1k")
        covered.append(row.effective_low <= true <= row.effective_high)
    assert np.mean(covered) >= 0.9


def test_effective_data_is_refused_without_reference():
    cells = curve("imagenet1k", 100, 0.3, 0) + curve("cifar10", 90, 0.3, 0)
    found = effective_of(cells)
    assert set(found["verdict"]) == {REFUSED} and len(found) == 12
    assert set(found["reason"]) == {
        "no run from scratch to compare with, and no source of known size"
    }


def test_zero_error_and_single_seeds():
    cells = curve("scratch", 100, 0.3, 0, seeds=1) + curve("imagenet1k", 50, 0.3, 0, seeds=1)
    perfect = cell("pets", FULL, "imagenet1k", "r50x1", [0], images=50000)
    result = laws.fit_all(table([*cells, perfect]))
    row = row_of(result.rows, against=TRAINING, source="imagenet1k")
    assert row.reason == "an error at x = 50000 is not above 0 and has no logarithm"
    row = row_of(result.rows, against=TRAINING, source="scratch")
    assert row.verdict == "holds" and np.isnan(row.lack_of_fit)
    row = row_of(result.effective, shots="full")
    assert (row.verdict, row.reason) == (
        REFUSED, "an error that is not above 0 has no place on a log scale"
    )  # fmt: skip
    row = row_of(result.effective, shots="10")
    assert row.effective == pytest.approx(100 * 2 ** (1 / 0.3)) and np.isnan(row.effective_low)
    (figure, *_) = result.figures
    assert "1 runs without error have no place on a log scale" in figure.caption
    assert any("whether the points are too far off" in text for text in result.statements)
    assert any("(from one seed)" in text for text in result.statements)


def test_figures_show_every_run_and_only_laws_that_hold(made):
    figure = made.figures[0]
    rows = pd.read_csv(io.StringIO(figure.csv))
    assert len(rows) == 3 * 6 * 5
    assert set(rows[rows["law"].notna()]["source"]) == {"scratch", "imagenet1k"}
    assert (rows["law_low"] < rows["law_high"])[rows["law"].notna()].all()
    root = ElementTree.fromstring(figure.svg)
    groups = [g.attrib for g in root.iter() if "data-source" in g.attrib]
    marks = [g for g in groups if g["class"] == "mark"]
    assert len(marks) == 18 and {g["data-target"] for g in marks} == {"pets"}
    assert {g["data-source"] for g in groups if g["class"] == "link"} == {"scratch", "imagenet1k"}
    assert "Points without a line: the law is refused (Pets: R50x1, CIFAR-10)." in figure.caption
    assert re.search(r"Pets, R50x1, CIFAR-10: refused, the points are", figure.alt)
    assert re.search(r"Pets, R50x1, from scratch: error = \d+ x\^-0\.\d+\.", figure.alt)


def test_ticks_are_short():
    shown = [figures._short(v) for v in (0.5, 20, 5e3, 2.5e6, 1e9)]
    assert shown == ["0.5", "20", "5k", "2.5M", "1G"]


def test_sentences_claim_what_holds(made):
    text = "\n".join(made.statements)
    assert (
        "Error against the number of training images of the target: a law holds in 2 of 3" in text
    )
    assert "points off the curve (1)" in text
    assert re.search(
        r"R50x1, from scratch: error = [\d.]+ x\^-0\.[34]\d* \(exponent 0\.\d+ to", text
    )
    assert "Pets, x being the size of the source" not in text
    assert "that training from scratch would need for the same error: ImageNet-1k with" in text


def test_authors_results(authors):
    """Natural sources have two sizes and networks two: refused, not dropped."""
    table_, found, seconds = authors
    assert seconds < 15
    counts = found.rows.groupby("against").size()
    assert counts[TRAINING] == 55 and counts[PARAMETERS] > 100
    two = found.rows[(found.rows["against"] == SOURCE) & (found.rows["source"] == "natural images")]
    assert len(two) == 72 and set(two["reason"]) == {"2 points, and a law takes 3"}
    networks = found.rows[found.rows["against"] == PARAMETERS]
    assert set(networks["verdict"]) == {"refused"} and set(networks["n_points"]) <= {0, 1, 2}
    assert (found.rows["verdict"] == "holds").sum() > 10
    assert not found.rows["reason"][found.rows["verdict"] == "refused"].eq("").any()
    assert [figure.name for figure in found.figures] == [
        "law_images", "law_sources", "law_parameters"
    ]  # fmt: skip
    known = found.effective[["target", "arch", "reference"]].drop_duplicates()
    references = {(row.target, row.arch, row.reference) for row in known.itertuples()}
    cells = {(c.target, c.arch, c.source, c.shots) for c in table_.cells.values()}
    others = [cell for cell in cells if cell[:3] not in references]
    assert len(references) == 14 and len(found.effective) == len(others)
    assert set(found.effective["verdict"]) == {MEASURED, MORE, FEWER, UNDETERMINED, REFUSED}
    medical = {(target, r) for target, _, r in references if target in ("covidx", "tuberculosis")}
    assert medical == {("covidx", "chexpert"), ("tuberculosis", "chexpert")}
    row = row_of(found.effective, target="cifar10", arch="r50x1", shots="100")
    assert row.verdict == REFUSED and "the schedule changes: above 5,000 images" in row.reason
    assert not any(".0)" in text or ".0 to" in text for text in found.statements)
