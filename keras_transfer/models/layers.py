"""Weight standardisation and GroupNorm with gradients written out, and the layers over them.

Both are elementwise arithmetic around a few sums, so their cost is the number of passes over
memory. Automatic differentiation keeps every intermediate tensor; the gradients here need the
input, the output and two vectors per image.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

# Reference: google-research/big_transfer, bit_tf2/models.py.
KERNEL_EPSILON = 1e-10
NORM_EPSILON = 1e-5

_Gradient = Callable[..., Any]


@tf.custom_gradient
def standardize_kernel(kernel: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
    """Gives each output channel of a kernel mean 0 and variance 1 over its inputs.

    Reference: Qiao et al. 2019 (arXiv:1903.10520), equation 5, with epsilon under the root.

    Args:
        kernel: float[H, W, I, O], float32 or float64.

    Returns:
        float[H, W, I, O]; a constant channel becomes 0.
    """
    shape = kernel.shape
    weights = tf.reshape(kernel, [-1, shape[-1]])  # [H * W * I, O]
    centred = weights - tf.reduce_mean(weights, 0, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), 0, keepdims=True)
    scale = tf.math.rsqrt(variance + KERNEL_EPSILON)  # [1, O]
    result = centred * scale

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        d = tf.reshape(upstream, [-1, shape[-1]])
        mean = tf.reduce_mean(d, 0, keepdims=True)
        slope = tf.reduce_mean(d * result, 0, keepdims=True)
        return tf.reshape((d - (result * slope + mean)) * scale, shape)

    return tf.reshape(result, shape), gradient


def group_norm_relu(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, groups: int, epsilon: float = NORM_EPSILON
) -> tf.Tensor:
    """Group normalisation followed by ReLU.

    Statistics are float32 (float64 for float64 input) whatever the type of ``x``.

    Reference: Wu and He 2018 (arXiv:1803.08494), equations 1 to 3 and 7.

    Args:
        x: float[B, H, W, C]; group g is the channels g * C / groups to (g + 1) * C / groups - 1.
        gamma: float[C], scale, in the type of the statistics.
        beta: float[C], offset, likewise.
        groups: Number of groups; divides C.
        epsilon: Added to the variance.

    Returns:
        float[B, H, W, C], in the type of ``x``.
    """

    @tf.custom_gradient
    def normalize(x, gamma, beta):
        shape = batch, height, width, channels = keras.ops.shape(x)
        rows = tf.reshape(x, [batch, height * width, channels])
        y, mean, scale = _normalize(rows, gamma, beta, groups, epsilon)

        def gradient(upstream):
            upstream = tf.reshape(upstream, [batch, height * width, channels])
            dx, dgamma, dbeta = _normalize_gradient(upstream, rows, y, gamma, mean, scale, groups)
            return tf.reshape(dx, shape), dgamma, dbeta

        return tf.reshape(y, shape), gradient

    return normalize(x, gamma, beta)


def _normalize(
    rows: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, groups: int, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the output [B, N, C], and mean and 1 / standard deviation [B, 1, C]."""
    x = tf.cast(rows, gamma.dtype)
    mean = _group_means(tf.reduce_mean(x, 1, keepdims=True), groups)
    # Two passes: E[x^2] - E[x]^2 cancels where the mean is large against the spread.
    centred = x - mean
    variance = _group_means(tf.reduce_mean(tf.square(centred), 1, keepdims=True), groups)
    scale = tf.math.rsqrt(variance + epsilon)
    y = tf.nn.relu(centred * (scale * gamma) + beta)
    return tf.cast(y, rows.dtype), mean, scale


def _normalize_gradient(
    upstream: tf.Tensor,
    rows: tf.Tensor,
    y: tf.Tensor,
    gamma: tf.Tensor,
    mean: tf.Tensor,
    scale: tf.Tensor,
    groups: int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the gradients of ``rows``, ``gamma`` and ``beta``.

    With z = (x - mean) * scale and d the gradient behind the ReLU, over a group:
    dx = scale * (gamma * d - mean(gamma * d) - z * mean(gamma * d * z)).
    """
    d = tf.cast(tf.raw_ops.ReluGrad(gradients=upstream, features=y), gamma.dtype)
    x = tf.cast(rows, gamma.dtype)
    sum_d = tf.reduce_sum(d, 1, keepdims=True)  # [B, 1, C]
    sum_dz = (tf.reduce_sum(d * x, 1, keepdims=True) - mean * sum_d) * scale
    count = tf.cast(tf.shape(x)[1], x.dtype)
    mean_d = _group_means(gamma * sum_d, groups) / count
    mean_dz = _group_means(gamma * sum_dz, groups) / count
    # The same, multiplied out, so that large tensors meet three coefficients per channel.
    slope = mean_dz * tf.square(scale)
    dx = d * (scale * gamma) - x * slope + (mean * slope - mean_d * scale)
    return tf.cast(dx, rows.dtype), tf.reduce_sum(sum_dz, [0, 1]), tf.reduce_sum(sum_d, [0, 1])


def _group_means(x: tf.Tensor, groups: int) -> tf.Tensor:
    """Replaces each channel of [B, 1, C] by the mean over its group."""
    grouped = tf.reshape(x, [-1, groups, x.shape[-1] // groups])
    means = tf.reduce_mean(grouped, 2, keepdims=True)
    return tf.reshape(tf.broadcast_to(means, keras.ops.shape(grouped)), keras.ops.shape(x))


def _convolve(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """Convolution with a square odd kernel and kernel // 2 zeros on every side."""
    size, _, channels, filters = kernel.shape
    if size == 1:
        # A product of matrices: on a CPU faster than the same convolution.
        x = x[:, ::stride, ::stride] if stride > 1 else x
        matrix = tf.reshape(kernel, [channels, filters])
        y = tf.matmul(tf.reshape(x, [-1, channels]), matrix)
        return tf.reshape(y, [*keras.ops.shape(x)[:-1], filters])
    if stride == 1:
        return tf.nn.conv2d(x, kernel, 1, "SAME")
    # "SAME" pads strided convolutions on one side only, and explicit padding is slow on CPUs.
    return tf.nn.conv2d(pad(x, size // 2), kernel, stride, "VALID")


def pad(x: tf.Tensor, width: int) -> tf.Tensor:
    """Puts zeros around [B, H, W, C]."""
    return tf.pad(x, [[0, 0], [width, width], [width, width], [0, 0]])


@keras.saving.register_keras_serializable("keras_transfer")
class StandardizedConv2D(keras.layers.Layer):
    """2-D convolution with a standardised kernel, zero padding and no bias.

    The raw kernel is the variable that is trained and stored. It stays float32 under mixed
    precision: it is standardised first and cast afterwards.

    Args:
        filters: Number of output channels.
        kernel_size: Side of the square kernel, odd; kernel_size // 2 zeros are put on every side.
        strides: Stride in both directions.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the kernel float32[kernel_size, kernel_size, channels, filters]."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], self.filters),
            initializer="zeros",
            autocast=False,
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Convolves [B, H, W, channels] to [B, ceil(H / strides), ceil(W / strides), filters]."""
        kernel = standardize_kernel(tf.convert_to_tensor(self.kernel))
        return _convolve(x, tf.cast(kernel, x.dtype), self.strides)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns (B, ceil(H / strides), ceil(W / strides), filters)."""
        batch, *sides, _ = input_shape
        return (batch, *(halve(side, self.strides) for side in sides), self.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
        }


def halve(side: int | None, stride: int = 2) -> int | None:
    """Returns the side of the output of a strided, padded layer; None stays unknown."""
    return None if side is None else -(-side // stride)


@keras.saving.register_keras_serializable("keras_transfer")
class GroupNormReLU(keras.layers.Layer):
    """Group normalisation over the last axis, then ReLU.

    Scale, offset and statistics are float32 under mixed precision.

    Args:
        groups: Number of groups; divides the channels.
    """

    def __init__(self, groups: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates scale and offset, float32[C]."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones", autocast=False)
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros", autocast=False)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Normalises [B, H, W, C]."""
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        return group_norm_relu(x, gamma, beta, self.groups)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return super().get_config() | {"groups": self.groups}
