"""Reading, checking, scaling and encoding single images."""

import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_transfer.core.errors import UserError
from tfrecords_builders import images
from tfrecords_builders.images import Rendering

RNG = np.random.default_rng(0)
COLOUR = cv2.GaussianBlur(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8), (0, 0), 2)
GREY = COLOUR[..., 0].copy()


def _file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_bytes_pass_through_where_nothing_has_to_change():
    jpeg, png = _file(Image.fromarray(COLOUR), "JPEG"), _file(Image.fromarray(GREY))
    assert Rendering("original", 0, 3).render(jpeg) is jpeg
    assert Rendering("original", 0, 3).render(png) is png  # grey can be read as colour
    assert Rendering("jpeg", 40, 3).render(jpeg) is jpeg
    assert Rendering("png", 0, 1).render(png) is png


@pytest.mark.parametrize(
    "mode, channels", [("RGBA", 3), ("P", 3), ("RGB", 1), ("CMYK", 3), ("16", 1)]
)
def test_original_becomes_png_that_tensorflow_reads_where_it_cannot_be_kept(mode, channels):
    if mode == "16":
        data = _file(Image.fromarray(GREY.astype(np.uint16) * 16))
    else:
        data = _file(Image.fromarray(COLOUR).convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    stored = Rendering("original", 0, channels).render(data)
    assert images.check(stored) == ("png", 40, 60, channels, 8, False)
    decoded = tf.io.decode_image(stored, channels=channels, expand_animations=False).numpy()
    assert decoded.shape == (40, 60, channels)
    if mode in ("RGBA", "CMYK"):  # Pillow converts to CMYK and back without loss here
        tolerance = 0 if mode == "RGBA" else 12
        assert np.abs(decoded.astype(int) - COLOUR).max() <= tolerance
    if mode == "16":  # 12 bits of 16 are used and fill the range
        np.testing.assert_allclose(decoded[..., 0], GREY.astype(int) * 16 * 255 / 4095, atol=0.51)


@pytest.mark.parametrize("bits, top", [(8, 255), (10, 1023), (12, 4095), (16, 65535)])
def test_sixteen_bits_scale_to_eight(bits, top):
    image = np.array([[0, top // 2, top]], np.uint16)
    np.testing.assert_array_equal(images.to_uint8(image), [[0, 127, 255]])
    np.testing.assert_array_equal(images.to_uint8(image, bits), [[0, 127, 255]])
    assert images.to_uint8(np.array([[65535]], np.uint16), 12)[0, 0] == 255


def test_resizing_keeps_proportions_and_means():
    halved = images.resize_shorter(COLOUR, 20)
    assert halved.shape == (20, 30, 3)
    blocks = COLOUR.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(halved, blocks, atol=0.51)
    assert images.resize_shorter(np.zeros((10, 1000), np.uint8), 5).shape == (5, 500)
    assert images.resize_shorter(GREY, 80).shape == (80, 120)
    assert images.resize_shorter(GREY, 40) is GREY


def test_colour_order_survives_encoding():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    for encoding in ("png", "jpeg"):
        stored = Rendering(encoding, 0, 3).render(red)
        decoded = tf.io.decode_image(stored, channels=3).numpy()
        np.testing.assert_allclose(decoded.reshape(-1, 3).mean(0), (200, 0, 0), atol=3)


def test_original_and_a_size_exclude_each_other():
    with pytest.raises(UserError, match="image_size"):
        Rendering("original", 64, 3)
    with pytest.raises(UserError, match="jpeg, png, original"):
        Rendering("webp", 0, 3)
