"""Laws of scale: error as a power of x, with or without a floor, and whether they hold."""

from keras_transfer.evaluation.power_law.fitting import fit
from keras_transfer.evaluation.power_law.forms import FLOOR, FORMS, POWER
from keras_transfer.evaluation.power_law.result import (
    LEVEL,
    NOTHING,
    REASONS,
    Estimate,
    HeldOut,
    PowerLaw,
)

__all__ = [
    "FLOOR",
    "FORMS",
    "LEVEL",
    "NOTHING",
    "POWER",
    "REASONS",
    "Estimate",
    "HeldOut",
    "PowerLaw",
    "fit",
]
