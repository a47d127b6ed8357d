"""Figures, each as vectors and pixels with the csv behind it and words for who cannot see it."""

from keras_transfer.reporting.figures.drawing import (
    FILES,
    PANEL_INCHES,
    SETTINGS,
    Figure,
    finish,
    new_canvas,
    panels,
    write,
)
from keras_transfer.reporting.figures.few_shot import few_shot_curves

__all__ = [
    "FILES",
    "PANEL_INCHES",
    "SETTINGS",
    "Figure",
    "few_shot_curves",
    "finish",
    "new_canvas",
    "panels",
    "write",
]
