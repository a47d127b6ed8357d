"""Progress bars of long work, all alike."""

import sys

from tqdm import tqdm


def bar(title: str, total: int, unit: str, *, done: int = 0) -> tqdm:
    """Makes a bar on standard error that vanishes at its end; a context.

    Args:
        title: Before the bar.
        total: What is to do.
        unit: What is counted.
        done: What had been done before.
    """
    return tqdm(
        total=total,
        initial=done,
        desc=title,
        unit=unit,
        dynamic_ncols=True,
        # In the log file of a job every update stays: one in a minute is enough.
        mininterval=1.0 if sys.stderr.isatty() else 60.0,
        leave=False,
        file=sys.stderr,
    )
