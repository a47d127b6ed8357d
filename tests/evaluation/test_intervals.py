"""Bootstrap intervals against SciPy's, and where there is none."""

import numpy as np
import pytest
import scipy.stats
from scipy.stats._resampling import BootstrapResult
from sklearn.metrics import roc_auc_score

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.evaluation import Predictions, Tally, bootstrap, intervals
from keras_transfer.evaluation.metrics import METRICS, Evidence

ONE = LabelSpace(MULTILABEL, ("a",))


def one_label(seed, n, shift=1.0, **chosen):
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 3 == 0).astype(np.float32)
    logits = (rng.normal(size=n) + shift * label).astype(np.float32)
    ids = np.array([f"id{i}" for i in range(n)])
    found = Predictions(ids, label[:, None], logits[:, None], np.ones(n, np.float32))
    names = chosen.get("metrics", ["auc"])
    metrics = {name: METRICS.get(name) for name in names}
    return label, logits, Tally(Evidence(found), ONE, np.arange(n), metrics)


@pytest.mark.parametrize("method", intervals.METHODS)
def test_equals_scipy_on_the_same_resamples(method):
    label, logits, tally = one_label(0, 45)
    found = bootstrap(tally, 45, resamples=600, method=method, level=0.9)

    def area(rows):
        # Ours, as ties with the value count half: another order of sums would break them.
        return tally(np.bincount(rows, minlength=45)[None].astype(np.int32))[0, 1]

    ours = BootstrapResult(None, found.distribution[:, 1], 0.0)
    expected = scipy.stats.bootstrap(
        (np.arange(45),),
        area,
        vectorized=False,
        n_resamples=0,
        bootstrap_result=ours,
        confidence_level=0.9,
        method=method,
    ).confidence_interval
    assert found.value[1] == pytest.approx(roc_auc_score(label, logits))
    assert [found.low[1], found.high[1]] == pytest.approx(list(expected), abs=1e-9)


def test_resamples_of_scipy_spread_like_ours():
    label, logits, tally = one_label(1, 60)

    def area(rows):  # Mann-Whitney: scikit-learn would take seconds
        ranks, positive = scipy.stats.rankdata(logits[rows]), label[rows] == 1
        count = positive.sum()
        return (ranks[positive].mean() - (count + 1) / 2) / (60 - count)

    found = bootstrap(tally, 60, resamples=3000)
    expected = scipy.stats.bootstrap(
        (np.arange(60),),
        area,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    ours = np.nanstd(found.distribution[:, 1])
    # The error of a standard deviation of 1,000 draws is 2.2 %: four of them.
    assert ours == pytest.approx(expected.standard_error, rel=0.09)


def test_groups_of_units_have_the_acceleration_of_single_ones(monkeypatch):
    _, _, tally = one_label(2, 3000, metrics=["loss"])
    shares = []
    for groups in (3000, 500):
        monkeypatch.setattr(intervals, "_JACKKNIFE_GROUPS", groups)
        blocks = intervals.resampling.jackknife_counts(3000, groups, 0)
        shares.append(intervals.acceleration(intervals.resampling.evaluate(tally, blocks))[0])
    assert shares[0] > 0.003
    assert shares[1] == pytest.approx(shares[0], abs=4 * 0.41 / 500)


def test_lost_labels_are_counted_and_left_out():
    label = np.zeros((30, 2), np.float32)
    label[::2, 0] = 1
    label[0, 1] = 1  # one positive: lost in about exp(-1) of the resamples
    rng = np.random.default_rng(0)
    predictions = Predictions(
        np.arange(30).astype(str), label, rng.normal(size=(30, 2)), np.ones(30)
    )
    labels = LabelSpace(MULTILABEL, ("a", "b"))
    metrics = {"auc": METRICS.get("auc")}
    found = bootstrap(
        Tally(Evidence(predictions), labels, np.arange(30), metrics), 30, resamples=1000
    )
    mean, a, b = found.distribution.T
    assert found.undefined.tolist()[:2] == [0, 0]
    assert found.undefined[2] == pytest.approx(1000 * (29 / 30) ** 30, abs=4 * 15.2)
    lost = np.isnan(b)
    np.testing.assert_array_equal(mean[lost], a[lost])
    np.testing.assert_allclose(mean[~lost], (a + b)[~lost] / 2)
    assert np.isfinite([found.low, found.high]).all()


def test_no_interval_where_resamples_say_nothing():
    def certain(counts):
        return np.ones((len(counts), 1))

    def biased(counts):  # larger in every resample, as calibration errors of little data are
        return (counts**2).sum(axis=1, keepdims=True).astype(float)

    for statistic in (certain, biased):
        found = bootstrap(statistic, 20, resamples=200)
        assert np.isfinite(found.value).all()
        assert np.isnan([found.low, found.high]).all()
    assert np.isfinite(bootstrap(biased, 20, resamples=200, method="percentile").low).all()
    alone = bootstrap(biased, 1)
    assert alone.value[0] == 1 and np.isnan(alone.low[0])


def test_is_repeatable_and_depends_on_the_seed():
    _, _, tally = one_label(3, 40)
    first, again, other = (bootstrap(tally, 40, resamples=200, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.distribution, again.distribution)
    assert not np.array_equal(first.distribution, other.distribution)


@pytest.mark.parametrize(
    "wrong", [{"method": "normal"}, {"resamples": 0}, {"level": 1.0}, {"level": 95}]
)
def test_wrong_arguments(wrong):
    with pytest.raises(UserError):
        bootstrap(lambda counts: counts[:, :1], 5, **wrong)
