"""Values and hand-written gradients of GroupNorm + ReLU and weight standardisation, in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.models import layers


def _plain_standardize(kernel):
    mean, variance = tf.nn.moments(kernel, [0, 1, 2], keepdims=True)
    return (kernel - mean) / tf.sqrt(variance + 1e-10)


def _plain_group_norm_relu(x, gamma, beta, groups):
    shape = tf.shape(x)
    grouped = tf.reshape(x, [*shape[:3], groups, x.shape[-1] // groups])
    mean, variance = tf.nn.moments(grouped, [1, 2, 4], keepdims=True)
    z = tf.reshape((grouped - mean) / tf.sqrt(variance + 1e-5), shape)
    return tf.nn.relu(z * gamma + beta)


def _draw(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def _with_gradients(function, *inputs):
    """Returns the output, and the gradients of a random weighting of it."""
    inputs = [tf.constant(value) for value in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = function(*inputs)
    upstream = tf.constant(_draw(*output.shape, seed=1), output.dtype)
    return [output, *tape.gradient(output, inputs, upstream)]


def _assert_equal(ours, reference, tolerance):
    for a, b in zip(ours, reference, strict=True):
        assert a.dtype == b.dtype
        scale = max(np.abs(b).max(), 1)
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance, rtol=0)


@pytest.mark.parametrize("shape", [(7, 7, 3, 8), (1, 1, 16, 4), (3, 3, 5, 6)])
def test_standardization_equals_autodiff(shape):
    kernel = 0.05 * _draw(*shape) + 0.02
    ours = _with_gradients(layers.standardize_kernel, kernel)
    _assert_equal(ours, _with_gradients(_plain_standardize, kernel), 1e-12)


def test_standardization_where_epsilon_matters():
    kernel = 1e-5 * _draw(3, 3, 4, 2)
    ours = _with_gradients(layers.standardize_kernel, kernel)
    _assert_equal(ours, _with_gradients(_plain_standardize, kernel), 1e-12)
    constant = layers.standardize_kernel(tf.fill([1, 1, 4, 2], 3.0))
    np.testing.assert_array_equal(constant, np.zeros((1, 1, 4, 2)))


@pytest.mark.parametrize(
    "shape, groups", [((3, 5, 4, 12), 4), ((2, 1, 1, 8), 8), ((1, 6, 3, 4), 1)]
)
@pytest.mark.parametrize("offset, spread", [(0, 1), (100, 1), (0, 1e-3)])
def test_group_norm_relu_equals_autodiff(shape, groups, offset, spread):
    x = offset + spread * _draw(*shape)
    gamma, beta = 1 + 0.5 * _draw(shape[-1]), _draw(shape[-1], seed=2)
    gamma[0] = 0
    ours = _with_gradients(lambda *a: layers.group_norm_relu(*a, groups), x, gamma, beta)
    reference = _with_gradients(lambda *a: _plain_group_norm_relu(*a, groups), x, gamma, beta)
    _assert_equal(ours, reference, 1e-10)
    assert 0.05 < (ours[0].numpy() == 0).mean() < 0.95, "both sides of the ReLU must be tested"


def test_both_accept_unknown_sizes_and_xla():
    x, gamma, beta = (_draw(*s, dtype=np.float32) for s in [(2, 4, 3, 8), (8,), (8,)])

    def loss(x, gamma, beta):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layers.group_norm_relu(x, gamma, beta, 4)
        return y, tape.gradient(y, x, y)

    unknown = [tf.TensorSpec([None, None, None, 8]), tf.TensorSpec([8]), tf.TensorSpec([8])]
    expected = loss(*map(tf.constant, (x, gamma, beta)))
    for found in (
        tf.function(loss, input_signature=unknown)(x, gamma, beta),
        tf.function(loss, jit_compile=True)(*map(tf.constant, (x, gamma, beta))),
    ):
        _assert_equal([t.numpy() for t in found], [t.numpy() for t in expected], 1e-6)


@pytest.mark.parametrize("dtype, tolerance", [("bfloat16", 0.02), ("float16", 2e-3)])
def test_statistics_of_half_types_are_float32(dtype, tolerance):
    """Squares of these values overflow float16, and their sum is beyond bfloat16's digits."""
    x = tf.cast(200 + 3e4 * np.tanh(_draw(2, 40, 40, 8)), dtype)
    gamma, beta = (_draw(8, dtype=np.float32, seed=s) for s in (3, 4))
    ours = _with_gradients(lambda *a: layers.group_norm_relu(*a, 4), x, gamma, beta)
    exact = _with_gradients(
        lambda *a: _plain_group_norm_relu(*a, 4),
        *(tf.cast(t, tf.float64) for t in (x, gamma, beta)),
    )
    assert [t.dtype.name for t in ours] == [dtype, dtype, "float32", "float32"]
    _assert_equal([tf.cast(t, tf.float64) for t in ours], exact, tolerance)


def test_large_mean_keeps_its_digits():
    """float32 with a mean of 1000 standard deviations: E[x^2] - E[x]^2 would be noise."""
    x = (1000 + _draw(2, 32, 32, 8)).astype(np.float32)
    gamma, beta = np.ones(8), np.zeros(8)
    ours = layers.group_norm_relu(*map(tf.constant, (x, np.float32(gamma), np.float32(beta))), 4)
    exact = _plain_group_norm_relu(*map(tf.constant, (x.astype(np.float64), gamma, beta)), 4)
    np.testing.assert_allclose(ours, exact, atol=1e-3)


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("side", [1, 6, 7])
def test_convolution_pads_with_zeros_on_both_sides(size, strides, side):
    layer = layers.StandardizedConv2D(4, size, strides)
    x = _draw(2, side, side + 1, 3, dtype=np.float32)
    layer.build(x.shape)
    layer.kernel.assign(_draw(size, size, 3, 4))
    width = size // 2
    padded = np.pad(x, [(0, 0), (width, width), (width, width), (0, 0)])
    expected = tf.nn.conv2d(padded, _plain_standardize(layer.kernel.value), strides, "VALID")
    found = layer(x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == layer.compute_output_shape(x.shape)


def test_layers_come_back_from_their_config():
    for layer in (layers.StandardizedConv2D(8, 3, 2), layers.GroupNormReLU(4)):
        again = keras.layers.deserialize(keras.layers.serialize(layer))
        assert again.get_config() == layer.get_config()
