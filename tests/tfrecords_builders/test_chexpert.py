"""CheXpert in every layout it is found in: same examples, exact labels, nothing lost."""

import os
import shutil
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import build
from cxr_trees import COLUMNS, cells, read, states, write_csv, write_film

from keras_transfer.core.errors import UserError
from keras_transfer.data.dataset import Dataset
from tfrecords_builders.checks import Tolerance
from tfrecords_builders.sources import Dropped

SICK = {"Edema": "1.0", "Pneumonia": "-1.0", "Fracture": "0.0", "Pleural Effusion": "1.0"}
PACEMAKER = {"No Finding": "1.0", "Support Devices": "1.0"}
# File -> (sex, age, side, AP/PA, labels).
_Rows = dict[str, tuple[str, str, str, str, dict[str, str]]]
TRAIN: _Rows = {
    "patient00001/study1/view1_frontal.jpg": ("Female", "68", "Frontal", "AP", SICK),
    "patient00001/study1/view2_lateral.jpg": ("Female", "68", "Lateral", "", SICK),
    "patient00001/study2/view1_frontal.jpg": ("Female", "69", "Frontal", "PA", PACEMAKER),
    "patient00002/study1/view1_frontal.jpg": ("Male", "0", "Frontal", "LL", {}),
    "patient43018/study1/view1_frontal.jpg": ("Unknown", "90", "Frontal", "", {"Edema": "-1"}),
}
VALID: _Rows = {
    "patient64541/study1/view1_frontal.jpg": ("Male", "50", "Frontal", "AP", {"Edema": "1.0"}),
    "patient64542/study1/view1_frontal.jpg": ("Male", "51", "Frontal", "PA", {"Edema": "0.0"}),
}
TEST = {
    "patient64741/study1/view1_frontal.jpg": {"Atelectasis": "1.0"},
    "patient64741/study1/view2_lateral.jpg": {"Atelectasis": "1.0"},
}
IDS = {f"train/{path}" for path in TRAIN} | {f"valid/{path}" for path in VALID}


def _table(path: Path, prefix: str, rows, end="\n"):
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *COLUMNS]
    body = [[prefix + p, *details, *cells(labels)] for p, (*details, labels) in rows.items()]
    return write_csv(path, [header, *body], end)


def _labels_only(path: Path, prefix: str, rows):
    body = [[prefix + p, *cells(labels)] for p, labels in rows.items()]
    return write_csv(path, [["Path", *COLUMNS], *body])


def _films(folder: Path, files):
    for file in files:
        write_film(folder / file, zlib.crc32(file.encode()))


def _standard(folder: Path, version="CheXpert-v1.0", gz="", end="\n") -> Path:
    """Writes train and valid as CheXpert's own archive has them."""
    _table(folder / f"train.csv{gz}", f"{version}/train/", TRAIN, end)
    _table(folder / f"valid.csv{gz}", f"{version}/valid/", VALID, end)
    _films(folder / "train", TRAIN)
    _films(folder / "valid", VALID)
    return folder


def _batches(folder: Path) -> Path:
    """Writes the download of Stanford AIMI; patients are in batches of other numbers."""
    first = folder / "CheXpert-v1.0 batch 1 (validate & csv)"
    _table(first / "train.csv", "CheXpert-v1.0/train/", TRAIN)
    _table(first / "valid.csv", "CheXpert-v1.0/valid/", VALID)
    (first / "train_cheXbert.csv").write_text("Path\n")
    _films(first / "valid", VALID)
    files = sorted(TRAIN)
    _films(folder / "CheXpert-v1.0 batch 2 (train 1)", files[3:])
    _films(folder / "CheXpert-v1.0 batch 4 (train 3)", files[:3])
    return folder


def _localize(folder: Path) -> Path:
    """Writes the valid and test images of CheXlocalize."""
    _labels_only(
        folder / "val_labels.csv", "CheXpert-v1.0/valid/", {p: row[-1] for p, row in VALID.items()}
    )
    _labels_only(folder / "test_labels.csv", "test/", TEST)
    _films(folder / "val", VALID)
    _films(folder / "test", TEST)
    return folder


def _merged(folder: Path) -> Path:
    """Writes a folder into which somebody unpacked everything."""
    _standard(folder)
    for part in ("train", "valid"):
        for patient in (folder / part).iterdir():
            patient.rename(folder / patient.name)
        (folder / part).rmdir()
    return folder


LAYOUTS = {
    "full": (lambda f: _standard(f), "CheXpert-v1.0: train.csv, valid.csv; images in train, valid"),
    "small": (
        lambda f: _standard(f / "CheXpert-v1.0-small", "CheXpert-v1.0-small"),
        "CheXpert-v1.0: CheXpert-v1.0-small/train.csv, ",
    ),
    "small tables beside full images": (
        lambda f: _standard(f, "CheXpert-v1.0-small"),
        "CheXpert-v1.0: ",
    ),
    "non-ASCII": (lambda f: _standard(f / "Röntgen 胸"), "CheXpert-v1.0: Röntgen 胸/train.csv"),
    "gz": (lambda f: _standard(f, gz=".gz"), "CheXpert-v1.0: train.csv.gz, valid.csv.gz"),
    "windows": (lambda f: _standard(f, end="\r\n"), "CheXpert-v1.0: "),
    "batches": (_batches, "batch folders of Stanford AIMI: CheXpert-v1.0 batch 1 (validate & csv)"),
    "container": (lambda f: _batches(f / "chexpertchestxrays-u20210408"), "batch folders of"),
    "merged": (_merged, "CheXpert-v1.0: train.csv, valid.csv; images in ."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_examples(tmp_path, layout):
    make, words = LAYOUTS[layout]
    make(tmp_path)
    source, items, dropped = read("chexpert", tmp_path)
    assert set(items) == IDS
    assert not dropped
    assert source.facts()["layout"].startswith(words)
    for key, item in items.items():
        assert source.load(item) == (tmp_path / item.source).read_bytes()
        assert item.source.endswith(key.partition("/")[2])
    assert {key: item.split for key, item in items.items()} == {
        key: "train" if key.startswith("train/") else "val" for key in IDS
    }
    assert sorted(Path(name).name.removesuffix(".gz") for name in source.checksums()) == [
        "train.csv",
        "valid.csv",
    ]


def test_rows_become_states_views_and_persons(tmp_path):
    source, items, _ = read("chexpert", _standard(tmp_path))
    first, lateral, device, blank, uncertain = (items[f"train/{path}"] for path in TRAIN)
    assert first[4:] == ("patient00001", "AP", "Female", "68")
    assert lateral[4:] == ("patient00001", "L", "Female", "68")
    assert blank[4:] == ("patient00002", "LL", "Male", "0")
    assert uncertain[4:] == ("patient43018", "", "Unknown", "90")
    expected = {"Edema": 1, "Pneumonia": -1, "Fracture": 0, "Effusion": 1}
    assert states(source, first) == states(source, lateral) == expected
    assert states(source, uncertain) == {"Edema": -1}
    assert set(blank.label) == {-2}
    assert states(source, device) == dict.fromkeys(source.labels.names, 0) | {"Support Devices": 1}


def test_studies_of_a_patient_are_not_mixed(tmp_path):
    # TorchXRayVision's first() would give the first study the second one's blanks, filled.
    rows = {
        "patient00007/study1/view1_frontal.jpg": ("Male", "5", "Frontal", "PA", {"Edema": "0"}),
        "patient00007/study2/view1_frontal.jpg": (
            *("Male", "6", "Frontal", "PA"),
            {"Edema": "1", "Fracture": "1"},
        ),
    }
    _standard(tmp_path)
    _table(tmp_path / "train.csv", "CheXpert-v1.0/train/", rows)
    _films(tmp_path / "train", rows)
    source, items, _ = read("chexpert", tmp_path)
    found = [states(source, items[f"train/{path}"]) for path in rows]
    assert found == [{"Edema": 0}, {"Edema": 1, "Fracture": 1}]


@pytest.mark.parametrize("option, kept", [("keep", (1, -1)), ("zero", (0, 0))])
def test_no_finding_makes_all_negative_and_is_counted(tmp_path, option, kept):
    rows = [
        PACEMAKER,
        {"No Finding": "1.0", "Support Devices": "-1.0"},
        {"No Finding": "1.0", "Edema": "1.0"},
        {"No Finding": "1.0", "Edema": "-1.0", "Support Devices": "0.0"},
        {"No Finding": "0.0", "Edema": "-1.0"},
    ]
    tree = {
        f"patient0000{i}/study1/view1_frontal.jpg": ("Male", "5", "Frontal", "PA", labels)
        for i, labels in enumerate(rows)
    }
    _standard(tmp_path)
    shutil.rmtree(tmp_path / "train")
    _table(tmp_path / "train.csv", "CheXpert-v1.0/train/", tree)
    _films(tmp_path / "train", tree)
    source, items, _ = read("chexpert", tmp_path, f"support_devices={option}")
    found = [states(source, items[f"train/{path}"]) for path in tree]
    assert [labels.pop("Support Devices", None) for labels in found] == [
        *kept,
        None if option == "keep" else 0,
        0,
        None,
    ]
    healthy = {name: 0 for name in source.labels.names if name != "Support Devices"}
    assert found == [healthy] * 4 + [{"Edema": -1}]
    facts = source.facts()
    assert facts["no_finding_rows"] == 4
    assert facts["no_finding_contradictions"] == 2
    word = "kept" if option == "keep" else "set_negative"
    assert facts[f"positive_support_devices_{word}_beside_no_finding"] == 1
    assert facts[f"uncertain_support_devices_{word}_beside_no_finding"] == 1


def test_chexlocalize_alone_has_val_and_test(tmp_path):
    source, items, dropped = read("chexpert", _localize(tmp_path / "CheXpert").parent)
    assert set(items) == {f"valid/{p}" for p in VALID} | {f"test/{p}" for p in TEST}
    assert not dropped
    assert Counter(item.split for item in items.values()) == {"val": 2, "test": 2}
    assert source.facts()["layout"].startswith("CheXlocalize: CheXpert/val_labels.csv")
    frontal, lateral = (items[f"test/{path}"] for path in TEST)
    assert states(source, frontal) == {"Atelectasis": 1}
    assert (frontal.view, lateral.view, frontal.sex, frontal.age) == ("", "L", "", "")


def test_the_test_set_beside_the_others_is_added(tmp_path):
    _standard(tmp_path / "CheXpert-v1.0-small", "CheXpert-v1.0-small")
    _localize(tmp_path / "CheXpert")
    source, items, dropped = read("chexpert", tmp_path)
    assert set(items) == IDS | {f"test/{path}" for path in TEST}
    # Valid is there twice: the copy of the version that train is of.
    assert {i.source.partition("/")[0] for i in items.values() if i.split == "val"} == {
        "CheXpert-v1.0-small"
    }
    copies = {Dropped(f"CheXpert/val/{path}", "another copy of an image") for path in VALID}
    assert set(dropped) == copies
    assert source.facts()["prefixes"] == "none in 2 rows, CheXpert-v1.0-small in 7 rows"


def test_patient_splits_keep_patients_together(tmp_path):
    rows: _Rows = {
        f"patient{number // 3:05d}/study{number}/view1_frontal.jpg": (
            *("Male", "5", "Frontal", "PA"),
            {},
        )
        for number in range(60)
    }
    _standard(tmp_path)
    _table(tmp_path / "train.csv", "CheXpert-v1.0/train/", rows)
    _films(tmp_path / "train", rows)
    options = "splits=patient,val_fraction=0.2,test_fraction=0.3"
    source, items, _ = read("chexpert", tmp_path, options)
    assert len(items) == 62
    of_patient: dict[str, set[str]] = {}
    for item in items.values():
        of_patient.setdefault(item.patient_id, set()).add(item.split)
    assert all(len(splits) == 1 for splits in of_patient.values())
    counts = Counter(item.split for item in items.values())
    assert counts["val"] == pytest.approx(12, abs=3)
    assert counts["test"] == pytest.approx(19, abs=3)
    assert not source.published
    assert read("chexpert", tmp_path)[0].published == {"train": 223_414, "val": 234, "test": 668}


def test_missing_and_unlisted_files_are_named(tmp_path):
    _standard(tmp_path)
    gone, *_ = TRAIN
    (tmp_path / "train" / gone).unlink()
    write_film(tmp_path / "train" / "patient00002" / "study9" / "view1_frontal.jpg", 1)
    _, items, dropped = read("chexpert", tmp_path)
    assert set(items) == IDS - {f"train/{gone}"}
    row = f"CheXpert-v1.0/train/{gone} (train.csv, line 2)"
    assert set(dropped) == {
        Dropped(row, "no such file (partial=true leaves such rows out)", defect=True),
        Dropped("train/patient00002/study9/view1_frontal.jpg", "no row in the csv"),
    }
    dropped = read("chexpert", tmp_path, "partial=true")[2]
    assert Dropped(row, "no such file (partial=true)") in dropped


def test_part_of_the_download_is_enough_if_asked_for(tmp_path):
    _standard(tmp_path)
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(UserError, match="not found: a folder train/ with patient folders"):
        read("chexpert", tmp_path)
    _, items, dropped = read("chexpert", tmp_path, "partial=true")
    assert set(items) == {f"valid/{path}" for path in VALID}
    assert len(dropped) == len(TRAIN)


def test_all_that_is_missing_is_listed_with_where_to_get_it(tmp_path):
    with pytest.raises(UserError) as error:
        read("chexpert", tmp_path)
    for words in ("train.csv; valid.csv; a folder train/", "a folder valid/", "Stanford AIMI"):
        assert words in str(error.value)
    _standard(tmp_path / "CheXpert-v1.0")
    _standard(tmp_path / "CheXpert-v1.0-small")
    with pytest.raises(UserError, match=r"several train\.csv \(CheXpert-v1\.0/train\.csv, "):
        read("chexpert", tmp_path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("/train/patient00002", "/other/patient00002", r"line 5: the Path 'CheXpert-v1.0/other/"),
        ("Frontal,LL", "Top,LL", "line 5: Frontal/Lateral is 'Top'"),
        ("-1.0", "maybe", "line 2: Pneumonia is 'maybe', not one of"),
        ("Pleural Effusion", "Effusion", "no column 'Pleural Effusion'"),
        ("AP/PA", "View", "no column 'AP/PA'"),
        ("Male,0,", "Male,", "line 5: 18 fields, but the header has 19"),
    ],
)
def test_wrong_rows_are_refused_by_line_and_column(tmp_path, old, new, message):
    path = _standard(tmp_path) / "train.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read("chexpert", tmp_path)


def test_links_do_not_lead_out_of_the_folder(tmp_path):
    folder, outside = _standard(tmp_path / "in"), tmp_path / "elsewhere.jpg"
    film = folder / "train" / next(iter(TRAIN))
    film.rename(outside)
    film.symlink_to(outside)
    with pytest.raises(UserError, match="a link to a place outside"):
        read("chexpert", folder)
    film.unlink()
    outside.rename(film.with_suffix(".original"))
    film.symlink_to(film.with_suffix(".original"))
    assert set(read("chexpert", folder)[1]) == IDS


def test_a_file_without_a_row_whose_name_is_not_utf8_is_named(tmp_path):
    folder = _standard(tmp_path / "in")
    film = write_film(folder / "train" / "patient00001" / "new.jpg", 1)
    film.rename(os.fsdecode(os.fsencode(film.parent) + b"/\xff.jpg"))
    with pytest.raises(UserError, match=r"patient00001/.udcff\.jpg': a name that is not UTF-8"):
        build("chexpert", tmp_path / "out", input_dir=str(folder))


def test_a_build_stores_what_the_tables_say(tmp_path):
    folder = _standard(tmp_path / "in", "CheXpert-v1.0-small")
    _labels_only(folder / "test_labels.csv", "test/", TEST)
    _films(folder / "test", TEST)
    cut = folder / "train" / "patient00002/study1/view1_frontal.jpg"
    cut.write_bytes(cut.read_bytes()[:-20])
    (folder / "train" / "patient43018/study1/view1_frontal.jpg").unlink()
    tolerance = Tolerance("quarantine", 0.5)
    outcome = build("chexpert", tmp_path / "out", input_dir=str(folder), tolerance=tolerance)
    assert outcome.card["rows"] == {"in": 9, "stored": 7, "quarantined": 2, "left_out": 0}
    assert {split: s["examples"] for split, s in outcome.card["splits"].items()} == {
        "train": 3,
        "val": 2,
        "test": 2,
    }
    assert outcome.card["published"]["train"] == 223_414
    data = Dataset(outcome.folder)
    assert set(data.example_ids("test")) == {f"test/{path}" for path in TEST}
    column = data.labels.names.index("Edema")
    found = dict(zip(data.example_ids("train"), data.label_array("train")[:, column]))
    first, second, third = (f"train/{path}" for path in list(TRAIN)[:3])
    assert found == {first: 1, second: 1, third: 0}
    edema = outcome.card["splits"]["test"]["labels"]["Edema"]
    assert edema == {"positive": 0, "negative": 0, "uncertain": 0, "not_mentioned": 2}
    assert np.isnan(data.label_array("test")[:, column]).all()


def test_official_splits_that_share_a_patient_fail_the_build(tmp_path):
    folder = _standard(tmp_path / "in")
    leaking: _Rows = {
        "patient00001/study3/view1_frontal.jpg": ("Female", "70", "Frontal", "AP", {})
    }
    _table(folder / "valid.csv", "CheXpert-v1.0/valid/", leaking)
    _films(folder / "valid", leaking)
    with pytest.raises(UserError, match=r"The splits leak: 1 patients .* patient00001"):
        build("chexpert", tmp_path / "out", input_dir=str(folder))
    build("chexpert", tmp_path / "out", "splits=patient", input_dir=str(folder))


def test_a_second_row_of_an_image_is_put_aside(tmp_path):
    path = _standard(tmp_path) / "train.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    _, items, dropped = read("chexpert", tmp_path)
    assert set(items) == IDS
    again = [entry for entry in dropped if entry.reason == "second row of this image"]
    assert [entry.defect for entry in again] == [True]
    assert f"line {len(lines) + 1}" in again[0].source


def test_pipes_are_not_waited_for(tmp_path):
    folder = _standard(tmp_path / "in")
    film = folder / "train" / next(iter(TRAIN))
    film.unlink()
    os.mkfifo(film)
    source, items, _ = read("chexpert", folder)
    assert source.load(items[f"train/{next(iter(TRAIN))}"]) == b""
