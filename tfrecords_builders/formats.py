"""Bytes of image files to pixels: what a file is, whether it is whole, and what it shows.

Files are told apart by their first bytes, never by their names. Whatever cannot be what it claims
to be raises CorruptFileError: decoders that fill the missing rows of a truncated file with grey are
not trusted to notice.
"""

import contextlib
import io
import warnings
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_transfer.core.errors import CorruptFileError
from tfrecords_builders import complaints

MAX_PIXELS = 2**28  # 16,384 x 16,384: more than any detector or camera makes
DICOM_START = 132  # bytes that `is_dicom` needs
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette holds RGB
JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers that hold the size
JPEG_BARE = {0x01, *range(0xD0, 0xD8)}  # markers that no length follows
_JPEG_USUAL = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: every decoder reads them
_OTHERS = (b"GIF8", b"II*\0", b"MM\0*")
_OTHER_FORMATS = ("GIF", "BMP", "TIFF", "WEBP")
_COLOURS = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")

# One image per process at a time: threads inside OpenCV would only fight over the cores, and a
# thread pool does not survive a fork.
cv2.setNumThreads(1)


class Header(NamedTuple):
    """What an image file says of itself.

    Attributes:
        format: ``jpeg``, ``png``, ``gif``, ``bmp``, ``tiff`` or ``webp``.
        height: In pixels.
        width: In pixels.
        channels: Colours, and transparency if there is any; a palette has 3.
        bits: Per channel; of the palette's indices if there is one.
        palette: Whether pixels are indices.
    """

    format: str
    height: int
    width: int
    channels: int
    bits: int
    palette: bool = False


def looks_like_image(start: bytes) -> bool:
    """Whether a file that starts so claims to be JPEG or PNG."""
    return start.startswith((_PNG_MAGIC, _JPEG_MAGIC))


def _looks_like_other(start: bytes) -> bool:
    return (
        start.startswith(_OTHERS)
        # Shorter beginnings than of the others, which text and sound may have as well.
        or (start.startswith(b"BM") and start[6:10] == bytes(4))
        or (start.startswith(b"RIFF") and start[8:12] == b"WEBP")
    )


def is_readable(start: bytes) -> bool:
    """Whether a file whose first `DICOM_START` bytes are given claims to be of a known format."""
    return looks_like_image(start) or _looks_like_other(start) or is_dicom(start)


def is_dicom(start: bytes) -> bool:
    """Whether a file whose first `DICOM_START` bytes (or more) are given claims to be DICOM.

    Files without preamble are recognised if they begin with a plausible element of group 0002 or
    0008, little endian, as old archives wrote them.
    """
    if start[128:DICOM_START] == b"DICM":
        return True
    if len(start) < 8 or start[:2] not in (b"\x02\0", b"\x08\0") or start[3]:
        return False
    implicit = int.from_bytes(start[4:8], "little") <= 64 and start[4] % 2 == 0
    return implicit or start[4:6] in (b"UL", b"CS", b"UI", b"SH", b"LO", b"DA", b"OB")


def check(data: bytes) -> Header:
    """Reads the header of an image file and checks, as far as its format allows, that it is whole.

    Every chunk of a PNG is checked against its checksum. A JPEG has none and is only checked for
    its end marker; other formats show their damage when they are decoded.

    Raises:
        CorruptFileError: Saying what is wrong, without the name of the file.
    """
    if data.startswith(_JPEG_MAGIC):
        header = _check_jpeg(data)
    elif data.startswith(_PNG_MAGIC):
        header = _check_png(data)
    elif _looks_like_other(data[:12]):
        header = _check_other(data)
    elif not data:
        raise CorruptFileError("empty file")
    else:
        raise CorruptFileError(f"no image of a known format (starts with {data[:4].hex(' ')})")
    if not header.height or not header.width:
        raise CorruptFileError(f"{header.format.upper()} without a size")
    return header


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises a CorruptFileError if an image is larger than it may be."""
    if width * height > max_pixels:
        raise CorruptFileError(
            f"{width} x {height} pixels are more than --max_pixels={max_pixels} allows"
        )


def _check_png(data: bytes) -> Header:
    view, start, header = memoryview(data), len(_PNG_MAGIC), None
    while start + 12 <= len(data):
        length = int.from_bytes(view[start : start + 4], "big")
        kind, end = bytes(view[start + 4 : start + 8]), start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise CorruptFileError(f"corrupt PNG: wrong checksum of chunk {kind!r}")
        if kind == b"IHDR":
            # Decoders go by the first one: a second would hide its size from `check_size`.
            if header is not None or length != 13:
                raise CorruptFileError("corrupt PNG: more than one header, or of a wrong length")
            width, height = (
                int.from_bytes(view[start + o : start + o + 4], "big") for o in (8, 12)
            )
            bits, colour = view[start + 16], view[start + 17]
            channels = _PNG_CHANNELS.get(colour, 0)
            header = Header("png", height, width, channels, bits, palette=colour == 3)
        if kind == b"IEND":
            if header is None:
                break
            return header
        start = end
    raise CorruptFileError("truncated PNG")


def _check_jpeg(data: bytes) -> Header:
    start, header = 2, None
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker = data[start + 1]
        if marker == 0xFF:  # fill byte
            start += 1
            continue
        if marker in JPEG_BARE:
            start += 2
            continue
        segment = data[start + 4 : start + 10]
        if marker in JPEG_FRAMES and len(segment) == 6:
            if marker not in _JPEG_USUAL:
                raise CorruptFileError("lossless or arithmetic JPEG, which few decoders read")
            height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            header = Header("jpeg", height, width, segment[5], segment[0])
        if marker == 0xDA:  # the scan; FF D9 cannot occur inside it, only at its end
            if header is None or data.rfind(b"\xff\xd9", start) < 0:
                break
            return header
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    raise CorruptFileError("truncated JPEG")


def _check_other(data: bytes) -> Header:
    with _opened(data) as image:
        bits = 16 if image.mode.startswith("I;16") else 8
        palette = image.mode in ("P", "PA")
        channels = 3 if palette else len(image.getbands())
        name = (image.format or "").lower()
        return Header(name, image.height, image.width, channels, bits, palette)


def decode(data: bytes) -> np.ndarray:
    """Decodes an image file; of several frames or pages, the first.

    Rotation tags are ignored, as TensorFlow ignores them; transparency is dropped, which keeps the
    colours below it; CMYK is taken as inverted, as Adobe and every decoder here does.

    Damage inside the pixels of a JPEG is noticed where the decoder complains of it, be it only a
    warning: lost and zeroed blocks nearly always, but of single flipped bits most give another
    valid image.

    Returns:
        uint8 or uint16 [H, W] or [H, W, 3] (RGB).

    Raises:
        CorruptFileError: If the file cannot be decoded.
    """
    if not looks_like_image(data[:8]):
        return _decode_other(data)
    with complaints.heard() as said:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise _undecodable(error) from None
    if damage := complaints.damage(said):
        kind = "JPEG" if data.startswith(_JPEG_MAGIC) else "PNG"
        raise CorruptFileError(f"damaged {kind} ({damage})")
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise CorruptFileError("cannot be decoded")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB)


def _decode_other(data: bytes) -> np.ndarray:
    with _opened(data) as image:
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)
        if image.mode in ("1", "L", "LA", "La"):
            return np.asarray(image.convert("L"))
        if image.mode not in _COLOURS:
            raise CorruptFileError(f"{image.format} with pixels of kind {image.mode}: convert it")
        # By way of transparency: Pillow gives transparent colours of palettes no warning then.
        return np.asarray(image.convert("RGB"))


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Opens a file with Pillow, which reads the pixels when they are asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are checked by our own limit
        try:
            with Image.open(io.BytesIO(data), formats=_OTHER_FORMATS) as image:
                yield image
        except CorruptFileError:
            raise
        except UnidentifiedImageError:  # whose text is another one every time
            raise CorruptFileError("cannot be decoded (damaged header)") from None
        except Exception as error:  # its decoders raise whatever a damaged file leads to
            raise _undecodable(error) from None


def _undecodable(error: Exception) -> CorruptFileError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return CorruptFileError(f"cannot be decoded ({reason})")
