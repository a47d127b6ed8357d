"""The affine warp against OpenCV and SciPy, and random_affine against albumentations' formula."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from keras_transfer.data import augment_affine as affine
from keras_transfer.data.augment_ops import uniform

BORDERS = {
    "reflect": (cv2.BORDER_REFLECT_101, "mirror"),
    "nearest": (cv2.BORDER_REPLICATE, "nearest"),
    "constant": (cv2.BORDER_CONSTANT, "grid-constant"),
}


def _image(height: int, width: int, channels: int) -> np.ndarray:
    image = np.random.default_rng(height).uniform(-1, 1, (height, width, channels))
    # Smooth, so that float32 coordinates cost little; the first and last rows stay distinct.
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0).reshape(image.shape)


def _matrix(shape, shift, angle: float, scale: float) -> np.ndarray:
    """albumentations 0.5.2, shift_scale_rotate: image -> result, float64[2, 3]."""
    height, width = shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    matrix[:, 2] += np.array(shift) * [width, height]
    return matrix


@pytest.mark.parametrize("fill", affine.FILLS)
@pytest.mark.parametrize("shape", [(60, 60, 1), (40, 120, 3), (50, 7, 3), (1, 9, 1)])
def test_warp_is_that_of_opencv_and_scipy(shape, fill):
    image, rng = _image(*shape), np.random.default_rng(1)
    border, mode = BORDERS[fill]
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    for _ in range(12):
        forward = _matrix(
            shape[:2], rng.uniform(-0.6, 0.6, 2), rng.uniform(-180, 180), rng.uniform(0.4, 2)
        )
        inverse = cv2.invertAffineTransform(forward)
        result = affine.warp(tf.constant(image), tf.constant(inverse, tf.float32), fill).numpy()
        expected = cv2.warpAffine(
            image, forward, shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=border
        )
        np.testing.assert_allclose(result, expected.reshape(shape), atol=2e-4)
        x, y = (row[0] * columns + row[1] * rows + row[2] for row in inverse)
        for channel in range(shape[2]):
            expected = ndimage.map_coordinates(image[..., channel], [y, x], order=1, mode=mode)
            np.testing.assert_allclose(result[..., channel], expected, atol=2e-4)


@pytest.mark.parametrize("shape", [(48, 48, 1), (30, 70, 3)])
def test_random_affine_is_shift_scale_rotate(shape):
    image = _image(*shape)
    for number in range(12):
        seed = tf.constant([number, 5])
        x, y, angle, scale, _ = uniform(seed, [5]).numpy().astype(np.float64)
        matrix = _matrix(
            shape[:2],
            ((2 * x - 1) * 0.25, (2 * y - 1) * 0.25),
            45 * (2 * angle - 1),
            0.9 + 0.2 * scale,
        )
        expected = cv2.warpAffine(
            image, matrix, shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        result = affine.random_affine(tf.constant(image), seed)
        np.testing.assert_allclose(result, expected.reshape(shape), atol=2e-4)


def test_each_part_can_be_switched_off():
    image, seed = tf.constant(_image(21, 33, 3)), tf.constant([1, 3])
    still = {"shift": 0.0, "rotate": 0.0, "scale": (1.0, 1.0)}
    for fill in affine.FILLS:
        result = affine.random_affine(image, seed, **still, fill=fill)
        np.testing.assert_allclose(result, image, atol=1e-5)
    for name in still:
        part = {key: value for key, value in still.items() if key != name}
        moved = affine.random_affine(image, seed, **part)
        assert np.abs(moved - image).max() > 0.1, name


def test_pixels_are_rounded_not_truncated():
    pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8))
    seed = tf.constant([8, 9])
    exact = affine.random_affine(tf.cast(pixels, tf.float32), seed)
    result = affine.random_affine(pixels, seed)
    assert result.dtype == tf.uint8
    np.testing.assert_array_equal(result, np.round(exact).astype(np.uint8))


def test_probability():
    image, count = tf.constant(_image(8, 8, 1)), 400

    def moved(number):
        result = affine.random_affine(image, tf.stack([number, 3]), p=0.3)
        return tf.reduce_any(result != image)

    numbers = tf.data.Dataset.range(count, output_type=tf.int32)
    share = np.mean(list(numbers.map(moved).as_numpy_iterator()))
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / count)
    np.testing.assert_array_equal(affine.random_affine(image, tf.constant([0, 0]), p=0.0), image)
