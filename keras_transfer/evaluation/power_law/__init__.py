"""Laws of scale: error as a power of x, with or without a floor, and whether they hold."""

from keras_transfer.evaluation.power_law.fitting import (
    FLOOR,
    FORMS,
    LEVEL,
    POWER,
    REASONS,
    Estimate,
    HeldOut,
    PowerLaw,
    fit,
)

__all__ = ["FLOOR", "FORMS", "LEVEL", "POWER", "REASONS", "Estimate", "HeldOut", "PowerLaw", "fit"]
