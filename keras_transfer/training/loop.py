"""The outer loop: run a window of compiled steps, let the actions look, repeat."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from keras_transfer.training.step import Engine

_NEVER = np.iinfo(np.int64).max


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: Optimisation steps done.
        total_steps: Optimisation steps of the whole run.
        seconds: Time spent in optimisation steps, over all (re)starts.
        values: Column name -> float32[n] of the last window's n steps.
        window_seconds: Time the last window took.
        best_step: Step of the best evaluation so far; 0 is none (``train.select``).
        best_value: What it gave.
    """

    step: int
    total_steps: int
    seconds: float = 0.0
    values: dict[str, np.ndarray] = field(default_factory=dict)
    window_seconds: float = 0.0
    best_step: int = 0
    best_value: float = math.nan

    @property
    def window_steps(self) -> int:
        """Steps of the last window."""
        return len(self.values["loss"])


class Action(Protocol):
    """Looks at a run between two windows; everything but optimisation is an action."""

    def next(self, step: int) -> int:
        """Returns the first step after ``step`` at which the action must look."""

    def __call__(self, progress: Progress) -> None:
        """Looks; called after every window, which ends at ``next`` or before."""


class EachWindow:
    """An action that looks at every window of steps and ends none."""

    def next(self, step: int) -> int:
        """See `Action`."""
        return _NEVER


class Periodic:
    """An action that is due every ``every`` steps; 0 is only at the end."""

    def __init__(self, every: int):
        self._every = every

    def next(self, step: int) -> int:
        """See `Action`."""
        return (step // self._every + 1) * self._every if self._every else _NEVER

    def _due(self, progress: Progress) -> bool:
        at_end = progress.step == progress.total_steps
        return at_end or bool(self._every and progress.step % self._every == 0)


def run(
    engine: Engine,
    iterator: Iterator,
    learning_rate: Callable[[np.ndarray], np.ndarray],
    progress: Progress,
    actions: Sequence[Action],
    steps_per_call: int,
) -> None:
    """Trains from ``progress.step`` to ``progress.total_steps``.

    Args:
        engine: What trains.
        iterator: Batches, starting at ``progress.step``.
        learning_rate: int64[n] steps, counted from 0 -> float64[n] rates.
        progress: Updated in place.
        actions: Called after each window, in this order.
        steps_per_call: Longest window.
    """
    while progress.step < progress.total_steps:
        limits = [progress.total_steps, progress.step + steps_per_call]
        end = min(limits + [action.next(progress.step) for action in actions])
        rates = learning_rate(np.arange(progress.step, end))
        start = time.perf_counter()
        values = engine.train(iterator, rates)
        progress.window_seconds = time.perf_counter() - start
        progress.values = {**values, "learning_rate": rates}
        progress.seconds += progress.window_seconds
        progress.step = end
        for action in actions:
            action(progress)
