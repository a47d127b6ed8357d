"""Operations that change the size of an image: resizing and cropping."""

import math

import tensorflow as tf

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.data.augment_ops import (
    DCT_METHOD,
    ENCODED,
    NORMALISED,
    PIXELS,
    decode,
    register,
    require,
    uniform,
)

METHODS = ("bilinear", "bicubic", "area")

_CROP_ATTEMPTS = 10


@register("resize")
def resize(
    image: tf.Tensor,
    *,
    size: int | tuple[int, int],
    method: str = "bilinear",
    antialias: bool = False,
) -> tf.Tensor:
    """Resizes to ``size``, squashing the aspect ratio; the result is float32 and not rounded.

    Args:
        image: uint8 or float32[H, W, C].
        size: Side in pixels, or (height, width).
        method: bilinear (half-pixel centres, as BiT), bicubic, or area (mean of the pixels under
            the target pixel, as OpenCV's INTER_AREA). Bicubic may overshoot the range slightly.
        antialias: Widens the bilinear or bicubic kernel when shrinking, as Pillow and torchvision
            do; costs about twice the time.
    """
    return _resize(image, _pair(size), method, antialias)


@register("resize_small")
def resize_small(
    image: tf.Tensor, *, size: int, method: str = "bilinear", antialias: bool = False
) -> tf.Tensor:
    """Resizes the shorter side to ``size`` and keeps the aspect ratio; otherwise as ``resize``.

    The longer side is rounded down, as in torchvision.
    """
    require(isinstance(size, int) and size > 0, f"size must be pixels, got {size!r}")
    shape = tf.shape(image)[:2]
    target = size * shape // tf.reduce_min(shape)
    return _resize(image, target, method, antialias)


@register("random_crop")
def random_crop(image: tf.Tensor, seed: tf.Tensor, *, size: int | tuple[int, int]) -> tf.Tensor:
    """Cuts a window of ``size`` at a uniformly drawn position.

    An image smaller than the window is an error, never padded or enlarged silently.
    """
    height, width = _pair(size)
    room = _room_for_crop(image, height, width, "random_crop")
    top, left = tf.unstack(_floor(uniform(seed, [2]) * tf.cast(room + 1, tf.float32)))
    return _crop(image, top, left, height, width)


@register("central_crop")
def central_crop(image: tf.Tensor, *, size: int | tuple[int, int] | None = None) -> tf.Tensor:
    """Cuts the central window of ``size``, or the largest central square if no size is given.

    An image smaller than the window is an error, never padded or enlarged silently.
    """
    if size is None:
        shape = tf.shape(image)[:2]
        side = tf.reduce_min(shape)
        top, left = tf.unstack((shape - side) // 2)
        return _crop(image, top, left, side, side)
    height, width = _pair(size)
    top, left = tf.unstack(_room_for_crop(image, height, width, "central_crop") // 2)
    return _crop(image, top, left, height, width)


@register("random_resized_crop", accepts=(ENCODED, PIXELS, NORMALISED))
def random_resized_crop(
    image: tf.Tensor,
    seed: tf.Tensor,
    *,
    size: int | tuple[int, int],
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    method: str = "bilinear",
    antialias: bool = False,
    channels: int = 3,
) -> tf.Tensor:
    """Cuts a window of random area and aspect ratio and resizes it to ``size``, as Inception.

    Standing first in the string it decodes as well, JPEG only where the window is, which is faster
    than ``decode`` before it and gives the same window; pixels differ from those of a full decode
    by the chroma interpolation at the window's edge.

    Args:
        image: Encoded bytes, or uint8 or float32[H, W, C].
        seed: int32[2].
        size: Side of the result in pixels, or (height, width).
        area: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height; its logarithm is uniform.
        method: As of ``resize``.
        antialias: As of ``resize``; torchvision's default on Pillow images.
        channels: Of the decoded image, if this operation decodes.

    Reference: Szegedy et al. 2015, Going Deeper with Convolutions, section 6; the distribution is
    that of torchvision's RandomResizedCrop (ten attempts, then the central crop).
    """
    for name, (low, high) in (("area", area), ("ratio", ratio)):
        require(0 < low <= high, f"{name} must be (low, high), 0 < low <= high")
    require(area[1] <= 1, f"area must not exceed 1, got {area!r}")

    def crop(pixels: tf.Tensor) -> tf.Tensor:
        return _crop(pixels, *tf.unstack(_sample_window(seed, tf.shape(pixels)[:2], area, ratio)))

    def decode_and_crop() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(image)[:2]
        window = _sample_window(seed, shape, area, ratio)
        return tf.io.decode_and_crop_jpeg(image, window, channels=channels, dct_method=DCT_METHOD)

    if image.dtype == tf.string:
        require(channels in (1, 3), f"channels must be 1 or 3, got {channels!r}")
        cropped = tf.cond(
            tf.io.is_jpeg(image), decode_and_crop, lambda: crop(decode(image, channels=channels))
        )
    else:
        cropped = crop(image)
    return resize(cropped, size=size, method=method, antialias=antialias)


def _resize(
    image: tf.Tensor, size: tf.Tensor | tuple[int, int], method: str, antialias: bool
) -> tf.Tensor:
    require(method in METHODS, f"unknown method {method!r}.{did_you_mean(str(method), METHODS)}")
    require(not (antialias and method == "area"), "area has no antialias: it averages anyway")
    resized = tf.image.resize(image, size, method=method, antialias=antialias)
    # tf.image.resize hands an image of the right size back as it is, uint8 included.
    return tf.cast(resized, tf.float32)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of a size argument."""
    pair = (size, size) if isinstance(size, int) else size
    if not (
        isinstance(pair, tuple)
        and len(pair) == 2
        and all(isinstance(side, int) and side > 0 for side in pair)
    ):
        raise UserError(f"size must be pixels or (height, width), got {size!r}")
    return pair


def _room_for_crop(image: tf.Tensor, height: int, width: int, name: str) -> tf.Tensor:
    """Returns int32[2], by how much the image exceeds the crop; less than nothing is an error."""
    message = f"{name}: the image is smaller than the crop of {height}x{width} pixels"
    for side, needed in zip(image.shape[:2], (height, width)):
        require(side is None or side >= needed, f"{message}: it is {image.shape[:2]}")
    room = tf.shape(image)[:2] - [height, width]
    if image.shape[:2].is_fully_defined():
        return room
    with tf.control_dependencies([tf.debugging.assert_non_negative(room, message=message)]):
        return tf.identity(room)


def _crop(
    image: tf.Tensor,
    top: tf.Tensor,
    left: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
) -> tf.Tensor:
    # A slice of constant size has a static shape, which batching needs.
    return tf.slice(image, [top, left, 0], [height, width, image.shape[-1]])


def _floor(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.floor(x), tf.int32)


def _sample_window(
    seed: tf.Tensor, shape: tf.Tensor, area: tuple[float, float], ratio: tuple[float, float]
) -> tf.Tensor:
    """Draws the window of ``random_resized_crop``: int32[4] of top, left, height, width.

    All attempts are drawn at once and the first that fits is taken, so that the number of random
    values does not depend on the image.

    Args:
        seed: int32[2].
        shape: int32[2], height and width of the image.
        area: Smallest and largest share of the image's area.
        ratio: Smallest and largest width / height.
    """
    full = tf.cast(shape, tf.float32)
    low, high = math.log(ratio[0]) / 2, math.log(ratio[1]) / 2
    draws = uniform(seed, [_CROP_ATTEMPTS + 1, 2])
    # Share of the area and half the logarithm of the ratio; the last row is the place.
    share, tilt = tf.split(draws[:-1] * [area[1] - area[0], high - low] + [area[0], low], 2, axis=1)
    diagonal = tf.sqrt(share * tf.reduce_prod(full))
    sides = tf.round(diagonal * tf.exp(tilt * [-1.0, 1.0]))  # [attempts, 2]
    # The largest central window whose ratio is allowed, for images longer than any of the ratios:
    # the attempt that always fits.
    limits = tf.round(tf.reverse(full, [0]) * [1 / ratio[0], ratio[1]])
    fallback = tf.maximum(tf.minimum(full, limits), 1)
    sides = tf.concat([sides, fallback[None]], axis=0)
    fits = tf.reduce_all(tf.equal(sides, tf.clip_by_value(sides, 1, full)), axis=1)
    chosen = tf.argmax(tf.cast(fits, tf.int32), output_type=tf.int32)
    side = sides[chosen]
    room = full - side
    offset = tf.where(chosen < _CROP_ATTEMPTS, draws[-1] * (room + 1), room / 2)
    return tf.cast(tf.concat([tf.floor(offset), side], axis=0), tf.int32)
