"""A folder of DICOM files and a csv: what is joined, what is left out, what is refused."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import build, write_image
from dicom_files import bundled, film
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import dicom, formats, stages
from tfrecords_builders.checks import Tolerance
from tfrecords_builders.sources import Dropped, Item

_CUT = bytes(128) + b"DICM\x02\0\0\0UL\x04\0"  # of a download that stopped
_ALL = "val_fraction=0,test_fraction=0"


def _film(path: Path, seed: int, **tags) -> Path:
    """Writes a film that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.random.default_rng(seed).integers(0, 4096, (12, 16)).astype(np.uint16)
    path.write_bytes(film(stored, **({"SOPInstanceUID": f"1.2.{seed}"} | tags)))
    return path


def _csv(folder: Path, *rows: str) -> None:
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _items(folder, *options):
    source = stages.make_job("dicom_folder", input_dir=str(folder), options=options).open_source()
    entries = list(source.items())
    items = {e.example_id: e for e in entries if isinstance(e, Item)}
    return source, items, [e for e in entries if isinstance(e, Dropped)]


def _stored(data: Dataset, split: str) -> dict[str, np.ndarray]:
    """Returns example id -> pixels."""
    images = {}
    for name, payload in zip(data.example_ids(split), records.iterate_records(data.splits[split])):
        feature = tf_example_pb2.Example.FromString(payload).features.feature
        images[name] = formats.decode(feature["image"].bytes_list.value[0])
    return images


def test_a_folder_becomes_a_dataset(tmp_path):
    folder = tmp_path / "Our Films"
    rows = ["path,Mass,Edema,note"]
    states = ("1,0", "-1,", "0.0,1.0", "-2,-1.0")
    for number in range(12):
        name = f"ward {number % 3}/ä{number}"  # without any ending
        _film(folder / name, number, PatientID=f"p{number // 2}", PatientAge="018M")
        rows.append(f"{name},{states[number % 4]},so\r")
    _csv(folder, *rows)
    outcome = build(
        "dicom_folder",
        tmp_path / "out",
        "labels=Mass,Edema,val_fraction=0.2",
        input_dir=str(folder),
        encoding="png",
    )
    assert outcome.folder.parts[-3:-1] == ("our_films", "val_fraction_0.2_png")
    data = Dataset(outcome.folder)
    assert data.labels == LabelSpace(MULTILABEL, ("Mass", "Edema"))
    assert outcome.card["rows"]["in"] == outcome.card["rows"]["stored"] == 12
    facts = outcome.card["facts"]
    assert facts["layout"] == "DICOM files, named in the csv by path"
    assert (facts["dicom_files"], facts["other_images"]) == (12, 0)
    found = {split: _stored(data, split) for split in data.splits}
    assert {split: len(images) for split, images in found.items()} == dict(
        Counter(
            item.split for item in _items(folder, "labels=Mass,Edema,val_fraction=0.2")[1].values()
        )
    )
    for split, images in found.items():
        truth = data.label_array(split)
        for row, (name, pixels) in enumerate(images.items()):
            np.testing.assert_array_equal(pixels, dicom.render((folder / name).read_bytes()))
            number = int(name.rpartition("ä")[2])
            expected = [(1, 0), (np.nan, np.nan), (0, 1), (np.nan, np.nan)][number % 4]
            np.testing.assert_array_equal(truth[row], np.array(expected, np.float32))


def test_the_mode_of_rendering_is_an_option_and_part_of_the_name(tmp_path):
    folder = tmp_path / "in"
    _film(
        folder / "a.dcm", 0, PhotometricInterpretation="MONOCHROME1", WindowCenter=9, WindowWidth=5
    )
    _csv(folder, "path,label", "a.dcm,x")
    for mode in dicom.MODES:
        outcome = build(
            "dicom_folder",
            tmp_path / "out",
            f"render={mode},{_ALL}",
            input_dir=str(folder),
            encoding="png",
        )
        assert ("render_mimic-jpg" in outcome.folder.parts[-2]) == (mode == "mimic_jpg")
        pixels = _stored(Dataset(outcome.folder), "train")["a.dcm"]
        np.testing.assert_array_equal(pixels, dicom.render((folder / "a.dcm").read_bytes(), mode))


@pytest.mark.parametrize(
    "key, names",
    [
        ("path", ["one/a.dcm", "./two//b.dcm"]),
        ("name", ["a.dcm", "b.dcm"]),
        ("sop_instance_uid", ["1.2.1", "1.2.2"]),
    ],
)
def test_the_csv_may_name_files_in_three_ways(tmp_path, key, names):
    _film(tmp_path / "one" / "a.dcm", 1)
    _film(tmp_path / "two" / "b.dcm", 2)
    _csv(tmp_path, f"{key},label", *(f"{name},{i}" for i, name in enumerate(names)))
    source, items, dropped = _items(tmp_path, f"key={key}")
    assert not dropped
    assert list(items) == names
    assert [Path(item.source) for item in items.values()] == [Path("one/a.dcm"), Path("two/b.dcm")]
    for item, file in zip(items.values(), ("one/a.dcm", "two/b.dcm")):
        assert source.load(item) == (tmp_path / file).read_bytes()
    assert source.facts()["layout"].endswith(f"by {key}")


@pytest.mark.parametrize("key", ["name", "sop_instance_uid"])
def test_names_that_fit_several_files_are_no_guess(tmp_path, key):
    for number, ward in enumerate(("one", "two", "three")):
        _film(tmp_path / ward / "IM1", number, SOPInstanceUID="1.9")
    _film(tmp_path / "IM2", 7)
    names = ("IM1", "IM2") if key == "name" else ("1.9", "1.2.7")
    _csv(tmp_path, f"{key},label", f"{names[0]},x", f"{names[1]},y")
    _, items, dropped = _items(tmp_path, f"key={key}")
    assert list(items) == [names[1]]
    assert [d.reason for d in dropped if d.defect] == [
        f"several files of this {key} (key=path tells them apart)"
    ]
    # Four files and two rows, two of which belong together: nothing is lost.
    assert len(items) + len(dropped) == 4
    assert sum(d.reason == "one of several files that a row names" for d in dropped) == 2


def test_all_that_is_left_out_is_told(tmp_path):
    for number in range(3):
        _film(tmp_path / f"{number}.dcm", number, PatientID=str(number))
    for name in ("DICOMDIR", "test-SR.dcm", "rtdose_1frame.dcm", "examples_ybr_color.dcm"):
        shutil.copy(bundled(name), tmp_path / name)
        shutil.copy(bundled(name), tmp_path / f"labelled {name}")
    write_image(tmp_path / "photo.png", 5)
    write_image(tmp_path / "unlabelled.jpg", 6, kind="jpeg")
    (tmp_path / "readme.txt").write_text("Mine.")
    (tmp_path / "labelled.txt").write_text("Mine.")
    (tmp_path / "damaged.dcm").write_bytes(_CUT)
    (tmp_path / "labelled damaged.dcm").write_bytes(_CUT)
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    labelled = (
        *("0.dcm", "1.dcm", "photo.png", "gone.dcm", "0.dcm", "labelled.txt", "labels.csv"),
        *("labelled DICOMDIR", "labelled test-SR.dcm", "labelled rtdose_1frame.dcm"),
        *("labelled examples_ybr_color.dcm", "labelled damaged.dcm", "loop/1.dcm"),
    )
    _csv(tmp_path, "path,label", *(f"{name},x" for name in labelled))
    source, items, dropped = _items(tmp_path, _ALL)
    assert list(items) == ["0.dcm", "1.dcm", "photo.png"]
    defects = {d.source.partition(" (")[0]: d.reason for d in dropped if d.defect}
    assert defects == {
        "0.dcm": "second row of this image",
        "gone.dcm": "no such file",
        "labels.csv": "no such file",
        "loop/1.dcm": "no such file",
        "labelled.txt": "not an image",
        "labelled damaged.dcm": "damaged DICOM (a header that is cut short, or empty)",
        "labelled DICOMDIR": "DICOM directory, not an image",
        "labelled test-SR.dcm": "DICOM without a picture (SR)",
        "labelled rtdose_1frame.dcm": "DICOM without a picture (RTDOSE)",
        "labelled examples_ybr_color.dcm": "DICOM of several frames",
    }
    assert all("labels.csv, line " in d.source for d in dropped if d.defect)
    assert {d.source: d.reason for d in dropped if not d.defect} == {
        "2.dcm": "no row in the csv",
        "unlabelled.jpg": "no row in the csv",
        "damaged.dcm": "no row in the csv",
        "readme.txt": "not an image",
        "DICOMDIR": "DICOM directory, not an image",
        "test-SR.dcm": "DICOM without a picture (SR)",
        "rtdose_1frame.dcm": "DICOM without a picture (RTDOSE)",
        "examples_ybr_color.dcm": "DICOM of several frames",
        "loop": "link to a folder, not followed",
        "pipe": "not an image",
    }
    assert source.facts()["other_images"] == 2


def test_a_damaged_file_may_be_the_one_a_uid_names(tmp_path):
    _film(tmp_path / "a.dcm", 1)
    (tmp_path / "b.dcm").write_bytes(_CUT)
    _csv(tmp_path, "sop_instance_uid,label", "1.2.1,x", "1.2.2,y")
    _, items, dropped = _items(tmp_path, "key=sop_instance_uid")
    assert list(items) == ["1.2.1"]
    assert {d.source.partition(" (")[0] for d in dropped if d.defect} == {"1.2.2", "b.dcm"}


def test_a_build_stops_or_puts_aside(tmp_path):
    folder = tmp_path / "in"
    for number in range(4):
        _film(folder / f"{number}.dcm", number)
    short = folder / "3.dcm"
    short.write_bytes(short.read_bytes()[:-100])  # the header is whole
    _csv(folder, "path,label", *(f"{n}.dcm,{n % 2}" for n in range(5)))
    with pytest.raises(UserError, match=r"1 of 5 rows .*4.dcm \(.*line 6\): no such file"):
        build("dicom_folder", tmp_path / "out", _ALL, input_dir=str(folder))
    rows = build(
        "dicom_folder",
        tmp_path / "out",
        _ALL,
        input_dir=str(folder),
        tolerance=Tolerance("quarantine", 0.5),
    ).card["rows"]
    assert (rows["in"], rows["stored"], rows["quarantined"], rows["left_out"]) == (5, 3, 2, 0)


def test_the_csv_comes_before_the_headers(tmp_path):
    header = {"PatientSex": "M", "PatientAge": "034Y", "ViewPosition": "LL"}
    for number in range(3):
        _film(tmp_path / f"{number}.dcm", number, PatientID=f"h{number}", **header)
    _csv(tmp_path, "path,label,sex,age,view", "0.dcm,x,F,50,PA", "1.dcm,x,,,", "2.dcm,y,F,,")
    items = _items(tmp_path, _ALL)[1]
    assert [(i.patient_id, i.sex, i.age, i.view) for i in items.values()] == [
        ("h0", "F", "50", "PA"),
        ("h1", "M", "34", "LL"),
        ("h2", "F", "34", "LL"),
    ]
    _csv(tmp_path, "path,label,patient_id", "0.dcm,x,c", "1.dcm,x,c", "2.dcm,y,d")
    items = _items(tmp_path, _ALL)[1]
    assert [item.patient_id for item in items.values()] == ["c", "c", "d"]


def test_patients_of_some_rows_only_are_refused(tmp_path):
    for number in range(2):
        _film(tmp_path / f"{number}.dcm", number, PatientID="h")
    _csv(tmp_path, "path,label,patient_id", "0.dcm,x,c", "1.dcm,x,")
    with pytest.raises(UserError, match=r"labels\.csv, line 3: the patient_id is empty, but"):
        _items(tmp_path)


def test_patients_and_studies_stay_together(tmp_path):
    rows = ["path,label"]
    for number in range(60):
        # The second half is anonymised: only the study tells what belongs together.
        patient = f"p{number // 4}" if number < 30 else ""
        _film(
            tmp_path / f"{number}", number, PatientID=patient, StudyInstanceUID=f"1.{number // 3}"
        )
        rows.append(f"{number},{number % 2}")
    _csv(tmp_path, *rows)
    source, items, _ = _items(tmp_path)
    splits: dict[str, set[str]] = {}
    for item in items.values():
        splits.setdefault(item.patient_id, set()).add(item.split)
    assert len(splits) == 8 + 10
    assert all(len(names) == 1 for names in splits.values())
    assert {s for names in splits.values() for s in names} == {"train", "val", "test"}
    assert source.facts()["images_without_patient"] == 30
    assert _items(tmp_path)[1] == items


def test_splits_of_the_csv_are_kept(tmp_path):
    for number in range(3):
        _film(tmp_path / f"{number}", number)
    _csv(tmp_path, "path,label,split", "0,x,Training", "1,x,validate", "2,y,test")
    assert [i.split for i in _items(tmp_path)[1].values()] == ["train", "val", "test"]


def test_views_can_be_chosen(tmp_path):
    for number, view in enumerate(("PA", "AP", "LL", None)):
        _film(tmp_path / f"{number}", number, ViewPosition=view)
    _csv(tmp_path, "path,label,view", "0,x,", "1,x,", "2,x,pa", "3,x,")
    assert len(_items(tmp_path, _ALL)[1]) == 4
    _, items, dropped = _items(tmp_path, f"views=pa,{_ALL}")
    assert list(items) == ["0", "2"]
    assert [(d.source[0], d.reason, d.defect) for d in dropped] == [
        ("1", "another view", False),
        ("3", "no view known", False),
    ]
    job = stages.make_job("dicom_folder", input_dir=str(tmp_path), options=["views=PA,AP"])
    assert "views_PA-AP" in job.config or "views_PA+AP" in job.config


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    folder, outside = tmp_path / "in", tmp_path / "out"
    _film(outside / "x.dcm", 1)
    _film(folder / "own" / "y.dcm", 2)
    (folder / "x.dcm").symlink_to(outside / "x.dcm")
    (folder / "door").symlink_to(outside)
    (folder / "y.dcm").symlink_to(folder / "own" / "y.dcm")
    for path in ("../out/x.dcm", str(outside / "x.dcm")):
        _csv(folder, "path,label", f"{path},x")
        with pytest.raises(UserError, match=r"line 2: the path .* is not below"):
            _items(folder)
    for key, name in (
        ("path", "x.dcm"),
        ("path", "door/x.dcm"),
        ("name", "x.dcm"),
        ("sop_instance_uid", "1.2.1"),
    ):
        _csv(folder, f"{key},label", f"{name},x")
        with pytest.raises(UserError, match=r"line 2: .* is a link out of the input folder"):
            _items(folder, f"key={key}")
    _csv(folder, "path,label", "y.dcm,x")
    assert list(_items(folder, _ALL)[1]) == ["y.dcm"]


@pytest.mark.parametrize(
    "rows, options, message",
    [
        (None, "", r"labels\.csv: no such file: name the table with --options=csv=FILE"),
        (("name,label", "a,x"), "", "no column 'path'; it has name, label"),
        (("path,label", "a,x"), "key=name", "no column 'name'; it has path, label"),
        (("path,label", ",x"), "", "line 2: the path is empty"),
        (("path,label", "a,"), "", "line 2: the label is empty"),
        (("path,Mass", "a,yes"), "labels=Mass", "line 2: Mass is 'yes', not one of"),
        (("path,label", "a,x"), "key=uid", "--options: key='uid'"),
    ],
)
def test_wrong_tables_and_options_are_refused(tmp_path, rows, options, message):
    _film(tmp_path / "a", 0)
    if rows:
        _csv(tmp_path, *rows)
    with pytest.raises(UserError, match=message):
        _items(tmp_path, *filter(None, [options]))


def test_real_films_are_built(tmp_path):
    folder = tmp_path / "in"
    (folder / "films").mkdir(parents=True)
    names = ("RG1_UNCR.dcm", "RG3_J2KR.dcm", "vlut_04.dcm", "mlut_18.dcm")
    for name in names:
        shutil.copy(bundled(name), folder / "films" / name)
    _csv(folder, "name,label", *(f"{name},{name[:2]}" for name in names))
    outcome = build(
        "dicom_folder", tmp_path / "out", f"key=name,{_ALL}", input_dir=str(folder), image_size=64
    )
    data = Dataset(outcome.folder)
    assert data.labels.names == ("RG", "ml", "vl")
    for name, pixels in _stored(data, "train").items():
        assert min(pixels.shape) == 64 and pixels.ndim == 2, name
        assert pixels.std() > 20, name
