"""Compressed pixels of DICOM files: whether they can be decoded, and are whole.

Decoders are not trusted with either: some fill what is missing with grey, and the size that the
compressed image says of itself decides how much memory they take.
"""

import faulthandler
import io
import multiprocessing
import struct
from multiprocessing.connection import Connection

import numpy as np
from pydicom import pixels
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.uid import UID, RLELossless

from keras_transfer.core.errors import CorruptFileError
from tfrecords_builders import complaints, formats

_J2K_MAGIC = b"\xff\x4f\xff\x51"
_JPEG_LS_FRAME = 0xF7
_GDCM = "gdcm"
_PATIENCE = 300  # seconds that GDCM may take for an image
_REASON = b"reason: "  # begins what is no image; that begins as np.save does


def decode(data: FileDataset, syntax: UID) -> np.ndarray:
    """Decodes the only frame of a file.

    Args:
        data: Its size must have been checked.
        syntax: Its transfer syntax.

    Raises:
        CorruptFileError: If the frame is damaged, or no installed package can decode it.
    """
    plugins = _plugins(syntax)
    if syntax.is_encapsulated:
        _check_frame(data, syntax)
    reason = ""
    with complaints.heard() as said:
        for plugin in plugins:
            try:
                image = (_decode_apart if plugin == _GDCM else _decode)(data, plugin)
                break
            except RuntimeError as error:
                reason = " ".join(str(error).split())
        else:
            raise CorruptFileError(f"{syntax.name} in DICOM cannot be decoded ({reason})")
    if damage := complaints.damage(said):
        raise CorruptFileError(f"damaged {syntax.name} in DICOM ({damage})")
    return image


def _plugins(syntax: UID) -> tuple[str, ...]:
    """Returns pydicom's decoders of a transfer syntax; "" where it needs none."""
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError:
        raise CorruptFileError(f"DICOM compressed as {syntax.name}: not an image format") from None
    if not decoder.is_available:
        raise CorruptFileError(
            f"DICOM compressed as {syntax.name}, which needs more packages: "
            "pip install keras_transfer[dicom]"
        )
    # pydicom would ask GDCM first.
    others = tuple(name for name in decoder.available_plugins if name != _GDCM)
    return others or decoder.available_plugins or ("",)


def _decode(data: FileDataset, plugin: str) -> np.ndarray:
    return pixels.pixel_array(data, decoding_plugin=plugin)


def _decode_apart(data: FileDataset, plugin: str) -> np.ndarray:
    """Decodes in a process of its own: GDCM 3.2 ends it at some damaged files (JPEG lossless)."""
    context = multiprocessing.get_context("fork")  # 20 ms; a film takes several times that
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(sender, data, plugin))
    child.start()
    sender.close()
    try:
        if not receiver.poll(_PATIENCE):
            raise RuntimeError(f"not decoded in {_PATIENCE} s")
        content = receiver.recv_bytes()
    except EOFError:
        raise RuntimeError("the decoder crashed") from None
    finally:
        child.kill()  # which has done all it had to
        child.join()
        receiver.close()
    if content.startswith(_REASON):
        raise RuntimeError(content.removeprefix(_REASON).decode())
    return np.load(io.BytesIO(content), allow_pickle=False)


def _send(sender: Connection, data: FileDataset, plugin: str) -> None:
    """Sends the decoded image, or why there is none."""
    faulthandler.disable()  # a crash is nothing that anybody has to look into
    stream = io.BytesIO()
    try:
        np.save(stream, _decode(data, plugin), allow_pickle=False)
    except Exception as error:
        sender.send_bytes(_REASON + str(error).encode())
    else:
        sender.send_bytes(stream.getbuffer())


def _check_frame(data: FileDataset, syntax: UID) -> None:
    """Raises a CorruptFileError if a compressed image is cut short or of another size.

    Args:
        data: Of one frame.
        syntax: Its transfer syntax.
    """
    frame = get_frame(data.PixelData, 0, number_of_frames=1)
    if syntax == RLELossless:  # whose decoder counts the pixels
        return
    if frame.rfind(b"\xff\xd9") < 0:  # the end of JPEG, JPEG-LS and JPEG 2000, and never inside
        raise CorruptFileError(f"truncated {syntax.name} in DICOM")
    if _coded_size(frame) != (data.Rows, data.Columns):
        raise CorruptFileError(f"{syntax.name} of another size than its DICOM header says")


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """Returns height and width that a compressed image says of itself."""
    # Some files have the boxes of a .jp2 file around it, which the standard forbids. In a JPEG such
    # bytes mean nothing, whatever a comment of it holds.
    start = -1 if frame.startswith(b"\xff\xd8") else frame.find(_J2K_MAGIC, 0, 4096)
    if start >= 0:  # extent and offset of the image
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    start = 2
    while frame[start] == 0xFF and frame[start + 1] != 0xDA:
        marker = frame[start + 1]
        if marker in formats.JPEG_FRAMES or marker == _JPEG_LS_FRAME:
            height, width = struct.unpack_from(">2H", frame, start + 5)
            return height, width
        length = int.from_bytes(frame[start + 2 : start + 4], "big")
        # A byte FF more is allowed before every marker.
        start += 1 if marker == 0xFF else 2 if marker in formats.JPEG_BARE else 2 + length
    return None
