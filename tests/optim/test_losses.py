import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from keras_transfer.core.errors import UserError
from keras_transfer.optim import losses

B, C = 16, 7


def _rng():
    return np.random.default_rng(0)


def _logits(scale=3.0):
    return _rng().standard_normal((B, C)).astype(np.float32) * np.float32(scale)


def _loss_and_gradient(loss, label, logits, weight):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total, normaliser = loss(tf.constant(label), logits, tf.constant(weight, tf.float32))
    assert total.dtype == normaliser.dtype == tf.float32
    return float(total), float(normaliser), tape.gradient(total, logits).numpy()


def _sigmoid_reference(label, logits, weight):
    """-[z log p + (1 - z) log(1 - p)] over the known entries, in float64."""
    x, z = logits.astype(np.float64), label.astype(np.float64)
    entry = -(z * -np.logaddexp(0, -x) + (1 - z) * -np.logaddexp(0, x))
    known = weight > 0
    return (entry[known] * weight[known]).sum()


def test_for_task():
    assert losses.for_task("multiclass") is losses.softmax_cross_entropy
    assert losses.for_task("multilabel") is losses.masked_sigmoid_cross_entropy
    with pytest.raises(UserError, match="Did you mean 'multilabel'"):
        losses.for_task("multi_label")


def test_softmax_equals_sklearn():
    label, weight = _rng().integers(0, C, B), _rng().uniform(0, 2, B)
    weight[:3] = 0
    total, normaliser, gradient = _loss_and_gradient(
        losses.softmax_cross_entropy, label, _logits(), weight
    )
    scores = np.exp(log_softmax(_logits().astype(np.float64), axis=1))
    mean = log_loss(label, scores, sample_weight=weight, labels=range(C))
    assert total / normaliser == pytest.approx(mean, rel=1e-6)
    assert normaliser == pytest.approx(weight.sum(), rel=1e-6)
    expected = (scores - np.eye(C)[label]) * weight[:, None]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_softmax_of_soft_labels():
    mixed = _rng().dirichlet(np.ones(C), B).astype(np.float32)
    weight = _rng().uniform(0, 2, B)
    total, _, _ = _loss_and_gradient(losses.softmax_cross_entropy, mixed, _logits(), weight)
    entries = -(mixed * log_softmax(_logits().astype(np.float64), axis=1)).sum(axis=1)
    assert total == pytest.approx((entries * weight).sum(), rel=1e-6)
    hard = _rng().integers(0, C, B)
    assert _loss_and_gradient(
        losses.softmax_cross_entropy, np.eye(C, dtype=np.float32)[hard], _logits(), weight
    )[0] == pytest.approx(
        _loss_and_gradient(losses.softmax_cross_entropy, hard, _logits(), weight)[0], rel=1e-6
    )


@pytest.mark.parametrize("padding", [np.full(4, -1), np.full((4, C), np.nan, np.float32)])
def test_softmax_ignores_padding(padding):
    label = _rng().integers(0, C, B)
    if padding.ndim == 2:
        label = np.eye(C, dtype=np.float32)[label]
    weight = np.float32([0] * 4 + [1] * (B - 4))
    padded = np.concatenate([padding, label[4:]])
    real = _loss_and_gradient(losses.softmax_cross_entropy, label[4:], _logits()[4:], weight[4:])
    found = _loss_and_gradient(losses.softmax_cross_entropy, padded, _logits(), weight)
    assert found[:2] == pytest.approx(real[:2], rel=1e-6)
    np.testing.assert_array_equal(found[2][:4], 0)
    np.testing.assert_allclose(found[2][4:], real[2], rtol=1e-6)


def _multilabel():
    rng = _rng()
    label = rng.integers(0, 2, (B, C)).astype(np.float32)
    weight = rng.uniform(0.5, 2, (B, C)).astype(np.float32)
    unknown = rng.uniform(size=(B, C)) < 0.4
    label[unknown], weight[unknown] = np.nan, 0
    return label, weight, unknown


def test_sigmoid_equals_the_definition_over_known_entries():
    label, weight, unknown = _multilabel()
    total, normaliser, gradient = _loss_and_gradient(
        losses.masked_sigmoid_cross_entropy, label, _logits(), weight
    )
    assert total == pytest.approx(_sigmoid_reference(label, _logits(), weight), rel=1e-6)
    assert normaliser == pytest.approx(weight[~unknown].sum(), rel=1e-6)
    x = _logits().astype(np.float64)
    expected = np.where(unknown, 0, (1 / (1 + np.exp(-x)) - np.nan_to_num(label)) * weight)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(gradient[unknown], 0)


def test_sigmoid_of_one_label_equals_sklearn():
    label, x = _multilabel()[0], _logits().astype(np.float64)
    for column in range(C):
        known = ~np.isnan(label[:, column])
        weight = np.zeros((B, C), np.float32)
        weight[known, column] = 1
        total, normaliser, _ = _loss_and_gradient(
            losses.masked_sigmoid_cross_entropy, label, _logits(), weight
        )
        score = 1 / (1 + np.exp(-x[known, column]))
        mean = log_loss(label[known, column], score, labels=[0, 1])
        assert total / normaliser == pytest.approx(mean, rel=1e-6)


def test_a_batch_without_known_labels():
    nothing = np.full((B, C), np.nan, np.float32)
    total, normaliser, gradient = _loss_and_gradient(
        losses.masked_sigmoid_cross_entropy, nothing, _logits(), np.zeros((B, C))
    )
    assert total == normaliser == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_known_label_that_is_nan_is_loud():
    label, weight, unknown = _multilabel()
    weight[unknown] = 1
    assert np.isnan(
        _loss_and_gradient(losses.masked_sigmoid_cross_entropy, label, _logits(), weight)[0]
    )


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_low_precision_logits_are_summed_in_float32(dtype):
    label, weight, _ = _multilabel()
    low = tf.cast(_logits(), dtype)
    total, normaliser = losses.masked_sigmoid_cross_entropy(
        tf.constant(label), low, tf.constant(weight)
    )
    assert total.dtype == normaliser.dtype == tf.float32
    rounded = tf.cast(low, tf.float32).numpy()
    assert float(total) == pytest.approx(_sigmoid_reference(label, rounded, weight), rel=1e-6)
    classes, ones = _rng().integers(0, C, B), tf.ones(B, dtype)
    total, normaliser = losses.softmax_cross_entropy(tf.constant(classes), low, ones)
    assert total.dtype == normaliser.dtype == tf.float32
    entries = -log_softmax(rounded.astype(np.float64), axis=1)[range(B), classes]
    assert float(total) == pytest.approx(entries.sum(), rel=1e-6)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_extreme_logits(scale):
    logits = _logits(scale)
    label, weight, _ = _multilabel()
    total, _, gradient = _loss_and_gradient(
        losses.masked_sigmoid_cross_entropy, label, logits, weight
    )
    assert total == pytest.approx(_sigmoid_reference(label, logits, weight), rel=1e-6)
    assert np.isfinite(gradient).all()
    classes = _rng().integers(0, C, B)
    total, _, gradient = _loss_and_gradient(
        losses.softmax_cross_entropy, classes, logits, np.ones(B)
    )
    entries = -log_softmax(logits.astype(np.float64), axis=1)[range(B), classes]
    assert total == pytest.approx(entries.sum(), rel=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss", [losses.softmax_cross_entropy, losses.masked_sigmoid_cross_entropy]
)
def test_wrong_number_of_classes(loss):
    with pytest.raises(UserError, match="Labels have 8 classes, the model has 7 outputs"):
        loss(tf.zeros((B, 8)), tf.zeros((B, C)), tf.ones((B,)))
