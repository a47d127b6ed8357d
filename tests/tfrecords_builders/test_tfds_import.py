"""Datasets that TFDS has prepared, made here without TensorFlow: what is read, renamed, refused."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import build
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import images, stages
from tfrecords_builders.sources import Dropped, Item

_CLASSES = tfds.features.ClassLabel(names=["cat", "dog"])


def _png(seed: int, shape=(12, 16, 3)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return images.encode(pixels, "png")


def _record(values: dict) -> bytes:
    example = tf_example_pb2.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, (bytes, str)):
            feature.bytes_list.value.append(value if isinstance(value, bytes) else value.encode())
        elif isinstance(value, list):
            feature.float_list.value.extend(value)
        else:
            feature.int64_list.value.append(value)
    return example.SerializeToString()


def _prepare(
    root: Path, features: dict, splits: dict[str, list[bytes]], *, name="toy", place="3.0.2"
) -> Path:
    """Writes a dataset as tfds.load leaves it, two shards per split."""
    folder = root / name / place
    folder.mkdir(parents=True)
    version = tfds.core.Version(folder.name)
    identity = tfds.core.DatasetIdentity(
        name=name, version=version, data_dir=str(folder), module_name=""
    )
    features = {"image": tfds.features.Image(shape=(12, 16, 3))} | features
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    template = tfds.core.ShardedFileTemplate(
        dataset_name=name, data_dir=str(folder), filetype_suffix="tfrecord"
    )
    found = []
    for split, payloads in splits.items():
        half = len(payloads) // 2
        for index, part in enumerate((payloads[:half], payloads[half:])):
            file = folder / f"{name}-{split}.tfrecord-{index:05d}-of-00002"
            file.write_bytes(b"".join(map(records.frame, part)))
        lengths = [half, len(payloads) - half]
        found.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=1, filename_template=template
            )
        )
    info.set_file_format(tfds.core.FileFormat.TFRECORD)
    info.set_splits(tfds.core.SplitDict(found))
    info.write_to_directory(folder)
    return folder


def _toy(root: Path, **arguments) -> Path:
    """Three splits of 6, 4 and 4 images with ids."""
    first, splits = 0, {}
    for split, count in {"train": 6, "validation": 4, "test": 4}.items():
        numbers = range(first, first + count)
        splits[split] = [
            _record({"image": _png(n), "label": n % 2, "file_name": f"ä{n}.png"}) for n in numbers
        ]
        first += count
    features = {"label": _CLASSES, "file_name": tfds.features.Text()}
    return _prepare(root, features, splits, **arguments)


def _open(folder, *options):
    source = stages.make_job("tfds_import", input_dir=str(folder), options=options).open_source()
    entries = list(source.items())
    items = [e for e in entries if isinstance(e, Item)]
    return source, items, [e for e in entries if isinstance(e, Dropped)]


def _sizes(items):
    return {
        split: sum(i.split == split for i in items) for split in sorted({i.split for i in items})
    }


def test_records_keep_split_class_id_and_bytes(tmp_path):
    _toy(tmp_path)
    source, items, dropped = _open(tmp_path, "dataset=toy")
    assert not dropped
    assert source.labels.names == ("cat", "dog")
    assert _sizes(items) == {"test": 4, "train": 6, "val": 4}
    assert {i.example_id: i.label for i in items} == {f"ä{n}.png": n % 2 for n in range(14)}
    assert [i.source for i in items][:7] == [*(f"train/{n}" for n in range(6)), "validation/0"]
    for item in reversed(items):  # in any order
        assert source.load(item) == _png(int(item.example_id.strip("ä.png")))
    assert source.facts() == {
        "layout": "TFDS folder of toy/3.0.2",
        "splits": "train 6, validation 4, test 4",
    }


def test_a_build_stores_the_same_pixels_under_the_same_name(tmp_path):
    folder = _toy(tmp_path / "in")
    for place, options in ((tmp_path / "in", ("dataset=toy",)), (folder, ())):
        output = tmp_path / f"out of {place.name}"
        outcome = build("tfds_import", output, *options, input_dir=str(place))
        assert outcome.folder == output / "toy" / "default" / "1.0.0"
        data = Dataset(outcome.folder)
        assert {name: split.num_examples for name, split in data.splits.items()} == {
            "train": 6,
            "val": 4,
            "test": 4,
        }
        payload = data.reader("val").read([0])[0]
        feature = tf_example_pb2.Example.FromString(payload).features.feature
        number = int(feature["example_id"].bytes_list.value[0].decode().strip("ä.png"))
        assert feature["image"].bytes_list.value[0] == _png(number)


def test_splits_can_be_renamed_joined_and_left_out(tmp_path):
    _toy(tmp_path)
    _, items, dropped = _open(tmp_path, "dataset=toy,split_map=validation:train,test:")
    assert _sizes(items) == {"train": 10}
    assert dropped == [Dropped(f"test/{n}", "its split is left out by split_map") for n in range(4)]
    for option, message in [
        ("split_map=tset:val", r"no 'tset'. Did you mean 'test'"),
        ("split_map=test", "'test' is not THEIRS:OURS"),
        ("splits=authors", "authors is known for oxford_flowers102"),
    ]:
        with pytest.raises(UserError, match=message):
            _open(tmp_path, f"dataset=toy,{option}")


def test_the_authors_swapped_flowers(tmp_path):
    _toy(tmp_path, name="oxford_flowers102")
    _, official, _ = _open(tmp_path, "dataset=oxford_flowers102")
    assert _sizes(official) == {"test": 4, "train": 6, "val": 4}
    _, swapped, _ = _open(tmp_path, "dataset=oxford_flowers102,splits=authors")
    assert {i.source.split("/")[0] for i in swapped if i.split == "train"} == {"test"}
    assert {i.source.split("/")[0] for i in swapped if i.split == "test"} == {"train", "validation"}
    assert _sizes(swapped) == {"test": 10, "train": 4}


def test_ids_and_labels_can_be_chosen(tmp_path):
    features = {
        "label": _CLASSES,
        "coarse_label": tfds.features.ClassLabel(names=["animal"]),
        "id": tfds.features.Scalar(dtype=np.int64),
    }
    rows = [_record({"image": _png(n), "label": 1, "coarse_label": 0, "id": 70}) for n in range(2)]
    _prepare(tmp_path, features, {"train": rows})
    _, items, _ = _open(tmp_path, "dataset=toy")
    assert [item.example_id for item in items] == ["70", "70"]
    _, items, _ = _open(tmp_path, "dataset=toy,id=number")
    assert [item.example_id for item in items] == ["train/0", "train/1"]
    source, items, _ = _open(tmp_path, "dataset=toy,label=coarse_label")
    assert (source.labels.names, items[0].label) == (("animal",), 0)
    for option, message in [
        ("id=ids", r"id: toy has no feature 'ids'. Did you mean 'id'"),
        ("label=lable", r"label: toy has no feature 'lable'. Did you mean 'label'"),
        ("label=id", "neither a class nor a vector"),
    ]:
        with pytest.raises(UserError, match=message):
            _open(tmp_path, f"dataset=toy,{option}")


def test_vectors_become_findings(tmp_path):
    features = {"label": tfds.features.Tensor(shape=(3,), dtype=np.float32)}
    rows = [[1.0, 0.0, float("nan")], [0.0, 0.0, 1.0]]
    payloads = [_record({"image": _png(n), "label": row}) for n, row in enumerate(rows)]
    folder = _prepare(tmp_path, features, {"train": payloads})
    source, items, _ = _open(tmp_path, "dataset=toy")
    assert source.labels == LabelSpace(MULTILABEL, ("0", "1", "2"))
    assert [item.label for item in items] == [(1, 0, -2), (0, 0, 1)]
    (folder / records.CARD_FILE).write_text('{"labels": ["A", "B", "C"]}')
    assert _open(folder)[0].labels.names == ("A", "B", "C")
    bad = _record({"image": _png(5), "label": [1.0, 0.5, 0.0]})
    _prepare(tmp_path, features, {"train": [*payloads, bad]}, name="bad")
    with pytest.raises(UserError, match=r"bad, train/2: label has 0.5, not 1, 0 or NaN"):
        _open(tmp_path, "dataset=bad")


def test_our_own_datasets_keep_their_states(tmp_path):
    rows = ["path,split,Mass,Edema,patient_id,view", "a.png,train,-1,1,p1,PA", "b.png,train,,0,,"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    for number, name in enumerate("ab"):
        (tmp_path / f"{name}.png").write_bytes(_png(number))
    options = "csv=labels.csv,labels=Mass,Edema,name=own"
    first = build("image_folder", tmp_path.parent / "own", options, input_dir=str(tmp_path))
    source, items, _ = _open(first.folder)
    assert source.labels == LabelSpace(MULTILABEL, ("Mass", "Edema"))
    assert {i.example_id: (i.label, i.patient_id, i.view) for i in items} == {
        "a.png": ((-1, 1), "p1", "PA"),
        "b.png": ((-2, 0), "", ""),
    }


def test_bad_records_are_dropped_and_counted(tmp_path):
    rows = [
        _record({"image": _png(0), "label": 0}),
        _record({"image": _png(1), "label": -1}),
        _record({"image": _png(2), "label": 2}),
        _record({"image": _png(3)}),
        b"\xff\xff\xff",
        _record({"image": _png(5), "label": 1}),
    ]
    folder = _prepare(tmp_path, {"label": _CLASSES}, {"train": rows})
    file = folder / "toy-train.tfrecord-00001-of-00002"
    data = bytearray(file.read_bytes())
    data[-20] ^= 1  # in the last record's payload
    file.write_bytes(data)
    _, items, dropped = _open(tmp_path, "dataset=toy")
    assert [item.source for item in items] == ["train/0"]
    assert dropped == [
        Dropped("train/1", "without a label"),
        Dropped("train/2", "its label is no class of the dataset", True),
        Dropped("train/3", "its label is no class of the dataset", True),
        Dropped("train/4", "corrupt record", True),
        Dropped("train/5", "corrupt record", True),
    ]
    file.write_bytes(data[:-5])
    with pytest.raises(UserError, match=r"00001-of-00002: corrupt after record 2"):
        _open(tmp_path, "dataset=toy")
    file.write_bytes(records.frame(rows[0]))
    with pytest.raises(UserError, match=r"4 records in train, .* says 6"):
        _open(tmp_path, "dataset=toy")
    file.unlink()
    with pytest.raises(UserError, match=r"00001-of-00002: missing"):
        _open(tmp_path, "dataset=toy")


def test_what_is_not_prepared_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"tfds.load\('cifar10', data_dir=...\) where there is net"):
        _open(tmp_path, "dataset=cifar10")
    with pytest.raises(UserError, match="Name the dataset with --options=dataset="):
        _open(tmp_path)
    _toy(tmp_path)
    _toy(tmp_path, place="3.1.0")
    with pytest.raises(
        UserError, match=r"several versions \(3.0.2, 3.1.0\): name one with version="
    ):
        _open(tmp_path, "dataset=toy")
    assert len(_open(tmp_path, "dataset=toy,version=3.1.0")[1]) == 14
    _toy(tmp_path, name="many", place="small/1.0.0")
    with pytest.raises(UserError, match="name one with config=: small"):
        _open(tmp_path, "dataset=many")
    assert len(_open(tmp_path, "dataset=many,config=small")[1]) == 14
    _prepare(tmp_path, {"label": _CLASSES, "image": tfds.features.Text()}, {}, name="text")
    with pytest.raises(UserError, match=r"text: no image of 8 or 16 bits among image, label"):
        _open(tmp_path, "dataset=text")
    (tmp_path / "toy" / "3.1.0" / "features.json").unlink()
    with pytest.raises(UserError, match=r"3.1.0: TFDS cannot open it"):
        _open(tmp_path, "dataset=toy,version=3.1.0")


def test_equal_images_in_two_splits_have_to_be_declared(tmp_path):
    row = {"image": _png(0), "label": 0}
    splits = {
        "train": [_record(row)] * 2,
        "test": [_record(row), _record({**row, "image": _png(1)})],
    }
    splits["train"][1] = _record({"image": _png(2), "label": 1})
    _prepare(tmp_path / "in", {"label": _CLASSES}, splits)
    with pytest.raises(UserError, match="images with equal pixels are in several splits"):
        build("tfds_import", tmp_path / "out", "dataset=toy", input_dir=str(tmp_path / "in"))
    outcome = build(
        "tfds_import", tmp_path / "out", "dataset=toy,leaky=true", input_dir=str(tmp_path / "in")
    )
    assert outcome.card["leaks"]["images_with_equal_pixels"] == 1
    assert outcome.card["leaks"]["declared"] == "declared by the user"
