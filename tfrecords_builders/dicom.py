"""DICOM files: what sources may know of them, and their pixels as 8-bit images.

Pixels become 8 bits because look-up tables and windows say what is to be seen on a display, whose
range that is, and because what is stored has 8 bits.
"""

import contextlib
import io
import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
import pydicom
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from keras_transfer.core.errors import CorruptFileError
from tfrecords_builders import dicom_coded, dicom_grey, formats
from tfrecords_builders.formats import is_dicom as is_dicom

MODES = ("dicom", "mimic_jpg")
_GREY = ("MONOCHROME1", "MONOCHROME2")
# Modalities whose pixels are no picture: doses and masks.
_NO_PICTURE = ("RTDOSE", "SEG")
# Other files without a picture; a reason names no other text of a header, which may say anything.
_DOCUMENTS = ("SR", "PR", "KO", "DOC", "ECG", "REG", "RTPLAN", "RTSTRUCT", "no modality")
_MAX_INFLATED = 2**30  # bytes: of deflated files, whose size nothing tells before
_AGES = {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}

# What ViewPosition is made of in practice.
_VIEW_WORDS = {
    *("AP", "PA", "L", "R", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"),
    *("LAT", "LATERAL", "FRONTAL", "OBLIQUE", "AXIAL", "LORDOTIC", "DECUBITUS", "HORIZONTAL"),
    *("XTABLE", "SWIMMERS", "SUPINE", "PRONE", "ERECT", "UPRIGHT"),
}
_HEADER_TAGS = [
    *("PatientID", "StudyInstanceUID", "SOPInstanceUID", "ViewPosition", "PatientSex"),
    *("PatientAge", "Modality", "Rows", "Columns", "NumberOfFrames"),
]
_PIXEL_TAGS = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in dicom_grey.COLOURS),
    *(f"{colour}PaletteColorLookupTableData" for colour in dicom_grey.COLOURS),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
]

# It tells of values that break the standard but can be read, millions of times in some archives.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


class Header(NamedTuple):
    """What sources may know of a DICOM file; nothing else of its header is carried on.

    Attributes:
        patient_id: "" where unknown, as all others.
        study_instance_uid: Of the study.
        sop_instance_uid: Of the image.
        view: ``PA``, ``AP``, ``LL``, ...
        sex: ``M``, ``F`` or ``O``.
        age: In years, as text.
        modality: ``CR``, ``DX``, ...
        obstacle: Why it is not an image that can be stored; "" if it is.
    """

    patient_id: str
    study_instance_uid: str
    sop_instance_uid: str
    view: str
    sex: str
    age: str
    modality: str
    obstacle: str


def read_header(file: Path | bytes) -> Header:
    """Reads what sources may know of a DICOM file, without its pixels.

    Raises:
        CorruptFileError: If it is not DICOM, without the name of the file.
        OSError: If it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        stream: BinaryIO = io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")
        stack.enter_context(stream)
        stack.enter_context(_guarded())
        data = _read(stream, _HEADER_TAGS, stop_before_pixels=True)
        text = {tag: str(data.get(tag) or "").strip(" \0") for tag in _HEADER_TAGS}
        return Header(
            patient_id=text["PatientID"],
            study_instance_uid=text["StudyInstanceUID"],
            sop_instance_uid=text["SOPInstanceUID"],
            view=_view(text["ViewPosition"]),
            sex=text["PatientSex"].upper(),
            age=_years(text["PatientAge"]),
            modality=text["Modality"].upper(),
            obstacle=_obstacle(data),
        )


def _obstacle(data: pydicom.Dataset) -> str:
    kind = str(data.get("Modality") or "no modality")
    if data.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return "DICOM directory, not an image"
    if not any(data.get(tag) for tag in ("SOPInstanceUID", "Modality", "Rows")):
        raise CorruptFileError("damaged DICOM (a header that is cut short, or empty)")
    if kind in _NO_PICTURE or not data.get("Rows") or not data.get("Columns"):
        named = f" ({kind})" if kind in (*_NO_PICTURE, *_DOCUMENTS) else ""
        return f"DICOM without a picture{named}"
    return "DICOM of several frames" if _frames(data) > 1 else ""


def _frames(data: pydicom.Dataset) -> int:
    return int(data.get("NumberOfFrames") or 1)


def _view(text: str) -> str:
    """Returns a view; free text, which may hold anything, becomes ``OTHER``."""
    words = text.upper().replace("_", " ").split()
    return " ".join(words) if _VIEW_WORDS.issuperset(words) else "OTHER"


def _years(text: str) -> str:
    """Turns ``034Y`` or ``018M`` into years; "" if it is neither."""
    match = re.fullmatch(r"(\d{1,3})([YMWD]?)", text.upper())
    return f"{int(match[1]) / _AGES[match[2] or 'Y']:.3g}" if match else ""


def render(data: bytes, mode: str = "dicom", max_pixels: int = formats.MAX_PIXELS) -> np.ndarray:
    """Decodes a DICOM image of one frame.

    ``dicom``: modality LUT or rescale; VOI LUT, else the first window, else all values from the
    smallest to the largest of the image; MONOCHROME1 inverted, once, whatever PresentationLUTShape
    says. LUTs and windows fill 0..255 by their nominal range, not by that of the data. Padding
    (PixelPaddingValue) is black and does not count. A linear window narrower than 1 is ignored.

    ``mimic_jpg``: none of these: smallest to largest value become 0..255, truncated; bitwise NOT
    for MONOCHROME1; histogram equalisation.

    Colour is returned as it is in both modes. Overlays are not drawn.

    Args:
        data: Bytes of the file.
        mode: One of `MODES`.
        max_pixels: Larger images are refused before decoding.

    Returns:
        uint8 [H, W], or [H, W, 3] (RGB) of colour images.

    Raises:
        CorruptFileError: If the image cannot be decoded, saying why; the file is not named.
    """
    with _guarded():
        dataset = _read(io.BytesIO(data), _PIXEL_TAGS)
        stored = _decode(dataset, max_pixels)
        kind = str(dataset.PhotometricInterpretation)
        if stored.ndim == 3:
            return dicom_grey.to_bytes(stored / (2.0**dataset.BitsStored - 1))
        if kind == "PALETTE COLOR":
            return dicom_grey.palette(dataset, stored)
        if kind not in _GREY:
            raise CorruptFileError(f"DICOM of unknown kind {kind!r}")
        low, inverted = int(stored.min()), kind == "MONOCHROME1"
        values = np.arange(low, int(stored.max()) + 1)
        index = stored.astype(np.int32) - low
        if mode == "mimic_jpg":
            return cv2.equalizeHist(dicom_grey.mimic_table(values, inverted)[index])
        return dicom_grey.display_table(dataset, values, index, inverted)[index]


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """Turns whatever pydicom raises on damaged files into a CorruptFileError; silences warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except CorruptFileError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno:  # the disk's, not a decoder's
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CorruptFileError(f"damaged DICOM ({_without_values(reason)})") from None


def _without_values(reason: str) -> str:
    """Returns a message of pydicom without what it quotes of a header: reasons are passed on."""
    return re.sub(r"(?i)(value:?|string:?|element) (b?'[^']*'|\"[^\"]*\")", r"\1", reason)


def _read(stream: BinaryIO, tags: list[str], **arguments: Any) -> pydicom.FileDataset:
    if not is_dicom(stream.read(formats.DICOM_START)):
        raise CorruptFileError("not a DICOM file")
    stream.seek(0)
    _refuse_bomb(stream)
    data = pydicom.dcmread(stream, specific_tags=list(tags), force=True, **arguments)
    data.decode()  # Values are parsed here, not on first use, which may be outside of `_guarded`.
    return data


def _refuse_bomb(stream: BinaryIO) -> None:
    """Refuses a deflated file that would fill the memory: pydicom inflates it whole."""
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        packed, size, inflater = stream.read(), 0, zlib.decompressobj(-zlib.MAX_WBITS)
        while packed and size <= _MAX_INFLATED:
            size += len(inflater.decompress(packed, 2**20))
            packed = inflater.unconsumed_tail
        if size > _MAX_INFLATED:
            raise CorruptFileError(f"deflated DICOM of more than {_MAX_INFLATED} bytes")
    stream.seek(0)


def _decode(data: pydicom.FileDataset, max_pixels: int) -> np.ndarray:
    """Returns the stored values [H, W], or RGB [H, W, 3]."""
    missing = [tag for tag in ("Rows", "Columns", "PixelData") if not data.get(tag)]
    if missing:
        raise CorruptFileError(f"DICOM without an image (no {', '.join(missing)})")
    formats.check_size(data.Columns, data.Rows, max_pixels)
    if _frames(data) > 1:
        raise CorruptFileError(f"DICOM of {_frames(data)} frames: store them one by one")
    if data.BitsAllocated > 16:
        raise CorruptFileError(f"DICOM of {data.BitsAllocated} bits per pixel: 16 at most")
    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is None:  # without file meta information: the standard's default, or as pydicom found
        implicit, _ = data.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        data.file_meta.TransferSyntaxUID = syntax
    image = dicom_coded.decode(data, syntax)
    if image.shape[:2] != (data.Rows, data.Columns) or image.ndim > 3:
        raise CorruptFileError(f"DICOM image of shape {image.shape}, against its own header")
    return image.astype(image.dtype.newbyteorder("="))
