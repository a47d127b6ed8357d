"""What the stored values of a DICOM image look like: look-up tables, windows, palettes.

Everything done to grey pixels is a function of the stored value: it is worked out once for every
value that occurs, in floating point, and the image is then looked up in that table.

pydicom's own look-up is not used: with 8-bit tables it wraps the index of deeper images (3.0.2).
"""

from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue

from keras_transfer.core.errors import CorruptFileError

COLOURS = ("Red", "Green", "Blue")


def mimic_table(values: np.ndarray, inverted: bool) -> np.ndarray:
    """Returns the grey value of every stored value, before equalisation."""
    shifted = (values - values[0]).astype(np.float64)
    if shifted[-1] > 0:
        shifted = shifted / shifted[-1] * 255
    table = shifted.astype(np.uint8)  # truncates, as the release did
    return ~table if inverted else table


def display_table(
    data: FileDataset, values: np.ndarray, index: np.ndarray, inverted: bool
) -> np.ndarray:
    """Returns the grey value of every stored value, as `dicom.render` describes it.

    Args:
        data: Says what its pixels mean.
        values: The stored values from the smallest to the largest.
        index: The image, as positions in ``values``.
        inverted: Whether the smallest is white.

    Raises:
        CorruptFileError: If what the file says makes no sense.
    """
    padding = _padding(data, values)
    output, low = _modality(data, values)
    grey = _voi(data, output, low)
    if grey is None:
        occurs = np.zeros(len(values), bool)
        occurs[index] = True
        shown = output[occurs & ~padding]
        bottom, top = (shown.min(), shown.max()) if shown.size else (0, 0)
        grey = (output - bottom) / (top - bottom or 1)
    if not np.isfinite(grey).all():
        raise CorruptFileError("DICOM whose rescaling or window is not a number")
    grey = grey.clip(0, 1)
    if inverted:
        grey = 1 - grey
    grey[padding] = 0
    return to_bytes(grey)


def _padding(data: FileDataset, values: np.ndarray) -> np.ndarray:
    """Returns which stored values are padding."""
    ends = [data.get(tag) for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return np.zeros(len(values), bool)
    # Some files give the bits of a negative value.
    wrap = data.PixelRepresentation == 1
    ends = [end - 2**16 if wrap and end >= 2**15 else end for end in ends if end is not None]
    return (values >= min(ends)) & (values <= max(ends))


def _modality(data: FileDataset, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the output of every stored value, and the smallest that could occur."""
    bits = data.BitsStored
    low = -(2 ** (bits - 1)) if data.PixelRepresentation else 0
    if data.get("ModalityLUTSequence"):
        table = _lookup_table(data.ModalityLUTSequence[0], data, signed=low < 0)
        return table.look_up(values), 0
    slope, intercept = (
        float(default if data.get(tag) is None else data[tag].value)
        for tag, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    high = low + 2**bits - 1
    return values * slope + intercept, min(low * slope, high * slope) + intercept


def _voi(data: FileDataset, values: np.ndarray, low: float) -> np.ndarray | None:
    """Returns the share of the display's range of every value; None if nothing says it."""
    if data.get("VOILUTSequence"):
        table = _lookup_table(data.VOILUTSequence[0], data, signed=low < 0)
        return table.look_up(values) / table.top
    center, width = _first(data.get("WindowCenter")), _first(data.get("WindowWidth"))
    function = str(data.get("VOILUTFunction") or "LINEAR").upper()
    exact = function in ("SIGMOID", "LINEAR_EXACT")  # others are taken as LINEAR, the default
    if center is None or width is None or width <= 0 or (width < 1 and not exact):
        return None
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (values - center) / width).clip(-700, 700)))
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5


def _first(value: Any) -> float | None:
    """Returns the first of one or several windows."""
    if isinstance(value, MultiValue):
        value = value[0] if value else None
    return None if value is None or value == "" else float(value)


class _Table(NamedTuple):
    """A look-up table of the standard.

    Attributes:
        first: Value that the first entry is for; smaller values get it, too.
        entries: Larger values than there are entries get the last.
        top: Largest entry that is possible.
    """

    first: int
    entries: np.ndarray
    top: int

    def look_up(self, values: np.ndarray) -> np.ndarray:
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[index.clip(0, len(self.entries) - 1)].astype(np.float64)


def _lookup_table(
    item: Dataset, data: FileDataset, prefix: str = "LUT", *, signed: bool = False
) -> _Table:
    """Reads a table.

    Args:
        item: Holds ``LUTDescriptor`` and ``LUTData``.
        data: The whole file.
        prefix: Other beginning of these two names.
        signed: Whether values that are looked up can be negative.
    """
    count, first, bits = (int(value) & 0xFFFF for value in item[f"{prefix}Descriptor"].value)
    count = count or 2**16
    if signed and first >= 2**15:
        first -= 2**16
    content = item[f"{prefix}Data"].value
    order = "<u2"
    if not isinstance(content, bytes):
        content = (np.atleast_1d(content).astype(np.int64) & 0xFFFF).astype(order).tobytes()
    elif not data.original_encoding[1]:
        order = ">u2"
    packed = bits <= 8 and len(content) < 2 * count  # two entries to a word
    entries = np.frombuffer(content, np.uint8 if packed else order)[:count]
    if len(entries) < count:
        raise CorruptFileError(f"look-up table of {len(entries)} entries instead of {count}")
    return _Table(first, entries, max(2**bits - 1, int(entries.max()), 1))


def palette(data: FileDataset, stored: np.ndarray) -> np.ndarray:
    """Returns the colours of an image of indices, uint8 [H, W, 3].

    Raises:
        CorruptFileError: If the palette is damaged.
    """
    image = np.empty((*stored.shape, 3), np.uint8)
    for channel, colour in enumerate(COLOURS):
        name = f"{colour}PaletteColorLookupTable"
        if f"{name}Data" not in data:
            raise CorruptFileError(
                f"DICOM with a palette, but no {name}Data (segmented palettes are not read)"
            )
        table = _lookup_table(data, data, name)
        image[..., channel] = to_bytes(table.look_up(stored) / table.top)
    return image


def to_bytes(shares: np.ndarray) -> np.ndarray:
    """Turns 0..1 into 0..255, rounded."""
    return np.rint(shares.clip(0, 1) * 255).astype(np.uint8)
