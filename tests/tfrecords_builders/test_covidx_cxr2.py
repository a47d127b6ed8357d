"""COVIDx CXR-2: lists of several versions, odd lines and odd file names on made trees."""

from collections import Counter

import pytest
from conftest import build
from xray_trees import KINDS, read, write

from keras_transfer.core.errors import UserError
from tfrecords_builders.sources import Dropped


def _list(folder, split, *lines, end="\n"):
    (folder / f"{split}.txt").write_bytes((end.join(lines) + end).encode())


def make_tree(folder, val=False):
    """Writes 40 images of 20 patients to train, 6 of 6 to test, and 4 of 4 to val if wanted."""
    sizes = {"train": 40, "test": 6} | ({"val": 4} if val else {})
    for number, (split, size) in enumerate(sizes.items()):
        lines = []
        for i in range(size):
            patient = f"{split}{i // 2 if split == 'train' else i}"
            label = ("negative", "positive")[i % 2]
            lines.append(f"{patient} {i}.png {label} rsna")
            write(folder / split / f"{i}.png", 100 * number + i, KINDS[i % 5])
        _list(folder, split, *lines, end="\r\n")
    return folder


def _splits(items):
    return Counter(item.split for item in items)


def test_lists_and_folders_are_joined(tmp_path):
    source, items, dropped = read("covidx_cxr2", make_tree(tmp_path))
    assert not dropped
    assert source.labels.names == ("negative", "positive")
    assert _splits(items) == {"train": 36, "val": 4, "test": 6}
    by_id = {item.example_id: item for item in items}
    assert len(by_id) == 46
    assert by_id["train/7.png"][2:5] == ("train/7.png", 1, "train3")
    by_split = {s: {i.patient_id for i in items if i.split == s} for s in ("train", "val")}
    assert not by_split["train"] & by_split["val"]


@pytest.mark.parametrize(
    "val, options, expected, left",
    [
        (True, (), {"train": 40, "val": 4, "test": 6}, 0),
        (False, ("val_fraction=0",), {"train": 40, "test": 6}, 0),
        (False, ("splits=authors",), {"train": 40, "test": 6}, 0),
        (True, ("splits=authors",), {"train": 40, "test": 6}, 4),
        (True, ("splits=patient",), {"train": 35, "val": 5, "test": 10}, 0),
    ],
)
def test_splits(tmp_path, val, options, expected, left):
    _, items, dropped = read("covidx_cxr2", make_tree(tmp_path, val), *options)
    if options == ("splits=patient",):
        assert {s: pytest.approx(n, abs=1) for s, n in expected.items()} == _splits(items)
    else:
        assert _splits(items) == expected
    assert len(dropped) == left
    assert not any(entry.defect for entry in dropped)


def test_lines_of_five_and_more_fields(tmp_path):
    make_tree(tmp_path)
    for number, name in enumerate(("COVID(1).png", "COVID-2.png", "X.JPG", "é.png")):
        write(tmp_path / "train" / name, 500 + number)
    _list(
        tmp_path,
        "train",
        "COVID 1 COVID(1).png positive sirm",
        "COVID  2  COVID(2).png positive sirm",
        "a b c x.jpg negative rnsa",
        "é é.png negative fig1",
    )
    source, items, dropped = read("covidx_cxr2", tmp_path, "val_fraction=0")
    train = {item.example_id: item for item in items if item.split == "train"}
    assert {key: (item.source, item.patient_id) for key, item in train.items()} == {
        "train/COVID(1).png": ("train/COVID(1).png", "COVID_1"),
        "train/COVID(2).png": ("train/COVID-2.png", "COVID_2"),
        "train/x.jpg": ("train/X.JPG", "a_b_c"),
        "train/é.png": ("train/é.png", "é"),
    }
    assert source.facts()["files named otherwise than listed"] == 2
    assert Counter(entry.reason for entry in dropped) == {"in no list": 40}


def test_a_file_never_serves_two_lines(tmp_path):
    make_tree(tmp_path)
    write(tmp_path / "train" / "COVID-2.png", 500)
    _list(
        tmp_path,
        "train",
        "1 COVID-2.png positive sirm",
        "2 COVID(2).png negative sirm",
        "3 covid-2.PNG negative sirm",
        "1 COVID-2.png positive sirm",
    )
    source, items, dropped = read("covidx_cxr2", tmp_path, "val_fraction=0")
    assert [item.source for item in items if item.split == "train"] == ["train/COVID-2.png"]
    path = tmp_path / "train.txt"
    assert [entry for entry in dropped if entry.defect] == [
        Dropped(f"train/COVID(2).png ({path}, line 2)", "no such file", defect=True),
        Dropped(f"train/covid-2.PNG ({path}, line 3)", "no such file", defect=True),
        Dropped(f"train/COVID-2.png ({path}, line 4)", "second line of this image", defect=True),
    ]
    assert source.facts()["files named otherwise than listed"] == 0


def test_lists_with_three_classes(tmp_path):
    make_tree(tmp_path)
    _list(tmp_path, "train", "a 0.png normal x", "b 1.png COVID-19 x", "c 2.png pneumonia x")
    _list(tmp_path, "test", "d 0.png COVID-19 x")
    source, items, _ = read("covidx_cxr2", tmp_path, "val_fraction=0")
    assert source.labels.names == ("normal", "pneumonia", "COVID-19")
    assert {i.example_id: i.label for i in items} == {
        "train/0.png": 0,
        "train/1.png": 2,
        "train/2.png": 1,
        "test/0.png": 2,
    }


def test_unlabelled_images_are_counted(tmp_path):
    make_tree(tmp_path)
    write(tmp_path / "competition_test" / "1.png", 900)
    write(tmp_path / "test" / "unknown.png", 901)
    dropped = read("covidx_cxr2", tmp_path)[2]
    assert set(dropped) == {
        Dropped("competition_test/1.png", "in no list"),
        Dropped("test/unknown.png", "in no list"),
    }


@pytest.mark.parametrize(
    "line, message",
    [
        ("0.png positive sirm", r"train\.txt, line 2: '0.png positive sirm' has fewer than"),
        ("a 1.png maybe sirm", "line 2: the label 'maybe' is none of negative, positive, as"),
        ("a 1.png COVID-19 sirm", "line 2: the label 'COVID-19' is none of negative, positive"),
        ("a ../../1.png positive sirm", "line 2: the path 'train/../../1.png' is not below"),
    ],
)
def test_wrong_lines_are_refused(tmp_path, line, message):
    make_tree(tmp_path / "in")
    _list(tmp_path / "in", "train", "a 0.png positive x", line)
    with pytest.raises(UserError, match=message):
        read("covidx_cxr2", tmp_path / "in")


def test_what_is_missing_is_listed_at_once(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match=r"missing: train.txt; test.txt; train/. Get .*andyczhao"):
        read("covidx_cxr2", tmp_path)


def test_build_counts_everything(tmp_path):
    folder = make_tree(tmp_path / "in", val=True)
    card = build("covidx_cxr2", tmp_path / "out", input_dir=str(folder)).card
    assert card["rows"] == {"in": 50, "stored": 50, "quarantined": 0, "left_out": 0}
    assert {s: part["labels"] for s, part in card["splits"].items()} == {
        "train": {"negative": 20, "positive": 20},
        "val": {"negative": 2, "positive": 2},
        "test": {"negative": 3, "positive": 3},
    }
    assert card["facts"]["layout"] == "lists and folders train/, test/, val/"


def test_a_patient_in_both_lists_fails_the_build(tmp_path):
    folder = make_tree(tmp_path / "in")
    with (folder / "test.txt").open("a") as stream:
        stream.write("train3 new.png positive sirm\n")
    write(folder / "test" / "new.png", 900)
    for option in ("splits=official", "splits=authors"):
        with pytest.raises(UserError, match=r"leak: 1 patients .*such as train3"):
            build("covidx_cxr2", tmp_path / "out", option, input_dir=str(folder))
    assert build("covidx_cxr2", tmp_path / "out", "splits=patient", input_dir=str(folder)).card


def test_lists_that_share_patients_may_be_declared_leaky(tmp_path):
    make_tree(tmp_path)
    assert read("covidx_cxr2", tmp_path)[0].leaky == ""
    assert read("covidx_cxr2", tmp_path, "leaky=true")[0].leaky == "declared by the user"
