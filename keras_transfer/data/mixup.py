"""Mixup of a batch: convex combinations of neighbouring examples and of their labels."""

import tensorflow as tf

from keras_transfer.core.errors import UserError


def mixup(
    batch: dict[str, tf.Tensor],
    alpha: float,
    seed: tf.Tensor,
    *,
    num_classes: int | None = None,
) -> dict[str, tf.Tensor]:
    """Mixes example 2i with example 2i + 1 by one coefficient drawn from Beta(alpha, alpha).

    Every piece of a global batch (a worker's, a replica's, a micro-batch) that is given the same
    seed draws the same coefficient, and pieces of even size keep the pairs: the result does not
    depend on how the global batch is cut.

    Args:
        batch: ``image`` float32[B, H, W, C]; ``label`` int32[B], or float32[B, C] of targets with
            NaN = unknown; ``weight`` float32[B] or float32[B, C]. B is even.
        alpha: Shape of the Beta distribution, above 0; BiT uses 0.1.
        seed: int32[2], derived from the run's seed and the step.
        num_classes: Number of classes; needed for int32 labels.

    Returns:
        The batch with mixed ``image``, ``label`` float32[B, C] and ``weight``. What is unknown in
        one of the two is unknown in the mixture: label NaN, and weight 0 where either weight is 0
        or, with one weight per label, where the label is NaN. Other entries stay.

    Reference: Zhang et al. 2018, mixup (arXiv:1710.09412); Kolesnikov et al. 2020, BiT, section 3.
    Differs from BiT: its TensorFlow code pairs the batch with its reverse, its PyTorch code with a
    random permutation; both depend on how the batch is cut.
    """
    if not alpha > 0:
        raise UserError(f"mixup: alpha must be above 0, got {alpha!r}; leave mixup out instead.")
    image, weight = _even(batch["image"]), batch["weight"]
    label = _targets(batch["label"], num_classes)
    share = beta(seed, alpha)
    partner = tf.bitwise.bitwise_xor(tf.range(tf.shape(image)[0]), 1)

    def mix(x: tf.Tensor) -> tf.Tensor:
        return share * x + (1 - share) * tf.gather(x, partner)

    mixed_label = mix(label)
    known = (weight > 0) & (tf.gather(weight, partner) > 0)
    if weight.shape.rank == label.shape.rank:
        known &= ~tf.math.is_nan(mixed_label)
    return batch | {
        "image": mix(image),
        "label": mixed_label,
        "weight": tf.where(known, mix(weight), 0.0),
    }


def beta(seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws one float32 from Beta(alpha, alpha); safe for any alpha > 0.

    X / (X + Y) with X, Y ~ Gamma(alpha), taken in logarithms: with a small alpha both underflow to
    0. log X is drawn as log Gamma(alpha + 1) + log(U) / alpha.

    Reference: Marsaglia and Tsang 2000, A simple method for generating gamma variables, section 6.

    Args:
        seed: int32[2].
        alpha: Shape.
    """
    seeds = tf.random.split(seed, 2, alg="philox")
    gammas = tf.random.stateless_gamma([2], seeds[0], alpha + 1, dtype=tf.float64)
    draws = tf.random.stateless_uniform([2], seeds[1], dtype=tf.float64, alg="philox")
    log_x, log_y = tf.unstack(tf.math.log(gammas) + tf.math.log1p(-draws) / alpha)
    return tf.cast(tf.sigmoid(log_x - log_y), tf.float32)


def _even(image: tf.Tensor) -> tf.Tensor:
    """Returns the images; a batch without a partner for its last example is an error."""
    size = image.shape[0]
    if size is None:
        message = "mixup pairs neighbours: the batch must be even"
        check = tf.debugging.assert_equal(tf.shape(image)[0] % 2, 0, message=message)
        with tf.control_dependencies([check]):
            return tf.identity(image)
    if size % 2:
        raise UserError(f"mixup pairs neighbours: the batch must be even, got {size} examples.")
    return image


def _targets(label: tf.Tensor, num_classes: int | None) -> tf.Tensor:
    """Returns labels as float32[B, C]."""
    if label.dtype.is_floating:
        return label
    if num_classes is None:
        raise UserError("mixup: num_classes is needed to mix class numbers.")
    return tf.one_hot(label, num_classes)
