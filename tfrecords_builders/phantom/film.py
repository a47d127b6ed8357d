"""From attenuation to a film of a certain site: exposure, processing, borders and letters."""

import dataclasses
import functools
from dataclasses import dataclass

import cv2
import numpy as np

from tfrecords_builders.phantom.canvas import Canvas


@dataclass(frozen=True, slots=True)
class Style:
    """How the films of a site look.

    Attributes:
        ap_share: Share of AP films.
        gamma: Exponent of the tone curve; above 1 is darker.
        contrast: Slope of the tone curve in the middle.
        brightness: Added at the end.
        exposure: Standard deviation of the exposure.
        noise: Standard deviation of the noise at full density.
        blur: Unsharpness, share of the film's side.
        sharpen: Strength of edge enhancement.
        equalise: Share of histogram equalisation, 0 to 1.
        scatter: Share of scattered radiation, which veils everything.
        rotation: Standard deviation of the rotation, in degrees.
        zoom: Mean enlargement.
        wander: Standard deviation of zoom and position.
        collimation: Share of films with black borders.
        letters: Share of films with a side marker.
        bits: Bits of the stored pixels: 8, or 16 of which the image uses all.
    """

    ap_share: float
    gamma: float
    contrast: float
    brightness: float
    exposure: float
    noise: float
    blur: float
    sharpen: float
    equalise: float
    scatter: float
    rotation: float
    zoom: float
    wander: float
    collimation: float
    letters: float
    bits: int


SITES = {
    # Digital radiography of out-patients.
    "a": Style(
        0.25, 1.0, 1.0, 0.0, 0.03, 0.012, 0.0012, 0.2, 0.0, 0.03, 1.0, 1.0, 0.015, 0.1, 0.5, 8
    ),
    # Computed radiography of the nineties: flat, noisy, unsharp, black borders, 16 bits.
    "b": Style(
        0.35, 1.25, 0.75, 0.06, 0.06, 0.035, 0.0035, 0.0, 0.0, 0.14, 2.0, 0.94, 0.03, 0.7, 0.9, 16
    ),
    # Histogram-equalised and sharpened, as MIMIC-CXR-JPG and CheXpert.
    "c": Style(
        0.45, 0.9, 1.1, 0.0, 0.05, 0.018, 0.0010, 0.9, 0.75, 0.03, 1.5, 1.06, 0.025, 0.3, 0.6, 8
    ),
    # Portables of an intensive care unit.
    "d": Style(
        0.95, 0.8, 1.25, -0.05, 0.09, 0.045, 0.0025, 0.4, 0.2, 0.10, 4.0, 1.0, 0.04, 0.4, 0.8, 16
    ),
}


def style_of(site: str, shift: float) -> Style:
    """Returns the style of a site, or what is between it and site ``a``.

    Args:
        site: Name of the site.
        shift: 0 is site ``a``, 1 the named site, anything between a mixture.
    """
    base, other = SITES["a"], SITES[site]
    mixed = {
        field.name: (1 - shift) * getattr(base, field.name) + shift * getattr(other, field.name)
        for field in dataclasses.fields(Style)
        if field.name != "bits"
    }
    return Style(**mixed, bits=other.bits if shift > 0 else base.bits)


def place(size: int, style: Style, view: str, rng: np.random.Generator) -> Canvas:
    """Returns the film that a patient stands or lies in front of."""
    tilt = style.rotation * (2.0 if view == "AP" else 1.0)
    return Canvas(
        size,
        angle=np.radians(rng.normal(0, tilt)),
        zoom=style.zoom * float(np.clip(1 + rng.normal(0, style.wander), 0.85, 1.2)),
        shift=tuple(rng.normal(0, style.wander, 2)),
    )


def develop(
    attenuation: np.ndarray, canvas: Canvas, style: Style, view: str, rng: np.random.Generator
) -> np.ndarray:
    """Turns attenuation into pixels.

    Args:
        attenuation: float32[size, size], about 0 (air around the patient) to 1.1 (dense).
        canvas: The film.
        style: The site's.
        view: ``PA`` or ``AP``.
        rng: Randomness of the image.

    Returns:
        uint8 or uint16 [size, size]; bright is dense.
    """
    image = canvas.blur(attenuation, style.blur)
    image = (1 - style.scatter) * image + style.scatter * (0.25 + 0.5 * canvas.blur(image, 0.12))
    # Fewer photons arrive behind dense parts.
    # The generator goes on alike at any size, so that borders and letters are the same.
    grain = rng.spawn(1)[0].standard_normal(image.shape, dtype=np.float32)
    grain = canvas.blur(grain, 0.0015)
    image = image + style.noise * (0.35 + 0.65 * image) * grain
    if style.sharpen:
        image = image + style.sharpen * (image - canvas.blur(image, 0.01))
    image = _tone(image, style, float(rng.normal(0, style.exposure)))
    if style.equalise:
        image = (1 - style.equalise) * image + style.equalise * _equalise(image)
    image = _letters(image, style, view, rng)
    image = _collimate(image, style, rng)
    top = 2**style.bits - 1
    return np.rint(np.clip(image, 0, 1) * top).astype(np.uint8 if style.bits == 8 else np.uint16)


def _tone(image: np.ndarray, style: Style, exposure: float) -> np.ndarray:
    """The tone curve: linear in the middle, with toe and shoulder."""
    slope = np.float32(1.7 * style.contrast)
    curve = np.tanh(slope * (image - 0.52 + exposure)) / np.tanh(slope * 0.52)
    return np.clip(0.5 + 0.5 * curve, 0, 1) ** np.float32(style.gamma) + style.brightness


def _equalise(image: np.ndarray) -> np.ndarray:
    coarse = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return cv2.equalizeHist(coarse).astype(np.float32) / 255


def _letters(image: np.ndarray, style: Style, view: str, rng: np.random.Generator) -> np.ndarray:
    """Lays down the side marker, and PORTABLE on AP films, in lead letters."""
    x, y, chance = rng.uniform(0.03, 0.10), rng.uniform(0.07, 0.15), rng.random()
    if chance >= style.letters:
        return image
    size = len(image)
    rows = [("R", 0.045, y)] + ([("PORTABLE", 0.025, y + 0.06)] if view == "AP" else [])
    for text, height, top in rows:
        ink = _ink(text, max(3, round(height * size)))
        row, column = round(top * size), round(x * size)
        place = slice(row, row + ink.shape[0]), slice(column, column + ink.shape[1])
        # Lead keeps rays from the film.
        image[place] = np.maximum(image[place], ink)
    return image


@functools.lru_cache
def _ink(text: str, height: int) -> np.ndarray:
    """Returns a text of so many pixels in height, float32[height, width] in [0, 0.95]."""
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, 2.0, 6
    (width, tall), _ = cv2.getTextSize(text, font, scale, thickness)
    large = np.zeros((tall + 12, width + 12), np.uint8)
    cv2.putText(large, text, (6, tall + 6), font, scale, 255, thickness, cv2.LINE_AA)
    shape = round(height * large.shape[1] / large.shape[0]), height
    return cv2.resize(large, shape, interpolation=cv2.INTER_AREA) * np.float32(0.95 / 255)


def _collimate(image: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Blackens borders where the beam was shut off."""
    chance, widths = rng.random(), rng.uniform(0, 0.055, 4)
    if chance >= style.collimation:
        return image
    top, left, bottom, right = np.rint(widths * len(image)).astype(int)
    result = np.full_like(image, 0.01)
    inside = slice(top, len(image) - bottom), slice(left, len(image) - right)
    result[inside] = image[inside]
    return result
