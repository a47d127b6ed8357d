"""The head, the one layer that transfer replaces, and the features below it."""

import keras
import numpy as np

from keras_transfer.core.config import PARTS
from keras_transfer.core.errors import UserError
from keras_transfer.core.seeds import derive

HEAD = "head"
POOL = "pool"
HEAD_INITS = ("uniform", "zeros")

# The layers of each of PARTS.
_LAYERS = (("root_block",), ("block1",), ("block2",), ("block3",), ("block4", "group_norm"))


def is_head(path: str) -> bool:
    """Whether a variable, given by its path, belongs to the head."""
    return HEAD in path.split("/")[:-1]


def attach_head(features: keras.KerasTensor, num_classes: int) -> keras.KerasTensor:
    """Puts a head of zeros on features: float32[B, F] -> logits float32[B, num_classes].

    Raises:
        UserError: If there is no class.
    """
    if num_classes < 1:
        raise UserError(f"A head needs at least 1 class, got {num_classes}.")
    head = keras.layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32", name=HEAD)
    return head(features)


def initialize_head(model: keras.Model, seed: int, head_init: str = "zeros") -> None:
    """Gives the head of a model new values, in place.

    Args:
        model: A model with a head.
        seed: The run's seed.
        head_init: ``"zeros"`` (BiT) or ``"uniform"``: kernel and bias within
            1 / sqrt(features), the default of PyTorch that the authors' code leaves in force.

    Raises:
        UserError: If ``head_init`` is unknown.
    """
    if head_init not in HEAD_INITS:
        raise UserError(f"Unknown head_init {head_init!r}: {' or '.join(HEAD_INITS)}.")
    for variable in model.get_layer(HEAD).weights:
        limit = 0.0 if head_init == "zeros" else 1 / np.sqrt(model.get_layer(HEAD).kernel.shape[0])
        stream = derive(seed, "init", variable.path)
        draw = keras.initializers.RandomUniform(-limit, limit, seed=stream)
        variable.assign(draw(variable.shape))


def replace_head(
    model: keras.Model, num_classes: int, *, head_init: str = "zeros", seed: int = 0
) -> keras.Model:
    """Returns a model with a new head on the same backbone.

    The backbone is shared, not copied: training one model changes the other.

    Args:
        model: A model with features of this package.
        num_classes: Outputs of the new head.
        head_init: See ``initialize_head``.
        seed: The run's seed.
    """
    logits = attach_head(model.get_layer(POOL).output, num_classes)
    replaced = keras.Model(model.input, logits, name=model.name)
    initialize_head(replaced, seed, head_init)
    return replaced


def freeze(model: keras.Model, until: str) -> None:
    """Makes the parts of a network up to one of them untrainable, in place.

    Args:
        model: A model with features of this package.
        until: One of ``config.PARTS``, or "" to freeze nothing. With ``stage4`` goes the
            normalisation behind it: only the head is trained.
    """
    if not until:
        return
    if until not in PARTS:
        raise UserError(f"Unknown part {until!r} to freeze: {', '.join(PARTS)}.")
    for names in _LAYERS[: PARTS.index(until) + 1]:
        for name in names:
            model.get_layer(name).trainable = False


def feature_extractor(model: keras.Model) -> keras.Model:
    """Returns a model, sharing the backbone, that maps images to features.

    Returns:
        images float32[B, H, W, 3] -> float32[B, F]: the global mean after the last GroupNorm and
        ReLU, what the head sees.
    """
    return keras.Model(model.input, model.get_layer(POOL).output, name=f"{model.name}.features")
