"""The preprocessing string: ``"decode|random_resized_crop(224)|random_flip|value_range(-1, 1)"``.

``compose`` turns it into a function of one example and a seed. Its operations are registered in
``augment_ops``, ``augment_crops``, ``augment_affine`` and ``randaugment``. ``mixup`` mixes batches.

Reference: the string follows big_vision (big_vision/pp/builder.py).
"""

import inspect
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from keras_transfer.core.errors import UserError
from keras_transfer.core.registry import check_arguments, parse_call
from keras_transfer.data import (  # noqa: F401  (they register)
    augment_affine,
    augment_crops,
    randaugment,
)
from keras_transfer.data.augment_ops import (
    ENCODED,
    NORMALISED,
    OPS,
    PIXELS,
    Op,
    fold_in,
    register,
)
from keras_transfer.data.mixup import mixup

__all__ = ["OPS", "Pipeline", "compose", "mixup", "register"]

_PROBLEMS = {
    ENCODED: "needs the encoded image, but it is decoded already by an operation before it",
    PIXELS: "needs pixel values 0..255, but they are normalised already by an operation before it",
    NORMALISED: "needs a normalised image",
}


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of the string: its operation, the arguments by name, and the canonical text."""

    op: Op
    arguments: dict[str, Any]
    text: str
    signature: str

    def __call__(self, image: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        drawn_from = (seed,) if self.op.is_random else ()
        return self.op.function(image, *drawn_from, **self.arguments)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Preprocessing of one example, made by ``compose``.

    Attributes:
        text: The string in canonical form: equal texts do the same.
        is_random: Whether any operation is.
        output_size: Height and width of the result, or None if they depend on the image.
        channels: Channels of the result.
        pixel_channels: Channels of the decoded image.
        normalisation: Canonical text of the operation that normalises, such as
            ``value_range(-1, 1)``: what weights must be fed with.
        value_range: Lowest and highest value that it makes of black and white.
    """

    text: str
    is_random: bool
    output_size: tuple[int, int] | None
    channels: int
    pixel_channels: int
    normalisation: str
    value_range: tuple[float, float]
    _steps: tuple[_Step, ...] = field(repr=False, compare=False)

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and building is slower
    def __call__(
        self, features: dict[str, tf.Tensor], seed: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Applies the operations to one example, eagerly or inside ``tf.data``.

        Args:
            features: ``image``, the bytes of a file as a scalar string; other keys stay.
            seed: int32[2], this example's own; may be left out if nothing is random. The k-th
                random operation draws from sub-stream k, so that deterministic operations can be
                added without changing what the others draw.

        Returns:
            The features, ``image`` now float32[H, W, C].

        Raises:
            tf.errors.InvalidArgumentError: If the bytes cannot be decoded, or the image is too
                small for a crop.
        """
        if seed is None and self.is_random:
            raise UserError(f"{self.text!r} is random: give it a seed.")
        image = features["image"]
        for step, step_seed in zip(self._steps, _sub_streams(self._steps, seed)):
            image = step(image, step_seed)
        return features | {"image": image}

    @tf.autograph.experimental.do_not_convert
    def on_pixels(self, pixels: tf.Tensor) -> tf.Tensor:
        """Applies what follows the decoding: uint8[H, W, pixel_channels] -> float32[H, W, C].

        Raises:
            UserError: If anything is random: such a string may decode and crop in one operation.
        """
        if self.is_random:
            raise UserError(f"{self.text!r} is random: it takes encoded images only.")
        for step in self._steps[1:]:
            pixels = step(pixels, None)
        return pixels


def compose(text: str) -> Pipeline:
    """Parses and checks a preprocessing string.

    Args:
        text: Operations joined by ``|``, each ``name`` or ``name(arguments)`` with Python literals.
            The first one decodes, exactly one normalises.

    Raises:
        UserError: If an operation is unknown, misplaced, or does not fit its arguments or the image
            that the ones before it make.
    """
    steps = tuple(_parse(call) for call in text.split("|"))
    position = _check_order(steps, text)
    normaliser = steps[position]
    shapes = _trace(steps)
    height, width, channels = shapes[-1]
    with tf.init_scope():
        black_and_white = tf.constant([[[0.0]], [[255.0]]]) * tf.ones(shapes[position - 1][-1:])
        extremes = normaliser(black_and_white, None)
    return Pipeline(
        text="|".join(step.text for step in steps),
        is_random=any(step.op.is_random for step in steps),
        output_size=(height, width) if height and width else None,
        channels=channels,
        pixel_channels=shapes[0][-1],
        normalisation=normaliser.text,
        value_range=(float(tf.reduce_min(extremes)), float(tf.reduce_max(extremes))),
        _steps=steps,
    )


def _sub_streams(steps: tuple[_Step, ...], seed: tf.Tensor | None) -> list[tf.Tensor | None]:
    """Returns one seed per step: None for those that draw nothing."""
    count = sum(step.op.is_random for step in steps)
    streams = iter(tf.unstack(fold_in(seed, range(count))) if count else [])
    return [next(streams) if step.op.is_random else None for step in steps]


def _parse(call: str) -> _Step:
    """Reads one call; fails if its name or its arguments are wrong."""
    if not call.strip():
        raise UserError("An operation is missing: write op|op|op without empty places.")
    name, positional, named = parse_call(call)
    op = OPS.get(name)
    given = 1 + op.is_random
    arguments = check_arguments(call, op.function, positional, named, given=given)
    arguments = {key: _plain(value) for key, value in arguments.items()}
    parameters = list(inspect.signature(op.function).parameters.values())[given:]
    signature = name + str(inspect.Signature(parameters)).replace("(*, ", "(")
    return _Step(op, arguments, _canonical(name, parameters, arguments), signature)


def _canonical(name: str, parameters: list[inspect.Parameter], arguments: dict[str, Any]) -> str:
    """Writes a call so that equal calls are equal texts.

    The first argument and required ones have no name, defaults are left out.
    """
    words = []
    for number, parameter in enumerate(parameters):
        required = parameter.default is parameter.empty
        value = arguments.get(parameter.name, parameter.default)
        if required or value != _plain(parameter.default):
            prefix = "" if required or number == 0 else f"{parameter.name}="
            words.append(f"{prefix}{value!r}")
    return f"{name}({', '.join(words)})" if words else name


def _plain(value: Any) -> Any:
    """Returns whole floats as integers and lists as tuples: one way to write each value."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_order(steps: tuple[_Step, ...], text: str) -> int:
    """Checks that each operation gets the kind of image it needs; returns which one normalises."""
    state, normaliser = ENCODED, None
    for position, step in enumerate(steps):
        if state not in step.op.accepts:
            if state == ENCODED:
                decoders = [name for name in OPS.names() if ENCODED in OPS.get(name).accepts]
                problem = f"needs a decoded image: start with {' or '.join(decoders)}"
            else:
                problem = _PROBLEMS[step.op.accepts[-1]]
            raise UserError(f"{step.text!r} {problem}; the string is {text!r}.")
        if step.op.gives == NORMALISED:
            normaliser = position
        state = step.op.gives or (PIXELS if state == ENCODED else state)
    if normaliser is None:
        known = [name for name in OPS.names() if OPS.get(name).gives == NORMALISED]
        raise UserError(f"Nothing normalises the image: add {' or '.join(known)} to {text!r}.")
    return normaliser


def _trace(steps: tuple[_Step, ...]) -> list[tuple[int | None, int | None, int]]:
    """Builds the pipeline as a graph without running it, so that wrong arguments fail now.

    Returns:
        Height, width and channels of the result of each step; None where they vary.
    """
    shapes = []
    with tf.Graph().as_default():
        image = tf.zeros([], tf.string)
        for step in steps:
            try:
                image = step(image, tf.zeros([2], tf.int32))
            except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
                reason = str(error).strip().splitlines()[0].rstrip(".")
                raise UserError(
                    f"{step.text!r}: {reason}; its signature is {step.signature}."
                ) from error
            shapes.append(tuple(image.shape))
    return shapes
