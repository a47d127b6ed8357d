"""What an operation of the preprocessing string is, and the basic ones.

An operation is one registered function, ``(image, *, arguments) -> image``, or with a seed,
``(image, seed, *, arguments) -> image``, if it is random: the signature says which. It works on one
example, with the same numbers eagerly, in a graph and in a parallel ``tf.data`` map, and draws only
from the seed it is given. An image is in one of three states:

* encoded: a scalar string, the bytes of a JPEG or PNG file;
* pixels: uint8[H, W, C], or float32[H, W, C] once it has been interpolated, in [0, 255];
* normalised: float32[H, W, C] in the range the network was trained on.

Wrong arguments raise UserError when the function is called, which ``augment.compose`` does at once.
"""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.registry import Registry

ENCODED, PIXELS, NORMALISED = "encoded", "pixels", "normalised"

# TensorFlow's default, INTEGER_FAST, is no faster today and up to 7 grey levels off.
DCT_METHOD = "INTEGER_ACCURATE"

_PHILOX = 1  # tf.random.Algorithm.PHILOX
_SUB_STREAMS = 256
_MIX_SHIFT = np.uint64(33)
_MIX_FACTORS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))

# Mean and standard deviation per channel, for pixels in [0, 1].
STATISTICS = {"imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}


@dataclass(frozen=True, slots=True)
class Op:
    """A registered operation.

    Attributes:
        function: What is called.
        accepts: States of the image that it works on.
        gives: State of the result; None keeps the state, and decodes an encoded image.
    """

    function: Callable[..., tf.Tensor]
    accepts: tuple[str, ...]
    gives: str | None

    @property
    def is_random(self) -> bool:
        """Whether the function takes a seed, as its second parameter."""
        return list(inspect.signature(self.function).parameters)[1:2] == ["seed"]


OPS: Registry[Op] = Registry("augmentation")


def register(
    name: str, *, accepts: tuple[str, ...] = (PIXELS, NORMALISED), gives: str | None = None
) -> Callable[[Callable[..., tf.Tensor]], Callable[..., tf.Tensor]]:
    """Returns a decorator that makes a function an operation of the preprocessing string.

    Args:
        name: Its name in the string.
        accepts: States of the image that it works on.
        gives: State of the result; None keeps the state.
    """

    def store(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        OPS.register(name)(Op(function, accepts, gives))
        return function

    return store


def uniform(seed: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Returns float32[shape] in [0, 1): the only source of randomness of the operations.

    The seed is the key of Philox as it is: ``tf.random.stateless_uniform`` scrambles it by another
    run of the generator first, which costs more than the few numbers that are wanted here.

    Reference: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3, section 3.3.
    """
    key = tf.reshape(tf.bitcast(seed, tf.uint64), [1])
    counter = tf.constant([0, 0], tf.uint64)
    return tf.raw_ops.StatelessRandomUniformV2(shape=shape, key=key, counter=counter, alg=_PHILOX)


def example_seed(seed: int, number: tf.Tensor) -> tf.Tensor:
    """Returns int32[..., 2]: the seed of each example, int64[...], of a run.

    Different examples of a run have different seeds. Two runs of at most 2**32 examples share none
    of these or of their sub-streams, but for a chance of 2**-24: that bits 32 to 55 of both keys
    are equal.
    """
    return tf.bitcast(tf.bitwise.bitwise_xor(number, _run_key(seed)), tf.int32)


def _run_key(seed: int) -> int:
    """Spreads a run's seed over 64 bits, as an int64."""
    digest = hashlib.blake2b(str(int(seed)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def fold_in(seed: tf.Tensor, number: int | Sequence[int]) -> tf.Tensor:
    """Returns the int32[..., 2] seeds of sub-streams ``number`` (below 256) of ``seed``.

    The number goes into the upper 8 bits, which no position reaches, and MurmurHash3's finaliser,
    a bijection of 64 bits, follows: sub-streams of examples below 2**56 of a run all differ.
    """
    numbers = np.asarray(number, np.uint64)
    require(bool((numbers < _SUB_STREAMS).all()), f"at most {_SUB_STREAMS} sub-streams")
    key = tf.bitwise.bitwise_xor(tf.bitcast(seed, tf.uint64), numbers << np.uint64(56))
    for factor in _MIX_FACTORS:
        key = tf.bitwise.bitwise_xor(key, tf.bitwise.right_shift(key, _MIX_SHIFT)) * factor
    key = tf.bitwise.bitwise_xor(key, tf.bitwise.right_shift(key, _MIX_SHIFT))
    return tf.bitcast(key, tf.int32)


def shift_and_scale(
    image: tf.Tensor, shift: tf.Tensor | list[float], scale: tf.Tensor | list[float]
) -> tf.Tensor:
    """Returns (image - shift) * scale as float32[H, W, C], with one shift and scale per channel.

    Computed on rows of W * C numbers: TensorFlow is 2.5 times slower along an axis of length 3.
    """
    height, width, channels = tf.unstack(tf.shape(image))
    rows = tf.reshape(tf.cast(image, tf.float32), [height, width * channels])
    rows = (rows - tf.tile(shift, [width])) * tf.tile(scale, [width])
    return tf.ensure_shape(tf.reshape(rows, tf.shape(image)), image.shape)


def require(condition: bool, message: str) -> None:
    """Raises UserError with the message unless the condition holds."""
    if not condition:
        raise UserError(message)


@register("decode", accepts=(ENCODED,), gives=PIXELS)
def decode(image: tf.Tensor, *, channels: int = 3) -> tf.Tensor:
    """Decodes JPEG or PNG to uint8[H, W, channels], to the same pixels as Pillow and OpenCV.

    Grey becomes three equal channels if ``channels`` is 3; alpha is dropped. Of 16-bit PNG the high
    byte is kept, floor(x / 256): the dataset's builder is the place to choose an intensity window.
    """
    require(channels in (1, 3), f"channels must be 1 or 3, got {channels!r}")
    # Despite its name the operation reads PNG too, and only it lets the method be chosen.
    return tf.io.decode_jpeg(image, channels=channels, dct_method=DCT_METHOD)


@register("random_flip")
def random_flip(image: tf.Tensor, seed: tf.Tensor, *, p: float = 0.5) -> tf.Tensor:
    """Mirrors left and right with probability ``p``.

    Differs from BiT's TensorFlow code, which mirrors every training image (input_pipeline_tf2.py).
    """
    require(0 <= p <= 1, f"p must be a probability, got {p!r}")
    return tf.cond(uniform(seed, []) < p, lambda: _mirror(image), lambda: image)


def _mirror(image: tf.Tensor) -> tf.Tensor:
    if image.shape[-1] != 1:
        return tf.reverse(image, [1])
    # TensorFlow is fast along the last axis, and along the last but one of three channels.
    return tf.ensure_shape(tf.reshape(tf.reverse(image[..., 0], [1]), tf.shape(image)), image.shape)


@register("to_rgb")
def to_rgb(image: tf.Tensor) -> tf.Tensor:
    """Repeats the channel of a grey image three times; a colour image stays as it is.

    Late in the string it saves the cost of the other operations on two equal channels.
    """
    channels = image.shape[-1]
    require(channels in (1, 3), f"needs 1 or 3 channels, got {channels}")
    if channels == 3:
        return image
    if image.dtype != tf.float32:
        return tf.repeat(image, 3, axis=-1)
    # A product with ones is exact, and twice as fast as repeating.
    rows = tf.linalg.matmul(tf.reshape(image, [-1, 1]), tf.ones([1, 3]))
    height, width = tf.unstack(tf.shape(image)[:2])
    return tf.ensure_shape(tf.reshape(rows, [height, width, 3]), [*image.shape[:2], 3])


@register("value_range", accepts=(PIXELS,), gives=NORMALISED)
def value_range(image: tf.Tensor, *, low: float, high: float) -> tf.Tensor:
    """Maps pixels from [0, 255] to [low, high], float32; BiT uses (-1, 1)."""
    require(low < high, f"low must be less than high, got ({low!r}, {high!r})")
    scale = (high - low) / 255
    return (tf.cast(image, tf.float32) + low / scale) * scale


@register("standardize", accepts=(PIXELS,), gives=NORMALISED)
def standardize(
    image: tf.Tensor,
    *,
    mean: str | float | tuple[float, ...],
    std: float | tuple[float, ...] | None = None,
) -> tf.Tensor:
    """Subtracts a mean and divides by a standard deviation; both refer to pixels in [0, 1].

    Args:
        image: uint8 or float32[H, W, C] in [0, 255].
        mean: One number or one per channel, or the name of a preset: imagenet.
        std: One number or one per channel; left out with a preset.
    """
    if isinstance(mean, str):
        require(mean in STATISTICS, f"unknown preset {mean!r}.{did_you_mean(mean, STATISTICS)}")
        require(std is None, "a preset has its own std: leave std out")
        mean, std = STATISTICS[mean]
    if std is None:
        raise UserError("std is missing")
    shift, scale = _per_channel("mean", mean, image), _per_channel("std", std, image)
    require(min(scale) > 0, f"std must be positive, got {std!r}")
    # A product, not a quotient: graph optimisers replace division by a constant, eager does not.
    return shift_and_scale(image, [255 * v for v in shift], [1 / (255 * v) for v in scale])


def _per_channel(name: str, value: float | tuple[float, ...], image: tf.Tensor) -> list[float]:
    """Returns one number, or one per channel of the image."""
    channels = image.shape[-1]
    values = value if isinstance(value, tuple) else (value,) * channels
    require(len(values) == channels, f"{name} has {len(values)} numbers for {channels} channel(s)")
    return [float(v) for v in values]
