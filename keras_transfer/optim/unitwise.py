"""The rule of adaptive gradient clipping: a unit's gradient stays small beside its weights."""

import tensorflow as tf

# Gradients below this norm are never divided by; the reference's guard against 0 / 0.
_SMALLEST_NORM = 1e-6


def unitwise_norm(x: tf.Tensor) -> tf.Tensor:
    """Computes the Euclidean norm of each unit.

    A unit is what feeds one output: a column of a Dense kernel [in, out], an output channel of a
    convolution kernel [height, width, in, out]. Scalars and vectors (bias, scale) are one unit.

    Reference: Brock et al. 2021, "High-Performance Large-Scale Image Recognition Without
    Normalization", section 4.1.
    Differs from optax: rank 3 is reduced over both leading axes (optax: over the first only), and
    kernels with a single input keep one unit per output (optax squeezes them to one vector).

    Args:
        x: Gradient or weights, in a Keras layout: outputs last.

    Returns:
        The norms, with ``x``'s rank and size 1 on the reduced axes, so that they broadcast.
    """
    x = tf.convert_to_tensor(x)
    axes = list(range(x.shape.rank - 1)) if x.shape.rank > 1 else None
    return tf.math.reduce_euclidean_norm(x, axis=axes, keepdims=True)


def clip_factor(
    gradient_norm: tf.Tensor, parameter_norm: tf.Tensor, *, clipping: float, eps: float
) -> tf.Tensor:
    """Computes what a gradient is multiplied with so that no unit is above its limit.

    Reference: Brock et al. 2021, equation 3.

    Args:
        gradient_norm: From ``unitwise_norm``.
        parameter_norm: From ``unitwise_norm``.
        clipping: Largest ratio of gradient norm to parameter norm.
        eps: Least parameter norm; lets zero-initialised weights move.

    Returns:
        The factor of each unit, in the shape of the norms: exactly 1 within the limit.
    """
    limit = clipping * tf.maximum(parameter_norm, eps)
    return tf.where(
        gradient_norm > limit,
        limit / tf.maximum(gradient_norm, _SMALLEST_NORM),
        tf.ones_like(gradient_norm),
    )


def clip_unitwise(
    gradient: tf.Tensor, parameter: tf.Tensor, *, clipping: float = 0.01, eps: float = 1e-3
) -> tf.Tensor:
    """Scales each unit of a gradient down to at most ``clipping * max(||w||, eps)``.

    Args:
        gradient: Gradient of ``parameter``; units within the limit are returned bit for bit.
        parameter: Weights, same shape.
        clipping: Largest ratio of gradient norm to parameter norm.
        eps: Least parameter norm.
    """
    norms = unitwise_norm(gradient), unitwise_norm(parameter)
    return gradient * clip_factor(*norms, clipping=clipping, eps=eps)
