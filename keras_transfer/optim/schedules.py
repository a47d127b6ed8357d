"""Learning-rate schedules: pure functions from the step to the rate, in float64.

A schedule is chosen by a text such as ``cosine`` or ``step(milestones=(0.5, 0.75))``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.registry import Registry, check_arguments, parse_call
from keras_transfer.optim import hyperrule

# Steps int[...] -> share of the peak rate, float64[...].
Factor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Run:
    """What a schedule may depend on.

    Attributes:
        total_steps: Length of the run.
        warmup_steps: Steps of linear warm-up.
        warmup_start: Share of the peak rate that the warm-up starts from.
        num_examples: Size of the training set, if known.
    """

    total_steps: int
    warmup_steps: int
    warmup_start: float
    num_examples: int | None


SCHEDULES: Registry[Callable[..., Factor]] = Registry("schedule")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of each step of a run.

    Attributes:
        peak_lr: Rate at the end of warm-up.
        total_steps: Length of the run.
        factor: Steps -> share of the peak.
    """

    peak_lr: float
    total_steps: int
    factor: Factor

    def __call__(self, step: int | np.ndarray) -> Any:
        """Computes the rate of one or many steps.

        Args:
            step: int[...] in [0, total_steps).

        Returns:
            float64[...], the shape of ``step``.
        """
        step = np.asarray(step)
        if step.size and (step.min() < 0 or step.max() >= self.total_steps):
            raise ValueError(
                f"The schedule has steps 0 to {self.total_steps - 1}; asked for "
                f"{step.min()} to {step.max()}."
            )
        return (self.peak_lr * self.factor(step))[()]


def make_schedule(
    text: str,
    *,
    peak_lr: float,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_start: float = 0.0,
    num_examples: int | None = None,
) -> Schedule:
    """Makes a schedule from its name, or name and options.

    Args:
        text: ``bit``, ``step``, ``cosine`` or ``constant``, with options in parentheses.
        peak_lr: Largest rate, see ``scale_linearly``.
        total_steps: Length of the run.
        warmup_steps: Steps of linear warm-up; the last of them has the peak rate. ``bit`` brings
            its own.
        warmup_start: Share of the peak that warm-up starts from. The authors start at the rate of
            one worker: 1 / (number of workers), which for one worker is no warm-up.
        num_examples: Size of the training set; ``bit`` needs it.

    Raises:
        UserError: If name, options or lengths cannot be.
    """
    name, args, kwargs = parse_call(text)
    make = SCHEDULES.get(name)
    options = check_arguments(text, make, args, kwargs, given=1)
    if total_steps < 1:
        raise UserError(f"Schedule {name!r}: total_steps must be at least 1, got {total_steps}.")
    if not 0 <= warmup_steps < total_steps:
        raise UserError(
            f"Schedule {name!r}: a warm-up of {warmup_steps} steps does not fit into a run of "
            f"{total_steps} steps."
        )
    if not 0 <= warmup_start <= 1:
        raise UserError(f"Schedule {name!r}: warmup_start is a share of the peak: {warmup_start}.")
    run = Run(total_steps, warmup_steps, warmup_start, num_examples)
    return Schedule(peak_lr, total_steps, make(run, **options))


def scale_linearly(base_lr: float, global_batch_size: int, base_batch_size: int = 256) -> float:
    """Returns the peak rate under the linear scaling rule.

    Reference: Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1.

    Args:
        base_lr: Rate for ``base_batch_size`` examples per step.
        global_batch_size: Examples per step, over all replicas and micro-batches.
        base_batch_size: 0 switches scaling off.
    """
    return base_lr * global_batch_size / base_batch_size if base_batch_size else base_lr


def _after_warmup(run: Run, decay: Factor) -> Factor:
    """Puts the linear warm-up before a decay.

    Rates are those at the end of a step, as in the authors' code: the first step is above the
    start, the last step of the warm-up has the peak, so nothing jumps where the decay takes over.
    """
    if not run.warmup_steps:
        return decay

    def factor(step: np.ndarray) -> np.ndarray:
        rise = (1 - run.warmup_start) * (step + 1) / run.warmup_steps
        return np.where(step < run.warmup_steps, run.warmup_start + rise, decay(step))

    return factor


@SCHEDULES.register("constant")
def constant(run: Run) -> Factor:
    """Stays at the peak."""
    return _after_warmup(run, lambda step: np.ones(np.shape(step)))


@SCHEDULES.register("step")
def step(
    run: Run,
    *,
    milestones: tuple[float, ...] = (30 / 90, 60 / 90, 80 / 90),
    drop: float = 0.1,
) -> Factor:
    """Drops at fractions of the run.

    Reference: the authors' lr_scheduler/builder.py.
    Differs from it: there the milestones are epochs 30, 60 and 80, however long the run.

    Args:
        run: The run.
        milestones: Where the rate drops, as rising fractions of the run.
        drop: What the rate is multiplied with at each.
    """
    bounds = [round(milestone * run.total_steps) for milestone in milestones]
    if list(milestones) != sorted(milestones) or not all(0 < m < 1 for m in milestones):
        raise UserError(f"step: milestones are rising fractions of the run, got {milestones}.")
    if bounds and bounds[0] < run.warmup_steps:
        raise UserError(
            f"step: the rate would drop at step {bounds[0]}, within the warm-up of "
            f"{run.warmup_steps} steps; shorten the warm-up or move the milestones."
        )
    # A table, so that one step alone and many steps at once give the same bits.
    levels = drop ** np.arange(len(bounds) + 1)
    return _after_warmup(run, lambda step: levels[np.searchsorted(bounds, step, side="right")])


@SCHEDULES.register("cosine")
def cosine(run: Run, *, final: float = 0.0) -> Factor:
    """Falls along half a cosine; the last step has the final rate.

    Reference: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.

    Args:
        run: The run.
        final: Share of the peak at the end.
    """
    if not 0 <= final <= 1:
        raise UserError(f"cosine: final is a share of the peak rate, got {final}.")
    length = run.total_steps - run.warmup_steps

    def decay(step: np.ndarray) -> np.ndarray:
        progress = (step + 1 - run.warmup_steps) / length
        return final + (1 - final) / 2 * (1 + np.cos(np.pi * progress))

    return _after_warmup(run, decay)


@SCHEDULES.register("bit")
def bit(run: Run) -> Factor:
    """Follows the BiT-HyperRule, stretched to the length of the run; see ``hyperrule``."""
    if run.num_examples is None:
        raise UserError("Schedule 'bit' depends on the number of training examples.")
    if run.warmup_steps:
        raise UserError("Schedule 'bit' brings its own warm-up: leave warmup at 0 steps.")
    bounds = hyperrule.supports(run.num_examples, run.total_steps)
    return lambda step: hyperrule.factor(step, bounds)
