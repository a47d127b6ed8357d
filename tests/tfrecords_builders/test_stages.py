"""Whole builds: what is on disk in the end, and what happens on the second call."""

import csv
import gzip

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import build, digests, write_image

from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import finish, images, stages


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One dataset of every kind of source."""
    output, photos = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("in") / "photos"
    for number in range(40):
        kind = "png" if number % 3 else "jpeg"
        write_image(photos / f"class_{number % 2}" / f"{number}.{kind}", number, kind=kind)
    return {
        "digits": build("digits", output, "classes=0-4").folder,
        "phantom": build("phantom", output, "num_patients=30,size=48,site=b").folder,
        "image_folder": build("image_folder", output, input_dir=str(photos)).folder,
        "as_is": build(
            "image_folder", output, "name=as_is", input_dir=str(photos), encoding="original"
        ).folder,
    }


@pytest.mark.parametrize("kind", ["digits", "phantom", "image_folder", "as_is"])
def test_plain_tfds_opens_the_folder_and_agrees_with_index_and_offsets(folders, kind):
    folder = folders[kind]
    builder = tfds.builder_from_directory(str(folder))
    data = Dataset(folder)
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    assert builder.info.name == data.card["name"] == folder.parents[1].name
    assert data.name == f"{folder.parents[1].name}/{folder.parent.name}"
    seen = 0
    for split in builder.info.splits:
        examples = list(builder.as_dataset(split=split, read_config=in_order).as_numpy_iterator())
        index, labels = data.index(split), data.label_array(split)
        assert [e["example_id"].decode() for e in examples] == index["example_id"].tolist()
        assert [e["patient_id"].decode() for e in examples] == index["patient_id"].tolist()
        assert [e["view"].decode() for e in examples] == index["view"].tolist()
        np.testing.assert_array_equal(np.stack([e["label"] for e in examples]), labels)
        if data.labels.is_multilabel:
            states = [f"{records.STATE_PREFIX}{name}" for name in data.labels.names]
            np.testing.assert_array_equal(
                np.stack([e["label_state"] for e in examples]), index[states].astype(int)
            )
        reader = data.reader(split)
        assert reader.read([len(examples) - 1, 0])[1] == next(
            records.iterate_records(data.split(split))
        )
        assert all(e["image"].dtype == np.uint8 for e in examples)
        seen += len(examples)
    assert seen == data.card["rows"]["stored"]


def test_pixels_are_those_of_the_source(folders):
    data = Dataset(folders["digits"])
    builder = tfds.builder_from_directory(str(folders["digits"]))
    source = stages.make_job("digits", options=["classes=0-4"]).open_source()
    items = {item.example_id: item for item in source.items()}
    for example in builder.as_dataset(split="test").take(20).as_numpy_iterator():
        expected = source.load(items[example["example_id"].decode()])
        np.testing.assert_array_equal(example["image"][..., 0], expected)
    assert data.card["published"] == {}


def test_sixteen_bit_films_fill_the_range_of_eight(folders):
    builder = tfds.builder_from_directory(str(folders["phantom"]))
    source = stages.make_job("phantom", options=["num_patients=30,size=48,site=b"]).open_source()
    items = {item.example_id: item for item in source.items()}
    for example in builder.as_dataset(split="train").take(5).as_numpy_iterator():
        deep = source.load(items[example["example_id"].decode()])
        assert deep.dtype == np.uint16 and deep.max() > 40000
        np.testing.assert_allclose(example["image"][..., 0], deep / 257, atol=0.51)


def test_original_files_are_stored_untouched(folders):
    data = Dataset(folders["as_is"])
    kinds = set()
    for payload, source in zip(
        records.iterate_records(data.split("train")), data.index("train")["source"]
    ):
        from tensorflow_datasets.proto import tf_example_pb2

        stored = tf_example_pb2.Example.FromString(payload).features.feature["image"]
        number = int(source.split("/")[1].split(".")[0])
        kind = "png" if number % 3 else "jpeg"
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        assert stored.bytes_list.value[0] == images.encode(pixels, kind)
        kinds.add(kind)
    assert kinds == {"png", "jpeg"}


def test_index_has_the_documented_columns(folders):
    with gzip.open(folders["phantom"] / records.INDEX_FILE, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    labels = Dataset(folders["phantom"]).labels.names
    assert list(rows[0]) == [*records.INDEX_COLUMNS, *(f"label/{name}" for name in labels)]
    assert {row["sex"] for row in rows} == {"F", "M"}
    assert {row["view"] for row in rows} == {"PA", "AP"}
    assert all(18 <= int(row["age"]) <= 95 for row in rows)
    splits = [row["split"] for row in rows]
    assert splits == sorted(splits, key=["train", "val", "test"].index)


def test_the_card_counts_what_is_in_the_index(folders):
    for folder in folders.values():
        data = Dataset(folder)
        for split, facts in data.card["splits"].items():
            index, labels = data.index(split), data.label_array(split)
            assert facts["examples"] == len(index)
            known = index["patient_id"][index["patient_id"] != ""]
            assert facts["patients"] == known.nunique()
            for number, name in enumerate(data.labels.names):
                if data.labels.is_multilabel:
                    assert facts["labels"][name]["positive"] == (labels[:, number] == 1).sum()
                    assert facts["labels"][name]["negative"] == (labels[:, number] == 0).sum()
                else:
                    assert facts["labels"][name] == (labels == number).sum()
        assert data.card["labels"] == list(data.labels.names)
        hashes = runs.read_json(folder / finish.SHARDS_FILE)
        assert sorted(hashes) == sorted(p.name for p in folder.glob("*.tfrecord-*"))


def test_no_working_file_is_left(folders):
    for folder in folders.values():
        assert [p.name for p in folder.parent.iterdir()] == [folder.name]
        assert not [p for p in folder.rglob("*") if p.name.startswith(".") or p.is_dir()]


def test_a_complete_dataset_is_left_alone(tmp_path):
    first = build("digits", tmp_path, "classes=0-1")
    before = digests(tmp_path)
    times = {p: p.stat().st_mtime_ns for p in first.folder.iterdir()}
    for stage in stages.STAGES:
        again = build("digits", tmp_path, "classes=0-1", stage=stage)
        assert first.built and not again.built
        assert again.card == first.card
    assert digests(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in first.folder.iterdir()} == times


def test_another_request_is_refused_by_what_differs_and_replaces_if_asked(tmp_path, photos):
    arguments = {"input_dir": str(photos)}
    build("image_folder", tmp_path / "out", **arguments)
    with pytest.raises(UserError, match=r"options.leaky: 'False' there, 'True' here.*--overwrite"):
        build("image_folder", tmp_path / "out", "leaky=true", **arguments)
    write_image(photos / "cat" / "new.png", 1000)
    before = digests(tmp_path / "out")
    with pytest.raises(UserError, match=r"30 rows there, 31 here.*--overwrite"):
        build("image_folder", tmp_path / "out", **arguments)
    assert digests(tmp_path / "out") == before
    outcome = build("image_folder", tmp_path / "out", overwrite=True, **arguments)
    assert outcome.built and outcome.card["rows"]["stored"] == 31
    assert [p.name for p in outcome.folder.parent.iterdir()] == ["1.0.0"]


def test_damaged_datasets_are_built_again_on_request(tmp_path):
    folder = build("digits", tmp_path, "classes=0-1").folder
    before = digests(folder)
    next(folder.glob("*.tfrecord-*")).write_bytes(b"")
    assert not build("digits", tmp_path, "classes=0-1").built
    assert build("digits", tmp_path, "classes=0-1", overwrite=True).built
    assert digests(folder) == before


def test_a_refused_plan_leaves_no_folder(tmp_path, photos):
    (photos / "bird").mkdir()
    with pytest.raises(UserError, match="'bird' has no image"):
        build("image_folder", tmp_path / "out", input_dir=str(photos))
    assert not (tmp_path / "out" / "photos").exists()


def test_grey_files_in_a_colour_dataset_read_as_colour(tmp_path):
    write_image(tmp_path / "in" / "a" / "x.png", 0, (10, 12))
    write_image(tmp_path / "in" / "a" / "y.jpeg", 1, (10, 12), "jpeg")
    for encoding in ("original", "png", "jpeg"):
        folder = build(
            "image_folder",
            tmp_path / encoding,
            "val_fraction=0,test_fraction=0",
            input_dir=str(tmp_path / "in"),
            encoding=encoding,
        ).folder
        for example in tfds.builder_from_directory(str(folder)).as_dataset(split="train"):
            image = example["image"].numpy()
            assert image.shape == (10, 12, 3)
            assert np.ptp(image, axis=-1).max() <= 1 and image.std() > 30


def test_a_dataset_cannot_lie_in_its_own_input(photos):
    with pytest.raises(UserError, match="would lie inside --input_dir"):
        build("image_folder", photos.parent, input_dir=str(photos))
    assert sorted(p.name for p in photos.iterdir()) == ["cat", "dog"]


def test_stages_one_by_one_equal_all_at_once(tmp_path):
    expected = digests(build("digits", tmp_path / "once", "classes=0-1").folder)
    for stage in stages.STAGES[1:-1]:
        outcome = build("digits", tmp_path, "classes=0-1", stage=stage)
        assert outcome.card is None and outcome.folder.name.endswith(records.BUILDING)
    outcome = build("digits", tmp_path, "classes=0-1", stage="finalize")
    assert digests(outcome.folder) == expected


def test_stages_out_of_order_or_of_another_request_are_refused(tmp_path):
    with pytest.raises(UserError, match="no plan yet"):
        build("digits", tmp_path, "classes=0-1", stage="write")
    build("digits", tmp_path, "classes=0-1", stage="plan")
    with pytest.raises(UserError, match="shards are not finished"):
        build("digits", tmp_path, "classes=0-1", stage="finalize")


def test_shards_of_an_earlier_plan_are_removed(tmp_path):
    for stage in ("plan", "write"):
        build("digits", tmp_path, "classes=0-1", stage=stage, num_shards=5)
    outcome = build("digits", tmp_path, "classes=0-1", num_shards=2)
    files = {p.name for p in outcome.folder.glob("*train.tfrecord-*")}
    assert files == {f"digits-train.tfrecord-0000{i}-of-00002" for i in (0, 1)}


def test_split_without_a_readable_image_is_kept_as_empty(tmp_path):
    from tfrecords_builders.checks import Tolerance

    for number in range(20):
        write_image(tmp_path / "in" / "train" / "a" / f"{number}.png", number)
    (tmp_path / "in" / "test" / "a").mkdir(parents=True)
    (tmp_path / "in" / "test" / "a" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    outcome = build(
        "image_folder",
        tmp_path / "out",
        input_dir=str(tmp_path / "in"),
        tolerance=Tolerance("quarantine", 0.1),
    )
    data = Dataset(outcome.folder)
    assert data.split("train").num_examples == 20
    with pytest.raises(UserError, match="'test' is empty"):
        data.split("test")
