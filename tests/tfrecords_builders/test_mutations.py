"""Damaged inputs: a build tells what is wrong, or accounts for every row; nothing else happens."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import build, write_image
from pydicom.data import get_testdata_file
from tar_trees import picture, tar
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import formats, inspect
from tfrecords_builders.checks import Tolerance

MUTATIONS = 200


def _photos(folder: Path) -> tuple[str, ...]:
    rows = ["path,split,patient_id,Mass,Edema"]
    for number in range(8):
        kind = "jpeg" if number % 2 else "png"
        write_image(folder / f"{number}.{kind}", number, (20, 24, 3), kind)
        rows.append(f"{number}.{kind},{'train' if number < 6 else 'test'},p{number},1,-1")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return "image_folder", "csv=labels.csv,labels=Mass,Edema,name=photos"


def _tars(folder: Path) -> tuple[str, ...]:
    synsets = {f"n0000000{n}": range(n * 3, n * 3 + 3) for n in range(3)}
    tree = {
        f"{name}.tar": {f"{name}_{i}.JPEG": picture(i) for i in numbers}
        for name, numbers in synsets.items()
    }
    (folder / "fall11_whole.tar").write_bytes(tar(tree))
    return ("imagenet21k",)


def _films(folder: Path) -> tuple[str, ...]:
    names = ("MR_small.dcm", "CT_small.dcm", "MR_small_RLE.dcm", "examples_overlay.dcm")
    rows = ["path,patient_id,Mass"]
    for number, name in enumerate(names):
        shutil.copy(get_testdata_file(name, download=False), folder / name)
        rows.append(f"{name},p{number},{number % 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return "dicom_folder", "labels=Mass,val_fraction=0,test_fraction=0,name=films"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Name -> folder and what to build of it."""
    found = {}
    for make in (_photos, _tars, _films):
        folder = tmp_path_factory.mktemp(make.__name__)
        found[make.__name__] = folder, make(folder)
    return found


def _mutate(path: Path, rng: np.random.Generator) -> str:
    """Flips some bits of a file, or cuts it; returns what was done."""
    data = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        size = int(rng.integers(len(data)))
        path.write_bytes(data[:size])
        return f"{path.name} cut to {size} bytes"
    # Half of the flips into the first bytes, where headers are.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 600)
    places = rng.integers(reach, size=rng.integers(1, 12))
    for place in places:
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    return f"{path.name} flipped at {places.tolist()}"


@pytest.mark.parametrize("kind", ["_photos", "_tars", "_films"])
def test_damage_is_named_or_accounted_for(trees, tmp_path, kind):
    original, (source, *options) = trees[kind]
    tolerance = Tolerance("quarantine", 1.0)
    whole = build(source, tmp_path / "whole", *options, input_dir=str(original)).card["rows"]["in"]
    outcomes = {"refused": 0, "set aside": 0, "stored": 0}
    for seed in range(MUTATIONS // 3 + 1):
        rng = np.random.default_rng(seed)
        folder = tmp_path / "in"
        shutil.copytree(original, folder)
        victim = sorted(folder.iterdir())[rng.integers(len(list(folder.iterdir())))]
        what = _mutate(victim, rng)
        try:
            card = build(
                source, tmp_path / "out", *options, input_dir=str(folder), tolerance=tolerance
            ).card
        except UserError as error:
            message = str(error)
            assert message and "\n" not in message, what
            assert len(message) < 2000 and "Traceback" not in message, what
            outcomes["refused"] += 1
        else:
            rows = card["rows"]
            assert rows["in"] == rows["stored"] + rows["quarantined"] + rows["left_out"], what
            if victim.suffix not in (".csv", ".tar"):  # those may name fewer
                assert rows["in"] == whole, what
            _check_stored(Dataset(tmp_path / "out"), rows["stored"], what)
            outcomes["set aside" if rows["quarantined"] else "stored"] += 1
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert outcomes["refused"] + outcomes["set aside"] > 20, outcomes


def _check_stored(data: Dataset, stored: int, what: str) -> None:
    """Every record can be read; an image that cannot be decoded is named by ``inspect --verify``.

    Files that are stored as they are, are not decoded when they are stored.
    """
    bad = set()
    for split in data.splits.values():
        for number, payload in enumerate(records.iterate_records(split)):
            stored -= 1
            feature = tf_example_pb2.Example.FromString(payload).features.feature
            try:
                formats.decode(feature["image"].bytes_list.value[0])
            except CorruptFileError:
                bad.add(f"{split.files[0]}, record {number}:")
    assert stored == 0, what
    found = list(inspect.verify(data, num_workers=1)) if bad else []
    assert all(any(line.startswith(place) for line in found) for place in bad), what
