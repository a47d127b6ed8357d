"""Folders of classes and csv tables: what is found and refused, and what each message names."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import build, write_image
from PIL import Image
from pydicom.data import get_testdata_file
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import formats, stages
from tfrecords_builders.sources import Dropped, Item

_LOSSLESS = {"webp": {"lossless": True}}


def _items(folder, *options):
    source = stages.make_job("image_folder", input_dir=str(folder), options=options).open_source()
    entries = list(source.items())
    items = [e for e in entries if isinstance(e, Item)]
    return source, items, [e for e in entries if isinstance(e, Dropped)]


def _csv(folder, text, encoding="utf-8"):
    (folder / "labels.csv").write_bytes(text.encode(encoding))
    return "csv=labels.csv"


def test_class_folders_are_split_at_random_but_always_alike(photos):
    source, items, dropped = _items(photos)
    assert source.labels.names == ("cat", "dog")
    assert not dropped
    assert Counter(item.label for item in items) == {0: 20, 1: 10}
    assert Counter(item.split for item in items) == {"train": 21, "val": 3, "test": 6}
    assert items == _items(photos)[1]
    assert all(item.example_id.startswith(source.labels.names[item.label]) for item in items)


def test_split_folders_are_kept_and_known_by_other_names(tmp_path):
    for number, place in enumerate(("train/a", "train/b", "valid/a", "valid/b", "test/b/deep")):
        write_image(tmp_path / place / "x.png", number)
    _, items, _ = _items(tmp_path)
    found = {item.example_id: (item.split, item.label) for item in items}
    assert found == {
        "train/a/x.png": ("train", 0),
        "train/b/x.png": ("train", 1),
        "valid/a/x.png": ("val", 0),
        "valid/b/x.png": ("val", 1),
        "test/b/deep/x.png": ("test", 1),
    }


def test_whatever_is_no_image_is_listed(photos):
    (photos / "readme.txt").write_text("mine")
    (photos / "cat" / "Thumbs.db").write_bytes(b"\0")
    (photos / "cat" / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (photos / "cat" / "empty.tif").write_bytes(b"")
    (photos / "dog" / "loop").symlink_to(photos)
    write_image(photos / "cat" / "unnamed", 99)  # an image all the same
    _, items, dropped = _items(photos)
    assert len(items) == 31
    assert set(dropped) == {
        Dropped("readme.txt", "not in a class folder"),
        Dropped("cat/Thumbs.db", "not an image"),
        Dropped("cat/photo.heic", "an image that cannot be read: convert it to PNG", defect=True),
        Dropped("cat/empty.tif", "an image that cannot be read: convert it to PNG", defect=True),
        Dropped("dog/loop", "link to a folder, not followed"),
    }


def test_other_formats_are_stored_whatever_they_are_called(tmp_path):
    folder = tmp_path / "in"
    red = Image.new("RGB", (16, 12), (255, 0, 0))
    kinds = ("gif", "bmp", "tiff", "webp")
    for number, kind in enumerate(kinds):
        (folder / "red").mkdir(parents=True, exist_ok=True)
        red.save(folder / "red" / f"{number}.{kind}", kind, **_LOSSLESS.get(kind, {}))
    (folder / "red" / "gif.JPEG").write_bytes((folder / "red" / "0.gif").read_bytes())
    (folder / "film").mkdir()
    film = get_testdata_file("MR_small.dcm", download=False)
    (folder / "film" / "IM0001").write_bytes(Path(film).read_bytes())
    options = "val_fraction=0,test_fraction=0,leaky=true"
    outcome = build(
        "image_folder", tmp_path / "out", options, input_dir=str(folder), encoding="png"
    )
    data = Dataset(outcome.folder)
    stored = dict(zip(data.example_ids("train"), records.iterate_records(data.splits["train"])))
    assert set(stored) == {
        *(f"red/{n}.{k}" for n, k in enumerate(kinds)),
        "red/gif.JPEG",
        "film/IM0001",
    }
    for name, payload in stored.items():
        feature = tf_example_pb2.Example.FromString(payload).features.feature
        pixels = formats.decode(feature["image"].bytes_list.value[0])
        if name.startswith("red"):
            np.testing.assert_array_equal(pixels, np.asarray(red), err_msg=name)
        else:
            assert pixels.shape == (64, 64, 3) and pixels.std() > 20


def test_folders_that_make_no_sense_are_refused(tmp_path, photos):
    (photos / "bird").mkdir()
    with pytest.raises(UserError, match=r"bird: the class 'bird' has no image"):
        _items(photos)
    (photos / "bird").rmdir()
    write_image(photos / "train" / "cat" / "1.png", 0)
    with pytest.raises(UserError, match=r"mixes split folders \(train\) with others \(cat, dog\)"):
        _items(photos)
    write_image(tmp_path / "flat" / "1.png", 0)
    with pytest.raises(UserError, match="no class folders"):
        _items(tmp_path / "flat")


def test_csv_keeps_patients_together_and_carries_what_it_knows(tmp_path):
    rows = ["path,label,patient_id,view,sex,age"]
    for number in range(60):
        write_image(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png,{number % 2},p{number // 4},PA,F,{40 + number}")
    # With a byte order mark and Windows line ends, as spreadsheets write it.
    option = _csv(tmp_path, "\r\n".join(rows) + "\r\n", "utf-8-sig")
    source, items, _ = _items(tmp_path, option)
    splits = {}
    for item in items:
        splits.setdefault(item.patient_id, set()).add(item.split)
    assert len(splits) == 15
    assert all(len(names) == 1 for names in splits.values())
    assert Counter(item.split for item in items)["train"] == pytest.approx(42, abs=3)
    first = items[0]
    assert (first.view, first.sex, first.age) == ("PA", "F", "40")
    assert list(source.checksums()) == ["labels.csv"]


def test_csv_with_findings_keeps_all_four_states(tmp_path):
    states = ["1,0", "-1,", "0.0,1.0", "-2,-1.0"]
    rows = ["path,split,Mass,Edema,comment"]
    for number, state in enumerate(states * 2):
        write_image(tmp_path / f"ä {number}.png", number)
        split = "train" if number < 4 else "validate"
        rows.append(f'ä {number}.png,{split},{state},"one\ntwo, three"')
    outcome = build(
        "image_folder",
        tmp_path.parent / "out_of_findings",
        _csv(tmp_path, "\n".join(rows)),
        "labels=Mass,Edema,name=findings",
        input_dir=str(tmp_path),
    )
    data = Dataset(outcome.folder)
    assert data.labels == LabelSpace(MULTILABEL, ("Mass", "Edema"))
    assert sorted(data.splits) == ["train", "val"]
    number = [int(i.removesuffix(".png")[2:]) for i in data.example_ids("train")]
    truth = np.array([[1, 0], [np.nan, np.nan], [0, 1], [np.nan, np.nan]], np.float32)
    np.testing.assert_array_equal(data.label_array("train"), truth[number])
    labels = outcome.card["splits"]["train"]["labels"]
    assert labels["Edema"] == {"positive": 1, "negative": 1, "uncertain": 1, "not_mentioned": 1}


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("path,class\na.png,1\n", (), "no column 'label'; it has path, class; several findings"),
        ("path,label\na.png,1\n", ("labels=Mass",), "no column 'Mass'; it has path, label"),
        ("path,label\na.png\n", (), r"labels.csv, line 2: 1 fields, but the header has 2"),
        ("path,label\na.png,1,2\n", (), "line 2: 3 fields, but the header has 2"),
        ("path,label\na.png,1\na.png,\n", (), "line 3: the label is empty"),
        ("path,label,split\na.png,1,\n", (), "line 2: the split is empty"),
        ("path,Mass\na.png,yes\n", ("labels=Mass",), "line 2: Mass is 'yes', not one of"),
        ("path,label\n../b.png,1\n", (), "line 2: the path '../b.png' is not below"),
        ("", (), "no column 'path', 'label'; it has none"),
    ],
)
def test_wrong_tables_are_refused_by_line_and_column(tmp_path, text, options, message):
    write_image(tmp_path / "a.png", 0)
    with pytest.raises(UserError, match=message):
        _items(tmp_path, _csv(tmp_path, text), *options)


def test_missing_and_unreadable_tables_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv: no such file: name the table"):
        _items(tmp_path, "csv=none.csv")
    with pytest.raises(UserError, match=r"labels\.csv: not UTF-8 \(byte 0xe9\)"):
        _items(tmp_path, _csv(tmp_path, "path,é", "latin-1"))


def test_classes_that_are_numbers_are_in_numerical_order(tmp_path):
    for number in (0, 1, 2, 10):
        write_image(tmp_path / str(number) / "x.png", number)
    assert _items(tmp_path)[0].labels.names == ("0", "1", "2", "10")


def test_names_of_folders_become_names_of_datasets(tmp_path):
    for name, expected in (
        ("My Photos-2", "my_photos_2"),
        ("2020", "images_2020"),
        ("ß", "images"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        job = stages.make_job("image_folder", input_dir=str(folder))
        assert job.open_source().name == expected
    job = stages.make_job("image_folder", input_dir=str(tmp_path), options=["name=chests"])
    assert str(stages.dataset_folder(job, tmp_path.parent)).endswith("chests/default/1.0.0")


def test_names_that_are_not_utf8_are_named(tmp_path):
    write_image(tmp_path / "in" / "a" / "1.png", 0).rename(
        os.fsdecode(os.fsencode(tmp_path / "in" / "a") + b"/\xff.png")
    )
    with pytest.raises(UserError, match=r"'a/.udcff.png': a name that is not UTF-8"):
        build("image_folder", tmp_path / "out", input_dir=str(tmp_path / "in"))


def test_fractions_that_leave_nothing_are_refused(photos):
    with pytest.raises(UserError, match="leave nothing to train on"):
        _items(photos, "val_fraction=0.5,test_fraction=0.5")
    splits = {item.split for item in _items(photos, "val_fraction=0,test_fraction=0")[1]}
    assert splits == {"train"}


def test_pipes_are_not_waited_for(photos):
    os.mkfifo(photos / "dog" / "pipe")
    assert Dropped("dog/pipe", "not an image") in _items(photos)[2]
