"""Sixteen photometric and geometric operations in TensorFlow, equal to Pillow's pixel for pixel.

Each takes a uint8[H, W, 3] image, its value, and float32[3] draws in [0, 1) for what is random in
it (the sign of a geometric operation; the place of a cutout), and returns an image like the first.

Reference: Pillow's ImageOps, ImageEnhance and Image.transform; Pillow 13.0 gives the same pixels.
"""

import math

import tensorflow as tf

from keras_transfer.data.augment_ops import shift_and_scale

_CUTOUT_COLOUR = (125, 123, 114)
# Luma weights of Pillow's "L" mode, over 65536, for three equal channels. Sums stay below 2 ** 24:
# they are exact in float32.
_LUMA = ((19595.0,) * 3, (38470.0,) * 3, (7471.0,) * 3)


def auto_contrast(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255."""
    low = tf.cast(tf.reduce_min(image, [0, 1]), tf.float32)
    high = tf.cast(tf.reduce_max(image, [0, 1]), tf.float32)
    low, high = tf.where(low < high, low, 0), tf.where(low < high, high, 255)
    # The small term keeps levels that are whole numbers from being truncated to the one below.
    return _to_uint8(shift_and_scale(image, low, 255 / (high - low)) + 1e-3)


def equalize(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Flattens the histogram of each channel."""
    height, width = tf.unstack(tf.shape(image)[:2])
    # Rows of width * 3: see shift_and_scale. Channel c counts in 256 c .. 256 c + 255.
    levels = tf.cast(tf.reshape(image, [height, width * 3]), tf.int32)
    levels += tf.tile([0, 256, 512], [width])
    counts = tf.math.bincount(tf.reshape(levels, [-1]), minlength=768, maxlength=768)
    counts = tf.reshape(counts, [3, 256])
    last = 255 - tf.argmax(tf.reverse(counts > 0, [1]), axis=1, output_type=tf.int32)
    step = (height * width - tf.gather(counts, last, batch_dims=1))[:, None] // 255  # [3, 1]
    before = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((step // 2 + before) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    equalized = tf.gather(tf.reshape(tf.cast(table, tf.uint8), [-1]), levels)
    return tf.reshape(equalized, tf.shape(image))


def invert(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Turns light into dark."""
    return tf.bitwise.invert(image)


def rotate(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Rotates by ``value`` degrees, either way, about the middle."""
    angle = math.radians(value)
    cos, sin = math.cos(angle), math.sin(angle) * _sign(draws)
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float64))
    right, down = 0.5 * width, 0.5 * height
    return _sample(
        image,
        (cos, -sin, right - cos * right + sin * down),
        (sin, cos, down - sin * right - cos * down),
    )


def posterize(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Keeps the int(value) highest bits."""
    return tf.bitwise.bitwise_and(image, tf.constant(256 - (1 << (8 - int(value))), tf.uint8))


def solarize(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Inverts pixels of at least ``value``."""
    # 255 - x is x with all bits flipped; tf.where is several times slower on uint8.
    above = tf.cast(tf.cast(image, tf.float32) >= value, tf.uint8)
    return tf.bitwise.bitwise_xor(image, above * 255)


def solarize_add(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Adds ``value`` and inverts pixels of at least 128."""
    return solarize(_to_uint8(tf.cast(image, tf.float32) + value), 128.0, draws)


def color(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Moves towards the grey image (value 0) or away from it (above 1)."""
    return _blend(_luma(image), image, value)


def contrast(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Moves towards uniform mean grey (value 0) or away from it (above 1)."""
    mean = tf.reduce_mean(tf.cast(_luma(image), tf.float64))
    return _blend(tf.cast(tf.floor(mean + 0.5), tf.float32), image, value)


def brightness(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Moves towards black (value 0) or away from it (above 1)."""
    return _blend(tf.zeros([]), image, value)


def sharpness(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Moves towards a smoothed image (value 0) or away from it (above 1); the border stays."""
    pixels = tf.cast(image, tf.float32)
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]])[..., None, None] * tf.ones([3, 1])
    smooth = tf.nn.depthwise_conv2d(pixels[None], kernel, [1, 1, 1, 1], "VALID")[0]
    detail = pixels[1:-1, 1:-1] - tf.floor(smooth * (1 / 13) + 0.5)
    return _blend(pixels - tf.pad(detail, [[1, 1], [1, 1], [0, 0]]), image, value)


def shear_x(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Shifts rows by up to ``value`` times their height, either way."""
    return _sample(image, (1.0, _sign(draws) * value, 0.0), (0.0, 1.0, 0.0))


def shear_y(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Shifts columns by up to ``value`` times their distance from the left, either way."""
    return _sample(image, (1.0, 0.0, 0.0), (_sign(draws) * value, 1.0, 0.0))


def cutout_abs(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Paints a rectangle of about ``value`` pixels at a random place."""
    height, width = tf.unstack(tf.shape(image)[:2])
    left, right = _span(width, value, draws[1])
    top, bottom = _span(height, value, draws[2])
    colour = tf.constant(_CUTOUT_COLOUR, tf.uint8)
    painted = tf.broadcast_to(colour, [bottom - top, right - left, 3])
    band = tf.concat([image[top:bottom, :left], painted, image[top:bottom, right:]], axis=1)
    return tf.concat([image[:top], band, image[bottom:]], axis=0)


def translate_x_abs(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Shifts by ``value`` pixels to the left or right."""
    return _translate(image, value, draws, axis=1)


def translate_y_abs(image: tf.Tensor, value: float, draws: tf.Tensor) -> tf.Tensor:
    """Shifts by ``value`` pixels up or down."""
    return _translate(image, value, draws, axis=0)


def _sign(draws: tf.Tensor) -> tf.Tensor:
    """Returns +1 or -1 as float64, each half of the time."""
    return tf.where(draws[0] > 0.5, tf.constant(-1, tf.float64), tf.constant(1, tf.float64))


def _sample(image: tf.Tensor, x_row: tuple, y_row: tuple) -> tf.Tensor:
    """Reads each pixel of the result at an affine function of its place, as PIL's AFFINE.

    One gather: it is more than twice as fast as ImageProjectiveTransformV3, which computes the
    place anew for each channel. Places are 16.16 fixed-point numbers as in Pillow, so that ties
    fall the same way; sides may have up to 20,000 pixels.

    Args:
        image: uint8[H, W, 3].
        x_row: a, b, c of source x = a * x + b * y + c, where pixel centres are at halves; float64.
        y_row: The same for y.
    """
    height, width = tf.unstack(tf.shape(image)[:2])

    def place(row: tuple, side: tf.Tensor) -> tf.Tensor:
        a, b, c = row
        coefficients = tf.stack([tf.cast(v, tf.float64) for v in (a, b, c + 0.5 * a + 0.5 * b)])
        a, b, c = tf.unstack(tf.cast(tf.floor(coefficients * 65536 + 0.5), tf.int32))
        source = a * tf.range(width)[None, :] + (b * tf.range(height) + c)[:, None]
        return tf.clip_by_value(tf.bitwise.right_shift(source, 16), -1, side)

    # A black frame of one pixel stands for all that is outside.
    index = (place(y_row, height) + 1) * (width + 2) + place(x_row, width) + 1
    framed = tf.pad(image, [[1, 1], [1, 1], [0, 0]])
    return tf.gather(tf.reshape(framed, [-1, image.shape[-1]]), index)


def _translate(image: tf.Tensor, value: float, draws: tf.Tensor, axis: int) -> tf.Tensor:
    """Reads each pixel ``value`` further along an axis, either way, black outside."""
    size, along = tf.shape(image), tf.one_hot(axis, 3, dtype=tf.int32)
    shift = tf.cast(tf.floor(_sign(draws) * value + 0.5), tf.int32)
    shift = tf.clip_by_value(shift, -size[axis], size[axis])

    def black(count: tf.Tensor) -> tf.Tensor:
        return tf.zeros(size + along * (count - size[axis]), tf.uint8)

    kept = tf.slice(image, along * tf.maximum(shift, 0), size - along * tf.abs(shift))
    return tf.concat([black(tf.maximum(-shift, 0)), kept, black(tf.maximum(shift, 0))], axis)


def _span(side: tf.Tensor, value: float, draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first column or row that the cutout covers, and the one after the last."""
    length = tf.cast(side, tf.float32)
    # np.random.uniform(side) of the reference draws from (1, side], not from [0, side).
    start = tf.floor(tf.maximum(length + (1 - length) * draw - value / 2, 0))
    end = tf.minimum(tf.floor(tf.minimum(start + value, length)) + 1, length)
    return tf.cast(start, tf.int32), tf.cast(end, tf.int32)


def _luma(image: tf.Tensor) -> tf.Tensor:
    """Returns float32[H, W, 3] of equal channels, whole numbers: Pillow's mode "L"."""
    weighted = tf.linalg.matmul(tf.reshape(tf.cast(image, tf.float32), [-1, 3]), _LUMA)
    return tf.reshape(tf.floor((weighted + 32768) * (1 / 65536)), tf.shape(image))


def _blend(degenerate: tf.Tensor, image: tf.Tensor, value: float) -> tf.Tensor:
    """Returns degenerate + value * (image - degenerate), cut to 0..255, as PIL's Image.blend."""
    return _to_uint8(degenerate + value * (tf.cast(image, tf.float32) - degenerate))


def _to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Cuts to [0, 255] and drops the fraction."""
    return tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)
