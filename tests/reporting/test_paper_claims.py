"""Verdicts on claims: on the authors' published results, and where each must and must not be."""

import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from keras_transfer.evaluation.testing import holm
from keras_transfer.reporting.claims import terms
from keras_transfer.reporting.claims.catalogue import CLAIMS
from keras_transfer.reporting.claims.examination import examine
from keras_transfer.reporting.claims.terms import Claim, Gain, Question
from keras_transfer.reporting.claims.verdicts import beyond_p, inside_p, of_claim, of_contrast
from keras_transfer.reporting.collection import FULL
from keras_transfer.reporting.estimates import welch
from keras_transfer.reporting.paper import printed
from keras_transfer.reporting.tables import Cell, Table, tabulate

LARGE, SMALL = ("r152x4", "imagenet21k"), ("r152x4", "imagenet1k")


@pytest.fixture(scope="module")
def table(primary):
    return tabulate(primary)


@pytest.fixture(scope="module")
def found(table):
    return examine(table, of_authors=True)


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


@pytest.mark.parametrize(
    ("claim", "verdict", "supported", "of"),
    [
        ("natural-model", "supported", 8, 8),
        ("natural-data", "partly", 7, 8),
        ("flowers-data", "supported", 8, 8),
        ("padchest-model", "supported", 2, 2),
        ("padchest-model-very-small", "contradicted", 0, 2),
        ("poster-far-large-model", "supported where there are data", 2, 10),
        ("poster-both-scales", "supported where there are data", 8, 16),
        ("padchest-on-par", "not decided", 0, 1),
        ("poster-as-good", "supported", 1, 5),
        ("medical-data-comparable", "not decided", 0, 2),
        ("medical-lowest-same", "supported", 24, 24),
        ("natural-20-points", "supported", 1, 32),
        ("far-full", "not decided", 0, 8),
        ("far-small-full", "not decided", 0, 8),
        ("medical-over-natural-full", "not decided", 5, 24),
    ],
)
def test_published_verdicts(found, claim, verdict, supported, of):
    row = found.summary.set_index("id").loc[claim]
    assert (row.verdict, row.supported) == (verdict, supported)
    counts = row[["supported", "contradicted", "undecided", "not_needed", "no_data"]]
    assert counts.sum() == of == (found.rows["claim"] == claim).sum()


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
    assert found.families["no_data"].sum() == 44
    assert rows.loc[rows["verdict"] == "no data", ["p", "p_holm", "effect"]].isna().all(axis=None)


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


def test_undecided_contrasts_say_what_they_need(found):
    undecided = found.rows[found.rows["verdict"] == "not decided"]
    named = undecided[undecided["seeds_needed"].notna()]
    assert (named["seeds_needed"] > named[["n1", "n2"]].max(axis=1)).all()
    assert len(named) > 0.9 * len(undecided)
    decided = found.rows[found.rows["verdict"] != "not decided"]
    assert decided["seeds_needed"].isna().all()
    summary = found.summary
    says = summary["reason"].str.contains(r"takes at most about [\d,]+(?: to [\d,]+)? seeds per")
    open_ = summary["verdict"].isin(["partly", "not decided"]) & (summary["undecided"] > 0)
    # There only the size of a difference is open.
    assert list(summary["id"][says != open_]) == ["padchest-on-par"]


def test_files_hold_what_is_shown(found):
    assert set(found.files) == {"claims.csv", "contrasts.csv", "families.csv"}
    again = pd.read_csv(io.StringIO(found.files["contrasts.csv"]), keep_default_na=True)
    first = "claim,family,target,shots,arch,first,second,effect,low,high,p,p_holm,n1,n2,"
    assert found.files["contrasts.csv"].startswith(first) and again.columns[-1] == "verdict"
    assert len(again) == len(found.rows) and again["effect"].count() == found.rows["effect"].count()
    assert len(pd.read_csv(io.StringIO(found.files["claims.csv"]))) == len(CLAIMS)
    assert any("44 contrasts without data" in note for note in found.notes)
    reasons = found.summary.set_index("id")["reason"]
    text = "+3.64 points [+1.78, +5.50], less than other test images could"
    assert text in reasons["far-small-full"]
    assert "test images" not in reasons["padchest-on-par"]
    images = next(note for note in found.notes if "test images would" in note)
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
        ("improves by less than the margin", around(43), around(50), "contradicted"),  # a loss
        ("improves by less than the margin", around(49.9), around(50), "supported"),
        ("improves by less than the margin", around(51), around(50), "not decided"),
        ("no difference", around(50), around(50), "supported"),
        ("no difference", around(50.3), around(50), "supported"),
        ("no difference", around(60), around(50), "contradicted"),
        ("no difference", around(40), around(50), "contradicted"),
        ("no difference", around(51, 9), around(50, 9), "not decided"),  # p > 0.05 is not enough
        ("no difference", around(50.95), around(50), "not decided"),  # differs: by how much is open
        ("no difference", around(49.05), around(50), "not decided"),
        ("no significant difference", around(51, 9), around(50, 9), "supported"),
        ("no significant difference", around(50.3), around(50), "contradicted"),
        ("no significant difference", [60.0], around(50), "not decided"),
        ("no improvement", around(40), around(50), "supported"),
        ("no improvement", around(50.3), around(50), "supported"),
        ("no improvement", around(60), around(50), "contradicted"),
        ("no improvement", around(51, 9), around(50, 9), "not decided"),
        ("no improvement", around(51.05), around(50), "not decided"),
        ("at least as good", around(48.95), around(50), "not decided"),
        ("at least as good", around(60), around(50), "supported"),
        ("at least as good", around(49.7), around(50), "supported"),
        ("at least as good", around(40), around(50), "contradicted"),
        ("at least as good", around(50, 9), around(51, 9), "not decided"),
    ],
)
def test_verdict_of_a_contrast(says, first, second, verdict):
    # Nothing is known of how far other test images would move a mean AUC.
    values = {("pets", FULL, LARGE): first, ("pets", FULL, SMALL): second}
    table = make_table(values, "mean_auc")
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
    assert list(found["verdict"]) == ["supported", "not decided", "not decided"]
    assert found["p_margin"].isna().all() and math.isnan(found["p"][2])
    assert found["seeds_needed"].isna().all() and set(found["unit"]) == {""}


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
    larger = terms.larger_than_in_full_shot([question])
    claim = Claim("it", "paper: 3.3", "words", "improves", larger)
    row = examine(make_table(values), claims=[claim]).rows.iloc[0]
    gains = [values["pets", k, LARGE].mean() - values["pets", k, SMALL].mean() for k in (1.0, FULL)]
    assert (row.first_mean, row.second_mean) == pytest.approx(gains)
    assert row.effect == pytest.approx(gains[0] - gains[1])
    assert (row.shots, row.test, row.verdict) == ("1 / full", "paired and Welch", "supported")
    assert row.first == "the gain of R152x4 on ImageNet-21k over R152x4 on ImageNet-1k (1-shot)"
    assert row.second == "the same gain (full shot)"


def test_of_several_the_best_counts():
    third = ("r50x1", "imagenet1k")
    values = {LARGE: around(50), SMALL: around(40), third: around(45)}
    table = make_table({("pets", FULL, column): v for column, v in values.items()})
    question = Question(Gain("pets", FULL, (LARGE,), (SMALL, third, ("r50x1", "nih"))))
    claim = Claim("it", "paper: 4", "words", "improves", (question,))
    row = examine(table, claims=[claim]).rows.iloc[0]
    assert row.second == "R50x1 on ImageNet-1k" and row.effect == pytest.approx(5)


@pytest.mark.parametrize(
    ("verdicts", "holds_for", "expected"),
    [
        ("sss", "all", "supported"),
        ("ssn", "all", "partly"),
        ("ssc", "all", "partly"),
        ("scn", "all", "contradicted"),
        ("scn", "most", "not decided"),
        ("scc", "some", "supported"),
        ("cnn", "some", "not decided"),
        ("ccc", "some", "contradicted"),
        ("cc-", "some", "not decided"),
        ("cnn", "all", "contradicted"),
        ("nnn", "all", "not decided"),
        ("s--", "all", "supported where there are data"),
        ("ss---", "most", "supported where there are data"),
        ("sss--", "most", "supported"),
        ("sn-", "all", "partly"),
        ("s-", "some", "supported"),
        ("---", "some", "no data"),
        ("n--", "some", "not decided"),
        # d: contradicted, but other test images could bring as much.
        ("dnn", "all", "not decided"),
        ("dcn", "all", "contradicted"),
        ("ddd", "some", "not decided"),
        ("ssd", "all", "partly"),
    ],
)
def test_verdict_of_a_claim(verdicts, holds_for, expected):
    names = {"s": "supported", "c": "contradicted", "n": "not decided", "-": "no data"}
    names["d"] = names["c"]
    given = [names[letter] for letter in verdicts]
    assert of_claim(given, holds_for, verdicts.count("d")) == expected


@pytest.mark.parametrize(
    ("holds_for", "needed"), [("all", 10), ("almost all", 8), ("most", 6), ("some", 1)]
)
def test_how_many_contrasts_a_claim_needs(holds_for, needed):
    assert terms.needed(holds_for, 10) == needed


@pytest.mark.parametrize(
    ("says", "gap", "false"),
    [
        ("improves", 0.0, "supported"),
        ("no difference", 1.0, "supported"),
        ("no difference", 1.0, "contradicted"),
        ("no improvement", 1.0, "contradicted"),
        ("at least as good", -1.0, "contradicted"),
    ],
)
def test_false_verdicts_are_as_rare_as_stated(says, gap, false):
    """At the border of what is claimed, any false verdict in a family in 5 % of tables at most."""
    rng = np.random.default_rng(0)
    wrong = 0
    for first, second in zip(rng.normal(gap, 0.3, (2000, 4, 5)), rng.normal(0, 0.3, (2000, 4, 5))):
        gains = [welch(*pair) for pair in zip(first, second)]
        differs = holm(np.array([gain.p() for gain in gains]))
        inside = holm(np.array([inside_p(says, gain, 1.0) for gain in gains]))
        beyond = holm(np.array([beyond_p(says, gain, 1.0) for gain in gains]))
        tests = zip(gains, differs, inside, beyond)
        wrong += false in [of_contrast(says, 0.0, *each) for each in tests]
    # Of two-sided tests only half: the other half errs to the other side.
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
    assert verdicts["natural-model"] == "supported where there are data"  # of one target
    assert verdicts["natural-data"] == "not decided"
    assert verdicts["padchest-model"] == verdicts["medical-grows"] == "no data"
    nothing = examine(make_table({("digits 5-9", FULL, LARGE): around(50)}))
    assert set(nothing.summary["verdict"]) == {"no data"}
    assert nothing.families["tests"].sum() == 0


def test_a_difference_may_be_beyond_the_margin_in_two_ways():
    gain = welch(around(51, 9), around(50, 9))
    assert beyond_p("no difference", gain, 0.0) == pytest.approx(gain.p(), rel=1e-12)


# What a reader is told.


def reason_of(table, claim, **rest):
    return examine(table, claims=[claim], **rest).summary.iloc[0]


def columns_of(*values, target="pets", shots=FULL):
    """(large, small) of each target in turn."""
    targets = [target, "cifar10", "cifar100"]
    return {
        (name, shots, column): side
        for name, pair in zip(targets, values)
        for column, side in zip((LARGE, SMALL), pair)
    }


def test_a_difference_that_may_be_within_the_margin_is_said_to_be_open():
    table = make_table(columns_of((around(50.95), around(50)), target="dtd"))
    one = reason_of(table, ask("no difference", "dtd"))
    assert one.verdict == "not decided"
    assert "ImageNet-21k differs from R152x4 on ImageNet-1k by +0.95 points [+0.8" in one.reason
    assert one.reason.endswith("whether by less than 1 point is open.")
    assert "seeds per cell" not in one.reason
    pairs = (around(50.95), around(50)), (around(70, 9), around(70, 9))
    both = make_table(columns_of(*pairs, target="dtd"))
    two = reason_of(both, ask("no difference", "dtd", "cifar10"))
    assert "in 1 the sides differ, but whether by less than 1 point is open, such" in two.reason
    assert "per cell, unless an effect is within 0.5 points of the bound" in two.reason
    wider = reason_of(table, ask("no difference", "dtd"), margin=2.0)
    assert wider.verdict == "supported" and wider.says.startswith("different by less than 2 points")


def test_an_effect_that_test_images_could_bring_contradicts_no_claim_alone():
    """At 50 % of 1,000 images, two networks differ by 4.4 points by the choice of images."""
    pairs = (around(53), around(50)), (around(50, 9), around(50, 9))
    table = make_table(columns_of(*pairs))
    claim = ask("no improvement", "pets", "cifar10")
    found = reason_of(table, claim)
    assert (found.verdict, found.contradicted) == ("not decided", 1)
    assert found.reason.startswith("Supported in 0 of 2 contrasts, contradicted in 1 of 2, not")
    assert "+3.00 points [+2.8" in found.reason
    assert "less than other test images could bring (± 4.4)" in found.reason
    assert "what other test images could bring does not contradict the claim alone" in found.reason
    clear = make_table(columns_of((around(56), around(50)), pairs[1]))
    assert reason_of(clear, claim).verdict == "contradicted"
    unknown = make_table(columns_of(*pairs), "mean_auc")
    assert reason_of(unknown, claim).verdict == "contradicted"


def test_a_loss_is_no_small_gain():
    """The larger network 7 points worse on PadChest-Cl."""
    sources = ("imagenet1k", "imagenet21k")
    means = {(arch, source): 80 for arch in terms.ARCHS for source in sources}
    for worse in (7, 0):
        means |= {("r152x4", source): 80 - worse for source in sources}
        values = {("padchest_cl", FULL, column): around(mean) for column, mean in means.items()}
        found = examine(make_table(values, "mean_auc")).summary.set_index("id")["verdict"]
        expected = "contradicted" if worse else "supported"
        assert found["padchest-model-very-small"] == found["padchest-small"] == expected


def test_missing_data_alone_make_nothing_partly():
    table = make_table(columns_of((around(60), around(50))))
    found = reason_of(table, ask("improves", "pets", "cifar10", "cifar100"))
    assert (found.verdict, found.no_data) == ("supported where there are data", 2)
    assert found.reason.startswith("Supported in 1 of 1 contrast with data, without data in 2 oth")


def test_of_some_the_others_are_not_held_against_it():
    pairs = (around(80), around(50)), (around(60), around(50)), (around(71, 9), around(50, 9))
    claim = ask("improves", "pets", "cifar10", "cifar100", holds_for="some", by=20.0)
    found = reason_of(make_table(columns_of(*pairs)), claim)
    assert found.verdict == "supported" and found.says == (
        "better by more than 20 points, in some contrasts"
    )
    assert (found.supported, found.contradicted, found.undecided, found.not_needed) == (1, 0, 0, 2)
    assert found.reason.startswith("Holds in 1 of 3 contrasts, such as (Pets, full) R152x4")
    assert "contradicted" not in found.reason and "against it" not in found.reason


def test_of_a_sentence_on_significance_significant_ones_are_counted():
    pairs = [(around(mean, 1), around(50, 1)) for mean in (51.3, 50, 50.1)]
    claim = ask("no significant difference", "pets", "cifar10", "cifar100")
    found = examine(make_table(columns_of(*pairs)), claims=[claim])
    p = sorted(found.rows["p"])
    assert p[0] < 0.05 < min(3 * p[0], p[1])  # significant, but not after correction
    assert found.summary["verdict"][0] == "supported"
    assert found.summary["says"][0] == "not significantly different, in all contrasts"
    text = "0 of 3 significant after Holm's correction, 1 before; that none is found does not show"
    assert text in found.summary["reason"][0]


def test_of_most_cases_better_means_are_counted():
    pairs = (around(60), around(50)), (around(51, 9), around(50, 9)), (around(40), around(50))
    claim = ask("improves", "pets", "cifar10", "cifar100", holds_for="most")
    found = reason_of(make_table(columns_of(*pairs)), claim)
    assert "better mean in 2 of 3, significantly in 1;" in found.reason


@pytest.mark.parametrize("first", [[60.0], [60.0] * 3])
def test_without_spread_no_interval_is_shown(first):
    table = make_table(columns_of((first, [50.0] * len(first))))
    for says in ("improves", "no difference", "no significant difference"):
        found = reason_of(table, ask(says, "pets"))
        assert "+10.00 points (no spread over seeds)" in found.reason
        assert "1 without spread over seeds" in found.reason and "nan" not in found.reason


def test_a_loss_is_not_held_against_printed_accuracy():
    claim = ask("no difference", "pets")
    values = columns_of((around(50, 3), around(80, 3)))
    found = examine(make_table(values), claims=[claim])
    assert found.rows["first_printed"][0] == 93.21
    assert "differs from print: R152x4 on ImageNet-21k against" in found.summary["reason"][0]
    assert "print and data disagree" not in found.summary["reason"][0]
    of_authors = examine(make_table(values), claims=[claim], of_authors=True)
    assert "print and data disagree on" in of_authors.summary["reason"][0]
    loss = columns_of((around(0.9, 0.01), around(0.2, 0.01)))
    found = examine(make_table(loss, "loss"), claims=[claim])
    assert found.rows[["first_printed", "second_printed"]].isna().all(axis=None)
    reason = found.summary["reason"][0]
    assert "print" not in reason and "points [" not in reason and "-0.70 [-0.7" in reason
    assert "1 in a metric that has no points to hold against the margin" in reason
    wide = columns_of((around(0.9, 5), around(0.2, 5)))
    found = examine(make_table(wide, "loss"), claims=[ask("improves", "pets")])
    assert found.summary["verdict"][0] == "not decided" and found.rows["seeds_needed"].isna().all()


def test_own_runs_within_their_interval_of_print_are_not_said_to_differ():
    table = make_table(columns_of((around(93.3, 0.3), around(93.2, 0.3))))
    assert "print" not in reason_of(table, ask("improves", "pets")).reason
    assert "print" in reason_of(table, ask("improves", "pets"), of_authors=True).reason


def test_places_and_gains_are_named_in_words():
    means = {(1.0, LARGE): 30, (1.0, SMALL): 20, (FULL, LARGE): 90, (FULL, SMALL): 70}
    values = {("cifar100", *place): around(mean) for place, mean in means.items()}
    larger = terms.larger_than_in_full_shot(ask("improves", "cifar100", shots=1.0).questions)
    found = reason_of(make_table(values), Claim("it", "paper: 3.3", "words", "improves", larger))
    assert found.verdict == "contradicted" and found.says == "better, in all contrasts"
    assert (
        "against it (CIFAR-100, 1-shot and full) the gain of R152x4 on ImageNet-21k over R152x4 on "
        "ImageNet-1k (1-shot) against the same gain (full shot): -10.00 points [-10.1"
    ) in found.reason


def test_claims_leave_out_what_the_sentences_except():
    by_id = {claim.id: claim for claim in CLAIMS}
    assert {q.gain.target for q in by_id["far-full"].questions} == {"covidx", "tuberculosis"}
    between = {
        question.gain.target
        for question in by_id["poster-both-scales"].questions
        if question.gain.first[0][1] == "imagenet21k"
    }
    assert not between & {"covidx", "tuberculosis"} and "padchest_cl" in between
    assert (by_id["poster-as-good"].says, by_id["poster-as-good"].holds_for) == (
        "at least as good",
        "some",
    )
    shots = {
        name: {q.gain.shots == FULL for q in by_id[f"medical-over-natural-{name}"].questions}
        for name in ("full", "few")
    }
    assert shots == {"full": {True}, "few": {False}}


def test_no_reason_shows_what_is_no_number(found):
    assert not found.summary["reason"].str.contains("nan|None|inf", regex=True).any()
    universal = found.summary[found.summary["contradicted"] > 0]
    where = universal["verdict"].isin(["partly", "contradicted"])
    assert universal["reason"][where].str.contains(r"contradicted in \d+ of \d+").all()
