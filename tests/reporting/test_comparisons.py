"""The test behind every claim, and which sources are set against each other."""

import numpy as np
import pytest
from scipy import stats

from keras_transfer.reporting.collect import collect
from keras_transfer.reporting.comparisons import compare, contrasts
from keras_transfer.reporting.tables import Cell, tabulate


def cell(values, metric="accuracy", source="digits"):
    return Cell("pets", 5.0, source, "r50x1", metric, "test", 100, dict(enumerate(values)))


@pytest.mark.parametrize("seed", range(20))
def test_p_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(50, 5, rng.integers(2, 9)), rng.normal(55, 1, rng.integers(2, 9))
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert compare(cell(first), cell(second)).p == pytest.approx(expected, rel=1e-9)
    assert compare(cell(second), cell(first)).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_one_side_without_spread_is_tested_as_scipy_does():
    first, second = [50.0, 50.0, 50.0], [51.0, 52.0, 54.0]
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert compare(cell(first), cell(second)).p == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [([50.0], [60.0, 61.0]), ([50.0], [60.0]), ([97.2] * 3, [98.3] * 3), ([50.0] * 2, [50.0] * 2)],
)
def test_nothing_is_claimed_without_spread(first, second):
    comparison = compare(cell(first), cell(second))
    assert not comparison.tested and not comparison.claimed


def test_equal_sources_are_rarely_told_apart():
    """Of many comparisons of equals about 5 % are claimed, not more (Welch is conservative)."""
    rng = np.random.default_rng(0)
    claims = [
        compare(cell(rng.normal(0, 1, 3)), cell(rng.normal(0, 2, 3))).claimed for _ in range(2000)
    ]
    assert 0.02 < np.mean(claims) < 0.06


def asked(folder, arch="r14x0.25"):
    table = tabulate(collect(folder.path))
    return [(sorted(c.first_sources), sorted(c.second_sources)) for c in contrasts(
        table, table.rows, arch
    )]  # fmt: skip


def test_contrasts_follow_from_the_sources(folder):
    folder.transfer("digits 5-9", "scratch", 5, 0, 0.5)
    assert asked(folder) == []
    folder.transfer("digits 5-9", "my_set", 5, 0, 0.5)
    assert asked(folder) == [(["my_set"], ["scratch"])]
    folder.transfer("digits 5-9", "phantom small", 5, 0, 0.5)
    folder.transfer("digits 5-9", "phantom large", 5, 0, 0.5)
    everything = ["my_set", "phantom large", "phantom small"]
    assert asked(folder) == [(everything, ["scratch"])]
    folder.transfer("digits 5-9", "digits 0-4", 5, 0, 0.5)
    near = (["digits 0-4"], ["phantom large", "phantom small"])
    assert asked(folder)[1:] == [near]
    folder.pretrain("phantom small", 500)
    assert asked(folder)[1:] == [near]
    folder.pretrain("phantom large", 4000)
    assert asked(folder)[1:] == [near, (["phantom large"], ["phantom small"])]
    assert asked(folder, "r50x1") == []


def test_target_of_unknown_kind_has_no_near_source(folder):
    for source in ("digits 0-4", "phantom"):
        folder.transfer("my_set", source, 5, 0, 0.5)
    assert asked(folder) == []
