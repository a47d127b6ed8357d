"""Durations that carry their unit: ``"90 epochs"``, ``"500 steps"``, ``"10 percent"``."""

import re

from keras_transfer.core.errors import UserError

_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(steps?|epochs?|examples?|percent|%)\s*")


def to_steps(
    text: str,
    *,
    global_batch_size: int,
    num_examples: int | None = None,
    total_steps: int | None = None,
) -> int:
    """Converts a duration to optimisation steps, rounded to the nearest step.

    Args:
        text: A number and a unit: steps, epochs, examples or percent (of the whole run).
        global_batch_size: Examples per step, over all replicas.
        num_examples: Examples per epoch; needed for epochs.
        total_steps: Steps of the whole run; needed for percent.

    Returns:
        Steps, at least 1 unless the number is 0.

    Raises:
        UserError: If the text has no known unit or the unit cannot be converted here.
    """
    match = _PATTERN.fullmatch(text)
    if not match:
        raise UserError(
            f"Cannot read the duration {text!r}: write a number and a unit, "
            "such as '500 steps', '90 epochs', '10000 examples' or '10 percent'."
        )
    value, unit = float(match[1]), match[2].rstrip("s")
    if unit == "step":
        steps = value
    elif unit == "example":
        steps = value / global_batch_size
    elif unit == "epoch":
        if num_examples is None:
            raise UserError(f"{text!r}: the number of training examples is not known here.")
        steps = value * num_examples / global_batch_size
    else:
        if total_steps is None:
            raise UserError(f"{text!r}: the length of the whole run cannot be given in percent.")
        steps = value / 100 * total_steps
    return max(1, round(steps)) if value > 0 else 0
