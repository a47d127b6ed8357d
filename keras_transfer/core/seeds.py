"""Named, independent seeds: one number per run, one derived stream per purpose."""

import hashlib

import numpy as np


def derive(seed: int, *names: str | int) -> int:
    """Derives a seed from a run's seed and a path of names, such as ``derive(0, "order", 3)``.

    Streams with different names are independent; the value does not depend on the platform or on
    the order in which streams are asked for.

    Args:
        seed: The run's seed.
        *names: What the stream is for.

    Returns:
        An integer in [0, 2**31): it fits every library's seed type.
    """
    text = "\0".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") % 2**31


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Returns a NumPy generator for the stream ``derive(seed, *names)``.

    Philox is used because its streams are specified by the algorithm, not by the NumPy version.
    """
    return np.random.Generator(np.random.Philox(derive(seed, *names)))
