"""How images are stored: which bytes become which, decided here for every source."""

from dataclasses import dataclass

import cv2
import numpy as np

from keras_transfer.core.errors import UserError
from tfrecords_builders.formats import DICOM_START, MAX_PIXELS, check, check_size, decode, is_dicom
from tfrecords_builders.formats import Header as Header
from tfrecords_builders.formats import looks_like_image as looks_like_image

ENCODINGS = ("jpeg", "png", "original")
JPEG_QUALITY = 95
_BIT_DEPTHS = (8, 10, 12, 14, 15, 16)


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
            image: Bytes of a JPEG, PNG, GIF, BMP, TIFF, WebP or DICOM file, or uint8/uint16
                [H, W] or [H, W, 3] (RGB).

        Raises:
            CorruptFileError: If the bytes are not a whole file of these, or the image is too large.
        """
        if isinstance(image, bytes):
            if not looks_like_image(image[:8]) and is_dicom(image[:DICOM_START]):
                from tfrecords_builders import dicom  # pydicom takes 0.7 s, and most have no DICOM

                image = dicom.render(image, self.dicom, self.max_pixels)
            else:
                header = check(image)
                check_size(header.width, header.height, self.max_pixels)
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
            header.format in ("jpeg", "png")
            and self.encoding in (header.format, "original")
            and self.image_size in (0, min(header.height, header.width))
            and header.bits == 8
            and not header.palette
            and header.channels in (1, self.channels)
        )


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
