"""Files of images: what they are, whether they are whole, what they show."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_transfer.core.errors import CorruptFileError
from tfrecords_builders import formats
from tfrecords_builders.images import Rendering

RNG = np.random.default_rng(0)
COLOUR = cv2.GaussianBlur(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8), (0, 0), 2)
GREY = COLOUR[..., 0].copy()
# First pixel and step of the passes of an interlaced PNG: x, y.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def _file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _png(pixels: np.ndarray, bits: int, colour: int, *more: bytes, interlaced=False) -> bytes:
    """Writes what Pillow cannot: any depth and kind, more chunks, interlaced.

    Args:
        pixels: [H, W] or [H, W, C] of whole numbers.
        bits: Per channel.
        colour: Colour type of the standard.
        *more: Chunks before the pixels.
        interlaced: In seven passes.
    """
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    raw = b""
    for x, y, right, down in passes:
        for row in pixels[y::down, x::right]:
            ones = (row.reshape(-1, 1) >> np.arange(bits - 1, -1, -1)) & 1
            raw += b"\0" + np.packbits(ones.astype(np.uint8)).tobytes()
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    parts = _chunk(b"IHDR", header), *more, _chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + _chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "mode, kind, header",
    [
        ("RGB", "PNG", ("png", 40, 60, 3, 8, False)),
        ("L", "PNG", ("png", 40, 60, 1, 8, False)),
        ("RGBA", "PNG", ("png", 40, 60, 4, 8, False)),
        ("P", "PNG", ("png", 40, 60, 3, 8, True)),
        ("1", "PNG", ("png", 40, 60, 1, 1, False)),
        ("RGB", "JPEG", ("jpeg", 40, 60, 3, 8, False)),
        ("L", "JPEG", ("jpeg", 40, 60, 1, 8, False)),
        ("CMYK", "JPEG", ("jpeg", 40, 60, 4, 8, False)),
    ],
)
def test_headers_tell_what_pillow_wrote(mode, kind, header):
    assert formats.check(_file(Image.fromarray(COLOUR).convert(mode), kind)) == header


def test_sixteen_bit_png_and_progressive_jpeg_are_recognised():
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert formats.check(_file(deep)) == ("png", 40, 60, 1, 16, False)
    progressive = _file(Image.fromarray(COLOUR), "JPEG", progressive=True)
    assert formats.check(progressive) == ("jpeg", 40, 60, 3, 8, False)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_truncation_is_noticed(kind):
    whole = _file(Image.fromarray(COLOUR), kind)
    formats.check(whole)
    for end in [*range(0, len(whole) - 2, 61), len(whole) - 2]:
        with pytest.raises(CorruptFileError):
            formats.check(whole[:end])


def test_every_flipped_byte_of_a_png_is_noticed():
    whole = _file(Image.fromarray(GREY))
    for position in range(0, len(whole), 17):
        altered = bytearray(whole)
        altered[position] ^= 0x40
        with pytest.raises(CorruptFileError):
            Rendering("png", 0, 1).render(bytes(altered))


def test_other_files_are_refused_by_content():
    for data in (b"", b"GIF89a....", b"DICM", b"\xff\xd8\xff\xe0 short"):
        with pytest.raises(CorruptFileError):
            formats.check(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA"])
def test_decode_agrees_with_pillow(mode):
    image = Image.fromarray(COLOUR).convert(mode)
    grey = mode in ("L", "LA")
    expected = np.asarray(image.convert("L" if grey else "RGB"))
    found = formats.decode(_file(image))
    if mode == "LA":  # OpenCV gives grey with transparency as colour
        found = found[..., 0]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_of_every_depth(bits, interlaced):
    values = np.random.default_rng(bits).integers(0, 2**bits, (13, 19))
    found = formats.decode(_png(values, bits, 0, interlaced=interlaced))
    assert found.dtype == (np.uint16 if bits == 16 else np.uint8)
    np.testing.assert_array_equal(found, values * 255 // (2**bits - 1) if bits < 8 else values)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour, channels", [(2, 3), (4, 2), (6, 4)])
def test_transparency_is_dropped_and_colour_kept(bits, colour, channels):
    values = np.random.default_rng(bits).integers(0, 2**bits, (13, 19, channels))
    found = formats.decode(_png(values, bits, colour))
    expected = values[..., :3] if channels >= 3 else values[..., :1].repeat(3, axis=2)
    np.testing.assert_array_equal(found, expected)
    stored = formats.decode(Rendering("png", 0, 3).render(_png(values, bits, colour)))
    np.testing.assert_allclose(stored, expected / (2**bits - 1) * 255, atol=0.51)


def test_colours_that_count_as_transparent_stay():
    values = np.random.default_rng(0).integers(0, 4, (13, 19))
    colours = np.array([(10, 20, 30), (40, 50, 60), (70, 80, 90), (100, 110, 120)], np.uint8)
    palette = _chunk(b"PLTE", colours.tobytes()), _chunk(b"tRNS", b"\0\x80\xff")
    np.testing.assert_array_equal(formats.decode(_png(values, 2, 3, *palette)), colours[values])
    key = _chunk(b"tRNS", struct.pack(">3H", *colours[1]))
    np.testing.assert_array_equal(formats.decode(_png(colours[values], 8, 2, key)), colours[values])


@pytest.mark.parametrize("transform", [0, 2])
def test_cmyk_and_ycck_are_as_pillow_shows_them(transform):
    data = bytearray(_file(Image.fromarray(COLOUR).convert("CMYK"), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = transform
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "CMYK"
        expected = np.asarray(image.convert("RGB")).astype(int)
    difference = np.abs(formats.decode(bytes(data)) - expected)
    assert difference.max() <= 2


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_read_and_stored_anew(kind):
    data = _file(Image.fromarray(GREY), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert formats.is_readable(data[: formats.DICOM_START])
    header = formats.check(data)
    assert (header.format, header.height, header.width) == (kind.lower(), 40, 60)
    stored = Rendering("original", 0, 1).render(data)
    assert formats.check(stored).format == "png"
    np.testing.assert_array_equal(formats.decode(stored), GREY)
    with pytest.raises(CorruptFileError, match="cannot be decoded"):
        formats.decode(data[: len(data) // 2])


def test_of_several_frames_the_first_is_taken():
    frames = [Image.fromarray(np.full((12, 16), value, np.uint8)) for value in (50, 200)]
    for kind in ("GIF", "TIFF"):
        data = _file(frames[0], kind, save_all=True, append_images=frames[1:])
        assert set(np.unique(formats.decode(data))) == {50}


def test_tiff_of_sixteen_bits_and_of_floats():
    deep = GREY.astype(np.uint16) * 16
    data = _file(Image.fromarray(deep), "TIFF")
    assert formats.check(data).bits == 16
    np.testing.assert_array_equal(formats.decode(data), deep)
    with pytest.raises(CorruptFileError, match="TIFF with pixels of kind F: convert it"):
        formats.decode(_file(Image.fromarray(GREY.astype(np.float32)), "TIFF"))


@pytest.mark.parametrize(
    "start",
    [
        b"BMW has built cars since 1928.",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"path,label\n",
        b"",
        b"\0" * 132,
    ],
)
def test_files_that_only_begin_alike_are_no_images(start):
    assert not formats.is_readable(start)
    with pytest.raises(CorruptFileError, match=r"empty file|no image of a known format"):
        formats.check(start)


def test_dicom_is_told_by_its_mark_or_its_first_element():
    assert formats.is_dicom(bytes(128) + b"DICM")
    assert formats.is_dicom(b"\x08\0\x05\0CS\x0a\0ISO_IR 100")  # explicit, no preamble
    assert formats.is_dicom(b"\x08\0\0\0\x04\0\0\0\xee\x01\0\0")  # implicit, no preamble
    for start in (b"\x08\0\x05\0text", b"\x10\0\x10\0PN\x04\0", b"\xff\xd8\xff\xe0", b"\x08\0"):
        assert not formats.is_dicom(start)


def _end_of_header(data: bytes) -> int:
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def test_lost_parts_of_a_jpeg_are_noticed_when_it_is_decoded():
    data = _file(Image.fromarray(COLOUR), "JPEG", quality=95)
    first = _end_of_header(data)
    middle = (first + len(data)) // 2
    lost = data[:middle] + b"\xff\xd9"
    zeroed = data[:middle] + bytes(200) + data[middle + 200 :]
    for damaged in (lost, zeroed):
        formats.check(damaged)  # has its end marker
        with pytest.raises(CorruptFileError, match="damaged JPEG"):
            formats.decode(damaged)


def test_decoders_are_silent(capfd):
    nonsense = _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))
    np.testing.assert_array_equal(formats.decode(_png(GREY, 8, 0, nonsense)), GREY)
    short = _png(GREY[:20], 8, 0)
    size = struct.pack(">II", 60, 40) + short[24:29]
    longer = short[:8] + _chunk(b"IHDR", size) + short[33:]
    formats.check(longer)
    with pytest.raises(CorruptFileError, match=r"damaged PNG .*image data"):
        formats.decode(longer)
    with pytest.raises(CorruptFileError):
        formats.decode(_file(Image.fromarray(COLOUR), "JPEG")[:600] + b"\xff\xd9")
    assert capfd.readouterr() == ("", "")


def test_a_second_header_does_not_hide_the_size():
    large = _file(Image.fromarray(np.zeros((900, 700), np.uint8)), "JPEG")
    small = _file(Image.fromarray(np.zeros((8, 8), np.uint8)), "JPEG")
    # A marker without a length: who took the next bytes for one would skip to the small header.
    decoy = small[2:].partition(b"\xff\xd9")[0]
    start = 2 + 2 + 0xFFFE
    comments = b"\xff\xfe" + struct.pack(">H", 65_000) + bytes(64_998)
    fill = start - (2 + 2 + len(comments) + 4)
    comments += b"\xff\xfe" + struct.pack(">H", 2 + fill + len(decoy)) + bytes(fill) + decoy
    jpeg = large[:2] + b"\xff\x01" + comments + large[2:]
    assert formats.check(jpeg)[1:3] == formats.decode(jpeg).shape == (900, 700)
    with pytest.raises(CorruptFileError, match="700 x 900 pixels"):
        Rendering("jpeg", 0, 1, max_pixels=1000).render(jpeg)
    png = _png(GREY, 8, 0)
    end = png.index(b"IEND") - 4
    tiny = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    with pytest.raises(CorruptFileError, match="more than one header"):
        formats.check(png[:end] + tiny + png[end:])


def test_large_images_are_refused_before_they_are_decoded():
    png = b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">IIBBBBB", 50_000, 60_000, 8, 0, 0, 0, 0)
    )
    png += _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
    jpeg = bytearray(_file(Image.fromarray(GREY), "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 60_000, 50_000)
    gif = bytearray(_file(Image.fromarray(GREY), "GIF"))
    gif[6:10] = struct.pack("<HH", 50_000, 60_000)
    for data in (png, bytes(jpeg)):
        with pytest.raises(
            CorruptFileError, match=r"50000 x 60000 pixels .*--max_pixels=268435456"
        ):
            Rendering("png", 0, 1).render(data)
    with pytest.raises(CorruptFileError, match="exceeds limit"):  # Pillow's own, which is lower
        Rendering("png", 0, 1).render(bytes(gif))
    small = _file(Image.fromarray(GREY))
    with pytest.raises(CorruptFileError, match=r"60 x 40 pixels .*--max_pixels=2399 allows"):
        Rendering("original", 0, 1, max_pixels=2399).render(small)
    assert Rendering("original", 0, 1, max_pixels=2400).render(small) is small
