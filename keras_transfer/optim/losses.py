"""Losses as (sum, normaliser) pairs, so that a mean is taken once, over the global batch."""

from collections.abc import Callable

import tensorflow as tf

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL
from keras_transfer.core.registry import Registry

# (label, logits, weight) -> (sum of the weighted losses, sum of the weights), float32 scalars.
Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

LOSSES: Registry[Loss] = Registry("task")


def for_task(task: str) -> Loss:
    """Returns the loss of ``"multiclass"`` or ``"multilabel"``."""
    return LOSSES.get(task)


@LOSSES.register(MULTICLASS)
def softmax_cross_entropy(
    label: tf.Tensor, logits: tf.Tensor, weight: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the cross-entropy of the softmax, in float32.

    Args:
        label: int[B] classes, or float[B, C] probabilities (after mixup). Ignored where ``weight``
            is 0.
        logits: float[B, C], any precision.
        weight: float[B]; 0 is padding.

    Returns:
        Sum of the weighted losses in nats, sum of the weights.
    """
    logits = tf.cast(logits, tf.float32)
    weight = tf.cast(weight, tf.float32)
    real = weight > 0
    if label.shape.rank == 1:
        # Padding may carry any class, -1 say, which the op would refuse.
        label = tf.where(real, label, tf.zeros_like(label))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)  # [B]
    else:
        _check_classes(label, logits)
        label = tf.where(real[:, tf.newaxis], tf.cast(label, tf.float32), 0.0)
        loss = tf.nn.softmax_cross_entropy_with_logits(label, logits)  # [B]
    return tf.reduce_sum(loss * weight), tf.reduce_sum(weight)


@LOSSES.register(MULTILABEL)
def masked_sigmoid_cross_entropy(
    label: tf.Tensor, logits: tf.Tensor, weight: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the cross-entropy of independent labels, in float32, over what is known.

    Reference: the authors' pretrain.py, which averages over the known entries of a local batch.
    Differs from it: the pair lets the mean be that of the global batch, and a batch without any
    known entry has sum 0 and normaliser 0, not NaN.

    Args:
        label: float[B, C] in [0, 1]; may be NaN where ``weight`` is 0, which reaches neither loss
            nor gradient.
        logits: float[B, C], any precision.
        weight: float[B, C]; 0 is unknown or padding.

    Returns:
        Sum of the weighted losses in nats, sum of the weights.
    """
    _check_classes(label, logits)
    logits = tf.cast(logits, tf.float32)
    weight = tf.cast(weight, tf.float32)
    label = tf.where(weight > 0, tf.cast(label, tf.float32), 0.0)
    loss = tf.nn.sigmoid_cross_entropy_with_logits(label, logits)  # [B, C]
    return tf.reduce_sum(loss * weight), tf.reduce_sum(weight)


def _check_classes(label: tf.Tensor, logits: tf.Tensor) -> None:
    if label.shape[-1] != logits.shape[-1]:
        raise UserError(
            f"Labels have {label.shape[-1]} classes, the model has {logits.shape[-1]} outputs."
        )
