"""Figures, each as vectors and pixels with the csv behind it and words for who cannot see it."""

from keras_transfer.reporting.figures.drawing import (
    FILES,
    PANEL_INCHES,
    SETTINGS,
    Figure,
    few_shot_curves,
    finish,
    tag,
    tag_panel,
    write,
)

__all__ = [
    "FILES",
    "PANEL_INCHES",
    "SETTINGS",
    "Figure",
    "few_shot_curves",
    "finish",
    "tag",
    "tag_panel",
    "write",
]
