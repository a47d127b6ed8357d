"""Times on noisy machines: variants interleaved, ratios taken round by round, CPU seconds."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def spread(values: Sequence[float]) -> str:
    """Returns median, smallest and largest."""
    return f"{statistics.median(values):.3f} [{min(values):.3f} - {max(values):.3f}]"


def ratios(first: Sequence[float], second: Sequence[float]) -> str:
    """Returns the spread of the ratios of two series measured in the same rounds."""
    return spread([a / b for a, b in zip(first, second, strict=True)])


def interleave(variants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measures variants in turn, after one round that warms up."""
    for measure in variants.values():
        measure()
    results: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            results[name].append(measure())
    return results


def per_core(work: Callable[[], int]) -> float:
    """Images per second of CPU time, over all threads.

    Waits for background threads before and after: what a prefetch buffer held at the start it holds
    again at the end, so the images taken are the images made.
    """
    before = idle_cpu_seconds()
    images = work()
    return images / (idle_cpu_seconds() - before)


def idle_cpu_seconds() -> float:
    """CPU seconds used so far, once nothing uses more."""
    used, last = time.process_time(), -math.inf
    while used - last > 0.01:
        time.sleep(0.2)
        used, last = time.process_time(), used
    return used
