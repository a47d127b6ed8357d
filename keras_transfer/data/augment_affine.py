"""Random shift, rotation and scaling in one interpolation, mirrored beyond the image's edge."""

import math

import tensorflow as tf

from keras_transfer.data.augment_ops import register, require, uniform

FILLS = ("reflect", "nearest", "constant")


@register("random_affine")
def random_affine(
    image: tf.Tensor,
    seed: tf.Tensor,
    *,
    shift: float = 0.25,
    rotate: float = 45.0,
    scale: tuple[float, float] = (0.9, 1.1),
    fill: str = "reflect",
    p: float = 1.0,
) -> tf.Tensor:
    """Shifts, rotates and scales an image by random amounts, bilinearly.

    The defaults are those of the authors' chest X-ray recipe, albumentations' ShiftScaleRotate.

    Args:
        image: uint8 (the result is rounded) or float32[H, W, C], normalised or not.
        seed: int32[2].
        shift: Largest shift along either axis, as a share of that side.
        rotate: Largest angle, in degrees, either way.
        scale: Smallest and largest factor.
        fill: What lies outside: reflect (mirrored at the centre of the edge pixels, OpenCV's
            BORDER_REFLECT_101), nearest (the edge pixel) or constant (0: black in pixels).
        p: Probability of doing anything.

    Reference: albumentations 0.5.2, ShiftScaleRotate; its centre, (W / 2, H / 2) in pixel indices,
    half a pixel off the middle, is kept. The authors' values: spec upstream.md 1.1.
    """
    require(0 <= shift <= 1, f"shift must be in [0, 1], got {shift!r}")
    require(0 < scale[0] <= scale[1], f"scale must be (low, high), 0 < low <= high, got {scale!r}")
    require(fill in FILLS, f"fill must be one of {', '.join(FILLS)}, got {fill!r}")
    require(0 <= p <= 1, f"p must be a probability, got {p!r}")
    draws = uniform(seed, [5])
    offset = shift * (2 * draws[0:2] - 1)  # x, y
    angle = math.radians(rotate) * (2 * draws[2] - 1)
    factor = scale[0] + (scale[1] - scale[0]) * draws[3]

    def apply() -> tf.Tensor:
        matrix = _inverse_matrix(tf.shape(image)[:2], offset, angle, factor)
        return warp(image, matrix, fill)

    return apply() if p == 1 else tf.cond(draws[4] < p, apply, lambda: image)


def warp(image: tf.Tensor, matrix: tf.Tensor, fill: str) -> tf.Tensor:
    """Reads each pixel of the result at an affine function of its place, bilinearly.

    Args:
        image: uint8 or float32[H, W, C].
        matrix: float32[2, 3]: result (x, y) -> source (x, y), in pixel indices.
        fill: One of ``FILLS``.

    Returns:
        Shape and dtype of ``image``.
    """
    pixels = tf.cast(image, tf.float32)
    shape = tf.shape(image)[:2]
    if fill == "reflect":
        # TensorFlow's own REFLECT doubles the edge pixel (dcba|abcd|dcba), so the image is extended
        # as far as the result reaches. It stays transposed after that: the matrix swaps the axes
        # back, which is cheaper than transposing a second time.
        corners = _transform(matrix, tf.cast(shape, tf.float32))  # [4, 2] x, y
        low = tf.minimum(_floor(tf.reduce_min(corners, axis=0)), 0)
        high = tf.maximum(_floor(tf.reduce_max(corners, axis=0)) + 1, tf.reverse(shape, [0]) - 1)
        pixels = tf.gather(pixels, _mirror(low[1], high[1], shape[0]), axis=0)
        pixels = tf.transpose(pixels, [1, 0, 2])
        pixels = tf.gather(pixels, _mirror(low[0], high[0], shape[1]), axis=0)
        matrix = matrix - tf.cast(low, tf.float32)[:, None] * [0.0, 0.0, 1.0]
        matrix = tf.reverse(matrix, [0])
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=tf.pad(tf.reshape(matrix, [1, 6]), [[0, 0], [0, 2]]),
        output_shape=shape,
        interpolation="BILINEAR",
        fill_mode="NEAREST" if fill == "nearest" else "CONSTANT",
        fill_value=0.0,
    )[0]
    if image.dtype != tf.float32:
        warped = tf.saturate_cast(tf.round(warped), image.dtype)
    return tf.ensure_shape(warped, image.shape)


def _inverse_matrix(
    shape: tf.Tensor, offset: tf.Tensor, angle: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    """Returns float32[2, 3], the inverse of: scale and rotate about the centre, then shift.

    Args:
        shape: int32[2], height and width.
        offset: float32[2], shift along x and y as shares of the sides.
        angle: Radians, counter-clockwise on the screen.
        factor: Scale.
    """
    size = tf.reverse(tf.cast(shape, tf.float32), [0])  # width, height
    centre = 0.5 * size
    cos, sin = tf.cos(angle) / factor, tf.sin(angle) / factor
    linear = tf.reshape(tf.stack([cos, -sin, sin, cos]), [2, 2])
    constant = centre - tf.linalg.matvec(linear, centre + offset * size)
    return tf.concat([linear, constant[:, None]], axis=1)


def _transform(matrix: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns float32[4, 2]: where the corners of an image of size (H, W) are read, x and y."""
    bottom, right = tf.unstack(size - 1)
    corners = tf.stack(
        [[0.0, 0.0, 1.0], [right, 0.0, 1.0], [0.0, bottom, 1.0], [right, bottom, 1.0]]
    )
    return tf.linalg.matmul(corners, matrix, transpose_b=True)


def _mirror(low: tf.Tensor, high: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns indices low..high mirrored into 0..count-1 at both ends (gfedcb|abcdefgh|gfedcba)."""
    period = tf.maximum(2 * (count - 1), 1)
    index = tf.math.floormod(tf.range(low, high + 1), period)
    return tf.minimum(index, period - index)


def _floor(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.floor(x), tf.int32)
