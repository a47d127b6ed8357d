"""What a claim is made of: gains between cells of the transfer table, and what is said of them.

Where a sentence names no sources, the smallest and the largest of a kind stand for it, as in
Figures 2, 3, 8 and 9 of arXiv:2106.00116 and in the table of its poster. Comparisons of sources are
made within a network, comparisons of networks within a source.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from keras_transfer.reporting.collection import FULL
from keras_transfer.reporting.paper.names import (
    ARCHS,
    LARGE_NET,
    MEDICAL,
    NATURAL,
    NATURAL_SOURCES,
    SMALL_NET,
    medical_sources,
)
from keras_transfer.reporting.tables import Column

NATURAL_TARGETS = ("cifar10", "cifar100", "flowers102", "pets")
SMALL_XRAYS = ("covidx", "tuberculosis")
XRAYS = ("padchest_cl", *SMALL_XRAYS)

# Which shots a sentence is about. The lowest are the paper's "very low data regime".
LOWEST = "lowest"
FEW = "few"
ALL_SHOTS = "all"
_LOWEST = (1.0, 5.0)
_FEW = {
    "cifar10": (1.0, 5.0, 10.0, 100.0, 500.0),
    "cifar100": (1.0, 5.0, 10.0, 100.0, 500.0),
    "flowers102": (1.0, 5.0, 10.0),
    "pets": (1.0, 5.0, 10.0),
    "covidx": (1.0, 5.0, 10.0, 100.0, 500.0),
    "tuberculosis": (1.0, 5.0, 10.0, 100.0),
    "padchest_cl": (1.0, 5.0, 10.0, 100.0),
}

# What is said of a gain; the margin is that of the examination.
IMPROVES = "improves"
IMPROVES_LITTLE = "improves by less than the margin"
SAME = "no difference"
NO_GAIN = "no improvement"
AS_GOOD = "at least as good"
# Literally: about tests, not about sizes.
NOT_SIGNIFICANT = "no significant difference"

# How many of its contrasts a claim needs.
EVERY, NEARLY_EVERY, MOST, SOME = "all", "almost all", "most", "some"
_NEARLY = 0.8


@dataclass(frozen=True)
class Gain:
    """What one network gains over another on a target.

    Attributes:
        target: Evaluated data.
        shots: Training examples per class; infinity is the whole training split.
        first: (arch, source) of the one; of several, the best is meant.
        second: Of the other.
    """

    target: str
    shots: float
    first: tuple[Column, ...]
    second: tuple[Column, ...]


@dataclass(frozen=True)
class Question:
    """A gain, or how much larger a gain is than another.

    Attributes:
        gain: The gain.
        over: What it is compared with, if not with 0.
    """

    gain: Gain
    over: Gain | None = None

    @property
    def gains(self) -> tuple[Gain, ...]:
        """Its one or two gains."""
        return (self.gain, self.over) if self.over else (self.gain,)


@dataclass(frozen=True)
class Claim:
    """A sentence that compares scales or sources.

    Attributes:
        id: Its name.
        where: Where it stands.
        wording: What it says, summarised.
        says: What it says of each question: ``IMPROVES``, ``SAME``, ...
        questions: What it is about.
        holds_for: How many of them it needs: ``EVERY``, ``MOST``, ...
        by: Points by which ``IMPROVES`` must be exceeded.
        disputes: The claim that says otherwise, if one does.
    """

    id: str
    where: str
    wording: str
    says: str
    questions: tuple[Question, ...]
    holds_for: str = EVERY
    by: float = 0.0
    disputes: str = ""

    @property
    def tables(self) -> tuple[str, ...]:
        """The printed tables that stand beside it (`printed.LAYOUTS`)."""
        return ("table1", "table2") if "paper" in self.where else ("poster",)

    def in_words(self, margin: str) -> str:
        """Returns what it says of its contrasts.

        Args:
            margin: Of the examination, with its unit.
        """
        says = {
            IMPROVES: f"better by more than {self.by:g} points" if self.by else "better",
            IMPROVES_LITTLE: f"better, by less than {margin}",
            SAME: f"different by less than {margin}",
            NO_GAIN: f"not better by {margin} or more",
            AS_GOOD: f"not worse by {margin} or more",
            NOT_SIGNIFICANT: "not significantly different",
        }[self.says]
        return f"{says}, in {self.holds_for} contrasts"


def needed(holds_for: str, count: int) -> int:
    """Returns how many of ``count`` contrasts must be as claimed."""
    return {
        EVERY: count,
        NEARLY_EVERY: math.ceil(_NEARLY * count),
        MOST: count // 2 + 1,
        SOME: 1,
    }[holds_for]


def smallest_and_largest(kind: str, target: str) -> tuple[str, str]:
    """Returns the sources that stand for a kind: images of the target itself are left out."""
    if kind == NATURAL:
        return NATURAL_SOURCES
    nested = medical_sources(target)
    return nested[0], nested[-1]


def model_scale(
    targets: Iterable[str], kind: str, shots: str | float = FULL
) -> tuple[Question, ...]:
    """Large against small network, from the smallest and the largest source of a kind."""
    return tuple(
        _question(target, k, (LARGE_NET, source), (SMALL_NET, source))
        for target in targets
        for k in _shots(target, shots)
        for source in smallest_and_largest(kind, target)
    )


def data_scale(
    targets: Iterable[str], kind: str, shots: str | float = FULL
) -> tuple[Question, ...]:
    """Largest against smallest source of a kind, with both networks."""
    found = []
    for target in targets:
        small, large = smallest_and_largest(kind, target)
        found += [
            _question(target, k, (arch, large), (arch, small))
            for k in _shots(target, shots)
            for arch in ARCHS
        ]
    return tuple(found)


def either_scale(
    targets: Iterable[str], kind: str, shots: str | float = FULL
) -> tuple[Question, ...]:
    """Both of the above."""
    targets = tuple(targets)
    return model_scale(targets, kind, shots) + data_scale(targets, kind, shots)


def both_scales(targets: Iterable[str], kind: str) -> tuple[Question, ...]:
    """Large network and largest source against small network and smallest source, full shot."""
    found = []
    for target in targets:
        small, large = smallest_and_largest(kind, target)
        found.append(_question(target, FULL, (LARGE_NET, large), (SMALL_NET, small)))
    return tuple(found)


def every_medical_source(targets: Iterable[str]) -> tuple[Question, ...]:
    """Large against small network from each union of X-ray datasets, full shot."""
    return tuple(
        _question(target, FULL, (LARGE_NET, source), (SMALL_NET, source))
        for target in targets
        for source in medical_sources(target)
    )


def medical_over_natural(targets: Iterable[str], shots: str | float = FULL) -> tuple[Question, ...]:
    """Smallest and largest medical against smallest and largest natural source, both networks."""
    return tuple(
        _question(target, k, (arch, medical), (arch, natural))
        for target in targets
        for k in _shots(target, shots)
        for arch in ARCHS
        for medical in smallest_and_largest(MEDICAL, target)
        for natural in smallest_and_largest(NATURAL, target)
    )


def larger_than_in_full_shot(questions: Iterable[Question]) -> tuple[Question, ...]:
    """How much larger each gain is than the same gain in full shot."""
    return tuple(Question(q.gain, replace(q.gain, shots=FULL)) for q in questions)


def larger_in_full_shot(questions: Iterable[Question]) -> tuple[Question, ...]:
    """How much larger than each gain the same gain is in full shot."""
    return tuple(Question(replace(q.gain, shots=FULL), q.gain) for q in questions)


def larger_than_on(
    questions: Iterable[Question], others: Iterable[Question]
) -> tuple[Question, ...]:
    """How much larger each gain is than the one at the same place of the others."""
    return tuple(Question(q.gain, other.gain) for q, other in zip(questions, others, strict=True))


def _question(target: str, shots: float, first: Column, second: Column) -> Question:
    return Question(Gain(target, shots, (first,), (second,)))


def _shots(target: str, which: str | float) -> tuple[float, ...]:
    if which == LOWEST:
        return _LOWEST
    if which == FEW:
        return _FEW[target]
    return (*_FEW[target], FULL) if which == ALL_SHOTS else (FULL,)
