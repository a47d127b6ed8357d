"""What a training step of a network holds in memory, from the network's structure alone."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf

from keras_transfer.models import heads, resnetv2
from keras_transfer.models.layers import halve

_FLOAT32 = 4
# Tensors as large as a part's input that exist while its norm is differentiated: three in the type
# of the statistics, beside the gradients that come from the convolutions and from the shortcut.
_STATISTICS, _GRADIENTS = 3, 2


@dataclasses.dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that forward and backward pass hold beside weights and gradients.

    Attributes:
        parameters: Number of weights (not bytes).
        trained: How many of them are not frozen.
        kernels: Standardised kernels.
        activations: What the backward pass needs of the forward pass, per image.
        workspace: Most that the work on one part of the network takes beside it, per image.
    """

    parameters: int
    trained: int
    kernels: int
    activations: int
    workspace: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """Root, unit or last norm: elements per image that its gradient needs, and of its kernels.

    Attributes:
        input: The input, which is the output of the part before; 0 for images.
        inside: Everything else.
        kernels: Elements of all kernels.
        is_trained: Whether it has a gradient.
        is_unit: Whether it is a unit.
    """

    input: int
    inside: int
    kernels: int
    is_trained: bool
    is_unit: bool = False


@functools.cache
def footprint(
    name: str,
    num_classes: int,
    size: tuple[int, int],
    *,
    precision: str = "float32",
    recompute: bool = False,
    freeze_until: str = "",
) -> Footprint:
    """Computes what a training step holds; allocates nothing, however large the network.

    Vectors per channel, the head, and what libraries take for a convolution are left out.

    Args:
        name: Of a network; see ``build``.
        num_classes: Outputs of the head.
        size: Height and width of the images.
        precision: ``float32``, or a mixed policy, whose activations take 2 bytes.
        recompute: See ``build``.
        freeze_until: See ``freeze``.

    Raises:
        UserError: If there is no such network, or no such part to freeze.
    """
    with tf.Graph().as_default():
        model = resnetv2.assemble(name, num_classes)
    heads.freeze(model, freeze_until)
    parts = list(_parts(model, *size))
    item = _FLOAT32 if precision == "float32" else 2
    # Standardised in float32, and cast where the convolution is of another type.
    standardised = _FLOAT32 if item == _FLOAT32 else _FLOAT32 + item
    work = _FLOAT32 * _STATISTICS + item * _GRADIENTS
    units = [part for part in parts if part.is_unit]
    trained = [part for part in parts if part.is_trained]
    held = sum(part.input for part in trained)
    if recompute:
        held += sum(part.inside for part in trained[-1:])  # the last norm
        if item < _FLOAT32 and parts[0].is_trained:
            held += 3 * size[0] * size[1]  # images, cast
        # Of one unit at a time: copies of its weights, of its input, and the output of its norm.
        kernels = max(unit.kernels for unit in units) * (_FLOAT32 + standardised)
        workspace = max(unit.input for unit in units) * (work + 2 * item)
    else:
        held += sum(part.inside for part in trained)
        kernels = sum(part.kernels for part in parts) * standardised
        workspace = max(unit.input for unit in units) * work
    return Footprint(
        parameters=_count(model.weights),
        trained=_count(model.trainable_weights),
        kernels=kernels,
        activations=held * item,
        workspace=workspace,
    )


def _count(weights: Iterable[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def _parts(model: keras.Model, height: int, width: int) -> Iterator[_Part]:
    """Walks through the network; padded and strided copies are what `layers` makes."""
    root = model.get_layer("root_block")
    inside = 3 * (height + 6) * (width + 6)
    height, width = _half(height), _half(width)
    inside += root.filters * (height + 2) * (width + 2)
    yield _Part(0, inside, _count(root.weights), root.trainable)
    height, width, channels = _half(height), _half(width), root.filters
    for index in range(1, 5):
        for unit in model.get_layer(f"block{index}").units:
            yield _unit(unit, height, width, channels)
            if unit.strides > 1:
                height, width = _half(height), _half(width)
            channels = 4 * unit.filters
    rows = height * width * channels
    yield _Part(rows, rows, 0, model.get_layer("group_norm").trainable)


def _unit(unit: resnetv2.Unit, height: int, width: int, channels: int) -> _Part:
    before, inner = height * width * channels, height * width * unit.filters
    inside = before + 2 * inner  # behind norm a; before and behind norm b
    if unit.strides > 1:
        inside += (height + 2) * (width + 2) * unit.filters  # padded for the 3x3 convolution
        height, width = _half(height), _half(width)
        inside += height * width * channels  # the pixels that the projection sees
    inside += 2 * height * width * unit.filters  # before and behind norm c
    kernels = _count(weight for weight in unit.weights if weight.name == "kernel")
    return _Part(before, inside, kernels, unit.trainable, is_unit=True)


def _half(side: int) -> int:
    return halve(side) or 0
