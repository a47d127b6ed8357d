"""Metrics against scikit-learn, and their rules about what is unknown or undefined."""

import time

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn import metrics as sk

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.evaluation import Predictions, compute, metrics

TOLERANCE = 1e-9


def space(task, count):
    return LabelSpace(task, tuple(f"c{i}" for i in range(count)))


def predictions(label, logits, weight=None):
    n = len(logits)
    return Predictions(
        example_id=np.array([f"id{i}" for i in range(n)]),
        label=np.asarray(label),
        logits=np.asarray(logits, np.float32),
        weight=np.ones(n, np.float32) if weight is None else np.asarray(weight, np.float32),
    )


def random_multiclass(seed, n=200, classes=7, ties=False):
    rng = np.random.default_rng(seed)
    label = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[label]
    return label, np.round(logits * 2) / 2 if ties else logits


def random_multilabel(seed, n=200, classes=6, ties=False):
    rng = np.random.default_rng(seed)
    label = (rng.random((n, classes)) < rng.uniform(0.1, 0.6, classes)).astype(np.float32)
    logits = rng.normal(size=(n, classes)) + label - 0.5
    label[rng.random((n, classes)) < 0.3] = np.nan
    return label, np.round(logits * 2) / 2 if ties else logits


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_multiclass_equals_scikit_learn(seed, ties):
    label, logits = random_multiclass(seed, ties=ties)
    report = compute(predictions(label, logits), space(MULTICLASS, 7))
    exact = logits.astype(np.float32).astype(np.float64)
    scores = softmax(exact, axis=1)
    predicted = exact.argmax(axis=1)
    truth = np.eye(7)[label]
    expected = {
        "accuracy": sk.accuracy_score(label, predicted),
        "loss": sk.log_loss(label, scores, labels=range(7)),
        "mean_auc": sk.roc_auc_score(truth, scores, average="macro"),
        "mean_average_precision": sk.average_precision_score(truth, scores, average="macro"),
    }
    for name, function in (
        ("precision", sk.precision_score),
        ("recall", sk.recall_score),
        ("f1", sk.f1_score),
    ):
        rest = {"labels": range(7), "zero_division": 0}
        expected[f"macro_{name}"] = function(label, predicted, average="macro", **rest)
        for c, value in enumerate(function(label, predicted, average=None, **rest)):
            expected[f"{name}/c{c}"] = value
    for c in range(7):
        expected[f"auc/c{c}"] = sk.roc_auc_score(truth[:, c], scores[:, c])
        expected[f"average_precision/c{c}"] = sk.average_precision_score(truth[:, c], scores[:, c])
    if not ties:  # scikit-learn breaks ties of the k-th place by column, in favour of later ones
        expected["top_5_accuracy"] = sk.top_k_accuracy_score(label, scores, k=5, labels=range(7))
    else:
        report.values.pop("top_5_accuracy")
    assert report.values == pytest.approx(expected, abs=TOLERANCE)
    assert not report.undefined and not report.omitted and report.num_examples == 200


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_multilabel_equals_scikit_learn_on_known_entries(seed, ties):
    label, logits = random_multilabel(seed, ties=ties)
    report = compute(predictions(label, logits), space(MULTILABEL, 6))
    exact = logits.astype(np.float32).astype(np.float64)
    scores = expit(exact)
    known = ~np.isnan(label)
    rest = {"zero_division": 0}
    per_class = {"auc": [], "average_precision": [], "precision": [], "recall": [], "f1": []}
    for c in range(6):
        y, s = label[known[:, c], c].astype(int), scores[known[:, c], c]
        per_class["auc"].append(sk.roc_auc_score(y, s))
        per_class["average_precision"].append(sk.average_precision_score(y, s))
        per_class["precision"].append(sk.precision_score(y, s > 0.5, **rest))
        per_class["recall"].append(sk.recall_score(y, s > 0.5, **rest))
        per_class["f1"].append(sk.f1_score(y, s > 0.5, **rest))
    expected = {f"{k}/c{c}": v for k, values in per_class.items() for c, v in enumerate(values)}
    for name, values in per_class.items():
        mean = "mean_" if name in ("auc", "average_precision") else "macro_"
        expected[mean + name] = np.mean(values)
    expected["accuracy"] = sk.accuracy_score(label[known], (scores > 0.5)[known])
    expected["loss"] = sk.log_loss(label[known], scores[known])
    assert report.values == pytest.approx(expected, abs=TOLERANCE)


def test_two_classes_are_each_measured_against_the_other():
    label, logits = random_multiclass(0, classes=2)
    values = compute(predictions(label, logits), space(MULTICLASS, 2)).values
    score = 1 / (1 + np.exp(logits[:, 0].astype(np.float32) - logits[:, 1].astype(np.float32)))
    assert values["auc/c1"] == pytest.approx(sk.roc_auc_score(label, score), abs=TOLERANCE)
    assert values["mean_auc"] == pytest.approx(values["auc/c1"], abs=TOLERANCE)


def test_class_with_one_label_value_is_nan_named_and_left_out_of_the_mean():
    label, logits = random_multilabel(1, classes=4)
    label[:, 1] = np.where(np.isnan(label[:, 1]), np.nan, 0)  # only negatives
    label[:, 2] = np.where(np.isnan(label[:, 2]), np.nan, 1)  # only positives
    label[:, 3] = np.nan  # nothing known
    report = compute(predictions(label, logits), space(MULTILABEL, 4))
    values = report.values
    assert report.undefined == {
        "auc": ["c1", "c2", "c3"],
        "average_precision": ["c1", "c3"],
        "precision": ["c3"],
        "recall": ["c3"],
        "f1": ["c3"],
    }
    assert np.isnan([values["auc/c1"], values["auc/c2"], values["average_precision/c3"]]).all()
    assert values["mean_auc"] == values["auc/c0"]
    assert values["average_precision/c2"] == 1
    both = (values["average_precision/c0"] + 1) / 2
    assert values["mean_average_precision"] == pytest.approx(both, abs=TOLERANCE)
    assert values["recall/c1"] == 0


def test_mean_over_no_class_is_nan():
    report = compute(predictions(np.zeros(5, int), np.ones((5, 2))), space(MULTICLASS, 2))
    assert np.isnan(report.values["mean_auc"])
    assert report.undefined["auc"] == ["c0", "c1"]
    assert report.values["mean_average_precision"] == 1 and report.values["accuracy"] == 1


def test_absent_class_of_a_multiclass_split():
    label, logits = random_multiclass(3, classes=7)
    label[label == 6] = 0
    report = compute(predictions(label, logits), space(MULTICLASS, 7))
    assert report.undefined == {"auc": ["c6"], "average_precision": ["c6"]}
    six = [report.values[f"auc/c{c}"] for c in range(6)]
    assert report.values["mean_auc"] == pytest.approx(np.mean(six), abs=TOLERANCE)


def test_rows_and_entries_of_weight_zero_do_not_count():
    label, logits = random_multilabel(2)
    rng = np.random.default_rng(0)
    kept = rng.random(len(label)) < 0.7
    weight = np.repeat(kept[:, None], 6, axis=1) & ~np.isnan(label)
    poison = np.where(kept[:, None], logits, 1e6)
    one = compute(predictions(label[kept], logits[kept]), space(MULTILABEL, 6))
    by_entry = compute(predictions(np.nan_to_num(label), poison, weight), space(MULTILABEL, 6))
    by_row = compute(predictions(label, poison, kept), space(MULTILABEL, 6))
    assert by_row == one
    assert by_entry.values == one.values


@pytest.mark.parametrize("task", [MULTICLASS, MULTILABEL])
def test_order_of_examples_does_not_matter(task):
    label, logits = (random_multiclass if task == MULTICLASS else random_multilabel)(5)
    labels = space(task, logits.shape[1])
    order = np.random.default_rng(1).permutation(len(label))
    one = compute(predictions(label, logits), labels).values
    other = compute(predictions(label[order], logits[order]), labels).values
    assert one == pytest.approx(other, abs=1e-12)


def test_top_5_needs_six_classes():
    label, logits = random_multiclass(0, classes=5)
    report = compute(predictions(label, logits), space(MULTICLASS, 5))
    assert "top_5_accuracy" not in report.values
    assert report.omitted == {"top_5_accuracy": "needs at least 6 classes, got 5"}


def test_network_that_says_nothing_gains_nothing():
    """A zero head must not get top-5 for free: ties go to the lower class, as in argmax."""
    label = np.repeat(np.arange(10), 3)
    values = compute(predictions(label, np.zeros((30, 10))), space(MULTICLASS, 10)).values
    assert values["accuracy"] == pytest.approx(0.1)
    assert values["top_5_accuracy"] == pytest.approx(0.5)
    assert values["mean_auc"] == 0.5
    assert values["loss"] == pytest.approx(np.log(10))


def test_large_logits_do_not_overflow():
    label = np.array([[1.0, 0.0]], np.float32)
    values = compute(predictions(label, [[-2000.0, -2000.0]]), space(MULTILABEL, 2)).values
    assert values["loss"] == pytest.approx(1000)
    one = compute(predictions(np.array([1]), [[1000.0, -1000.0]]), space(MULTICLASS, 2))
    assert one.values["loss"] == pytest.approx(2000)


def test_summary_holds_no_class_and_directions_are_known():
    label, logits = random_multiclass(0)
    report = compute(predictions(label, logits), space(MULTICLASS, 7))
    assert set(report.summary) == {
        "accuracy", "top_5_accuracy", "loss", "mean_auc", "mean_average_precision",
        "macro_precision", "macro_recall", "macro_f1",
    }  # fmt: skip
    assert all(metrics.find(name).higher_is_better for name in report.values if name != "loss")
    assert not metrics.find("loss").higher_is_better and not metrics.find("loss").percent
    with pytest.raises(UserError, match=r"'mean_acu'\. Did you mean 'mean_auc'"):
        metrics.find("mean_acu")
    with pytest.raises(UserError, match="accuracy/c0"):
        metrics.find("accuracy/c0")
    with pytest.raises(UserError, match="Unknown metric 'auc'"):
        metrics.find("auc")


@pytest.mark.parametrize("name", metrics.METRICS.names())
def test_every_metric_is_best_for_a_perfect_answer(name):
    """Contract of the registry: holds for metrics added later by their being registered."""
    metric = metrics.METRICS.get(name)
    for task in metric.tasks:
        make = random_multiclass if task == MULTICLASS else random_multilabel
        label, logits = make(7)
        truth = np.eye(7)[label] if task == MULTICLASS else label
        right = np.where(np.isnan(truth), 0, 40 * (truth - 0.5))
        got = [
            metric.function(metrics.Evidence(predictions(label, z)))
            for z in (right, logits, -right)
        ]
        perfect, noisy, wrong = (np.mean(value) for value in got)
        assert np.shape(got[0]) == ((truth.shape[1],) if metric.mean else ())
        order = [wrong, noisy, perfect]
        assert order == sorted(order, reverse=not metric.higher_is_better) and wrong != perfect
        assert not metric.percent or (wrong >= 0 and abs(perfect - 1) < 1e-12)


def test_errors_are_one_line_and_name_the_culprit():
    label, logits = random_multiclass(0)
    broken = logits.copy()
    broken[[3, 8], 2] = np.nan
    with pytest.raises(UserError, match=r"2 of 200 examples have logits .* first 'id3'"):
        predictions(label, broken)
    with pytest.raises(UserError, match=r"1 of 200 .* outside \[0, 7\), first 'id1'"):
        predictions(np.where(np.arange(200) == 1, 7, label), logits)
    with pytest.raises(UserError, match="integers, got float64"):
        predictions(label.astype(float), logits)
    with pytest.raises(UserError, match="do not fit together"):
        predictions(label[:-1], logits)
    with pytest.raises(UserError, match="1, or 0"):
        predictions(label, logits, np.full(200, 0.5))
    with pytest.raises(UserError, match=r"multiclass over 7 classes.*multilabel with 7"):
        compute(predictions(label, logits), space(MULTILABEL, 7))
    with pytest.raises(UserError, match="No label is known"):
        compute(predictions(np.zeros(0, int), np.zeros((0, 7))), space(MULTICLASS, 7))
    with pytest.raises(UserError, match="No label is known"):
        compute(predictions(label, logits, np.zeros(200)), space(MULTICLASS, 7))
    with pytest.raises(UserError, match="labels other than 1, 0 and NaN"):
        predictions(np.full((200, 7), -1.0, np.float32), logits)
    with pytest.raises(UserError, match=r"1 examples .* first is 'id0'"):
        twice = predictions(label, logits)
        ids = twice.example_id.copy()
        ids[1] = "id0"
        Predictions(ids, twice.label, twice.logits, twice.weight)


def test_broken_logits_of_padding_are_ignored():
    label, logits = random_multiclass(0)
    logits[5], logits[6, 0] = np.nan, np.inf
    weight = ~np.isin(np.arange(200), (5, 6))
    report = compute(predictions(label, logits, weight), space(MULTICLASS, 7))
    assert report.num_examples == 198 and np.isfinite(report.values["loss"])


def test_a_thousand_classes_take_less_than_half_the_time_of_scikit_learn():
    rng = np.random.default_rng(0)
    label, logits = np.tile(np.arange(1000), 3), rng.normal(size=(3000, 1000))
    start = time.process_time()
    report = compute(predictions(label, logits), space(MULTICLASS, 1000))
    ours = time.process_time() - start
    start = time.process_time()
    for c in range(20):
        value = sk.roc_auc_score(label == c, logits[:, c])
        sk.average_precision_score(label == c, logits[:, c])
        assert 0 <= value <= 1
    theirs = (time.process_time() - start) * 50
    assert len(report.values) == 5008 and ours < theirs / 2
