"""A dataset folder, opened for reading: splits, labels, index and records."""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pandas as pd
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.data import records


class Dataset:
    """A dataset folder, opened for reading.

    Args:
        path: The folder, or one above that holds no other dataset.
        uncertain: Label of uncertain findings; see `records.label_from_states`.
        not_mentioned: Label of findings that are not mentioned.

    Attributes:
        path: The folder that holds ``dataset_info.json``.
        name: ``<name>/<config>`` as the builder called it: the name that results carry.
        labels: Task and names of the labels.
        splits: Split name -> Split.
        card: Content of ``card.json``; empty for folders not written by us.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        uncertain: str = "nan",
        not_mentioned: str = "nan",
    ):
        self._policies = {"uncertain": uncertain, "not_mentioned": not_mentioned}
        self.path = _dataset_folder(Path(path))
        try:
            builder = tfds.builder_from_directory(str(self.path))
        except Exception as error:  # TFDS raises many types on a damaged folder
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise UserError(f"{self.path}: not a readable dataset folder: {first_line}") from None
        config = getattr(builder.info, "config_name", None) or (
            builder.builder_config.name if builder.builder_config else None
        )
        self.name = f"{builder.name}/{config}" if config else builder.name
        self._features = builder.info.features
        card = self.path / records.CARD_FILE
        self.card: dict[str, Any] = runs.read_json(card) if card.exists() else {}
        self.labels = self._label_space()
        self.splits = {
            name: records.Split(
                name, tuple(Path(f) for f in info.filepaths), tuple(info.shard_lengths)
            )
            for name, info in builder.info.splits.items()
        }

    def _label_space(self) -> LabelSpace:
        missing = {"image", "label"} - set(self._features)
        if missing:
            raise UserError(
                f"{self.path}: no feature {', '.join(sorted(missing))!r} among "
                f"{', '.join(sorted(self._features))}; import it with tfrecords_builders."
            )
        label = self._features["label"]
        if isinstance(label, tfds.features.ClassLabel):
            return LabelSpace(MULTICLASS, tuple(label.names))
        names = self.card.get("labels") or [str(i) for i in range(label.shape[0])]
        return LabelSpace(MULTILABEL, tuple(names))

    @property
    def fingerprint(self) -> str:
        """What identifies the content: the builder's fingerprint, else sizes of the shards."""
        if "fingerprint" in self.card:
            return str(self.card["fingerprint"])
        sizes = [(f.name, f.stat().st_size) for s in self.splits.values() for f in s.files]
        return f"{google_crc32c.value(json.dumps(sorted(sizes)).encode()):08x}"

    def split(self, name: str) -> records.Split:
        """Returns a split that has examples and whose files exist, or raises a UserError."""
        if name not in self.splits:
            raise UserError(
                f"{self.path}: no split {name!r}; it has {', '.join(sorted(self.splits))}."
            )
        split = self.splits[name]
        if split.num_examples == 0:
            raise UserError(f"{self.path}: the split {name!r} is empty.")
        for file in split.files:
            if not file.is_file():
                raise UserError(f"{file}: missing. Copy it again, or build the dataset again.")
        return split

    def index(self, split: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Reads the index of a split: one row per record, in record order, all values text.

        Folders without an index are scanned once: ids are then ``<split>/<number>``.

        Args:
            split: Name of the split.
            columns: Columns to read; all by default. Reading few keeps a large index small.
        """
        if self._has_index:
            # Everything is text: pandas would turn an id 007 into 7 and a class NA into nothing.
            rows = self._rows_of(split, self._read_index(columns, str))
        else:
            rows = self._scan(split)
        return rows if columns is None else rows[list(columns)]

    @property
    def _has_index(self) -> bool:
        return (self.path / records.INDEX_FILE).exists()

    def _read_index(self, columns: Sequence[str] | None, dtype: Any) -> pd.DataFrame:
        wanted = None if columns is None else ["split", *(c for c in columns if c != "split")]
        path = self.path / records.INDEX_FILE
        return pd.read_csv(path, usecols=wanted, dtype=dtype, keep_default_na=False)

    def _rows_of(self, split: str, table: pd.DataFrame) -> pd.DataFrame:
        rows = table[table["split"] == split].reset_index(drop=True)
        expected = self.split(split).num_examples
        if len(rows) != expected:
            raise CorruptFileError(
                f"{self.path / records.INDEX_FILE}: {len(rows)} rows for the split {split!r} of "
                f"{expected} records. Build the dataset again."
            )
        return rows

    @functools.cached_property
    def _label_table(self) -> pd.DataFrame:
        """The labels of all splits: the one part of the index that every run needs."""
        columns = self._label_columns
        multilabel = self.labels.is_multilabel
        kind = np.int8 if multilabel else pd.CategoricalDtype(list(self.labels.names))
        return self._read_index(columns, {"split": "category"} | dict.fromkeys(columns, kind))

    @property
    def _label_columns(self) -> list[str]:
        if self.labels.is_multilabel:
            return [records.STATE_PREFIX + name for name in self.labels.names]
        return ["label"]

    def example_ids(self, split: str) -> np.ndarray:
        """Returns str[n]: the example ids of a split, in record order."""
        return self.index(split, ["example_id"])["example_id"].to_numpy(dtype=str)

    def label_array(self, split: str) -> np.ndarray:
        """Returns the labels of a split in record order: int32[n], or float32[n, C] with NaN."""
        self.split(split)
        rows = self._rows_of(split, self._label_table) if self._has_index else self._scan(split)
        rows = rows[self._label_columns]
        if self.labels.is_multilabel:
            return records.label_from_states(rows.to_numpy(dtype=np.int8), **self._policies)
        label = rows["label"].astype(pd.CategoricalDtype(list(self.labels.names))).cat.codes
        if (label < 0).any():
            raise CorruptFileError(
                f"{self.path / records.INDEX_FILE}: row {int(label.argmin())} of the split "
                f"{split!r} has a class that is not among the dataset's class names. "
                "Build the dataset again."
            )
        return label.to_numpy(dtype=np.int32)

    def _scan(self, split: str) -> pd.DataFrame:
        """Derives the index of a folder that was not written by us, from its records."""
        logging.info(
            "%s has no %s: reading labels from the records.", self.path, records.INDEX_FILE
        )
        rows = []
        for number, payload in enumerate(records.iterate_records(self.split(split))):
            feature = tf_example_pb2.Example.FromString(payload).features.feature
            row = {
                name: feature[name].bytes_list.value[0].decode() if name in feature else ""
                for name in ("example_id", "patient_id", "view")
            }
            row["example_id"] = row["example_id"] or f"{split}/{number}"
            if self.labels.is_multilabel:
                values = feature["label"].float_list.value
                # NaN is unknown: the state "not mentioned" stands for it.
                states = [records.NOT_MENTIONED if v != v else int(v) for v in values]
                names = [records.STATE_PREFIX + name for name in self.labels.names]
                row |= dict(zip(names, map(str, states)))
            else:
                row["label"] = self.labels.names[feature["label"].int64_list.value[0]]
            rows.append(row)
        return pd.DataFrame(rows).assign(split=split)

    def reader(self, split: str) -> records.RecordReader:
        """Opens a split for random access."""
        found = self.split(split)
        path = self.path / records.OFFSETS_FILE.format(split=split)
        if path.exists():
            starts = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            logging.info("%s has no %s: reading record headers.", self.path, path.name)
            starts = np.concatenate([records.scan_offsets(file)[:-1] for file in found.files])
        if len(starts) != found.num_examples:
            raise CorruptFileError(
                f"{path}: {len(starts)} offsets for {found.num_examples} records. "
                "Build the dataset again."
            )
        return records.RecordReader(found, starts)


def _dataset_folder(path: Path) -> Path:
    """Returns the folder with dataset_info.json: the path itself or the only one below it."""
    if (path / records.INFO_FILE).is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such dataset folder. Build it with tfrecords_builders.build.")
    found: list[Path] = []
    for below in ("*", "*/*", "*/*/*"):
        folders = sorted(file.parent for file in path.glob(f"{below}/{records.INFO_FILE}"))
        found = found or [f for f in folders if not f.name.endswith(records.BUILDING)]
    if not found:
        raise UserError(
            f"{path}: holds no finished dataset (no {records.INFO_FILE} in it or below it)."
        )
    if len(found) > 1:
        raise UserError(
            f"{path}: holds several datasets; name one of {', '.join(map(str, found))}."
        )
    return found[0]
