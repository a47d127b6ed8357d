"""Decoding against Pillow; flips and normalisation against their formulas."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import stats

from keras_transfer.core.errors import UserError
from keras_transfer.data import augment_ops as ops


@pytest.fixture(scope="module")
def colour() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)


def _encode(
    array: np.ndarray, mode: str | None = None, kind: str = "PNG", **options: int
) -> tf.Tensor:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return tf.constant(stream.getvalue())


def test_decode_png_exactly(colour):
    np.testing.assert_array_equal(ops.decode(_encode(colour)), colour)
    np.testing.assert_array_equal(ops.decode(_encode(colour, "RGBA")), colour)
    palette = ops.decode(_encode(colour, "P"))
    np.testing.assert_array_equal(
        palette, np.asarray(Image.fromarray(colour).convert("P").convert("RGB"))
    )


@pytest.mark.parametrize("subsampling", [0, 2])
def test_decode_jpeg_exactly_as_pillow(colour, subsampling):
    smooth = np.asarray(Image.fromarray(colour).resize((80, 60), Image.Resampling.BICUBIC))
    content = _encode(smooth, kind="JPEG", quality=90, subsampling=subsampling)
    expected = np.asarray(Image.open(io.BytesIO(content.numpy())))
    np.testing.assert_array_equal(ops.decode(content), expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_decode_grey(kind):
    grey = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (16, 1))
    content = _encode(grey, kind=kind)
    one, three = ops.decode(content, channels=1).numpy(), ops.decode(content).numpy()
    assert one.shape == (16, 25, 1) and three.shape == (16, 25, 3)
    np.testing.assert_array_equal(three, np.repeat(one, 3, axis=-1))
    np.testing.assert_allclose(one[..., 0].astype(int), grey, atol=0 if kind == "PNG" else 6)


def test_decode_keeps_the_high_byte_of_16_bits():
    deep = np.arange(0, 65536, 97, dtype=np.uint16)[:675].reshape(25, 27)
    decoded = ops.decode(_encode(deep), channels=1)
    assert decoded.dtype == tf.uint8
    np.testing.assert_array_equal(decoded[..., 0], deep // 256)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_random_flip_happens_with_probability_p(p):
    image = tf.reshape(tf.range(24, dtype=tf.float32), [2, 4, 3])
    count = 2000

    def flip(number):
        return ops.random_flip(image, tf.stack([5, number]), p=p)

    flips = tf.data.Dataset.range(count, output_type=tf.int32).map(flip).batch(count)
    results = next(flips.as_numpy_iterator())
    mirrored = (results == image.numpy()[:, ::-1]).all(axis=(1, 2, 3))
    same = (results == image.numpy()).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert abs(mirrored.mean() - p) <= 4 * np.sqrt(p * (1 - p) / count)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (0, 255), (-2.5, 0.5)])
def test_value_range(low, high):
    pixels = np.arange(256).reshape(16, 16, 1)
    expected = pixels / 255 * (high - low) + low
    for image in (tf.constant(pixels, tf.uint8), tf.constant(pixels, tf.float32)):
        result = ops.value_range(image, low=low, high=high)
        assert result.dtype == tf.float32
        np.testing.assert_allclose(result, expected, atol=2e-7 * max(abs(low), abs(high), 1))


def test_value_range_is_that_of_bit():
    pixels = np.arange(256, dtype=np.float32).reshape(16, 16, 1)
    result = ops.value_range(tf.constant(pixels), low=-1, high=1)
    np.testing.assert_allclose(result, (pixels - 127.5) / 127.5, atol=1e-7)


def test_standardize(colour):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    image = tf.constant(colour)
    expected = (colour / 255 - mean) / std
    for result in (
        ops.standardize(image, mean="imagenet"),
        ops.standardize(image, mean=tuple(mean), std=tuple(std)),
        ops.standardize(tf.cast(image, tf.float32), mean="imagenet"),
    ):
        assert result.shape == colour.shape
        np.testing.assert_allclose(result, expected, atol=1e-6)
    same = ops.standardize(image, mean=0.5, std=0.5)
    np.testing.assert_allclose(same, ops.value_range(image, low=-1, high=1), atol=1e-6)


def test_to_rgb(colour):
    grey = tf.constant(colour[..., :1])
    np.testing.assert_array_equal(ops.to_rgb(grey), np.repeat(colour[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(ops.to_rgb(tf.constant(colour)), colour)


def test_random_numbers_are_pinned():
    """The numbers behind every augmentation: a change here changes every training run."""
    draws = ops.uniform(tf.constant([1, 2]), [3])
    np.testing.assert_allclose(draws, [0.19428182, 0.64453673, 0.12157035], atol=1e-7)
    np.testing.assert_array_equal(ops.fold_in(tf.constant([1, 2]), 3), [1943581489, -1470656026])
    np.testing.assert_array_equal(
        ops.example_seed(3, tf.constant(5, tf.int64)), [85534107, 26139046]
    )


def test_numpy_philox_gives_the_same_numbers():
    """Philox 4x32-10 written anew: key and counter are what the docstring says."""
    key, counter = [1, 2], [0, 0, 0, 0]
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (b >> 32) ^ counter[1] ^ key[0],
            b & 0xFFFFFFFF,
            (a >> 32) ^ counter[3] ^ key[1],
            a & 0xFFFFFFFF,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    expected = [(word & 0x7FFFFF) / 2**23 for word in counter]
    np.testing.assert_array_equal(ops.uniform(tf.constant([1, 2]), [4]), np.float32(expected))


def _keys(seed: int, positions: np.ndarray, streams: range) -> np.ndarray:
    """uint64[streams, positions]."""
    seeds = ops.example_seed(seed, tf.constant(positions, tf.int64))
    return np.stack([ops.fold_in(seeds, k).numpy().view(np.uint64)[:, 0] for k in streams])


def test_no_two_examples_or_sub_streams_share_a_key():
    start = 2**48 - 300_000  # the far end of what is promised
    positions = np.concatenate([np.arange(300_000), np.arange(start, 2**48)])
    keys = [_keys(seed, positions, streams=range(3)).ravel() for seed in (0, 1)]
    keys.append(_keys(0, np.arange(500), streams=range(3, 256)).ravel())
    everything = np.concatenate(keys)  # 3.7 million
    assert len(np.unique(everything)) == len(everything)


def test_streams_are_uniform_and_uncorrelated():
    count = 4000
    keys = (
        np.stack([_keys(seed, np.arange(count), streams=range(3)) for seed in (0, 1)])
        .reshape(6, count, 1)
        .view(np.int32)
    )  # [seed and sub-stream, position, 2]
    seeds = tf.data.Dataset.from_tensor_slices(keys.reshape(-1, 2))
    draws = seeds.map(lambda seed: ops.uniform(seed, [3])).batch(6 * count)
    draws = next(draws.as_numpy_iterator()).reshape(6, count, 3)
    series = draws.transpose(0, 2, 1).reshape(18, count)
    for one in series:
        assert stats.kstest(one, "uniform").pvalue > 1e-5
    # Each with each other, and with its own and the others' next positions.
    moved = np.concatenate([series[:, :-1], series[:, 1:]])
    correlation = np.corrcoef(moved)[np.triu_indices(36, 1)]
    assert np.abs(correlation).max() < 5.5 / np.sqrt(count)


def test_too_many_sub_streams_are_refused():
    with pytest.raises(UserError, match="at most 256"):
        ops.fold_in(tf.constant([1, 2]), 256)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_flip_mirrors_some_images_and_leaves_the_others(colour, channels, dtype):
    image = tf.cast(colour[..., :channels], dtype)
    flipped = [ops.random_flip(image, tf.constant([1, n])) for n in range(20)]
    mirrored = [np.array_equal(result, image[:, ::-1]) for result in flipped]
    same = [np.array_equal(result, image) for result in flipped]
    assert 0 < sum(mirrored) < 20 and sum(mirrored) + sum(same) == 20


def test_grey_is_repeated_exactly():
    # Denormals are left out: oneDNN may flush them.
    values = [0.0, 1.0, -1.0, 1 / 3, 254.99998, 1e-30, -3e30]
    grey = tf.constant(np.array(values, np.float32).reshape(1, 7, 1))
    np.testing.assert_array_equal(ops.to_rgb(grey), np.repeat(grey, 3, axis=-1))
