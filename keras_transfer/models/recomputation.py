"""Less memory for more time: activations that the backward pass computes again."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def recomputed(
    layer: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, weights: Sequence[keras.Variable]
) -> tf.Tensor:
    """Calls a layer of which the backward pass keeps nothing but the input.

    What the gradient needs is computed again from the input when its turn comes; values and
    gradients are those of ``layer(x)`` up to rounding.

    Reference: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174).

    Args:
        layer: A built layer or a part of one; deterministic, and without updates of its own.
        x: Its only input.
        weights: All variables that it reads.

    Returns:
        ``layer(x)``.
    """

    @tf.recompute_grad
    def call(x: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
        # Standardising depends on no activation: without this order the executor would do it for
        # all kernels of the network at the start of a step, and hold them all.
        with tf.control_dependencies([x]):
            gated = [tf.identity(value) for value in values]
        with keras.StatelessScope(zip(weights, gated)):
            return layer(x)

    # Weights are arguments: with captured variables the order above would be a cycle.
    return call(x, *(tf.convert_to_tensor(weight) for weight in weights))
