"""Paired permutation against SciPy's, Holm against published numbers."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, roc_auc_score
from statsmodels.stats.multitest import multipletests

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.evaluation import Predictions, pairing, testing
from keras_transfer.evaluation.metrics import METRICS
from keras_transfer.evaluation.testing import holm, permutation_test

ONE = LabelSpace(MULTILABEL, ("a",))


def predictions(label, logits, ids=None):
    n = len(label)
    ids = np.array([f"id{i:03d}" for i in range(n)]) if ids is None else ids
    return Predictions(ids, label, np.asarray(logits, np.float32), np.ones(n, np.float32))


def two_models(seed, n, effect=0.0):
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 2).astype(np.float32)
    shared = rng.normal(size=n) + label
    first = shared + effect * label + 0.5 * rng.normal(size=n)
    second = shared + 0.5 * rng.normal(size=n)
    return predictions(label[:, None], first[:, None]), predictions(label[:, None], second[:, None])


def brute(first, second, unit, function):
    """p of all exchanges, on ranks, with a metric of scikit-learn."""
    label = first.label[:, 0]
    a, b = (scipy.stats.rankdata(p.logits[:, 0]) for p in (first, second))
    units = unit.max() + 1
    found = []
    for bits in range(2**units):
        swap = (bits >> unit & 1).astype(bool)
        one, two = np.where(swap, b, a), np.where(swap, a, b)
        found.append(function(label, one) - function(label, two))
    found = np.array(found)
    return found[0], np.mean(np.abs(found) >= abs(found[0]) - 1e-12)


@pytest.mark.parametrize("count", [7, 24])
def test_exact_p_equals_enumeration_with_scikit_learn(count):
    first, second = two_models(1, count, effect=1.0)
    unit = np.arange(count) % 7
    exact = permutation_test(first, second, ONE, unit, permutations=128)
    assert exact.exact and exact.permutations == 128
    for name, function in (
        ("auc/a", roc_auc_score),
        ("average_precision/a", average_precision_score),
    ):
        i = exact.names.index(name)
        difference, p = brute(first, second, unit, function)
        assert exact.difference[i] == pytest.approx(difference)
        assert exact.p[i] == pytest.approx(p)


def test_accuracy_equals_scipy():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 10)
    one, two = (rng.normal(size=(10, 3)) + w * np.eye(3)[label] for w in (2, 0.5))
    first, second = predictions(label, one), predictions(label, two)
    space = LabelSpace(MULTICLASS, ("a", "b", "c"))
    found = permutation_test(first, second, space, np.arange(10), permutations=1024)
    right = [(logits.argmax(1) == label).astype(float) for logits in (one, two)]
    expected = scipy.stats.permutation_test(
        right,
        lambda x, y: np.mean(x) - np.mean(y),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert found.exact
    i = found.names.index("accuracy")
    assert found.difference[i] == pytest.approx(expected.statistic)
    assert found.p[i] == pytest.approx(expected.pvalue)


def test_random_exchanges_come_near_the_exact_p_and_are_never_zero():
    first, second = two_models(3, 24, effect=0.7)
    unit = np.arange(24) % 12
    exact = permutation_test(first, second, ONE, unit, permutations=4096)
    random = permutation_test(first, second, ONE, unit, permutations=4000)
    assert exact.exact and not random.exact
    error = np.sqrt(exact.p * (1 - exact.p) / 4000)
    assert (np.abs(random.p - exact.p) <= 4 * error + 1 / 4000).all()
    far = predictions(first.label, 9 * (first.label - 0.5))
    near = predictions(first.label, np.random.default_rng(0).normal(size=(24, 1)))
    sure = permutation_test(far, near, ONE, np.arange(24), permutations=99)
    assert sure.p[sure.names.index("auc/a")] == pytest.approx(0.01)


def test_p_is_uniform_if_models_do_not_differ():
    p = []
    for seed in range(300):
        first, second = two_models(seed, 30)
        found = permutation_test(
            first, second, ONE, np.arange(30) // 2, permutations=99, seed=seed,
            metrics={"auc": METRICS.get("auc")},
        )  # fmt: skip
        p.append(found.p[0])
    # 15 of 300 expected at 5 %, standard deviation 3.8.
    assert 3 <= (np.array(p) <= 0.05).sum() <= 28
    assert np.mean(p) == pytest.approx(0.5, abs=4 * 0.29 / np.sqrt(300))


def test_scores_that_are_shifted_are_no_difference_of_ranks():
    first, _ = two_models(0, 40)
    second = predictions(first.label, first.logits + 3)
    found = permutation_test(first, second, ONE, np.arange(40), permutations=200)
    p = dict(zip(found.names, found.p))
    assert p["auc/a"] == p["average_precision/a"] == 1
    assert p["loss"] < 0.05


def test_whole_patients_are_exchanged():
    """Four copies of each example prove no more than one."""
    first, second = two_models(5, 20, effect=0.8)
    label = np.repeat(first.label, 4, axis=0)
    copies = [predictions(label, np.repeat(p.logits, 4, axis=0)) for p in (first, second)]
    alone = permutation_test(first, second, ONE, np.arange(20), permutations=999)
    patients = permutation_test(*copies, ONE, np.repeat(np.arange(20), 4), permutations=999)
    naive = permutation_test(*copies, ONE, np.arange(80), permutations=999)
    i = alone.names.index("auc/a")
    assert patients.p[i] == pytest.approx(alone.p[i])
    assert naive.p[i] < 0.5 * alone.p[i]


def test_holm_on_published_numbers():
    # Wikipedia, "Holm-Bonferroni method", worked example: H4 and H1 are rejected at 0.05.
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.02])), [0.5, np.nan, 0.04])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.array([])).shape == (0,)


def slow_holm(p):
    """Smallest alpha at which the step-down procedure rejects, tried out."""

    def rejected(alpha):
        out, left = set(), sorted(range(len(p)), key=lambda i: p[i])
        while left and p[left[0]] * len(left) <= alpha * (1 + 1e-12):
            out.add(left.pop(0))
        return out

    candidates = sorted({min(p[i] * k, 1.0) for i in range(len(p)) for k in range(1, len(p) + 1)})
    found = [next((a for a in candidates if i in rejected(a)), 1.0) for i in range(len(p))]
    return found


def test_holm_equals_the_procedure_and_statsmodels():
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 9):
        p = np.round(rng.random(count) ** 3, 2)
        np.testing.assert_allclose(holm(p), slow_holm(p.tolist()))
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_pair_aligns_by_id():
    first, second = two_models(0, 12)
    order = np.random.default_rng(0).permutation(12)
    one, two = pairing.pair(first, second.select(order))
    np.testing.assert_array_equal(one.example_id, two.example_id)
    np.testing.assert_array_equal(two.logits, second.logits)


def test_pair_refuses_other_examples_and_labels():
    first, second = two_models(0, 12)
    with pytest.raises(UserError, match=r"2 only in the first \(such as 'id000'\)"):
        pairing.pair(first, second.select(np.arange(2, 12)))
    changed = second.label.copy()
    changed[3] = np.nan
    with pytest.raises(UserError, match=r"1 examples have different labels.*'id003'"):
        pairing.pair(first, predictions(changed, second.logits))
    with pytest.raises(UserError, match="only one has b"):
        pairing.same_labels(ONE, LabelSpace(MULTILABEL, ("a", "b")))
    with pytest.raises(UserError, match="permutations"):
        testing.permutation_test(first, second, ONE, np.arange(12), permutations=0)
