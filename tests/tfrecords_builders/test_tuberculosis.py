"""Shenzhen and Montgomery: nestings, readings and splits on made trees."""

from collections import Counter

import numpy as np
import pytest
from conftest import build
from xray_trees import KINDS, read, write

from keras_transfer.core.errors import UserError
from tfrecords_builders.sources import Dropped, _ages

LAYOUTS = {
    "NLM": ("ChinaSet_AllFiles", "MontgomerySet"),
    "Kaggle": ("ChinaSet_AllFiles/ChinaSet_AllFiles", "Montgomery/MontgomerySet"),
}
PREFIXES = ("CHNCXR", "MCUCXR")
READINGS = (
    lambda i: f"{('male', 'Female ')[i % 2]} {20 + i}yrs\nPTB in the right upper field",
    lambda i: f"Patient's Sex: {'MFO'[i % 3]}\nPatient's Age: 0{20 + i}Y\nnormal\n",
)


def make_tree(folder, layout="NLM", sizes=(30, 20)):
    """Writes both sets; odd numbers have tuberculosis."""
    for number, place in enumerate(LAYOUTS[layout]):
        top = folder / place
        for i in range(sizes[number]):
            stem = f"{PREFIXES[number]}_{i:04d}_{i % 2}"
            write(top / "CXR_png" / f"{stem}.png", 100 * number + i, KINDS[i % 5])
            reading = top / "ClinicalReadings" / f"{stem}.txt"
            reading.parent.mkdir(exist_ok=True)
            reading.write_text(READINGS[number](i))
    return folder


def _by_id(items):
    return {item.example_id: item for item in items}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_nestings(tmp_path, layout):
    source, items, dropped = read("tuberculosis", make_tree(tmp_path, layout))
    assert not dropped
    found = _by_id(items)
    assert len(found) == 50
    china, montgomery = (f"{place}/CXR_png" for place in LAYOUTS[layout])
    assert source.facts()["layout"] == f"Shenzhen in {china}, Montgomery in {montgomery}"
    assert found["CHNCXR_0003_1.png"][2:] == (
        f"{china}/CHNCXR_0003_1.png",
        1,
        "CHNCXR_0003",
        "PA",
        "F",
        "23",
    )
    assert found["MCUCXR_0008_0.png"][3:] == (0, "MCUCXR_0008", "PA", "O", "28")
    assert Counter(item.split for item in items) == {"train": 35, "val": 5, "test": 10}


@pytest.mark.parametrize("number, other", [(0, "Montgomery"), (1, "Shenzhen")])
def test_one_set_alone_is_enough(tmp_path, number, other):
    sizes = [0, 0]
    sizes[number] = 12
    source, items, _ = read("tuberculosis", make_tree(tmp_path, sizes=sizes))
    assert len(items) == 12
    assert source.facts()["layout"].endswith(f", no {other}")


def test_authors_split_each_folder_by_its_own(tmp_path):
    folder = make_tree(tmp_path)
    (folder / "MontgomerySet" / "CXR_png" / "Thumbs.db").write_bytes(b"\0")
    source, items, _ = read("tuberculosis", folder, "splits=authors")
    expected = {"train": set(), "test": set()}
    for place in LAYOUTS["NLM"]:
        names = sorted(path.name for path in (folder / place / "CXR_png").glob("*.png"))
        np.random.RandomState(42).shuffle(names)
        count = int(0.85 * len(names))
        expected["train"].update(names[:count])
        expected["test"].update(names[count:])
    assert {len(expected["train"]), len(expected["test"])} == {42, 8}
    for split, names in expected.items():
        assert {item.example_id for item in items if item.split == split} == names
    assert source.leaky == ""
    assert source.published == {"train": 679, "test": 121}


def test_other_files_are_named(tmp_path):
    folder = make_tree(tmp_path)
    images = folder / "ChinaSet_AllFiles" / "CXR_png"
    (images / "Thumbs.db").write_bytes(b"\0")
    write(images / "CHNCXR_0100_2.png", 900)
    write(folder / "MontgomerySet" / "ManualMask" / "leftMask" / "MCUCXR_0001_1.png", 901)
    _, items, dropped = read("tuberculosis", folder)
    assert len(items) == 50
    assert set(dropped) == {
        Dropped("ChinaSet_AllFiles/CXR_png/Thumbs.db", "not an image"),
        Dropped(
            "ChinaSet_AllFiles/CXR_png/CHNCXR_0100_2.png", "the name tells no label", defect=True
        ),
    }


@pytest.mark.parametrize(
    "text, sex, age",
    [
        (b"male 45yrs\r\nnormal", "M", "45"),
        (b"  FEMALE, 28 years, PTB", "F", "28"),
        (b"female  6 months\n", "F", "0"),
        (b"Male 61\nPTB since 3 yrs", "M", "61"),
        (b"Patient's Sex: F  \r\nPatient's Age: 007Y \r\n", "F", "7"),
        (b"patient's sex : m\npatient's age : 018M", "M", "1"),
        (b"female\nleft upper PTB \xff\xfe", "F", ""),
        (b"\x00\x01", "", ""),
        (b"", "", ""),
    ],
)
def test_readings_in_many_spellings(tmp_path, text, sex, age):
    folder = make_tree(tmp_path, sizes=(3, 0))
    readings = folder / "ChinaSet_AllFiles" / "ClinicalReadings"
    (readings / "CHNCXR_0001_1.txt").write_bytes(text)
    (readings / "CHNCXR_0002_0.txt").unlink()
    source, items, _ = read("tuberculosis", folder)
    found = _by_id(items)
    assert (found["CHNCXR_0001_1.png"].sex, found["CHNCXR_0001_1.png"].age) == (sex, age)
    assert (found["CHNCXR_0002_0.png"].sex, found["CHNCXR_0002_0.png"].age) == ("", "")
    assert source.facts()["images without a reading"] == 1
    assert source.facts()["readings not understood"] == int(not (sex and age))


def test_no_age_is_made_up():
    assert [_ages.years(text) for text in ("", "-3", "45 lbs", "1 2", "12345", "45.5", "y")] == [
        ""
    ] * 7


def test_a_set_may_be_there_once_only(tmp_path):
    make_tree(make_tree(tmp_path), "Kaggle")
    with pytest.raises(UserError, match=r"ChinaSet_AllFiles/CXR_png both hold Shenzhen"):
        read("tuberculosis", tmp_path)


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "ChinaSet_AllFiles.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"missing: a folder CXR_png/ of .*unpacked. Get it from"):
        read("tuberculosis", tmp_path)


def test_build_stores_every_kind_of_image(tmp_path):
    folder = make_tree(tmp_path / "in")
    outcome = build(
        "tuberculosis", tmp_path / "out", "splits=authors", input_dir=str(folder), image_size=8
    )
    card = outcome.card
    assert card["rows"] == {"in": 50, "stored": 50, "quarantined": 0, "left_out": 0}
    labels = Counter()
    for part in card["splits"].values():
        labels.update(part["labels"])
    assert labels == {"normal": 25, "tuberculosis": 25}
    assert {s: part["examples"] for s, part in card["splits"].items()} == {"train": 42, "test": 8}


def test_links_do_not_lead_out_of_the_folder(tmp_path):
    folder = make_tree(tmp_path / "in", sizes=(3, 2))
    image = sorted(folder.glob("**/CXR_png/*.png"))[0]
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(UserError, match="is a link out of the input folder"):
        read("tuberculosis", folder)
