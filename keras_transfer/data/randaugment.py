"""RandAugment of the paper: random photometric and geometric operations, as Pillow computes them.

The list, its ranges and its quirks are those of ildoonet/pytorch-randaugment, which the authors
used: several operations do not grow with the magnitude, and are kept as they are because published
results were obtained with them.

* posterize keeps int(4 m / 30) bits: one bit at m = 9, a black image below m = 8;
* solarize inverts pixels from 256 m / 30 on, so that it does less as m grows;
* solarize_add adds to every pixel, not only to dark ones, and then inverts from 128;
* color, contrast, brightness and sharpness weaken the image below m = 15 and strengthen it above;
* cutout_abs includes its last row and column, is pushed inside at the left and top edge but cut off
  at the right and bottom one, and paints the mean colour of ImageNet;
* rotation, shears and translations take the nearest pixel, and black outside.

Reference: Cubuk et al. 2020, RandAugment (arXiv:1909.13719), section 3; the code named above.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_transfer.data import augment_pillow as pillow
from keras_transfer.data.augment_ops import PIXELS, register, require, uniform

_MAX_MAGNITUDE = 30

# (image uint8[H, W, 3], value, draws float32[3]) -> uint8[H, W, 3]
_Function = Callable[[tf.Tensor, float, tf.Tensor], tf.Tensor]

# Name -> function, value at magnitude 0, value at magnitude 30.
OPERATIONS: dict[str, tuple[_Function, float, float]] = {
    "auto_contrast": (pillow.auto_contrast, 0, 1),
    "equalize": (pillow.equalize, 0, 1),
    "invert": (pillow.invert, 0, 1),
    "rotate": (pillow.rotate, 0, 30),
    "posterize": (pillow.posterize, 0, 4),
    "solarize": (pillow.solarize, 0, 256),
    "solarize_add": (pillow.solarize_add, 0, 110),
    "color": (pillow.color, 0.1, 1.9),
    "contrast": (pillow.contrast, 0.1, 1.9),
    "brightness": (pillow.brightness, 0.1, 1.9),
    "sharpness": (pillow.sharpness, 0.1, 1.9),
    "shear_x": (pillow.shear_x, 0, 0.3),
    "shear_y": (pillow.shear_y, 0, 0.3),
    "cutout_abs": (pillow.cutout_abs, 0, 40),
    "translate_x_abs": (pillow.translate_x_abs, 0, 100),
    "translate_y_abs": (pillow.translate_y_abs, 0, 100),
}


@register("rand_augment", accepts=(PIXELS,), gives=PIXELS)
def rand_augment(image: tf.Tensor, seed: tf.Tensor, *, n: int, m: float) -> tf.Tensor:
    """Applies ``n`` operations, drawn with replacement from the sixteen of ``OPERATIONS``.

    Only the operations drawn are computed. The reference works on the whole image, before
    ``random_resized_crop``; after it, shifts and cutouts are larger against the image, and the
    operations cheaper.

    Args:
        image: uint8[H, W, 3]; float pixels are rounded first.
        seed: int32[2].
        n: How many operations; the paper uses 2.
        m: Magnitude in [0, 30]: value = minimum + m / 30 * (maximum - minimum). The paper uses 9.

    Returns:
        uint8[H, W, 3].
    """
    require(isinstance(n, int) and n >= 1, f"n must be a whole number, at least 1, got {n!r}")
    require(0 <= m <= _MAX_MAGNITUDE, f"m must be in [0, {_MAX_MAGNITUDE}], got {m!r}")
    require(image.shape[-1] == 3, f"needs 3 channels, got {image.shape[-1]}: put to_rgb before it")
    if image.dtype != tf.uint8:
        image = tf.saturate_cast(tf.round(image), tf.uint8)

    def apply_one(image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        branches = [_branch(name, image, m, draws[1:]) for name in OPERATIONS]
        chosen = tf.cast(draws[0] * len(branches), tf.int32)
        return tf.ensure_shape(tf.switch_case(chosen, branches), image.shape)

    # A fold, not a Python loop: the sixteen branches are built once for any n.
    return tf.foldl(apply_one, uniform(seed, [n, 4]), initializer=image)


def value_of(name: str, m: float) -> float:
    """Returns the argument of an operation at magnitude ``m``."""
    _, minimum, maximum = OPERATIONS[name]
    return m / _MAX_MAGNITUDE * (maximum - minimum) + minimum


def _branch(name: str, image: tf.Tensor, m: float, draws: tf.Tensor) -> Callable[[], tf.Tensor]:
    return lambda: OPERATIONS[name][0](image, value_of(name, m), draws)
