"""DICOM files that tests make, and real ones that pydicom brings along."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)


def film(
    pixels: np.ndarray, bits: int = 12, *, syntax: UID = ExplicitVRLittleEndian, **tags: Any
) -> bytes:
    """Returns the bytes of an uncompressed grey DICOM file.

    Args:
        pixels: [H, W] or [frames, H, W], of 8 or 16 bits, signed or not.
        bits: That are used of them.
        syntax: Transfer syntax.
        **tags: More of the header; None leaves one out.
    """
    swapped = syntax == ExplicitVRBigEndian
    values = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": generate_uid(),
        "Modality": "CR",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": (pixels.byteswap() if swapped else pixels).tobytes(),
    } | tags
    data = Dataset()
    with pydicom.config.disable_value_validation():
        for name, value in values.items():
            if value is not None:
                setattr(data, name, value)
    data["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return encoded(data)


def encoded(data: Dataset) -> bytes:
    """Returns the bytes of a DICOM file."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def table(entries: np.ndarray, first: int, bits: int, vr: str = "US") -> list[Dataset]:
    """Returns a sequence of one look-up table, entries as numbers (US) or as bytes (OW)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 2**16, first, bits])
    content = entries.astype("<u2")
    item.add_new("LUTData", vr, content.tobytes() if vr == "OW" else content.tolist())
    return [item]


def bundled(name: str) -> Path:
    """Returns a real file; skips the test where the package ``pydicom-data`` is not installed."""
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} comes with the package pydicom-data, which is not installed")
    return Path(path)
