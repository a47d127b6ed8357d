"""A case becomes a film."""

import cv2
import numpy as np

from keras_transfer.core.seeds import generator
from tfrecords_builders.phantom import chest, film, findings
from tfrecords_builders.phantom.cases import Case
from tfrecords_builders.phantom.film import Style

_DRAWN_SIZE = 128  # smaller films are drawn at twice their size at most and averaged


def render(case: Case, style: Style, size: int) -> np.ndarray:
    """Draws a film: a pure function of its arguments.

    Args:
        case: Patient, view and findings.
        style: The site's.
        size: Pixels of a side.

    Returns:
        uint8 or uint16 [size, size], as the style says; bright is dense.
    """
    rng = generator(case.seed, "film")
    drawn = size if size >= _DRAWN_SIZE else 2 * size
    canvas = film.place(drawn, style, case.view, rng)
    attenuation = attenuate(case, canvas)
    if drawn != size:
        attenuation = cv2.resize(attenuation, (size, size), interpolation=cv2.INTER_AREA)
        canvas = canvas.resized(size)
    return film.develop(attenuation, canvas, style, case.view, rng)


def attenuate(case: Case, canvas: chest.Canvas) -> np.ndarray:
    """Draws what the rays go through.

    Returns:
        float32[size, size], about 0 (air around the patient) to 1.1 (dense).
    """
    body = chest.body_of(case)
    findings.shape(case, body)
    layers = chest.draw(canvas, case, body)
    findings.draw(case, canvas, body, layers)
    lungs = np.clip(layers.air, 0, 1.1)
    tissue = layers.soft * (1 - 0.74 * lungs)
    return (
        tissue + 0.17 * layers.markings * lungs + layers.bone * (layers.soft > 0.05) + layers.added
    )
