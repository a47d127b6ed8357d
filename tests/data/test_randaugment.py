"""RandAugment: each operation against Pillow, and the choice among them."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy import stats

from keras_transfer.data import randaugment
from keras_transfer.data.randaugment import OPERATIONS, rand_augment, value_of

MAGNITUDES = (0, 1, 7, 9, 10, 15, 20, 28, 30)


def _images() -> dict[str, np.ndarray]:
    y, x = np.mgrid[0:75, 0:101]
    waves = np.stack([np.sin(x / 9 + y / 13), np.cos(x / 7), np.sin(y / 6 - x / 11)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 8, (75, 101, 3))
    photo = np.clip(127 + 110 * waves + noise, 0, 255).astype(np.uint8)
    flat = np.full((20, 30, 3), 77, np.uint8)
    return {
        "photo": photo,
        "low contrast": photo // 5 + 90,
        "tiny": photo[:7, :9],
        "flat": flat,
        "almost flat": np.where(np.arange(20)[:, None, None] == 3, 80, flat).astype(np.uint8),
    }


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _cutout(image: Image.Image, value: float, x: float, y: float) -> Image.Image:
    """The reference's arithmetic; np.random.uniform(w) is w + (1 - w) * u."""
    width, height = image.size
    left = int(max(0, width + (1 - width) * x - value / 2))
    top = int(max(0, height + (1 - height) * y - value / 2))
    box = (left, top, min(width, left + value), min(height, top + value))
    image = image.copy()
    ImageDraw.Draw(image).rectangle(box, (125, 123, 114))
    return image


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    # Pillow refuses 0 bits today; the Pillow of the reference masked them all away.
    return ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)


def _solarize_add(image: Image.Image, value: float) -> Image.Image:
    lighter = np.clip(np.asarray(image).astype(int) + value, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(lighter), 128)


# What the reference calls, given the image, the value, its signed value, and two draws.
REFERENCE = {
    "auto_contrast": lambda i, v, s, d: ImageOps.autocontrast(i),
    "equalize": lambda i, v, s, d: ImageOps.equalize(i),
    "invert": lambda i, v, s, d: ImageOps.invert(i),
    "rotate": lambda i, v, s, d: i.rotate(s),
    "posterize": lambda i, v, s, d: _posterize(i, int(v)),
    "solarize": lambda i, v, s, d: ImageOps.solarize(i, v),
    "solarize_add": lambda i, v, s, d: _solarize_add(i, v),
    "color": lambda i, v, s, d: ImageEnhance.Color(i).enhance(v),
    "contrast": lambda i, v, s, d: ImageEnhance.Contrast(i).enhance(v),
    "brightness": lambda i, v, s, d: ImageEnhance.Brightness(i).enhance(v),
    "sharpness": lambda i, v, s, d: ImageEnhance.Sharpness(i).enhance(v),
    "shear_x": lambda i, v, s, d: _affine(i, 1, s, 0, 0, 1, 0),
    "shear_y": lambda i, v, s, d: _affine(i, 1, 0, 0, s, 1, 0),
    "cutout_abs": lambda i, v, s, d: _cutout(i, v, *d),
    "translate_x_abs": lambda i, v, s, d: _affine(i, 1, 0, s, 0, 1, 0),
    "translate_y_abs": lambda i, v, s, d: _affine(i, 1, 0, 0, 0, 1, s),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_is_that_of_pillow(name):
    """At most one grey level, or another pixel at a tie, in 1 of 1000 values. Measured: none."""
    rng = np.random.default_rng(2)
    changed = set()
    for kind, image in _images().items():
        for magnitude in MAGNITUDES:
            for sign in (1, -1):
                value = value_of(name, magnitude)
                draws = np.array([0.25 if sign > 0 else 0.75, *rng.random(2)], np.float32)
                expected = np.asarray(
                    REFERENCE[name](
                        Image.fromarray(image), value, sign * value, draws[1:].astype(float)
                    )
                )
                result = OPERATIONS[name][0](tf.constant(image), value, tf.constant(draws))
                assert result.dtype == tf.uint8 and result.shape == image.shape
                off = np.abs(result.numpy().astype(int) - expected)
                assert (off > 0).mean() <= 1e-3, (kind, magnitude, sign)
                if (result.numpy() != image).any():
                    changed.add(magnitude)
    assert changed  # the operation does something


def test_list_is_that_of_the_reference():
    assert list(OPERATIONS) == list(REFERENCE)
    values = {name: round(value_of(name, 9), 6) for name in OPERATIONS}
    assert values["posterize"] == 1.2 and values["solarize"] == 76.8
    assert values["color"] == values["sharpness"] == 0.64
    assert values["shear_x"] == 0.09 and values["cutout_abs"] == 12
    assert values["translate_y_abs"] == 30 and values["rotate"] == 9


def test_operations_are_drawn_uniformly_and_applied_in_sequence(monkeypatch):
    # Operation k writes down its number: pixel -> 16 * pixel + k, in a float image of numbers.
    numbers = {
        name: ((lambda image, v, d, k=k: image * 16 + k), 0, 1) for k, name in enumerate(OPERATIONS)
    }
    monkeypatch.setattr(randaugment, "OPERATIONS", numbers)
    image, count = tf.zeros([1, 1, 3], tf.uint8), 2560

    def drawn(number):
        return rand_augment(image, tf.stack([number, 1]), n=2, m=9)[0, 0, 0]

    codes = list(tf.data.Dataset.range(count, output_type=tf.int32).map(drawn).as_numpy_iterator())
    counts = np.bincount(codes, minlength=256)  # every ordered pair, repeats included
    assert len(counts) == 256
    assert stats.chisquare(counts).pvalue > 1e-4


def test_signs_and_places_vary():
    image = tf.constant(_images()["photo"])
    for name in ("rotate", "shear_x", "shear_y", "translate_x_abs", "translate_y_abs"):
        function = OPERATIONS[name][0]
        left, right = (
            function(image, 5.0 if "a" in name[:5] else 0.2, d) for d in ([0.1] * 3, [0.9] * 3)
        )
        assert (left.numpy() != right.numpy()).any()


def test_float_pixels_are_rounded():
    pixels, seed = _images()["photo"], tf.constant([4, 2])
    near = tf.constant(pixels, tf.float32) + 0.4
    result = rand_augment(near, seed, n=3, m=9)
    assert result.dtype == tf.uint8
    np.testing.assert_array_equal(result, rand_augment(tf.constant(pixels), seed, n=3, m=9))
