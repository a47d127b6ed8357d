"""NIH ChestX-ray14: layouts, headers, lists and labels on made trees."""

import gzip
from collections import Counter

import pytest
from conftest import build
from xray_trees import KINDS, read, truncate, write

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTILABEL
from keras_transfer.data.dataset import Dataset
from tfrecords_builders.checks import Tolerance
from tfrecords_builders.sources import Dropped, nih_cxr14

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
LABELS = ("No Finding", "Effusion", "Edema|Mass", "Pleural_Thickening", "Hernia|Nodule|Edema")


def _file(patient, number):
    return f"{patient:08d}_{number:03d}.png"


def _row(name, labels, age="058", sex="M", view="PA"):
    patient = int(name[:8])
    return f"{name},{labels},{int(name[9:12]) + 7},{patient},{age},{sex},{view},16,12,0.1,0.1"


def make_tree(folder, kaggle=False, patients=20):
    """Writes two images per patient; every fourth patient is in the test list."""
    rows, lists = [HEADER], {"train_val_list.txt": [], "test_list.txt": []}
    for patient in range(1, patients + 1):
        for number in range(2):
            name, seed = _file(patient, number), 2 * patient + number
            part = f"images_{patient % 3 + 1:03d}/images" if kaggle else "images"
            write(folder / part / name, seed, KINDS[seed % 5])
            rows.append(_row(name, LABELS[seed % 5], view=("PA", "AP")[number]))
            lists["train_val_list.txt" if patient % 4 else "test_list.txt"].append(name)
    if kaggle:
        # The table of 2017: other words, a comma at the end of each line.
        rows[0] = rows[0].replace("Patient Sex", "Patient Gender")
        rows = [row + "," for row in rows]
    table = "Data_Entry_2017.csv" if kaggle else "Data_Entry_2017_v2020.csv"
    (folder / table).write_bytes("\r\n".join(rows).encode() + b"\r\n")
    for name, files in lists.items():
        (folder / name).write_text("\n".join(files))  # no newline at the end
    return folder


def _append(folder, *rows):
    with (folder / "Data_Entry_2017_v2020.csv").open("a") as stream:
        stream.writelines(f"{row}\n" for row in rows)


def _states(*positive):
    return tuple(int(name in positive) for name in nih_cxr14.FINDINGS)


@pytest.mark.parametrize("kaggle", [False, True])
def test_both_layouts_and_headers_give_the_same_examples(tmp_path, kaggle):
    source, items, dropped = read("nih_cxr14", make_tree(tmp_path, kaggle))
    assert not dropped
    assert source.facts()["layout"].startswith("Kaggle: 3 folders" if kaggle else "Box")
    assert source.labels.task == MULTILABEL and len(source.labels.names) == 14
    assert Counter(item.split for item in items) == {"train": 28, "val": 2, "test": 10}
    by_id = {item.example_id: item for item in items}
    assert len(by_id) == 40
    item = by_id["00000003_001.png"]  # seed 7
    assert item.label == _states("Edema", "Mass")
    assert item[4:] == ("3", "AP", "M", "58")
    assert item.source == f"{'images_001/images' if kaggle else 'images'}/00000003_001.png"
    assert by_id["00000005_000.png"].label == _states()
    assert {int(item.patient_id) % 4 == 0 for item in items if item.split == "test"} == {True}
    patients = {s: {i.patient_id for i in items if i.split == s} for s in ("train", "val")}
    assert not patients["train"] & patients["val"]


@pytest.mark.parametrize(
    "options, expected",
    [
        (("val_fraction=0",), {"train": 30, "test": 10}),
        (("splits=authors",), {"train": 30, "val": 10}),
        (
            ("splits=patient", "val_fraction=0.2,test_fraction=0.2"),
            {"train": 24, "val": 8, "test": 8},
        ),
    ],
)
def test_splits(tmp_path, options, expected):
    folder = make_tree(tmp_path)
    items = read("nih_cxr14", folder, *options)[1]
    assert Counter(item.split for item in items) == expected
    by_patient = {}
    for item in items:
        by_patient.setdefault(item.patient_id, set()).add(item.split)
    assert all(len(splits) == 1 for splits in by_patient.values())


def test_the_lists_are_needed_for_their_splits_only(tmp_path):
    folder = make_tree(tmp_path)
    (folder / "test_list.txt").unlink()
    assert len(read("nih_cxr14", folder, "splits=patient")[1]) == 40
    with pytest.raises(UserError, match=r"missing: test_list\.txt\. Get it from https://nihcc"):
        read("nih_cxr14", folder)


def test_rows_and_files_that_do_not_fit_are_all_named(tmp_path):
    folder = make_tree(tmp_path)
    (folder / "images" / _file(1, 0)).unlink()
    write(folder / "images" / "extra.png", 99)
    write(folder / "images_001" / "images" / _file(2, 0), 98)
    (folder / "images" / "Thumbs.db").write_bytes(b"\0")
    for number in range(2):
        write(folder / "images" / _file(30, number), 100 + number)
    _append(
        folder,
        _row(_file(30, 0), "Mass"),
        _row(_file(30, 1), ""),
        _row(_file(2, 0), "Mass"),
    )
    with (folder / "test_list.txt").open("a") as stream:
        stream.write("\nfrom_nowhere.png")
    source, items, dropped = read("nih_cxr14", folder)
    table = folder / "Data_Entry_2017_v2020.csv"
    assert set(dropped) == {
        Dropped(f"{_file(1, 0)} ({table}, line 2)", "no such file", defect=True),
        Dropped(f"{_file(30, 0)} ({table}, line 42)", "in neither list", defect=True),
        Dropped(f"{_file(30, 1)} ({table}, line 43)", "no labels", defect=True),
        Dropped(f"{_file(2, 0)} ({table}, line 44)", "second row of this image", defect=True),
        Dropped("images/extra.png", "no row in the table"),
        Dropped(f"images_001/images/{_file(2, 0)}", "another file of this name is used"),
    }
    assert len(items) == 39
    assert source.facts()["names in the lists without a row"] == 1


def test_impossible_ages_are_kept_and_counted(tmp_path):
    folder = make_tree(tmp_path)
    for number, age in enumerate(("413", "007M", "018M", "020D", "058Y", "?")):
        write(folder / "images" / _file(40, number), 200 + number)
        _append(folder, _row(_file(40, number), "Mass", age=age))
    source, items, _ = read("nih_cxr14", folder, "splits=patient")
    ages = {item.example_id: item.age for item in items if item.patient_id == "40"}
    assert list(dict(sorted(ages.items())).values()) == ["413", "0", "1", "0", "58", ""]
    assert source.facts()["ages above 120"] == 1


@pytest.mark.parametrize(
    "row, message",
    [
        (_row(_file(1, 9), "Edema|Masse"), r"line 42: Finding Labels has 'Masse'. Did .* 'Mass'"),
        (_row(_file(1, 9), "Mass|No Finding"), "line 42: Finding Labels has 'No Finding' beside"),
        ("../../x.png" + _row(_file(1, 9), "Mass")[16:], "line 42: the path '../../x.png'"),
        ("a.png,Mass", "line 42: 2 fields, but the header has 11"),
        (_row(_file(1, 9), "Mass") + ",more", "line 42: 12 fields"),
    ],
)
def test_wrong_rows_are_refused_by_line(tmp_path, row, message):
    _append(make_tree(tmp_path), row)
    with pytest.raises(UserError, match=message):
        read("nih_cxr14", tmp_path, "splits=patient")


def test_wrong_lists_are_refused(tmp_path):
    folder = make_tree(tmp_path)
    with (folder / "test_list.txt").open("a") as stream:
        stream.write("\n" + _file(1, 0))
    message = r"test_list\.txt, line 11: 00000001_000\.png is in train_val_list\.txt, too"
    with pytest.raises(UserError, match=message):
        read("nih_cxr14", folder)


def test_what_is_missing_is_listed_at_once(tmp_path):
    with pytest.raises(UserError) as refused:
        read("nih_cxr14", tmp_path)
    words = ("Data_Entry_2017_v2020.csv or", "train_val_list", "test_list", "images/", "nihcc.app")
    assert all(word in str(refused.value) for word in words)
    (tmp_path / "images").mkdir()
    for number in (1, 2):
        (tmp_path / "images" / f"images_{number:03d}.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UserError, match=r"images_001\.tar\.gz: still packed. Unpack all 2"):
        read("nih_cxr14", tmp_path)


def test_build_stores_every_kind_of_image(tmp_path):
    folder = make_tree(tmp_path / "ñih")
    outcome = build("nih_cxr14", tmp_path / "out", input_dir=str(folder))
    card = outcome.card
    assert card["rows"] == {"in": 40, "stored": 40, "quarantined": 0, "left_out": 0}
    assert {s: part["examples"] for s, part in card["splits"].items()} == {
        "train": 28,
        "val": 2,
        "test": 10,
    }
    total = Counter()
    for part in card["splits"].values():
        for name, states in part["labels"].items():
            assert states["uncertain"] == states["not_mentioned"] == 0
            total[name] += states["positive"]
    assert +total == {
        "Effusion": 8,
        "Edema": 16,
        "Mass": 8,
        "Pleural_Thickening": 8,
        "Hernia": 8,
        "Nodule": 8,
    }
    assert set(card["checksums"]) == {
        "Data_Entry_2017_v2020.csv",
        "train_val_list.txt",
        "test_list.txt",
    }
    assert len(Dataset(outcome.folder).example_ids("test")) == 10


def test_truncated_images_stop_the_build_or_are_put_aside(tmp_path):
    folder = make_tree(tmp_path / "in")
    truncate(folder / "images" / _file(4, 1))
    with pytest.raises(UserError, match=r"00000004_001\.png: truncated PNG"):
        build("nih_cxr14", tmp_path / "out", input_dir=str(folder))
    aside = Tolerance("quarantine", 0.1)
    card = build("nih_cxr14", tmp_path / "out", input_dir=str(folder), tolerance=aside).card
    assert card["rows"] == {"in": 40, "stored": 39, "quarantined": 1, "left_out": 0}
    assert card["splits"]["test"]["examples"] == 9


def test_a_line_that_would_fill_the_memory_is_refused(tmp_path):
    make_tree(tmp_path)
    table = tmp_path / "Data_Entry_2017_v2020.csv"
    table.write_bytes(gzip.compress(table.read_bytes() + b"a" * 2**22))
    with pytest.raises(UserError, match="a line of more than 1,048,576 characters"):
        read("nih_cxr14", tmp_path)
