"""BiT from Keras' own parts: what ``keras_transfer.models`` is measured against.

The same network and the same variables, but ``keras.layers.GroupNormalization`` and ReLU as layers,
zero padding as a layer, and weight standardisation left to automatic differentiation. Each layer's
name is the path of its variables in the released files, with a dot for every slash, so that
``models.load_npz`` and ``models.npz_key`` work on it too.
"""

import keras
import tensorflow as tf

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.models import heads, resnetv2


class _StandardizedConv2D(keras.layers.Conv2D):
    """Keras' convolution, its kernel standardised by ``tf.nn.moments``."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(tf.convert_to_tensor(kernel), [0, 1, 2], keepdims=True)
        return super().convolution_op(inputs, (kernel - mean) * tf.math.rsqrt(variance + 1e-10))


def build(name: str, num_classes: int, *, head_init: str = "zeros", seed: int = 0) -> keras.Model:
    """Builds a network; arguments, values and outputs are those of ``models.build``."""
    if name not in resnetv2.VARIANTS:
        raise UserError(f"No stock model {name!r}.{did_you_mean(name, resnetv2.VARIANTS)}")
    variant = resnetv2.VARIANTS[name]
    stem = int(64 * variant.width)
    images = keras.Input((None, None, 3))
    x = _conv(images, stem, 7, 2, "root_block")
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.MaxPooling2D(3, 2)(x)
    for block, units in enumerate(variant.units):
        for unit in range(units):
            strides = 2 if block > 0 and unit == 0 else 1
            x = _unit(x, stem * 2**block, strides, f"block{block + 1}.unit{unit + 1:02d}")
    x = _norm_relu(x, "group_norm")
    x = keras.layers.GlobalAveragePooling2D(name=heads.POOL)(x)
    model = keras.Model(images, heads.attach_head(x, num_classes), name=f"stock-{name}")
    resnetv2.reinitialize(model, seed, head_init=head_init)
    return model


def _unit(x: keras.KerasTensor, filters: int, strides: int, name: str) -> keras.KerasTensor:
    h = _norm_relu(x, f"{name}.a.group_norm")
    shortcut = x
    if strides != 1 or x.shape[-1] != 4 * filters:
        shortcut = _conv(h, 4 * filters, 1, strides, f"{name}.a.proj")
    h = _conv(h, filters, 1, 1, f"{name}.a")
    h = _norm_relu(h, f"{name}.b.group_norm")
    h = _conv(h, filters, 3, strides, f"{name}.b")
    h = _norm_relu(h, f"{name}.c.group_norm")
    h = _conv(h, 4 * filters, 1, 1, f"{name}.c")
    return keras.layers.Add()([h, shortcut])


def _norm_relu(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = keras.layers.GroupNormalization(32, epsilon=1e-5, name=name)(x)
    return keras.layers.ReLU()(x)


def _conv(
    x: keras.KerasTensor, filters: int, size: int, strides: int, name: str
) -> keras.KerasTensor:
    if size > 1:
        x = keras.layers.ZeroPadding2D(size // 2)(x)
    name = f"{name}.standardized_conv2d"
    return _StandardizedConv2D(filters, size, strides, use_bias=False, name=name)(x)
