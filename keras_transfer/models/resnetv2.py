"""ResNet-v2 with GroupNorm and weight standardisation, as in Big Transfer (BiT).

Names of layers are those of the released files: the variable
``block1/unit01/a.group_norm/gamma`` is their ``resnet/block1/unit01/a/group_norm/gamma``.
"""

import dataclasses
import math
import re
from typing import Any

import keras
import tensorflow as tf

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.seeds import derive
from keras_transfer.models import heads
from keras_transfer.models.layers import GroupNormReLU, StandardizedConv2D, halve, pad
from keras_transfer.models.recomputation import recomputed

_STEM = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """What tells one network from another.

    Attributes:
        units: Units of each of the four blocks.
        width: Factor on the number of channels of every layer.
    """

    units: tuple[int, int, int, int]
    width: float


# Any other width of a depth listed here is built by its name: "bit-r14x0.25".
VARIANTS = {
    "bit-r14x1": Variant((1, 1, 1, 1), 1),
    "bit-r26x1": Variant((2, 2, 2, 2), 1),
    "bit-r50x1": Variant((3, 4, 6, 3), 1),
    "bit-r50x3": Variant((3, 4, 6, 3), 3),
    "bit-r101x1": Variant((3, 4, 23, 3), 1),
    "bit-r101x3": Variant((3, 4, 23, 3), 3),
    "bit-r152x2": Variant((3, 8, 36, 3), 2),
    "bit-r152x4": Variant((3, 8, 36, 3), 4),
}


def names() -> list[str]:
    """Returns the names of all listed variants, from small to large."""
    return list(VARIANTS)


def check_name(name: str) -> None:
    """Raises a UserError, with the nearest names, if there is no such network."""
    _variant(name)


def _variant(name: str) -> Variant:
    if name in VARIANTS:
        return VARIANTS[name]
    match = re.fullmatch(r"(bit-r\d+)x(\d+(?:\.\d+)?)", name)
    depth = next((n for n in VARIANTS if match and n.startswith(f"{match[1]}x")), None)
    if match is None or depth is None:
        raise UserError(f"Unknown model {name!r}.{did_you_mean(name, VARIANTS)}")
    width = float(match[2])
    if width <= 0 or (_STEM * width) % 2:
        raise UserError(
            f"Model {name!r}: 64 * width must be an even number of channels, not {_STEM * width:g}."
        )
    return dataclasses.replace(VARIANTS[depth], width=width)


def build(
    name: str,
    num_classes: int,
    *,
    head_init: str = "zeros",
    input_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    recompute: bool = False,
) -> keras.Model:
    """Builds a network, initialised from a seed.

    Reference: Kolesnikov et al. 2020 (arXiv:1912.11370); google-research/big_transfer.

    Args:
        name: A key of ``VARIANTS``, or another width of its depth, such as ``bit-r14x0.25``.
        num_classes: Outputs of the head.
        head_init: ``"zeros"`` (BiT) or ``"uniform"`` (the authors' code).
        input_size: Height and width of the images, or both; None accepts any size.
        seed: The run's seed.
        recompute: Whether training computes the inside of root and units a second time, in the
            backward pass, instead of keeping it: less memory, about a third more time.

    Returns:
        A model: images float32[B, H, W, 3] -> logits float32[B, num_classes].

    Raises:
        UserError: If the name, the number of classes or ``head_init`` is wrong.
    """
    model = assemble(name, num_classes, input_size, recompute=recompute)
    reinitialize(model, seed, head_init=head_init)
    return model


def assemble(
    name: str,
    num_classes: int,
    input_size: int | tuple[int, int] | None = None,
    *,
    recompute: bool = False,
) -> keras.Model:
    """Connects the layers of a network; its kernels are zero. See ``build``."""
    variant = _variant(name)
    stem = round(_STEM * variant.width)
    sides = input_size if isinstance(input_size, tuple) else (input_size, input_size)
    images = keras.Input((*sides, 3), name="images")
    x = Root(stem, recompute, name="root_block")(images)
    for index, units in enumerate(variant.units):
        strides = 1 if index == 0 else 2
        block = Block(stem * 2**index, units, strides, recompute, name=f"block{index + 1}")
        x = block(x)
    x = GroupNormReLU(_groups(x.shape[-1]), name="group_norm")(x)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name=heads.POOL)(x)
    return keras.Model(images, heads.attach_head(x, num_classes), name=name)


def reinitialize(model: keras.Model, seed: int, *, head_init: str = "zeros") -> None:
    """Gives every variable of a model the value it has in ``build(..., seed=seed)``, in place.

    Each kernel has its own stream, derived from the seed and its path: values do not depend on the
    order of layers. Kernels are uniform within 1 / sqrt(fan-in), the default of PyTorch that the
    authors pre-train with. The scale matters although kernels are standardised: it sets the
    effective step size and the threshold of gradient clipping.

    Args:
        model: From ``build``.
        seed: The run's seed.
        head_init: See ``build``.
    """
    heads.initialize_head(model, seed, head_init)
    for variable in model.weights:
        if not heads.is_head(variable.path):
            variable.assign(_initializer(variable, seed)(variable.shape))


def _initializer(variable: keras.Variable, seed: int) -> keras.Initializer:
    if variable.name != "kernel":
        return keras.initializers.Constant(1.0 if variable.name == "gamma" else 0.0)
    stream = derive(seed, "init", npz_key(variable.path))
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=stream)


def npz_key(path: str) -> str:
    """Returns the name of a variable, given by its path, in the released files."""
    key = "resnet/" + path.replace(".", "/")
    return key.replace("/head/", "/head/conv2d/")


def _groups(channels: int) -> int:
    """32 groups, as in every released network; fewer where they would hold one channel each."""
    return math.gcd(32, channels // 2)


@keras.saving.register_keras_serializable("keras_transfer")
class Root(keras.layers.Layer):
    """Images to the first feature map: 7x7 convolution and 3x3 max-pooling, both with stride 2.

    Args:
        filters: Number of output channels.
        recompute: Whether training keeps only the images for the backward pass.
    """

    def __init__(self, filters: int, recompute: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.recompute = recompute
        self.conv = StandardizedConv2D(
            filters, 7, 2, name="standardized_conv2d", dtype=self.dtype_policy
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the convolution."""
        self.conv.build(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps images [B, H, W, 3] to [B, ceil(ceil(H / 2) / 2), ..., filters]."""
        if self.recompute and training:
            return recomputed(self._pooled, x, self.weights)
        return self._pooled(x)

    def _pooled(self, x: tf.Tensor) -> tf.Tensor:
        # Zeros, not minus infinity, around the pool: the border counts as a response of 0.
        return tf.nn.max_pool2d(pad(self.conv(x), 1), 3, 2, "VALID")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the feature map."""
        batch, height, width, _ = input_shape
        return batch, halve(halve(height)), halve(halve(width)), self.filters

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return super().get_config() | {"filters": self.filters, "recompute": self.recompute}


@keras.saving.register_keras_serializable("keras_transfer")
class Block(keras.layers.Layer):
    """Units of one resolution, in sequence.

    Args:
        filters: Channels of the bottlenecks; four times as many come out.
        num_units: Number of units.
        strides: Stride of the first unit.
        recompute: Whether training keeps only the inputs of the units for the backward pass.
    """

    def __init__(
        self,
        filters: int,
        num_units: int,
        strides: int = 1,
        recompute: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.num_units = num_units
        self.strides = strides
        self.recompute = recompute
        self.units = [
            Unit(
                filters,
                strides if index == 0 else 1,
                name=f"unit{index + 1:02d}",
                dtype=self.dtype_policy,
            )
            for index in range(num_units)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the units."""
        for unit in self.units:
            unit.build(input_shape)
            input_shape = unit.compute_output_shape(input_shape)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps [B, H, W, C] to [B, ceil(H / strides), ceil(W / strides), 4 * filters]."""
        for unit in self.units:
            x = recomputed(unit, x, unit.weights) if self.recompute and training else unit(x)
        return x

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        return self.units[0].compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return super().get_config() | {
            "filters": self.filters,
            "num_units": self.num_units,
            "strides": self.strides,
            "recompute": self.recompute,
        }


@keras.saving.register_keras_serializable("keras_transfer")
class Unit(keras.layers.Layer):
    """Pre-activation bottleneck: 1x1, 3x3 and 1x1 convolutions beside a shortcut.

    The stride is that of the 3x3 convolution. Where the shape changes, the shortcut is a projection
    of the normalised input; otherwise it is the input as it came.

    Args:
        filters: Channels of the bottleneck; four times as many come out.
        strides: Stride of the unit.
    """

    def __init__(self, filters: int, strides: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.strides = strides

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the layers, and the projection if the shape of the input asks for one."""
        channels = int(input_shape[-1] or 0)
        inner, outer = self.filters, 4 * self.filters
        self.norm_a = self._norm("a", channels)
        self.conv_a = self._conv("a", channels, inner, 1)
        self.proj = None
        if self.strides != 1 or channels != outer:
            self.proj = self._conv("a.proj", channels, outer, 1, self.strides)
        self.norm_b = self._norm("b", inner)
        self.conv_b = self._conv("b", inner, inner, 3, self.strides)
        self.norm_c = self._norm("c", inner)
        self.conv_c = self._conv("c", inner, outer, 1)

    def _norm(self, name: str, channels: int) -> GroupNormReLU:
        name = f"{name}.group_norm"
        layer = GroupNormReLU(_groups(channels), name=name, dtype=self.dtype_policy)
        layer.build((None, None, None, channels))
        return layer

    def _conv(
        self, name: str, channels: int, filters: int, size: int, strides: int = 1
    ) -> StandardizedConv2D:
        name = f"{name}.standardized_conv2d"
        layer = StandardizedConv2D(filters, size, strides, name=name, dtype=self.dtype_policy)
        layer.build((None, None, None, channels))
        return layer

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps [B, H, W, C] to [B, ceil(H / strides), ceil(W / strides), 4 * filters]."""
        h = self.norm_a(x)
        shortcut = x if self.proj is None else self.proj(h)
        h = self.norm_b(self.conv_a(h))
        h = self.norm_c(self.conv_b(h))
        return self.conv_c(h) + shortcut

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        batch, *sides, _ = input_shape
        return (batch, *(halve(side, self.strides) for side in sides), 4 * self.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the layer."""
        return super().get_config() | {"filters": self.filters, "strides": self.strides}
