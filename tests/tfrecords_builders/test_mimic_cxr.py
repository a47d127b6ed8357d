"""MIMIC-CXR as JPEG and as DICOM: three tables joined, every row and file accounted for."""

import gzip
import shutil
import zlib
from collections import Counter
from pathlib import Path

import pytest
from conftest import build
from cxr_trees import COLUMNS, cells, read, states, write_csv, write_film

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data.dataset import Dataset
from tfrecords_builders.checks import Tolerance
from tfrecords_builders.sources import Dropped

METADATA, SPLIT = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv"
CHEXPERT, NEGBIO = "mimic-cxr-2.0.0-chexpert.csv", "mimic-cxr-2.0.0-negbio.csv"
REVIEWED = "mimic-cxr-2.1.0-test-set-labeled.csv"
# Letter of the image -> (subject, study, view, split).
IMAGES = {
    "a": ("10000032", "50414267", "PA", "train"),
    "b": ("10000032", "50414267", "LATERAL", "train"),
    "c": ("10000032", "53189527", "LL", "train"),
    "d": ("11000764", "51000000", "", "train"),
    "e": ("11000764", "51000001", "AP LLD", "train"),  # no label row
    "f": ("12000001", "52000000", "AP", "validate"),
    "g": ("13000001", "53000000", "PA", "test"),
    "h": ("13000001", "53000001", "PA", "test"),
}
STUDIES = {
    "50414267": {"Edema": "1.0", "Pneumonia": "-1.0", "Fracture": "0.0"},
    "53189527": {"No Finding": "1.0", "Support Devices": "1.0"},
    "51000000": {},
    "52000000": {"Pleural Effusion": "1.0", "Lung Opacity": "0.0"},
    "53000000": {"Edema": "1.0"},
    "53000001": {"Edema": "1.0"},
}
NO_LABELS, NO_FILE = "study has no label row", "no such file (partial=true leaves such rows out)"


def _dicom_id(letter: str) -> str:
    return "-".join([letter * 8] * 5)


def _path(letter: str, suffix: str = ".jpg") -> str:
    subject, study, *_ = IMAGES[letter]
    return f"files/p{subject[:2]}/p{subject}/s{study}/{_dicom_id(letter)}{suffix}"


def _write_labels(folder: Path, name: str, studies, gz=""):
    subjects = {study: subject for subject, study, *_ in IMAGES.values()}
    body = [[subjects[s], s, *cells(labels)] for s, labels in studies.items()]
    write_csv(folder / f"{name}{gz}", [["subject_id", "study_id", *COLUMNS], *body])


def _write_tables(folder: Path, gz="", end="\n") -> Path:
    """Writes the tables of the JPEG release, columns in another order than they are read."""
    header = ["dicom_id", "subject_id", "study_id", "Rows", "ViewPosition", "StudyDate"]
    body = [
        [_dicom_id(letter), subject, study, "12", view, "21800506"]
        for letter, (subject, study, view, _) in IMAGES.items()
    ]
    write_csv(folder / f"{METADATA}{gz}", [header, *body], end)
    body = [[_dicom_id(x), study, subject, s] for x, (subject, study, _, s) in IMAGES.items()]
    header = ["dicom_id", "study_id", "subject_id", "split"]
    write_csv(folder / f"{SPLIT}{gz}", [header, *body], end)
    _write_labels(folder, CHEXPERT, STUDIES, gz)
    _write_labels(folder, NEGBIO, STUDIES | {"51000000": {"Fracture": "0"}}, gz)
    return folder


def _jpg_release(folder: Path, gz="", end="\n") -> Path:
    _write_tables(folder, gz, end)
    for letter in IMAGES:
        write_film(folder / _path(letter), zlib.crc32(letter.encode()))
    return folder


def _dicom_release(folder: Path, suffix=".dcm") -> Path:
    """Writes files that stand for DICOM files, and reports; no tables."""
    for letter in IMAGES:
        path = folder / _path(letter, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b"\0" * 128 + b"DICM" + letter.encode()
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
        path.parent.with_suffix(".txt").write_text("FINAL REPORT")
    return folder


def _letters(items) -> str:
    return "".join(key[0] for key in sorted(items))


@pytest.mark.parametrize(
    "place, gz, end", [(".", "", "\n"), (".", ".gz", "\n"), ("MIMIC é 胸", "", "\r\n")]
)
def test_the_jpg_release_joins_its_tables(tmp_path, place, gz, end):
    folder = _jpg_release(tmp_path / place, gz, end)
    source, items, dropped = read("mimic_cxr", folder)
    assert _letters(items) == "abcdfgh"
    row = f"{_path('e', '')} ({METADATA}{gz}, line 6)"
    assert dropped == [Dropped(row, NO_LABELS)]
    assert Counter(i.split for i in items.values()) == {"train": 4, "val": 1, "test": 2}
    first = items[_dicom_id("a")]
    assert first.source == _path("a")
    assert first.patient_id == "10000032"
    assert [items[_dicom_id(x)].view for x in "abcdf"] == ["PA", "L", "L", "", "AP"]
    for letter in "ab":  # both images of the study
        found = states(source, items[_dicom_id(letter)])
        assert found == {"Edema": 1, "Pneumonia": -1, "Fracture": 0}
    assert states(source, items[_dicom_id("d")]) == {}
    assert states(source, items[_dicom_id("f")]) == {"Effusion": 1, "Lung Opacity": 0}
    assert source.load(first) == (folder / first.source).read_bytes()
    assert source.facts()["layout"] == "MIMIC-CXR-JPG: .jpg files in files/"
    assert set(source.checksums()) == {f"{name}{gz}" for name in (METADATA, SPLIT, CHEXPERT)}


def test_studies_of_a_patient_are_not_mixed(tmp_path):
    # TorchXRayVision's first() would fill the blanks of one study from another.
    source, items, _ = read("mimic_cxr", _jpg_release(tmp_path))
    assert "Support Devices" not in states(source, items[_dicom_id("a")])
    healthy = dict.fromkeys(source.labels.names, 0)
    assert states(source, items[_dicom_id("c")]) == healthy | {"Support Devices": 1}


def test_options_choose_labels_and_splits(tmp_path):
    folder = _jpg_release(tmp_path)
    source, items, _ = read("mimic_cxr", folder, "labeler=negbio,support_devices=zero")
    assert states(source, items[_dicom_id("d")]) == {"Fracture": 0}
    assert set(items[_dicom_id("c")].label) == {0}
    assert source.facts()["no_finding_rows"] == 1
    assert source.facts()["positive_support_devices_set_negative_beside_no_finding"] == 1
    _, items, dropped = read("mimic_cxr", folder, "splits=authors")
    assert _letters(items) == "abcdf"
    reasons = Counter(entry.reason for entry in dropped)
    assert reasons == {"test split (splits=authors)": 2, NO_LABELS: 1}
    assert not any(entry.defect for entry in dropped)


def test_patient_splits_need_no_split_table(tmp_path):
    folder = _jpg_release(tmp_path)
    (folder / SPLIT).unlink()
    _, items, _ = read("mimic_cxr", folder, "splits=patient,val_fraction=0.3,test_fraction=0.3")
    assert _letters(items) == "abcdfgh"
    pairs = {(item.patient_id, item.split) for item in items.values()}
    assert len(pairs) == 4  # as many as there are patients
    assert {split for _, split in pairs} == {"train", "val", "test"}


def test_the_radiologist_labels_the_test_split_if_asked(tmp_path):
    folder = _jpg_release(tmp_path)
    names = ["Airspace Opacity" if name == "Lung Opacity" else name for name in COLUMNS]
    reviewed = {"53000000": {"Edema": "0", "Lung Opacity": "1"}, "50414267": {"Edema": "0"}}
    body = [[study, *cells(labels)] for study, labels in reviewed.items()]
    write_csv(folder / REVIEWED, [["study_id", *names], *body])
    source, items, dropped = read("mimic_cxr", folder, "test_labels=radiologist")
    assert states(source, items[_dicom_id("g")]) == {"Edema": 0, "Lung Opacity": 1}
    assert states(source, items[_dicom_id("a")])["Edema"] == 1
    assert {(entry.source.partition(" ")[0], entry.reason) for entry in dropped} == {
        (_path("e", ""), NO_LABELS),
        (_path("h", ""), "study has no label of the radiologist"),
        ("50414267", "labelled study without test images"),
    }
    with pytest.raises(UserError, match="test_labels=radiologist needs splits=official"):
        read("mimic_cxr", folder, "test_labels=radiologist,splits=patient")


@pytest.mark.parametrize("suffix", [".dcm", ".dcm.gz"])
@pytest.mark.parametrize("absolute", [True, False])
def test_the_dicom_release_takes_the_tables_of_the_other(tmp_path, suffix, absolute):
    folder, other = _dicom_release(tmp_path / "dicom", suffix), _write_tables(tmp_path / "jpg")
    tables = str(other) if absolute else "../jpg"
    source, items, dropped = read("mimic_cxr", folder, f"tables={tables},render=mimic_jpg")
    assert _letters(items) == "abcdfgh"
    assert [entry.reason for entry in dropped] == [NO_LABELS]
    assert source.render == "mimic_jpg"
    item = items[_dicom_id("f")]
    assert item.source == _path("f", suffix)
    assert source.load(item) == b"\0" * 128 + b"DICMf"
    facts = source.facts()
    assert facts["layout"] == f"MIMIC-CXR (DICOM): {suffix} files in files/"
    assert facts["files_that_are_no_images"] == 7  # a report per study
    assert {name.rpartition("/")[2] for name in source.checksums()} == {METADATA, SPLIT, CHEXPERT}


def test_damaged_gz_files_are_told(tmp_path):
    folder = _dicom_release(tmp_path / "dicom", ".dcm.gz")
    source, items, _ = read("mimic_cxr", folder, f"tables={_write_tables(tmp_path / 'jpg')}")
    path = folder / items[_dicom_id("a")].source
    for content in (path.read_bytes()[:-9], b"no gzip", path.read_bytes()[:12] + b"\xff" * 40):
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match="damaged gzip file"):
            source.load(items[_dicom_id("a")])


def test_folders_without_files_level_are_found(tmp_path):
    folder = _jpg_release(tmp_path)
    for group in (folder / "files").iterdir():
        group.rename(folder / group.name)
    (folder / "files").rmdir()
    source, items, _ = read("mimic_cxr", folder)
    assert _letters(items) == "abcdfgh"
    assert items[_dicom_id("a")].source == _path("a").removeprefix("files/")
    assert source.facts()["layout"] == "MIMIC-CXR-JPG: .jpg files in ."


def test_two_releases_in_one_folder_are_refused(tmp_path):
    folder = _dicom_release(_jpg_release(tmp_path))
    with pytest.raises(UserError, match=r"holds both \.dcm and \.jpg files"):
        read("mimic_cxr", folder)


def test_rows_and_files_without_their_like_are_listed(tmp_path):
    folder = _jpg_release(tmp_path)
    (folder / _path("a")).unlink()
    write_film(folder / "files/p10/p10000032/s50414267/z.jpg", 99)
    (folder / "files/p10/p10000032/index.html").write_text("")
    lines = (folder / SPLIT).read_text().splitlines()
    extra = f"{_dicom_id('y')},1,1,train"
    # Without the row of d.
    (folder / SPLIT).write_text("\n".join([*lines[:4], *lines[5:], extra]) + "\n")
    with (folder / CHEXPERT).open("a") as stream:
        stream.write("19999999,59999999" + "," * 14 + "\n")
    source, items, dropped = read("mimic_cxr", folder)
    assert _letters(items) == "bcfgh"
    assert set(dropped) == {
        Dropped(f"{_path('a', '')} ({METADATA}, line 2)", NO_FILE, defect=True),
        Dropped(f"{_path('d', '')} ({METADATA}, line 5)", "no row in the split table", defect=True),
        Dropped(f"{_path('e', '')} ({METADATA}, line 6)", NO_LABELS),
        Dropped(f"{_dicom_id('y')} ({SPLIT})", "no row in the metadata", defect=True),
        Dropped(f"59999999 ({CHEXPERT})", "labelled study without images"),
        Dropped("files/p10/p10000032/s50414267/z.jpg", "no row in the metadata"),
    }
    assert source.facts()["files_that_are_no_images"] == 1


def test_part_of_the_images_is_enough_if_asked_for(tmp_path):
    folder = _jpg_release(tmp_path)
    for group in ("p11", "p12", "p13"):
        shutil.rmtree(folder / "files" / group)
    _, items, dropped = read("mimic_cxr", folder)
    assert sum(entry.defect for entry in dropped) == 4
    _, items, dropped = read("mimic_cxr", folder, "partial=true")
    assert _letters(items) == "abc"
    reasons = Counter(entry.reason for entry in dropped if not entry.defect)
    assert reasons == {"no such file (partial=true)": 4, NO_LABELS: 1}


def test_all_that_is_missing_is_listed_with_where_to_get_it(tmp_path):
    with pytest.raises(UserError) as error:
        read("mimic_cxr", tmp_path)
    for words in (METADATA, CHEXPERT, SPLIT, "files/p10", "PhysioNet", "tables=DIR"):
        assert words in str(error.value)
    with pytest.raises(UserError) as error:
        read("mimic_cxr", tmp_path, "splits=patient,labeler=negbio")
    assert NEGBIO in str(error.value)
    assert SPLIT not in str(error.value)


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        (SPLIT, "validate", "valid", "line 7: split 'valid' is not one of"),
        (SPLIT, _dicom_id("b"), _dicom_id("a"), r"line 3: image aaaaaaaa-\S+ has a second row"),
        (METADATA, "ViewPosition", "View", "no column 'ViewPosition'"),
        (METADATA, "10000032,53189527", "10000033,53189527", "line 4: study 53189527 is of subje"),
        (CHEXPERT, "53189527", "50414267", "line 3: study 50414267 has a second row"),
        (CHEXPERT, "-1.0", "2", "line 2: Pneumonia is '2', not one of"),
        (CHEXPERT, "Fracture", "Fractures", "no column 'Fracture'"),
    ],
)
def test_wrong_rows_are_refused_by_line_and_column(tmp_path, name, old, new, message):
    path = _jpg_release(tmp_path) / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        read("mimic_cxr", tmp_path)


def test_links_do_not_lead_out_of_the_folder(tmp_path):
    folder = _jpg_release(tmp_path / "in")
    (folder / "files").rename(tmp_path / "elsewhere")
    (folder / "files").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="files: a link to a place outside"):
        read("mimic_cxr", folder)


def test_a_build_stores_what_the_tables_say(tmp_path):
    folder = _jpg_release(tmp_path / "in", gz=".gz")
    cut = folder / _path("b")
    cut.write_bytes(cut.read_bytes()[:-20])
    tolerance = Tolerance("quarantine", 0.5)
    outcome = build("mimic_cxr", tmp_path / "out", input_dir=str(folder), tolerance=tolerance)
    assert outcome.card["rows"] == {"in": 8, "stored": 6, "quarantined": 1, "left_out": 1}
    assert {split: s["examples"] for split, s in outcome.card["splits"].items()} == {
        "train": 3,
        "val": 1,
        "test": 2,
    }
    edema = outcome.card["splits"]["train"]["labels"]["Edema"]
    assert edema == {"positive": 1, "negative": 1, "uncertain": 0, "not_mentioned": 1}
    data = Dataset(outcome.folder)
    column = data.labels.names.index("Edema")
    assert data.label_array("test")[:, column].tolist() == [1, 1]
    assert set(data.example_ids("val")) == {_dicom_id("f")}


def test_official_splits_that_share_a_patient_fail_the_build(tmp_path):
    folder = _jpg_release(tmp_path / "in")
    text = (folder / SPLIT).read_text()
    row = f"{_dicom_id('c')},53189527,10000032,"
    assert f"{row}train" in text
    (folder / SPLIT).write_text(text.replace(f"{row}train", f"{row}test"))
    with pytest.raises(UserError, match=r"The splits leak: 1 patients .* 10000032"):
        build("mimic_cxr", tmp_path / "out", input_dir=str(folder))


def test_a_second_row_of_an_image_is_put_aside(tmp_path):
    path = _jpg_release(tmp_path) / METADATA
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    _, items, dropped = read("mimic_cxr", tmp_path)
    again = [entry for entry in dropped if entry.reason == "second row of this image"]
    assert [entry.defect for entry in again] == [True]
    assert f"line {len(lines) + 1}" in again[0].source
    assert lines[1].split(",")[0] in items
