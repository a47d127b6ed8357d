"""Mixup: its arithmetic, unknown labels, independence of slicing, and the Beta distribution."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from keras_transfer.core.errors import UserError
from keras_transfer.data.mixup import beta, mixup

SEED = tf.constant([1, 2])
NAN = np.nan


def _batch(size: int = 8, label: np.ndarray | None = None) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    label = np.arange(size, dtype=np.int32) % 5 if label is None else label
    weight = np.ones(label.shape) if label.ndim == 1 else ~np.isnan(label)
    return {
        "image": tf.constant(rng.normal(size=(size, 4, 3, 3)), tf.float32),
        "label": tf.constant(label),
        "weight": tf.constant(weight, tf.float32),
        "index": tf.range(size),
    }


def test_arithmetic():
    batch, share = _batch(), beta(SEED, 0.4).numpy()
    assert 0.01 < share < 0.99
    mixed = mixup(batch, 0.4, SEED, num_classes=5)
    image, target = batch["image"].numpy(), np.eye(5)[batch["label"].numpy()]
    partner = [1, 0, 3, 2, 5, 4, 7, 6]
    for key, value in (("image", image), ("label", target)):
        expected = share * value + (1 - share) * value[partner]
        assert mixed[key].dtype == tf.float32
        np.testing.assert_allclose(mixed[key], expected, atol=1e-6)
    np.testing.assert_array_equal(mixed["weight"], np.ones(8))
    np.testing.assert_array_equal(mixed["index"], np.arange(8))


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_slices_of_even_size_give_the_same_global_batch(pieces):
    batch = _batch()
    whole = mixup(batch, 0.2, SEED, num_classes=5)
    cuts = [{k: tf.split(v, pieces)[i] for k, v in batch.items()} for i in range(pieces)]
    parts = [mixup(cut, 0.2, SEED, num_classes=5) for cut in cuts]
    for key in whole:
        np.testing.assert_array_equal(tf.concat([p[key] for p in parts], 0), whole[key])


def test_graph_and_map_give_the_same():
    batch = _batch()
    expected = mixup(batch, 0.2, SEED, num_classes=5)
    mapped = tf.data.Dataset.from_tensors(batch).map(lambda b: mixup(b, 0.2, SEED, num_classes=5))
    graph = tf.function(lambda b: mixup(b, 0.2, SEED, num_classes=5))(batch)
    for key, value in next(iter(mapped)).items():
        np.testing.assert_array_equal(value, expected[key])
        np.testing.assert_array_equal(graph[key], expected[key])


def test_unknown_labels_stay_unknown():
    label = np.array([[1, NAN, 0], [0, 1, 0], [1, 1, NAN], [0, NAN, NAN]], np.float32)
    mixed = mixup(_batch(4, label), 0.5, SEED)
    share = beta(SEED, 0.5).numpy()
    expected = np.array(
        [[share, NAN, 0], [1 - share, NAN, 0], [share, NAN, NAN], [1 - share, NAN, NAN]]
    )
    np.testing.assert_allclose(mixed["label"], expected, atol=1e-6)
    np.testing.assert_array_equal(mixed["weight"], ~np.isnan(expected))


def test_an_unknown_label_weighs_nothing_whatever_the_weights_say():
    label = np.array([[1, NAN], [0, 1]], np.float32)
    batch = _batch(2, label) | {"weight": tf.ones([2, 2])}
    np.testing.assert_array_equal(mixup(batch, 0.5, SEED)["weight"], [[1, 0], [1, 0]])


def test_weights():
    batch = _batch(4) | {"weight": tf.constant([1.0, 0.0, 3.0, 1.0])}
    share = beta(SEED, 0.5).numpy()
    expected = [0, 0, 3 * share + (1 - share), share + 3 * (1 - share)]
    result = mixup(batch, 0.5, SEED, num_classes=5)["weight"]
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    # One weight per image stays one, whatever the labels are.
    label = np.array([[1, NAN], [0, 1]], np.float32)
    batch = _batch(2, label) | {"weight": tf.ones([2])}
    np.testing.assert_array_equal(mixup(batch, 0.5, SEED)["weight"], [1, 1])


def test_errors():
    with pytest.raises(UserError, match="even, got 7"):
        mixup(_batch(7), 0.1, SEED, num_classes=5)
    with pytest.raises(UserError, match="alpha must be above 0"):
        mixup(_batch(), 0.0, SEED, num_classes=5)
    with pytest.raises(UserError, match="num_classes"):
        mixup(_batch(), 0.1, SEED)

    spec = {
        key: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for key, value in _batch().items()
    }
    graph = tf.function(lambda b: mixup(b, 0.1, SEED, num_classes=5), input_signature=[spec])
    assert graph(_batch(6))["label"].shape == (6, 5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="even"):
        graph(_batch(7))


def _draws(alpha: float, count: int) -> np.ndarray:
    seeds = tf.data.Dataset.range(count, output_type=tf.int32).map(lambda n: tf.stack([n, 9]))
    return np.array(list(seeds.map(lambda s: beta(s, alpha)).as_numpy_iterator()), np.float64)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 4.0])
def test_coefficient_has_the_beta_distribution(alpha):
    draws = _draws(alpha, 2000)
    # float32 has no numbers between 1 - 6e-8 and 1: compare the lower half of a symmetric law.
    folded = np.minimum(draws, 1 - draws)
    assert abs((draws > 0.5).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(draws))
    law = stats.beta(alpha, alpha)
    positive = folded[folded > 1e-7]
    share = 1 - 2 * law.cdf(1e-7)
    assert abs(len(positive) / len(folded) - share) < 4 * np.sqrt(0.25 / len(folded))
    truncated = stats.kstest(positive, lambda x: (law.cdf(x) - law.cdf(1e-7)) * 2 / share)
    assert truncated.pvalue > 1e-4


def test_coefficient_is_finite_for_tiny_alpha():
    draws = _draws(1e-4, 200)
    assert np.isfinite(draws).all()
    assert ((draws < 1e-6) | (draws > 1 - 1e-6)).mean() > 0.99
    assert 0.3 < draws.mean() < 0.7
