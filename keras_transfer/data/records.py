"""The record format: file names, feature schema, TFRecord framing, and random access to records.

Builders write with it and training reads with it, so that the format is defined once. Nothing here
imports TensorFlow: builder processes stay small and safe to fork.

A dataset is a TFDS folder (``tfds.builder_from_directory`` opens it) plus three files of ours:

* ``card.json``: where the data come from, licence, label table, what was dropped;
* ``index.csv.gz``: one row per record, in record order within each split, so that labels are
  read and examples chosen without touching an image;
* ``offsets-<split>.npy``: where each record starts, so that any record is one read away.

Folders written by TFDS itself have none of the three: they are derived by one scan.
"""

import dataclasses
import os
import struct
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import tensorflow_datasets as tfds

from keras_transfer.core.errors import CorruptFileError
from keras_transfer.core.labels import LabelSpace

INFO_FILE = "dataset_info.json"
CARD_FILE = "card.json"
INDEX_FILE = "index.csv.gz"
OFFSETS_FILE = "offsets-{split}.npy"
BUILDING = ".building"  # end of the name of a folder that is not complete yet

# Columns of the index beside the labels: ``label`` (class name) for multi-class data, or one
# ``label/<finding>`` per finding with its raw state for multi-label data.
INDEX_COLUMNS = ("example_id", "patient_id", "split", "view", "sex", "age", "source")
STATE_PREFIX = "label/"
POSITIVE, NEGATIVE, UNCERTAIN, NOT_MENTIONED = 1, 0, -1, -2

# What a label may be where nobody knows: unknown (masked in loss and metrics), or a guess.
POLICIES = {"nan": np.nan, "zero": 0.0, "one": 1.0}

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_MAX_OPEN_FILES = 256


def features(labels: LabelSpace, *, channels: int, encoding: str | None) -> Any:
    """Returns the ``tfds.features.FeaturesDict`` of every dataset we write.

    Args:
        labels: Task and names of the labels.
        channels: 1 or 3, as stored.
        encoding: ``"jpeg"``, ``"png"``, or None where files of both kinds are kept as they are.
    """
    count = labels.num_classes
    label: dict[str, Any]
    if labels.is_multilabel:
        label = {
            "label": tfds.features.Tensor(shape=(count,), dtype=np.float32),
            "label_state": tfds.features.Tensor(shape=(count,), dtype=np.int8),
        }
    else:
        label = {"label": tfds.features.ClassLabel(names=list(labels.names))}
    image = tfds.features.Image(shape=(None, None, channels), encoding_format=encoding)
    texts = {name: tfds.features.Text() for name in ("example_id", "patient_id", "view")}
    return tfds.features.FeaturesDict({"image": image, **label, **texts})


def label_from_states(
    states: np.ndarray, *, uncertain: str = "nan", not_mentioned: str = "nan"
) -> np.ndarray:
    """Turns raw states into labels: positive 1, negative 0, the others as their policies say.

    Args:
        states: int8[..., C] of POSITIVE, NEGATIVE, UNCERTAIN, NOT_MENTIONED.
        uncertain: ``nan`` (unknown, masked), ``zero`` or ``one``: U-Ignore, U-Zeros and U-Ones of
            Irvin et al., CheXpert, AAAI 2019.
        not_mentioned: Likewise, where the report says nothing of the finding.

    Returns:
        float32[..., C].
    """
    label = np.where(states >= 0, states, np.nan).astype(np.float32)
    label[states == UNCERTAIN] = POLICIES[uncertain]
    label[states == NOT_MENTIONED] = POLICIES[not_mentioned]
    return label


def _masked_crc(*parts: bytes) -> int:
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def envelope(*parts: bytes) -> tuple[bytes, bytes]:
    """Returns what makes a payload a TFRecord: length and its checksum, and that of the payload.

    Reference: tensorflow/core/lib/io/record_writer.h.

    Args:
        parts: The payload in pieces, so that a large image in it needs no copying.

    Returns:
        What comes before the payload, and what comes behind it.
    """
    length = struct.pack("<Q", sum(map(len, parts)))
    return length + _FOOTER.pack(_masked_crc(length)), _FOOTER.pack(_masked_crc(*parts))


def frame(payload: bytes) -> bytes:
    """Returns a payload as one TFRecord."""
    before, behind = envelope(payload)
    return b"".join((before, payload, behind))


def unframe(framed: bytes, where: str) -> bytes:
    """Returns the payload of one whole TFRecord after checking its length and both checksums.

    Raises:
        CorruptFileError: Naming ``where``.
    """
    if len(framed) >= _HEADER.size + _FOOTER.size:
        length, length_crc = _HEADER.unpack_from(framed)
        payload = framed[_HEADER.size : -_FOOTER.size]
        if (
            length == len(payload)
            and length_crc == _masked_crc(framed[:8])
            and _FOOTER.unpack(framed[-_FOOTER.size :])[0] == _masked_crc(payload)
        ):
            return payload
    raise CorruptFileError(f"{where}: corrupt record. Restore the file or build the dataset again.")


def scan_offsets(path: Path) -> np.ndarray:
    """Finds the records of a TFRecord file by their headers, without reading the payloads.

    Returns:
        int64[n + 1]: where each record starts, and the size of the file.
    """
    offsets, size = [0], path.stat().st_size
    with path.open("rb", buffering=0) as stream:
        while offsets[-1] < size:
            header = stream.read(_HEADER.size)
            intact = len(header) == _HEADER.size and (
                _HEADER.unpack(header)[1] == _masked_crc(header[:8])
            )
            if intact:
                end = offsets[-1] + _HEADER.size + _HEADER.unpack(header)[0] + _FOOTER.size
                intact = end <= size
            if not intact:
                raise CorruptFileError(
                    f"{path}: corrupt after record {len(offsets) - 1}. "
                    "Restore the file or build the dataset again."
                )
            offsets.append(end)
            stream.seek(end)
    return np.array(offsets, np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """One split of a dataset on disk.

    Attributes:
        name: ``train``, ``val``, ``test`` or another name of the builder.
        files: Shards, in order.
        shard_lengths: Records per shard.
    """

    name: str
    files: tuple[Path, ...]
    shard_lengths: tuple[int, ...]

    @property
    def num_examples(self) -> int:
        """Number of records in all shards."""
        return sum(self.shard_lengths)


class _File:
    """A file descriptor that is closed when its last user lets it go, so no read is cut off."""

    def __init__(self, path: Path):
        self.descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.descriptor).st_size
        weakref.finalize(self, os.close, self.descriptor)


class RecordReader:
    """Random access to the records of a split, from any number of threads.

    Args:
        split: Files and lengths.
        starts: int64[n], where each record starts in its shard.
    """

    def __init__(self, split: Split, starts: np.ndarray):
        self._split = split
        self._starts = starts
        self._first = np.concatenate([[0], np.cumsum(split.shard_lengths)])  # [shards + 1]
        self._open: OrderedDict[int, _File] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._split.num_examples

    def _file(self, shard: int) -> _File:
        with self._lock:
            file = self._open.pop(shard, None) or _File(self._split.files[shard])
            self._open[shard] = file
            if len(self._open) > _MAX_OPEN_FILES:
                self._open.popitem(last=False)
            return file

    def _read(self, index: int) -> bytes:
        shard = int(np.searchsorted(self._first, index, side="right")) - 1
        file = self._file(shard)
        start = int(self._starts[index])
        last = index + 1 == self._first[shard + 1]
        end = file.size if last else int(self._starts[index + 1])
        where = f"{self._split.files[shard]}, record {index - self._first[shard]}"
        return unframe(os.pread(file.descriptor, max(0, end - start), start), where)

    def read(self, indices: Sequence[int] | np.ndarray) -> list[bytes]:
        """Reads records by number and checks their checksums.

        Args:
            indices: Record numbers in [0, len(self)).

        Returns:
            The serialised ``tf.train.Example`` of each, in the order asked for.

        Raises:
            CorruptFileError: Naming file and record.
        """
        return [self._read(int(index)) for index in indices]


def iterate_records(split: Split) -> Iterator[bytes]:
    """Yields every payload of a split, in record order, with checksums checked."""
    for file in split.files:
        offsets = scan_offsets(file)
        with file.open("rb") as stream:
            for number, size in enumerate(np.diff(offsets)):
                yield unframe(stream.read(int(size)), f"{file}, record {number}")
