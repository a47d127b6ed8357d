"""Weighted metrics against the metrics of examples that are really repeated."""

import time

import numpy as np
import pytest

from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.evaluation import Predictions, Tally, calibration, compute, resampling
from keras_transfer.evaluation.metrics import METRICS, Evidence, Metric
from keras_transfer.evaluation.tally import applicable


def make(task, n, classes, seed=0, prevalence=0.3, ties=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes))
    if task == MULTICLASS:
        label = rng.integers(0, classes, n)
        logits += 1.5 * np.eye(classes)[label]
    else:
        label = (rng.random((n, classes)) < prevalence).astype(np.float32)
        logits += label - 1
        label[rng.random((n, classes)) < 0.2] = np.nan
    logits = np.round(logits * 2) / 2 if ties else logits
    ids = np.array([f"id{i}" for i in range(n)])
    found = Predictions(ids, label, logits.astype(np.float32), np.ones(n, np.float32))
    return found, LabelSpace(task, tuple(f"c{i}" for i in range(classes)))


def units(n, count, seed=0):
    return np.random.default_rng(seed).permutation(np.arange(n) % count)


CASES = [
    (MULTILABEL, 4, 0.3, False),
    (MULTILABEL, 5, 0.03, True),  # labels lose their positives in many resamples
    (MULTILABEL, 1, 0.3, True),
    (MULTICLASS, 3, 0, True),
    (MULTICLASS, 9, 0, False),
]


@pytest.mark.parametrize(("task", "classes", "prevalence", "ties"), CASES)
def test_counts_give_the_metrics_of_repeated_examples(task, classes, prevalence, ties):
    predictions, labels = make(task, 90, classes, prevalence=prevalence, ties=ties)
    tally = Tally(Evidence(predictions), labels, units(90, 40))
    lost = 0
    for counts in resampling.bootstrap_counts(40, 30, seed=1):
        for row, values in zip(counts, tally(counts)):
            repeated = tally.repeated(row)
            for name, metric in applicable(labels).items():
                expected = np.asarray(metric.function(repeated))
                first = tally.names.index(metric.mean or name)
                if metric.mean:
                    lost += np.isnan(expected).sum()
                    np.testing.assert_allclose(
                        values[first + 1 : first + 1 + classes], expected, atol=1e-12
                    )
                    kept = expected[~np.isnan(expected)]
                    expected = kept.mean() if len(kept) else np.nan
                np.testing.assert_allclose(values[first], expected, atol=1e-12)
    assert (lost > 0) == (prevalence == 0.03)


@pytest.mark.parametrize(("task", "classes", "prevalence", "ties"), CASES)
def test_counts_of_one_give_the_report(task, classes, prevalence, ties):
    predictions, labels = make(task, 90, classes, prevalence=prevalence, ties=ties)
    tally = Tally(Evidence(predictions), labels, np.arange(90))
    values = dict(zip(tally.names, tally(np.ones((1, 90), np.int32))[0]))
    assert values == pytest.approx(compute(predictions, labels).values, abs=1e-12, nan_ok=True)


def test_a_metric_of_ones_own_is_computed_from_repeated_rows():
    predictions, labels = make(MULTILABEL, 60, 3)

    def median(evidence):
        return np.median(evidence.scores, axis=0)

    own = {"median": Metric(median, (MULTILABEL,), True, mean="mean_median")}
    tally = Tally(Evidence(predictions), labels, np.arange(60), own)
    counts = next(resampling.bootstrap_counts(60, 4, seed=0))
    rows = np.repeat(np.arange(60), counts[2])
    expected = np.median(predictions.scores[rows], axis=0)
    assert tally.names == ["mean_median", "median/c0", "median/c1", "median/c2"]
    np.testing.assert_allclose(tally(counts)[2], [expected.mean(), *expected])


def test_every_registered_metric_has_a_fast_form():
    for task in (MULTICLASS, MULTILABEL):
        predictions, labels = make(task, 50, 7)
        known = applicable(labels) | calibration.metrics(task)
        assert set(known) >= {n for n in METRICS.names() if task in METRICS.get(n).tasks}
        tally = Tally(Evidence(predictions), labels, np.arange(50), known)
        tally.repeated = None  # what the slow form needs
        assert np.isfinite(tally(np.ones((2, 50), np.int32))).all()


def test_units_are_patients_and_unknown_patients_are_one_each():
    unit = resampling.units_of(np.array(["b", "", "a", "b", "", "a"]))
    assert unit[0] == unit[3] and unit[2] == unit[5]
    assert sorted(set(unit.tolist())) == [0, 1, 2, 3]


def test_draws_do_not_depend_on_blocks(monkeypatch):
    whole = np.concatenate(list(resampling.bootstrap_counts(37, 50, seed=3)))
    assert (whole.sum(axis=1) == 37).all() and whole.shape == (50, 37)
    monkeypatch.setattr(resampling, "_BLOCK", 100)
    blocks = list(resampling.bootstrap_counts(37, 50, seed=3))
    assert len(blocks) == 25
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    left_out = np.concatenate(list(resampling.jackknife_counts(37, 10, seed=3)))
    np.testing.assert_array_equal((left_out == 0).sum(axis=0), 1)
    assert left_out.shape == (10, 37)


def test_many_resamples_of_many_examples_take_seconds():
    """2,000 of 20,000 examples x 14 labels: a tenth of them here, in a tenth of the time."""
    predictions, labels = make(MULTILABEL, 20_000, 14, prevalence=0.05)
    tally = Tally(Evidence(predictions), labels, units(20_000, 8_000))
    start = time.process_time()
    values = resampling.evaluate(tally, resampling.bootstrap_counts(8_000, 200, seed=0))
    assert time.process_time() - start < 4  # 0.4 s of one core measured
    assert values.shape == (200, 77)
