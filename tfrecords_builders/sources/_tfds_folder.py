"""A dataset that TFDS has prepared, found and read without TensorFlow and without a network."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data import records


class PreparedFolder:
    """A dataset in a ``data_dir`` of TFDS.

    Args:
        root: The ``data_dir``, or the folder of the dataset itself.
        dataset: Its name; "" if ``root`` is its folder.
        config: Its config, "" if it has none.
        version: Its version; "" if there is only one.

    Attributes:
        name: Name of the dataset.
    """

    def __init__(self, root: Path, dataset: str, config: str, version: str):
        self._root, self._dataset, self._config, self._version = root, dataset, config, version
        self.name = dataset or _name_of(root)
        self._readers: dict[str, records.RecordReader] = {}

    @functools.cached_property
    def info(self) -> Any:
        """The ``tfds.core.DatasetInfo`` of the folder."""
        folder = self.path
        try:
            info = tfds.builder_from_directory(str(folder)).info
        except Exception as error:  # TFDS raises many types on a damaged folder
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise UserError(f"{folder}: TFDS cannot open it: {reason}") from None
        if info.file_format is not tfds.core.FileFormat.TFRECORD:
            raise UserError(
                f"{folder}: stored as {info.file_format.value}; prepare it again with "
                "tfds.load(..., builder_kwargs={'file_format': 'tfrecord'})."
            )
        return info

    @functools.cached_property
    def path(self) -> Path:
        """The folder with ``dataset_info.json``."""
        dataset, config, version = self._dataset, self._config, self._version
        if not dataset:
            return self._root
        base = self._root / dataset / config
        found = sorted(path.parent for path in base.glob(f"{version or '*'}/{records.INFO_FILE}"))
        # What a tfds.load that was stopped leaves.
        found = [folder for folder in found if ".incomplete" not in folder.name]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(folder.name for folder in found)
            raise UserError(f"{base}: several versions ({names}): name one with version=.")
        configs = sorted({p.parts[-3] for p in base.glob(f"*/*/{records.INFO_FILE}")})
        if configs:
            raise UserError(f"{base}: name one with config=: {', '.join(configs)}.")
        full = f"{dataset}/{config}" if config else dataset
        raise UserError(
            f"{base}: no prepared dataset. Nothing is downloaded here: run "
            f"tfds.load({full!r}, data_dir=...) where there is network and copy the folder, or "
            "use the copy that Keras or torchvision has, as image files, with "
            "--source=image_folder."
        )

    def reader(self, split: str) -> records.RecordReader:
        """Opens a split; that reads the header of every record, once.

        Raises:
            UserError: If a file is missing.
            CorruptFileError: If files are not as long as they should be.
        """
        if split not in self._readers:
            info = self.info.splits[split]
            files = tuple(map(Path, info.filepaths))
            for file in files:
                if not file.is_file():
                    raise UserError(f"{file}: missing. Copy the whole folder of the dataset.")
            starts = [records.scan_offsets(file)[:-1] for file in files]
            found = tuple(map(len, starts))
            if found != tuple(info.shard_lengths):
                raise CorruptFileError(
                    f"{files[0].parent}: {sum(found)} records in {split}, but its "
                    f"{records.INFO_FILE} says {info.num_examples}. Copy the folder again."
                )
            self._readers[split] = records.RecordReader(
                records.Split(split, files, found), np.concatenate([np.zeros(0, np.int64), *starts])
            )
        return self._readers[split]

    def feature(self, key: str) -> Any:
        """Returns the features of a record by name.

        Args:
            key: ``split/number``.

        Raises:
            CorruptFileError: If the record is damaged.
        """
        split, _, number = key.rpartition("/")
        payload = self.reader(split).read([int(number)])[0]
        try:
            return tf_example_pb2.Example.FromString(payload).features.feature
        except DecodeError:
            raise CorruptFileError(f"{self.name}, {key}: not a tf.train.Example.") from None


def _name_of(folder: Path) -> str:
    path = folder / records.INFO_FILE
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. Name the dataset with --options=dataset=..., --input_dir being "
            "the data_dir of tfds.load."
        )
    return str(runs.read_json(path).get("name", "tfds"))
