"""Any image classification dataset that TFDS has prepared: CIFAR, Flowers, Pets, ..."""

import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError, did_you_mean
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.data import records
from tfrecords_builders import sources
from tfrecords_builders.sources import Dropped, Item, Option
from tfrecords_builders.sources._tfds_folder import PreparedFolder

_IDS = ("example_id", "id", "file_name", "filename", "image_id")
_NUMBER = "number"
_FLOWERS = "oxford_flowers102"
# The paper's authors trained on the test images and tested on the others.
_AUTHORS = {"train": "test", "validation": "test", "test": "train"}
_IMAGE, _STATE = "image", "label_state"


def _parse_map(text: str) -> tuple[tuple[str, str], ...]:
    """Parses ``test:val,unlabelled:``."""
    pairs = []
    for part in sources.words(text):
        old, colon, new = part.partition(":")
        if not colon or not old:
            raise ValueError(f"{part!r} is not THEIRS:OURS")
        pairs.append((old, new))
    return tuple(pairs)


class TfdsImport(sources.Source):
    """A dataset folder of TFDS, read record by record without TensorFlow and stored anew.

    Nothing is downloaded: ``--input_dir`` is the ``data_dir`` in which ``tfds.load`` has prepared
    the dataset, as TFRecords. It needs a feature ``image`` and a label that is a class or a vector
    of 1, 0 and NaN. All records are read once to plan and once to write.

    Splits keep their names, but ``validation`` is ``val``. ``splits=authors`` gives Oxford Flowers
    as the paper has it: train is the official test split, test is official train and validation.
    The example id is the dataset's own (``id``, ``file_name``, ...) or else ``split/number``.
    Images keep their format unless ``--encoding`` says otherwise.
    """

    name = "tfds"
    description = "A dataset that TFDS has prepared, stored anew."
    licence = "As the dataset's page in the TFDS catalogue says."
    homepage = "https://www.tensorflow.org/datasets/catalog/overview"
    encoding = "original"
    options = (
        Option(
            "dataset",
            "",
            "its name in TFDS; without it, input_dir is the folder with dataset_info.json itself",
            named="never",
        ),
        Option("config", "", "its config, where it has several"),
        Option("version", "", "its version, where several are prepared"),
        Option("label", "label", "feature that is the label", images=False),
        Option(
            "id",
            "",
            "feature that is the example id, or number for split/number; by default chosen",
            named="never",
            images=False,
        ),
        Option(
            "splits",
            "official",
            "official, or authors for Oxford Flowers with train and test swapped",
            sources.choice("official", "authors"),
            images=False,
        ),
        Option(
            "split_map",
            (),
            "renames splits, THEIRS:OURS, several with commas; nothing after : leaves one out",
            _parse_map,
            images=False,
            show=lambda pairs: "+".join(f"{old}:{new}" for old, new in pairs),
        ),
        Option(
            "leaky",
            False,
            "true allows equal images in several splits; CIFAR has some, the card says how many",
            sources.boolean,
            named="never",
            images=False,
        ),
    )

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        assert input_dir is not None
        self.leaky = "declared by the user" if self.settings["leaky"] else ""
        wanted = {key: self.settings[key] for key in ("dataset", "config", "version")}
        self._from = PreparedFolder(input_dir, **wanted)
        self.name = self._from.name

    @functools.cached_property
    def _features(self) -> Mapping[str, Any]:
        """What every record has, by name."""
        features = dict(self._from.info.features.items())
        image = features.get(_IMAGE)
        if not isinstance(image, tfds.features.Image) or image.np_dtype.kind != "u":
            raise UserError(
                f"{self.name}: no image of 8 or 16 bits among {', '.join(sorted(features))}."
            )
        return features

    @functools.cached_property
    def _label(self) -> Any:
        """The feature of the label."""
        name = self.settings["label"]
        feature = self._feature_called("label", name)
        if isinstance(feature, tfds.features.ClassLabel):
            return feature
        vector = type(feature) is tfds.features.Tensor and len(feature.shape) == 1
        if not vector or not feature.shape[0] or feature.np_dtype.kind not in "fiub":
            raise UserError(
                f"{self.name}: {name} is {feature}, neither a class nor a vector of 1, 0 and NaN."
            )
        return feature

    @property
    def channels(self) -> int:
        """As the feature says; 3 where it leaves that open."""
        return 1 if self._features[_IMAGE].shape[-1] == 1 else 3

    @property
    def labels(self) -> LabelSpace:
        """The names that TFDS knows; a vector's are numbers unless there is a card of ours."""
        if isinstance(self._label, tfds.features.ClassLabel):
            return LabelSpace(MULTICLASS, tuple(self._label.names))
        card = self._from.path / records.CARD_FILE
        names = runs.read_json(card)["labels"] if card.is_file() else range(self._label.shape[0])
        return LabelSpace(MULTILABEL, tuple(map(str, names)))

    def facts(self) -> dict[str, Any]:
        """Returns which dataset it is, and its splits as TFDS has them."""
        sizes = ", ".join(f"{k} {v.num_examples}" for k, v in self._from.info.splits.items())
        return {"layout": f"TFDS folder of {self._from.info.full_name}", "splits": sizes}

    def items(self) -> Iterator[Item | Dropped]:
        """Yields every record, read once for its label and id.

        Raises:
            UserError: If options do not fit the dataset, a file is missing, or a label is neither
                1, 0 nor NaN.
        """
        chosen = self._split_names()
        id_feature = self._id_feature()
        for split, ours in chosen.items():
            reader = self._from.reader(split)
            for number in range(len(reader)):
                key = f"{split}/{number}"
                if not ours:
                    yield Dropped(key, "its split is left out by split_map")
                    continue
                try:
                    feature = self._from.feature(key)
                except CorruptFileError:
                    yield Dropped(key, "corrupt record", defect=True)
                    continue
                label = self._read_label(feature, key)
                if isinstance(label, Dropped):
                    yield label
                    continue
                example_id = _text(feature, id_feature) or key
                texts = {name: _text(feature, name) for name in ("patient_id", "view")}
                yield Item(example_id, ours, key, label, **texts)

    def _split_names(self) -> dict[str, str]:
        """Returns their split -> ours; "" leaves it out."""
        theirs = list(self._from.info.splits)
        changes = dict(self.settings["split_map"])
        if self.settings["splits"] == "authors":
            if self._from.info.name != _FLOWERS or set(theirs) != set(_AUTHORS) or changes:
                raise UserError(
                    f"--options: splits=authors is known for {_FLOWERS} with its splits "
                    f"{', '.join(_AUTHORS)} only, and without split_map; "
                    f"this is {self._from.info.name} with {', '.join(theirs)}."
                )
            return _AUTHORS
        for split in changes:
            if split not in theirs:
                raise UserError(f"--options: split_map: no {split!r}.{did_you_mean(split, theirs)}")
        return {name: changes.get(name, _usual(name)) for name in theirs}

    def _id_feature(self) -> str:
        """Returns the feature that is the example id, "" where records are numbered."""
        wanted = self.settings["id"]
        if wanted == _NUMBER:
            return ""
        if wanted:
            self._feature_called("id", wanted)
        return wanted or next((name for name in _IDS if name in self._features), "")

    def _feature_called(self, option: str, name: str) -> Any:
        if name not in self._features:
            known = did_you_mean(name, self._features)
            raise UserError(f"--options: {option}: {self.name} has no feature {name!r}.{known}")
        return self._features[name]

    def _read_label(self, feature: Any, key: str) -> int | tuple[int, ...] | Dropped:
        name = self.settings["label"]
        if isinstance(self._label, tfds.features.ClassLabel):
            values = feature[name].int64_list.value
            if len(values) != 1 or values[0] >= self._label.num_classes:
                return Dropped(key, "its label is no class of the dataset", defect=True)
            return values[0] if values[0] >= 0 else Dropped(key, "without a label")
        if name == "label" and _STATE in self._features:
            name = _STATE
        values = feature[name].float_list.value or feature[name].int64_list.value
        if len(values) != self._label.shape[0]:
            return Dropped(key, "its label is no class of the dataset", defect=True)
        return tuple(_state(value, f"{self.name}, {key}: {name}") for value in values)

    def load(self, item: Item) -> bytes:
        """Returns the image of a record as it is stored there."""
        values = self._from.feature(item.source)[_IMAGE].bytes_list.value
        if len(values) != 1:
            raise CorruptFileError("no image in the record")
        return values[0]


def _usual(split: str) -> str:
    return "val" if split == "validation" else split


def _text(feature: Any, name: str) -> str:
    """Returns a feature as text, "" if the record has none."""
    if name not in feature:
        return ""
    kind = feature[name]
    for value in kind.bytes_list.value:
        return value.decode("utf-8", "backslashreplace")
    return str(kind.int64_list.value[0]) if kind.int64_list.value else ""


def _state(value: float, where: str) -> int:
    if math.isnan(value):
        return records.NOT_MENTIONED
    # Only our own datasets have the raw states; elsewhere -1 could mean anything.
    lowest = records.NOT_MENTIONED if where.endswith(_STATE) else records.NEGATIVE
    if value not in range(lowest, records.POSITIVE + 1):
        raise UserError(f"{where} has {value:g}, not 1, 0 or NaN.")
    return int(value)


SOURCE = TfdsImport
