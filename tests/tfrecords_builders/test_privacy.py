"""Hashed builds: no name of a patient, study or file is left anywhere, and nothing else changes."""

import gzip

import numpy as np
import pytest
from conftest import build, write_image

from keras_transfer.core.errors import UserError
from keras_transfer.data.dataset import Dataset
from tfrecords_builders.checks import Tolerance
from tfrecords_builders.privacy import Pseudonyms


@pytest.fixture
def clinic(tmp_path):
    """A folder whose names all hold the word SECRET; one file is missing, one is no image."""
    folder = tmp_path / "clinic"
    rows = ["path,label,patient_id"]
    for number in range(20):
        name = f"SECRET{number // 2}/SECRET_{number}.png"
        write_image(folder / name, number)
        rows.append(f"{name},{number % 2},SECRET{number // 2}")
    (folder / "SECRET0/broken.png").write_bytes(b"no image")
    rows += ["SECRET0/broken.png,1,SECRET0", "SECRET0/gone.png,1,SECRET0"]
    (folder / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "salt").write_bytes(bytes(range(32)))
    (tmp_path / "other").write_bytes(bytes(range(1, 33)))
    return folder


def _build(clinic, output, **arguments):
    return build(
        "image_folder",
        clinic.parent / output,
        "csv=labels.csv",
        input_dir=str(clinic),
        tolerance=Tolerance("quarantine", 0.5),
        **arguments,
    )


def test_no_name_is_left_in_any_output(clinic):
    outcome = _build(clinic, "hashed", salt_file=str(clinic.parent / "salt"))
    for path in outcome.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            text = gzip.decompress(data) if path.suffix == ".gz" else data
            assert b"SECRET" not in text, path.name
    assert outcome.card["rows"] == {"in": 22, "stored": 20, "quarantined": 2, "left_out": 0}
    assert outcome.folder.parent.name.endswith("hashed")


def test_patients_splits_and_pixels_stay_what_they_are(clinic):
    hashed = Dataset(_build(clinic, "a", salt_file=str(clinic.parent / "salt")).folder)
    other = Dataset(_build(clinic, "b", salt_file=str(clinic.parent / "other")).folder)
    plain = Dataset(_build(clinic, "c").folder)
    name = Pseudonyms(str(clinic.parent / "salt"))
    for split in plain.splits:
        rows, expected = hashed.index(split), plain.index(split)
        for column in ("example_id", "patient_id", "source"):
            assert set(rows[column]) == set(map(name, expected[column]))
            assert not set(rows[column]) & set(other.index(split)[column])
        assert np.bincount(hashed.label_array(split)).tolist() == (
            np.bincount(plain.label_array(split)).tolist()
        )


def test_a_build_is_not_mixed_from_two_salts(clinic):
    _build(clinic, "same", salt_file=str(clinic.parent / "salt"))
    with pytest.raises(UserError, match=r"built otherwise.*salt"):
        _build(clinic, "same", salt_file=str(clinic.parent / "other"))


def test_unknown_stays_unknown_and_without_a_salt_names_stay(tmp_path):
    (tmp_path / "salt").write_bytes(bytes(16))
    hidden = Pseudonyms(str(tmp_path / "salt"))
    assert hidden("") == "" and len(hidden("p1")) == 32 and hidden("p1") != hidden("p2")
    assert Pseudonyms("")("p1") == "p1" and Pseudonyms("").fingerprint == ""
