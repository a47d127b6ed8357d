"""Pieces of sentences that several modules write: counts, lists, p values."""

from collections.abc import Sequence

from keras_transfer.reporting.comparisons import LEVEL

_MOST_DIGITS = 6


def counted(number: int, noun: str) -> str:
    """Returns ``1 seed`` or ``5 seeds``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def joined(parts: Sequence[str]) -> str:
    """Returns ``a``, ``a and b`` or ``a, b and c``."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def p_text(p: float, fewest: int = 2) -> str:
    """Returns ``= 0.34``, ``= 0.034`` or ``< 0.001``.

    There are as many digits as show on which side of `comparisons.LEVEL` it is.

    Args:
        p: At most 1.
        fewest: Digits of p >= 0.1; below there are at least three.
    """
    if p < 0.001:
        return "< 0.001"
    digits = fewest if p >= 0.1 else max(fewest, 3)
    while round(p, digits) == LEVEL and digits < _MOST_DIGITS:
        digits += 1
    return f"= {p:.{digits}f}"
