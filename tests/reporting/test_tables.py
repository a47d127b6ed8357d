"""The transfer table and its texts, against independent computations."""

import io
import re

import numpy as np
import pandas as pd
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.reporting import formats
from keras_transfer.reporting.collect import collect
from keras_transfer.reporting.tables import tabulate


def grid(folder, values, target="pets", **rest):
    """Writes runs: (source, shots) -> values of seeds 0, 1, ..."""
    for (source, shots), numbers in values.items():
        for seed, number in enumerate(numbers):
            folder.transfer(target, source, shots, seed, number, **rest)


def test_cells_are_mean_and_sample_sd_over_seeds(folder):
    rng = np.random.default_rng(0)
    values = {
        (source, shots): rng.random(5)
        for source in ("scratch", "digits", "imagenet1k")
        for shots in (1, 10, None)
    }
    grid(folder, values, extra={"loss": 1.0}.items())
    table = tabulate(collect(folder.path))
    assert table.rows == [("pets", 1), ("pets", 10), ("pets", np.inf)]
    sources = ["scratch", "imagenet1k", "digits"]
    assert table.columns == [("r14x0.25", source) for source in sources]
    assert len(table.cells) == 9 and not table.notes and not table.missing()
    for (source, shots), numbers in values.items():
        cell = table.cells[("pets", np.inf if shots is None else shots), ("r14x0.25", source)]
        assert cell.n == 5 and cell.unit == "%"
        assert cell.mean == pytest.approx(100 * pd.Series(numbers).mean(), abs=1e-9)
        assert cell.sd == pytest.approx(100 * pd.Series(numbers).std(), abs=1e-9)


def test_csv_files_agree_with_each_other(folder):
    rng = np.random.default_rng(1)
    grid(folder, {(s, k): rng.random(3) for s in ("scratch", "digits") for k in (5, None)})
    found = collect(folder.path)
    rows = pd.read_csv(io.StringIO(formats.rows_to_csv(found)))
    cells = pd.read_csv(io.StringIO(formats.to_csv(tabulate(found))))
    assert set(rows["shots"]) == {"5", "full"} and len(rows) == 12
    by_hand = rows.groupby(["shots", "source"])["value"].agg(["count", "mean", "std"])
    for cell in cells.itertuples():
        count, mean, sd = by_hand.loc[(cell.shots, cell.source)]
        assert (cell.n, cell.unit, cell.split) == (count, "%", "test")
        assert (cell.mean, cell.sd) == pytest.approx((100 * mean, 100 * sd), rel=1e-12)


def test_duplicates_are_never_averaged(folder):
    grid(folder, {("scratch", 5): [0.5, 0.6]})
    folder.transfer("pets", "scratch", 5, 1, 0.9, name="again")
    cell = tabulate(collect(folder.path)).cells[("pets", 5), ("r14x0.25", "scratch")]
    assert cell.values == {0: 50.0} and np.isnan(cell.sd)


def test_number_of_seeds_is_shown_where_it_is_unusual(folder):
    grid(folder, {("scratch", 5): [0.5, 0.6, 0.7], ("digits", 5): [0.5, 0.6, 0.7]})
    grid(folder, {("scratch", 10): [0.5, 0.6, 0.7], ("digits", 10): [0.7501]})
    folder.transfer("pets", "imagenet1k", 5, 0, 0.1)
    table = tabulate(collect(folder.path))
    text = formats.to_markdown(table)
    assert table.usual_n == 3
    assert "60.00 ± 10.00 |" in text and "75.01 (n=1)" in text and " – " in text
    assert table.cells[("pets", 10), ("r14x0.25", "digits")].n == 1
    missing = {(row[1], column[1]): seeds for row, column, seeds in table.missing()}
    assert missing == {
        (5, "imagenet1k"): [1, 2],
        (10, "imagenet1k"): [0, 1, 2],
        (10, "digits"): [1, 2],
    }
    assert "over 3 seeds; other numbers of seeds as n" in formats.caption(table)
    assert formats.caption(table).endswith("– is a missing run.")


def test_best_is_bold_in_its_direction(folder):
    grid(folder, {("scratch", 5): [0.5], ("digits", 5): [0.6], ("phantom", 5): [0.600001]})
    grid(folder, {("scratch", 5): [1.5], ("digits", 5): [0.6]}, target="loss set", metric="loss")
    grid(folder, {("digits", 5): [0.6]}, target="single")
    table = tabulate(collect(folder.path))
    arch = "r14x0.25"
    assert table.best(("pets", 5)) == {(arch, "digits"), (arch, "phantom")}  # equal as printed
    assert table.best(("loss set", 5)) == {(arch, "digits")}
    assert table.best(("single", 5)) == set()
    text = formats.to_markdown(table)
    assert text.count("**60.00**") == 2 and "**0.6000**" in text and " 1.5000 " in text
    assert "loss set (loss)" in text and "Pets (accuracy, %)" in text
    assert "One seed per number" in formats.caption(table)


def test_markdown_is_a_rectangle(folder):
    grid(folder, {("a|b", 5): [0.5, 0.6], ("digits", None): [0.6]})
    lines = formats.to_markdown(tabulate(collect(folder.path))).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 4
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {6}
    assert "a\\|b" in lines[0]


def test_latex_is_escaped_and_well_formed(folder):
    for arch in ("r50x1", "r152x4"):
        grid(folder, {("50%_a&b#{x}", 5): [0.5, 0.6], ("scratch", 5): [0.1, 0.2]}, arch=arch)
        grid(folder, {("scratch", None): [0.1, 0.2]}, arch=arch)
    text = formats.to_latex(tabulate(collect(folder.path)))
    assert r"50\% a\&b\#\{x\}" in text and r"55.00 $\pm$ 7.07" in text
    assert r"\multicolumn{2}{c}{R50x1} & \multicolumn{2}{c}{R152x4}" in text
    assert r"\cmidrule(lr){3-4}\cmidrule(lr){5-6}" in text
    assert text.count(r"\textbf{55.00") == 2
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.split(r"(?<!\\)&", line)) for line in body[1:]} == {6}
    assert text.count(r"\begin") == text.count(r"\end") == 2
    unescaped = re.sub(r"\\[&%$#_{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}") and "%" not in unescaped


def test_networks_are_ordered_by_depth_and_width(folder):
    for arch in ("r152x4", "r50x3", "r50x1", "r101x1"):
        grid(folder, {("scratch", 5): [0.5]}, arch=arch)
    table = tabulate(collect(folder.path))
    assert table.archs == ["r50x1", "r50x3", "r101x1", "r152x4"]
    assert "from scratch, R50x1" in formats.to_markdown(table)


def test_test_split_is_shown_and_validation_only_in_need(folder):
    grid(folder, {("scratch", 5): [0.5, 0.6]}, target="both")
    folder.transfer("both", "digits", 5, 0, 0.9, split="val")
    grid(folder, {("scratch", 5): [0.5]}, target="only val", split="val")
    table = tabulate(collect(folder.path))
    assert [cell.split for cell in table.cells.values()] == ["test", "val"]
    first, second = table.notes
    assert "both: 1 finished runs have no result on the split 'test'" in first
    assert "only val: no run has a result on a test split" in second
    assert "only val (accuracy, %, split 'val')" in formats.to_markdown(table)


def test_undefined_value_is_left_out_and_said(folder):
    grid(folder, {("scratch", 5): [0.5, None, 0.7]}, metric="mean_auc")
    table = tabulate(collect(folder.path))
    assert table.cells[("pets", 5), ("r14x0.25", "scratch")].values == {0: 50.0, 2: 70.0}
    assert "5.1: mean_auc is undefined (NaN); the run is left out." in table.notes[0]
    assert "(mean AUC, %)" in formats.to_markdown(table)


def test_different_test_sets_are_flagged(folder):
    grid(folder, {("scratch", 5): [0.5]}, num_examples=360)
    grid(folder, {("digits", 5): [0.5]}, num_examples=180)
    (note,) = tabulate(collect(folder.path)).notes
    assert "different numbers of examples (180, 360)" in note


def test_what_cannot_be_tabulated(folder):
    folder.pretrain("digits", 700)
    folder.transfer("pets", "scratch", 5, 0, 0.5, finished=False)
    with pytest.raises(UserError, match=r"No transfer run has a result .*1 of 2 runs are unfin"):
        tabulate(collect(folder.path))
    folder.transfer("pets", "scratch", 5, 1, None)
    with pytest.raises(UserError, match="Every result is undefined"):
        tabulate(collect(folder.path))
    folder.transfer("pets", "scratch", 10, 0, 0.5)
    folder.transfer("pets", "scratch", 10, 1, 0.5, metric="mean_auc")
    with pytest.raises(UserError, match=r"pets name different primary .*accuracy in .*mean_auc in"):
        tabulate(collect(folder.path))
