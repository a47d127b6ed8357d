"""Bytes of image files to pixels and back: what is stored is decided here, for every source.

Files are told apart by their first bytes, never by their names. Whatever cannot be what it claims
to be raises CorruptFileError: decoders that fill the missing rows of a truncated file with grey are
not trusted to notice.
"""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from keras_transfer.core.errors import CorruptFileError, UserError

ENCODINGS = ("jpeg", "png", "original")
JPEG_QUALITY = 95
MAX_PIXELS = 2**28  # 16,384 x 16,384: more than any detector or camera makes
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette holds RGB
_BIT_DEPTHS = (8, 10, 12, 14, 15, 16)

# One image per process at a time: threads inside OpenCV would only fight over the cores, and a
# thread pool does not survive a fork.
cv2.setNumThreads(1)


class Header(NamedTuple):
    """What an image file says of itself.

    Attributes:
        format: ``jpeg`` or ``png``.
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


@dataclass(frozen=True, slots=True)
class Rendering:
    """How images are stored.

    Attributes:
        encoding: ``jpeg`` (quality 95), ``png``, or ``original`` (the format of the file, PNG
            where it cannot be kept). The bytes of a file pass through untouched where format and
            size are right already, unless it has 16 bits, a palette or transparency, or colour
            in a grey dataset.
        image_size: Length of the shorter side, 0 keeps the size. Smaller by area averaging,
            larger by cubic interpolation; proportions are kept.
        channels: 1 or 3.
        bits: Bits that 16-bit images use: 0..2^bits - 1 becomes 0..255. 0 takes, for each image,
            the smallest usual depth (8, 10, 12, 14, 15, 16) that holds its largest value.
        dicom: How DICOM images become grey values: ``dicom`` or ``mimic_jpg``.
        max_pixels: Images with more are refused before they are decoded.
    """

    encoding: str
    image_size: int
    channels: int
    bits: int = 0
    dicom: str = "dicom"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise UserError(f"--encoding={self.encoding}: one of {', '.join(ENCODINGS)}.")
        if self.encoding == "original" and self.image_size:
            raise UserError(
                "--encoding=original keeps files as they are: drop --image_size, "
                "or choose --encoding=jpeg or png."
            )

    @property
    def stored_format(self) -> str | None:
        """``jpeg`` or ``png``; None where both may be stored."""
        return None if self.encoding == "original" else self.encoding

    def render(self, image: bytes | np.ndarray) -> bytes:
        """Returns the encoded image to store.

        Args:
            image: Bytes of a JPEG or PNG file, or uint8/uint16 [H, W] or [H, W, 3] (RGB).

        Raises:
            CorruptFileError: If the bytes are not a whole JPEG or PNG file.
        """
        if isinstance(image, bytes):
            header = check(image)
            if self._fits(header):
                return image
            image = decode(image)
        image = to_uint8(image, self.bits)
        if self.channels == 1:
            image = set_channels(image, 1)
        if self.image_size:
            image = resize_shorter(image, self.image_size)
        return encode(set_channels(image, self.channels), self.stored_format or "png")

    def _fits(self, header: Header) -> bool:
        """Whether a file can be stored as it is: every decoder reads it in 8 bits, channels fit."""
        return (
            self.encoding in (header.format, "original")
            and self.image_size in (0, min(header.height, header.width))
            and header.bits == 8
            and not header.palette
            and header.channels in (1, self.channels)
        )


def looks_like_image(start: bytes) -> bool:
    """Whether a file that starts so claims to be JPEG or PNG."""
    return start.startswith((_PNG_MAGIC, _JPEG_MAGIC))


def check(data: bytes) -> Header:
    """Reads the header of a JPEG or PNG file and checks that the file is whole.

    Every chunk of a PNG is checked against its checksum; a JPEG has none and is only checked for
    its end marker.

    Raises:
        CorruptFileError: Saying what is wrong, without the name of the file.
    """
    if data.startswith(_PNG_MAGIC):
        return _check_png(data)
    if data.startswith(_JPEG_MAGIC):
        return _check_jpeg(data)
    if not data:
        raise CorruptFileError("empty file")
    raise CorruptFileError(f"neither JPEG nor PNG (starts with {data[:4].hex(' ')})")


def _check_png(data: bytes) -> Header:
    view, start, header = memoryview(data), len(_PNG_MAGIC), None
    while start + 12 <= len(data):
        length = int.from_bytes(view[start : start + 4], "big")
        kind, end = bytes(view[start + 4 : start + 8]), start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise CorruptFileError(f"corrupt PNG: wrong checksum of chunk {kind!r}")
        if kind == b"IHDR" and length == 13:
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
        segment = data[start + 4 : start + 10]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(segment) == 6:
            height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            header = Header("jpeg", height, width, segment[5], segment[0])
        if marker == 0xDA:  # the scan; FF D9 cannot occur inside it, only at its end
            if header is None or data.rfind(b"\xff\xd9", start) < 0:
                break
            return header
        start += 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    raise CorruptFileError("truncated JPEG")


def decode(data: bytes) -> np.ndarray:
    """Decodes a JPEG or PNG file.

    Rotation tags are ignored, as TensorFlow ignores them; transparency is dropped, which keeps the
    colours below it.

    Returns:
        uint8 or uint16 [H, W] or [H, W, 3] (RGB).

    Raises:
        CorruptFileError: If the file cannot be decoded.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise CorruptFileError(f"cannot be decoded ({str(error).strip()})") from None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise CorruptFileError("cannot be decoded")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB)


def to_uint8(image: np.ndarray, bits: int = 0) -> np.ndarray:
    """Scales 16-bit images to 8 bits; 8-bit images stay as they are.

    Args:
        image: uint8 or uint16.
        bits: 0..2^bits - 1 becomes 0..255, larger values 255; 0 takes the smallest usual depth
            that holds the largest value of this image.

    Returns:
        uint8, same shape.
    """
    if image.dtype == np.uint8:
        return image
    if not bits:
        bits = next(depth for depth in _BIT_DEPTHS if int(image.max()) < 2**depth)
    # convertScaleAbs rounds and saturates in one pass.
    return cv2.convertScaleAbs(image, alpha=255 / (2**bits - 1)).reshape(image.shape)


def set_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Makes uint8 [H, W] (1 channel) or [H, W, 3] of either; colour becomes luma (BT.601)."""
    if channels == 1 and image.ndim == 3:
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if channels == 3 and image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return image


def resize_shorter(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes so that the shorter side has ``size`` pixels; area averaging, or cubic to enlarge."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter == size:
        return image
    target = (max(1, round(width * size / shorter)), max(1, round(height * size / shorter)))
    method = cv2.INTER_AREA if size < shorter else cv2.INTER_CUBIC
    return cv2.resize(image, target, interpolation=method)


def encode(image: np.ndarray, encoding: str) -> bytes:
    """Encodes uint8 or uint16 [H, W] or [H, W, 3] (RGB) as ``jpeg`` (quality 95) or ``png``."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if encoding == "jpeg":
        parameters = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    else:
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, 6]
    done, data = cv2.imencode(f".{encoding}", image, parameters)
    if not done:
        raise ValueError(f"{encoding} encoder failed for {image.shape} {image.dtype}")
    return data.tobytes()
