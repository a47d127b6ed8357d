"""The BiT-HyperRule: how long, at which size and with which mixup to transfer.

Reference: Kolesnikov et al. 2020, "Big Transfer (BiT): General Visual Representation Learning",
section 3.3; big_transfer's bit_hyperrule.py, whose edges are kept: a drop of the rate shows one
step after its bound, and step 0 has rate 0.
"""

import math

import numpy as np

from keras_transfer.core.errors import UserError

# Examples below this number: ends of the warm-up, of the first three rates and of the run; mixup.
_RULES = (
    (20_000, (100, 200, 300, 400, 500), 0.0),
    (500_000, (500, 3_000, 6_000, 9_000, 10_000), 0.1),
    (math.inf, (500, 6_000, 12_000, 18_000, 20_000), 0.1),
)
_SMALL_AREA = 96 * 96
_LEVELS = np.array([1, 1e-1, 1e-2, 1e-3])


def _rule(num_examples: int) -> tuple[tuple[int, ...], float]:
    if num_examples < 1:
        raise UserError(f"BiT-HyperRule: a training set of {num_examples} examples has no rule.")
    return next((supports, alpha) for below, supports, alpha in _RULES if num_examples < below)


def supports(num_examples: int, total_steps: int | None = None) -> tuple[int, ...]:
    """Returns the bounds of the schedule: end of warm-up, three drops, end.

    Args:
        num_examples: Size of the training set.
        total_steps: Length of a shortened (or lengthened) run: all bounds move in proportion,
            rounded; None is the rule's own length.
    """
    bounds, _ = _rule(num_examples)
    if total_steps is None:
        return bounds
    if total_steps < 1:
        raise UserError(f"BiT-HyperRule: total_steps must be at least 1, got {total_steps}.")
    return tuple(max(1, round(bound * total_steps / bounds[-1])) for bound in bounds)


def total_steps(num_examples: int) -> int:
    """Returns the length of the run in optimisation steps."""
    return supports(num_examples)[-1]


def mixup_alpha(num_examples: int) -> float:
    """Returns both parameters of mixup's Beta distribution; 0 is no mixup."""
    return _rule(num_examples)[1]


def resolution(height: int, width: int) -> tuple[int, int]:
    """Returns the side to resize to and the side of the crop, in pixels.

    Args:
        height: Of the original images, in pixels.
        width: Of the original images, in pixels.
    """
    return (160, 128) if height * width < _SMALL_AREA else (512, 480)


def factor(step: np.ndarray, bounds: tuple[int, ...]) -> np.ndarray:
    """Computes the learning rate as a share of its peak.

    Args:
        step: Steps from 0, before the last bound.
        bounds: From ``supports``.

    Returns:
        float64, the shape of ``step``: rising from 0 to 1, then 1, 1/10, 1/100, 1/1000.
    """
    step = np.asarray(step)
    drops = np.searchsorted(bounds[1:-1], step, side="left")  # bounds strictly below the step
    return np.where(step < bounds[0], step / bounds[0], _LEVELS[drops])


def learning_rate(
    step: int, num_examples: int, base_lr: float = 0.003, *, total_steps: int | None = None
) -> float | None:
    """Computes the learning rate of one step.

    Args:
        step: Step from 0.
        num_examples: Size of the training set.
        base_lr: Peak rate; the reference uses 0.003 with batches of 512 and scales by hand.
        total_steps: Length of the run; None is the rule's own.

    Returns:
        The rate, or None when training is over.
    """
    bounds = supports(num_examples, total_steps)
    return base_lr * float(factor(np.asarray(step), bounds)) if step < bounds[-1] else None
