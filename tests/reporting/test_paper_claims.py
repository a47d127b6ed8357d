"""Verdicts on claims: on the authors' published results, and where each must and must not be."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from keras_transfer.evaluation.testing import holm
from keras_transfer.reporting import published
from keras_transfer.reporting.claims import terms as claim_terms
from keras_transfer.reporting.claims.catalogue import CLAIMS
from keras_transfer.reporting.claims.examination import examine
from keras_transfer.reporting.claims.terms import Claim, Gain, Question
from keras_transfer.reporting.claims.verdicts import margin_p, of_claim, of_contrast
from keras_transfer.reporting.collect import FULL
from keras_transfer.reporting.estimates import welch
from keras_transfer.reporting.paper import printed
from keras_transfer.reporting.tables import Cell, Table, tabulate

PUBLISHED = Path(__file__).parents[3] / "shared/data/published_results/results"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no {PUBLISHED}")

LARGE, SMALL = ("r152x4", "imagenet21k"), ("r152x4", "imagenet1k")


@pytest.fixture(scope="module")
def table():
    return tabulate(published.collect(PUBLISHED))


@pytest.fixture(scope="module")
def found(table):
    return examine(table)


def make_table(values, metric="accuracy"):
    """(target, shots, column) -> values of seeds 0, 1, ... or by seed; 100 images per shot."""
    cells = {}
    for (target, shots, column), numbers in values.items():
        seeds = numbers if isinstance(numbers, dict) else dict(enumerate(numbers))
        trained = 5000 if shots == FULL else min(5000, int(10 * shots))
        cells[(target, shots), column] = Cell(
            target, shots, column[1], column[0], metric, "test", 1000, seeds, trained
        )
    rows = sorted({row for row, _ in cells})
    return Table(cells, rows, sorted({column for _, column in cells}), {}, [])


def ask(says, *targets, shots=FULL, **rest):
    questions = tuple(Question(Gain(t, shots, (LARGE,), (SMALL,))) for t in targets)
    return Claim("it", "paper: 3.3", "words", says, questions, **rest)


def around(mean, sd=0.1, n=5):
    return [mean + sd * step for step in np.linspace(-1, 1, n)]


# The published results.


def test_claims_are_told_apart():
    ids = [claim.id for claim in CLAIMS]
    assert len(set(ids)) == len(ids) >= 35
    assert {claim.disputes for claim in CLAIMS} <= {"", *ids}
    for claim in CLAIMS:
        assert claim.where.startswith(("paper: ", "poster: ")) and claim.wording.endswith(".")
        assert len(set(claim.questions)) == len(claim.questions) > 0, claim.id


@needs_published
def test_cells_exist_unless_only_the_poster_has_them(table):
    poster = printed.read("poster")
    missing = set()
    for claim in CLAIMS:
        for gain in (gain for question in claim.questions for gain in question.gains):
            for arch, source in (*gain.first, *gain.second):
                if ((gain.target, gain.shots), (arch, source)) not in table.cells:
                    missing.add((gain.target, source, arch))
                    assert gain.shots == FULL and claim.where.startswith("poster"), claim.id
    assert missing <= set(poster) and len(missing) == 32
    assert {target for target, _, _ in missing} == {"mimic", "chexpert", "padchest", "nih"}


@needs_published
@pytest.mark.parametrize(
    ("claim", "verdict", "supported", "of"),
    [
        ("natural-model", "supported", 8, 8),
        ("natural-data", "partly", 7, 8),
        ("flowers-data", "supported", 8, 8),
        ("padchest-model", "supported", 2, 2),
        ("padchest-model-very-small", "contradicted", 0, 2),
        ("poster-far-large-model", "partly", 2, 10),
        ("padchest-on-par", "contradicted", 0, 1),
        ("poster-as-good", "partly", 2, 10),
        ("medical-data-comparable", "contradicted", 0, 2),
        ("medical-lowest-same", "not decided", 0, 24),
    ],
)
def test_published_verdicts(found, claim, verdict, supported, of):
    row = found.summary.set_index("id").loc[claim]
    assert (row.verdict, row.supported) == (verdict, supported)
    counts = row[["supported", "contradicted", "undecided", "no_data"]]
    assert counts.sum() == of == (found.rows["claim"] == claim).sum()


@needs_published
def test_imagenet21k_does_not_improve_pets(table, found):
    rows = found.rows[(found.rows["claim"] == "natural-data") & (found.rows["target"] == "pets")]
    row = rows.set_index("arch").loc["r152x4"]
    large, small = (
        list(table.cells[("pets", FULL), column].values.values()) for column in (LARGE, SMALL)
    )
    expected = stats.ttest_ind(large, small, equal_var=False)
    assert (round(row.first_mean, 2), round(row.second_mean, 2)) == (93.21, 93.32)
    assert row.effect == pytest.approx(np.mean(large) - np.mean(small)) and row.effect < 0
    assert row.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert (row.low, row.high) == pytest.approx(expected.confidence_interval(), rel=1e-10)
    below = stats.ttest_ind(np.subtract(large, 1), small, equal_var=False, alternative="less")
    assert row.p_margin == pytest.approx(below.pvalue, rel=1e-10)
    assert (row.test, row.verdict) == ("Welch", "contradicted")


@needs_published
def test_print_and_data_of_padchest_are_both_shown(found):
    rows = found.rows[found.rows["claim"] == "padchest-model-very-small"].set_index("first")
    row = rows.loc["R152x4 on ImageNet-1k"]
    assert (row.first_printed, row.second_printed) == (80.84, 80.17)
    assert (round(row.first_mean, 2), round(row.second_mean, 2)) == (82.55, 80.17)
    summary = found.summary.set_index("id")
    assert "80.17 → 80.84 printed, 80.17 → 82.55 found" in summary["reason"][row.claim]
    assert "82.03 → 83.31 printed, 82.03 → 84.02 found" in summary["reason"][row.claim]
    assert summary["disputes"][row.claim] == "poster-far-large-model"
    of_poster = found.rows[found.rows["claim"] == "poster-far-large-model"]
    poster = of_poster[of_poster["first"] == row.name].set_index("target")["first_printed"]
    assert (poster["padchest_cl"], poster["nih"]) == (82.55, 79.82)
    assert "disagree" not in summary["reason"]["natural-model"]


@needs_published
def test_holm_counts_every_different_test_of_a_family_once(found):
    """Rebuilt from the published rows: tests are told apart by what they show, not by our keys."""
    rows = found.rows
    for family in found.families.itertuples():
        members = rows[(rows["family"] == family.family) & rows["p"].notna()]
        members = members.assign(shown=members["effect"].abs().round(9), pr=members["p"].round(12))
        once = members.drop_duplicates(["target", "shots", "shown", "pr"])
        assert len(once) == family.tests
        if family.Index % 3:  # statsmodels collects garbage on every call: it is slow
            continue
        expected = multipletests(once["p"].to_numpy(), method="holm")[1]
        np.testing.assert_allclose(once["p_holm"], expected, rtol=1e-10)
    assert found.families["no_data"].sum() == 48
    assert rows.loc[rows["verdict"] == "no data", ["p", "p_holm", "effect"]].isna().all(axis=None)


@needs_published
def test_few_shot_is_compared_seed_by_seed(table, found):
    rows = found.rows[found.rows["claim"].isin(["cifar-data", "natural-few"])]
    tests = rows.groupby(["target", "shots"])["test"].agg(set)
    assert tests["cifar10", "500"] == tests["flowers102", "1"] == {"paired"}
    assert tests["cifar10", "full"] == {"Welch"}
    assert tests["cifar100", "500"] == {"Welch"}  # all there are: no selection to share
    pets = rows[(rows["target"] == "pets") & (rows["shots"] == "1")]
    assert set(pets.loc[pets[["n1", "n2"]].min(axis=1) == 4, "test"]) == {"Welch"}
    assert set(pets.loc[pets[["n1", "n2"]].min(axis=1) == 5, "test"]) == {"paired"}
    row = rows[(rows["target"] == "cifar10") & (rows["shots"] == "1")].iloc[0]
    sides = [("r50x1", "imagenet21k"), ("r50x1", "imagenet1k")]
    cells = [table.cells[("cifar10", 1.0), column].values for column in sides]
    expected = stats.ttest_rel(*([cell[seed] for seed in range(5)] for cell in cells))
    assert (row.arch, row.p) == ("r50x1", pytest.approx(expected.pvalue, rel=1e-10))


@needs_published
def test_undecided_contrasts_say_what_they_need(found):
    undecided = found.rows[found.rows["verdict"] == "not decided"]
    assert (undecided["seeds_needed"] > undecided[["n1", "n2"]].max(axis=1)).all()
    decided = found.rows[found.rows["verdict"] != "not decided"]
    assert decided["seeds_needed"].isna().all()
    summary = found.summary
    says = summary["reason"].str.contains("seeds per cell")
    open_ = summary["verdict"].isin(["partly", "not decided"]) & (summary["undecided"] > 0)
    assert list(says) == list(open_)


@needs_published
def test_files_hold_what_is_shown(found):
    assert set(found.files) == {"claims.csv", "contrasts.csv", "families.csv"}
    again = pd.read_csv(io.StringIO(found.files["contrasts.csv"]), keep_default_na=True)
    first = "claim,family,target,shots,arch,first,second,effect,low,high,p,p_holm,n1,n2,"
    assert found.files["contrasts.csv"].startswith(first) and again.columns[-1] == "verdict"
    assert len(again) == len(found.rows) and again["effect"].count() == found.rows["effect"].count()
    assert len(pd.read_csv(io.StringIO(found.files["claims.csv"]))) == len(CLAIMS)
    assert any("48 contrasts without data" in note for note in found.notes)
    reasons = found.summary.set_index("id")["reason"]
    assert "+3.64 [+1.78, +5.50], less than other test images could" in reasons["far-small-full"]
    assert "test images" not in reasons["padchest-on-par"]
    images = next(note for note in found.notes if "test images" in note)
    assert "Tuberculosis ± 9" in images and "PadChest" not in images


# Chosen results.


@pytest.mark.parametrize(
    ("says", "first", "second", "verdict"),
    [
        ("improves", around(60), around(50), "supported"),
        ("improves", around(50), around(60), "contradicted"),
        ("improves", around(50), around(50), "contradicted"),  # shown to be no gain
        ("improves", around(50.3), around(50), "supported"),  # small, but there
        ("improves", around(50.2, 0.3), around(50, 0.3), "contradicted"),
        ("improves", around(51, 9), around(50, 9), "not decided"),
        ("improves", [60.0], around(50), "not decided"),
        ("improves", [60.0] * 3, [50.0] * 3, "not decided"),
        ("improves by less than the margin", around(50.3), around(50), "supported"),
        ("improves by less than the margin", around(60), around(50), "contradicted"),
        ("improves by less than the margin", around(51), around(50), "not decided"),
        ("no difference", around(50), around(50), "supported"),
        ("no difference", around(50.3), around(50), "supported"),
        ("no difference", around(60), around(50), "contradicted"),
        ("no difference", around(40), around(50), "contradicted"),
        ("no difference", around(51, 9), around(50, 9), "not decided"),  # p > 0.05 is not enough
        ("no improvement", around(40), around(50), "supported"),
        ("no improvement", around(50.3), around(50), "supported"),
        ("no improvement", around(60), around(50), "contradicted"),
        ("no improvement", around(51, 9), around(50, 9), "not decided"),
        ("at least as good", around(60), around(50), "supported"),
        ("at least as good", around(49.7), around(50), "supported"),
        ("at least as good", around(40), around(50), "contradicted"),
        ("at least as good", around(50, 9), around(51, 9), "not decided"),
    ],
)
def test_verdict_of_a_contrast(says, first, second, verdict):
    table = make_table({("pets", FULL, LARGE): first, ("pets", FULL, SMALL): second})
    found = examine(table, claims=[ask(says, "pets")])
    assert list(found.rows["verdict"]) == list(found.summary["verdict"]) == [verdict]
    lost = examine(table, claims=[ask(says, "cifar10")])
    assert list(lost.rows["verdict"]) == list(lost.summary["verdict"]) == ["no data"]
    assert lost.summary["reason"][0] == "None of the cells of its 1 contrast has data."


def test_a_margin_may_be_chosen_and_a_threshold_asked_for():
    table = make_table({("pets", FULL, LARGE): around(52), ("pets", FULL, SMALL): around(50)})
    same = ask("no difference", "pets")
    assert examine(table, claims=[same]).rows["verdict"][0] == "contradicted"
    assert examine(table, claims=[same], margin=3.0).rows["verdict"][0] == "supported"
    for by, verdict in ((1.0, "supported"), (20.0, "contradicted"), (2.0, "not decided")):
        claim = ask("improves", "pets", by=by)
        assert examine(table, claims=[claim]).rows["verdict"][0] == verdict


def test_lower_is_better_for_a_loss_and_has_no_margin_in_points():
    values = {("pets", FULL, LARGE): around(0.2, 0.01), ("pets", FULL, SMALL): around(0.9, 0.01)}
    asked = ("improves", 0), ("no improvement", 0), ("improves", 1)
    claims = [replace(ask(says, "pets", by=by), id=f"{says} {by}") for says, by in asked]
    found = examine(make_table(values, "loss"), claims=claims).rows
    assert found["effect"].to_numpy() == pytest.approx(0.7)
    assert list(found["verdict"]) == ["supported", "contradicted", "not decided"]
    assert found["p_margin"].isna().all() and math.isnan(found["p"][2])


def test_seeds_are_paired_by_number_not_by_order():
    rng = np.random.default_rng(0)
    shared = dict(enumerate(rng.normal(0, 10, 5)))
    first = {seed: 52 + shared[seed] + rng.normal(0, 0.1) for seed in (4, 2, 0, 1, 3)}
    second = {seed: 50 + value for seed, value in shared.items()}
    table = make_table({("pets", 5.0, LARGE): first, ("pets", 5.0, SMALL): second})
    row = examine(table, claims=[ask("improves", "pets", shots=5.0)]).rows.iloc[0]
    assert (row.test, row.verdict) == ("paired", "supported")
    del second[4]
    table = make_table({("pets", 5.0, LARGE): first, ("pets", 5.0, SMALL): second})
    row = examine(table, claims=[ask("improves", "pets", shots=5.0)]).rows.iloc[0]
    assert (row.test, row.n1, row.n2, row.verdict) == ("Welch", 5, 4, "not decided")


def test_gains_are_compared():
    rng = np.random.default_rng(0)
    means = {(1.0, LARGE): 40, (1.0, SMALL): 20, (FULL, LARGE): 90, (FULL, SMALL): 85}
    values = {("pets", *place): rng.normal(mean, 0.5, 5) for place, mean in means.items()}
    question = ask("improves", "pets", shots=1.0).questions[0]
    larger = claim_terms.larger_than_in_full_shot([question])
    claim = Claim("it", "paper: 3.3", "words", "improves", larger)
    row = examine(make_table(values), claims=[claim]).rows.iloc[0]
    gains = [values["pets", k, LARGE].mean() - values["pets", k, SMALL].mean() for k in (1.0, FULL)]
    assert (row.first_mean, row.second_mean) == pytest.approx(gains)
    assert row.effect == pytest.approx(gains[0] - gains[1])
    assert (row.shots, row.test, row.verdict) == ("1 / full", "paired and Welch", "supported")
    assert row.first == "R152x4 on ImageNet-21k over R152x4 on ImageNet-1k, 1-shot"


def test_of_several_the_best_counts():
    third = ("r50x1", "imagenet1k")
    values = {LARGE: around(50), SMALL: around(40), third: around(45)}
    table = make_table({("pets", FULL, column): v for column, v in values.items()})
    question = Question(Gain("pets", FULL, (LARGE,), (SMALL, third, ("r50x1", "nih"))))
    claim = Claim("it", "paper: 4", "words", "improves", (question,))
    row = examine(table, claims=[claim]).rows.iloc[0]
    assert row.second == "R50x1 on ImageNet-1k" and row.effect == pytest.approx(5)


@pytest.mark.parametrize(
    ("verdicts", "needed", "expected"),
    [
        ("sss", 3, "supported"),
        ("ssn", 3, "partly"),
        ("ssc", 3, "partly"),
        ("scn", 3, "contradicted"),
        ("scn", 2, "not decided"),
        ("scc", 1, "supported"),
        ("cnn", 1, "not decided"),
        ("ccc", 1, "contradicted"),
        ("cnn", 3, "contradicted"),
        ("nnn", 3, "not decided"),
        ("s--", 3, "partly"),
        ("---", 1, "no data"),
        ("n--", 1, "not decided"),
    ],
)
def test_verdict_of_a_claim(verdicts, needed, expected):
    names = {"s": "supported", "c": "contradicted", "n": "not decided", "-": "no data"}
    assert of_claim([names[letter] for letter in verdicts], needed) == expected


@pytest.mark.parametrize(
    ("holds_for", "needed"), [("all", 10), ("almost all", 8), ("most", 6), ("some", 1)]
)
def test_how_many_contrasts_a_claim_needs(holds_for, needed):
    claim = ask("improves", *map(str, range(10)), holds_for=holds_for)
    assert claim.needed == needed


@pytest.mark.parametrize(("says", "gap"), [("improves", 0.0), ("no difference", 1.0)])
def test_false_support_is_as_rare_as_stated(says, gap):
    """At the border of what is claimed, any false verdict in a family in 5 % of tables at most."""
    rng = np.random.default_rng(0)
    wrong = 0
    for first, second in zip(rng.normal(gap, 0.3, (2000, 4, 5)), rng.normal(0, 0.3, (2000, 4, 5))):
        gains = [welch(*pair) for pair in zip(first, second)]
        differs = holm(np.array([gain.p() for gain in gains]))
        inside = holm(np.array([margin_p(says, gain, 1.0) for gain in gains]))
        verdicts = [of_contrast(says, 0.0, *each) for each in zip(gains, differs, inside)]
        wrong += "supported" in verdicts
    # Of "improves" only half: a significant loss is an error too, but no support.
    assert 0.01 < wrong / 2000 < 0.06


def test_run_directories_are_examined_as_published_files_are(folder):
    from keras_transfer.reporting.collect import collect

    for arch, base in (("r50x1", 0.6), ("r152x4", 0.8)):
        for source in ("imagenet1k", "imagenet21k"):
            for seed in range(3):
                value = base + 0.01 * seed + 0.001 * (source == "imagenet21k")
                folder.transfer("cifar10", source, None, seed, value, arch=arch)
    found = examine(tabulate(collect(folder.path)))
    verdicts = found.summary.set_index("id")["verdict"]
    assert verdicts["natural-model"] == "partly"  # three targets lack data
    assert verdicts["natural-data"] == "not decided"
    assert verdicts["padchest-model"] == verdicts["medical-grows"] == "no data"
    nothing = examine(make_table({("digits 5-9", FULL, LARGE): around(50)}))
    assert set(nothing.summary["verdict"]) == {"no data"}
    assert nothing.families["tests"].sum() == 0
