"""Resizing against OpenCV and Pillow; crops against the pixels they must contain."""

import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

from keras_transfer.core.errors import UserError
from keras_transfer.data import augment_crops as crops
from keras_transfer.data.augment_ops import decode

SEED = tf.constant([3, 4])


def _photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9 + y / 13), np.cos(x / 7), np.sin(y / 6 - x / 11)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    return np.clip(127 + 110 * waves + noise, 0, 255).astype(np.uint8)


def _coordinates(height: int, width: int) -> np.ndarray:
    """An image whose pixels say where they are: y and x."""
    return np.moveaxis(np.mgrid[0:height, 0:width], 0, -1).astype(np.float32)


def _many(function, count: int) -> np.ndarray:
    """The results of a function of a seed, for many seeds."""
    seeds = tf.stack([tf.fill([count], 11), tf.range(count)], axis=1)
    results = tf.data.Dataset.from_tensor_slices(seeds).map(function, num_parallel_calls=2)
    return next(results.batch(count).as_numpy_iterator())


@pytest.mark.parametrize("size", [(40, 30), (90, 200), (20, 26)])
def test_bilinear_resize_is_opencv_linear(size):
    image = _photo(61, 83).astype(np.float32)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(crops.resize(tf.constant(image), size=size), expected, atol=2e-3)


@pytest.mark.parametrize("size", [(20, 16), (45, 50), (60, 80)])
def test_area_resize_is_opencv_area(size):
    image = _photo(60, 80).astype(np.float32)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    result = crops.resize(tf.constant(image), size=size, method="area")
    np.testing.assert_allclose(result, expected, atol=2e-3)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_antialiased_resize_is_pillow(method):
    image = _photo(97, 120)
    resampling = Image.Resampling[method.upper()]
    expected = np.asarray(Image.fromarray(image).resize((40, 32), resampling), np.float32)
    result = crops.resize(tf.constant(image), size=(32, 40), method=method, antialias=True)
    # Pillow rounds after each of its two passes.
    np.testing.assert_allclose(np.clip(result, 0, 255), expected, atol=1.5)


def test_resize_always_gives_float():
    image = tf.constant(_photo(20, 20))
    result = crops.resize(image, size=20)
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((300, 500), (256, 426)), ((500, 300), (426, 256)), ((64, 64), (256,) * 2)],
)
def test_resize_small_keeps_the_aspect_ratio(shape, expected):
    result = crops.resize_small(tf.constant(_photo(*shape)), size=256)
    assert result.shape == (*expected, 3) and result.dtype == tf.float32
    np.testing.assert_array_equal(result, crops.resize(tf.constant(_photo(*shape)), size=expected))


def test_central_crop():
    image = tf.constant(_coordinates(11, 20))
    np.testing.assert_array_equal(crops.central_crop(image, size=(4, 7)), image[3:7, 6:13])
    np.testing.assert_array_equal(crops.central_crop(image), image[:, 4:15])
    np.testing.assert_array_equal(
        crops.central_crop(tf.transpose(image, [1, 0, 2])).shape, (11, 11, 2)
    )


def test_random_crop_is_uniform():
    image, count = tf.constant(_coordinates(8, 9)), 3000
    results = _many(lambda seed: crops.random_crop(image, seed, size=(5, 4)), count)
    corner = results[:, :1, :1]
    np.testing.assert_array_equal(results, corner + _coordinates(5, 4))
    positions = (corner[..., 0] * 6 + corner[..., 1]).astype(int).ravel()
    counts = np.bincount(positions, minlength=24)  # 4 x 6 places
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("crop", [crops.random_crop, crops.central_crop])
def test_a_crop_larger_than_the_image_is_an_error(crop):
    seed = (SEED,) if crop is crops.random_crop else ()
    with pytest.raises(
        UserError, match=f"{crop.__name__}: the image is smaller than the crop of 9x4"
    ):
        crop(tf.zeros([8, 9, 3]), *seed, size=(9, 4))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3])])
    def later(image):
        return crop(image, *seed, size=(9, 4))

    assert later(tf.zeros([9, 4, 3])).shape == (9, 4, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="smaller than the crop of 9x4"):
        later(tf.zeros([8, 9, 3]))


def _reference_windows(shape, area, ratio, count: int) -> np.ndarray:
    """torchvision's RandomResizedCrop.get_params, written anew with NumPy: top, left, h, w."""
    rng, windows = np.random.default_rng(0), []
    height, width = shape
    for _ in range(count):
        for _ in range(10):
            target = height * width * rng.uniform(*area)
            aspect = np.exp(rng.uniform(*np.log(ratio)))
            w, h = round(np.sqrt(target * aspect)), round(np.sqrt(target / aspect))
            if 0 < w <= width and 0 < h <= height:
                top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
                break
        else:
            if width / height < ratio[0]:
                w, h = width, round(width / ratio[0])
            elif width / height > ratio[1]:
                w, h = round(height * ratio[1]), height
            else:
                w, h = width, height
            top, left = (height - h) // 2, (width - w) // 2
        windows.append((top, left, h, w))
    return np.array(windows)


@pytest.mark.parametrize("shape", [(375, 500), (100, 100), (60, 300), (17, 400), (300, 100)])
def test_random_windows_are_distributed_as_in_torchvision(shape):
    area, ratio, count = (0.08, 1.0), (3 / 4, 4 / 3), 3000
    windows = _many(lambda seed: crops._sample_window(seed, tf.constant(shape), area, ratio), count)
    assert (windows[:, 2:] >= 1).all() and (windows[:, :2] >= 0).all()
    assert (windows[:, :2] + windows[:, 2:] <= shape).all()
    expected = _reference_windows(shape, area, ratio, count)
    for column in range(4):
        assert stats.ks_2samp(windows[:, column], expected[:, column]).pvalue > 1e-4


@pytest.mark.parametrize(("shape", "window"), [((5, 400), (5, 7)), ((400, 5), (7, 5))])
def test_long_images_give_the_largest_allowed_central_window(shape, window):
    area, ratio = (0.5, 1.0), (3 / 4, 4 / 3)
    windows = _many(lambda seed: crops._sample_window(seed, tf.constant(shape), area, ratio), 20)
    top, left = (shape[0] - window[0]) // 2, (shape[1] - window[1]) // 2
    np.testing.assert_array_equal(windows, [[top, left, *window]] * 20)


def test_random_resized_crop_resizes_the_window():
    image = _photo(50, 70)
    top, left, height, width = crops._sample_window(SEED, (50, 70), (0.1, 0.9), (0.5, 2.0)).numpy()
    result = crops.random_resized_crop(
        tf.constant(image), SEED, size=(24, 20), area=(0.1, 0.9), ratio=(0.5, 2.0)
    )
    window = image[top : top + height, left : left + width].astype(np.float32)
    expected = cv2.resize(window, (20, 24), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(result, expected, atol=2e-3)


def _jpeg(image: np.ndarray, subsampling: int) -> tf.Tensor:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90, subsampling=subsampling)
    return tf.constant(stream.getvalue())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "jpeg444", "jpeg420"])
def test_fused_and_separate_decoding_give_the_same_crop(kind, channels):
    image = _photo(101, 133)
    content = tf.io.encode_png(image) if kind == "png" else _jpeg(image, 2 if "420" in kind else 0)
    pixels = decode(content, channels=channels)
    for number in range(12):
        seed = tf.constant([number, 1])
        separate = crops.random_resized_crop(pixels, seed, size=64).numpy()
        fused = crops.random_resized_crop(content, seed, size=64, channels=channels).numpy()
        assert fused.shape == (64, 64, channels)
        if kind == "jpeg420" and channels == 3:
            # Chroma is interpolated from inside the window only: its first and last column differ,
            # and with them the columns of the result that touch them.
            width = crops._sample_window(seed, (101, 133), (0.08, 1.0), (3 / 4, 4 / 3))[3]
            edge = int(np.ceil(1.5 * 64 / int(width))) + 1
            separate, fused = separate[:, edge:-edge], fused[:, edge:-edge]
        np.testing.assert_array_equal(fused, separate)
