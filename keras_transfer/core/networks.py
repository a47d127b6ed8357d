"""Sizes of networks by their names, without building them."""

import re

from keras_transfer.core.errors import UserError

# Units of the four blocks by depth, as in models.resnetv2.
UNITS = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def count_parameters(arch: str) -> int:
    """Returns the number of trained parameters of a BiT network without its head.

    The head is left out because it grows with the classes of a dataset, not with the network.

    Args:
        arch: Name in results, such as ``r50x1`` or ``r14x0.25``; ``bit-`` may stand before it.

    Raises:
        UserError: If there is no such network.
    """
    match = re.fullmatch(r"(?:bit-)?r(\d+)x(\d+(?:\.\d+)?)", arch)
    units = UNITS.get(int(match[1])) if match else None
    if match is None or units is None or not float(match[2]):
        raise UserError(f"The number of parameters of {arch!r} is not known: it is no BiT network.")
    stem = round(64 * float(match[2]))
    total, channels = 7 * 7 * 3 * stem, stem
    for block, number in enumerate(units):
        filters = stem * 2**block
        total += 4 * channels * filters  # the projection of the first unit
        for _ in range(number):
            norms = 2 * (channels + 2 * filters)
            total += norms + filters * (channels + 9 * filters + 4 * filters)
            channels = 4 * filters
    return total + 2 * channels
