import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data.dataset import Dataset


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder that TFDS wrote, without our three files."""
    folder = tmp_path_factory.mktemp("plain")
    images = np.arange(12 * 4 * 4 * 3, dtype=np.uint8).reshape(12, 4, 4, 3)
    rows = [{"image": image, "label": i % 3} for i, image in enumerate(images)]
    tfds.dataset_builders.store_as_tfds_dataset(
        name="plain",
        version="1.0.0",
        data_dir=str(folder),
        split_datasets={"train": enumerate(rows[:9]), "test": enumerate(rows[9:])},
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(4, 4, 3)),
                "label": tfds.features.ClassLabel(names=["cat", "dog", "fish"]),
            }
        ),
    )
    return folder


def test_a_folder_of_tfds_is_read_without_our_files(plain):
    dataset = Dataset(plain)
    assert dataset.name == "plain"
    assert dataset.labels.names == ("cat", "dog", "fish")
    assert dataset.split("train").num_examples == 9
    assert sorted(dataset.label_array("train")) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(dataset.example_ids("test")) == ["test/0", "test/1", "test/2"]
    assert len(dataset.reader("train").read(range(9))) == 9


def test_what_is_not_there_is_named(plain, tmp_path):
    with pytest.raises(UserError, match=r"no such dataset folder.*Build it"):
        Dataset(plain / "nothing")
    with pytest.raises(UserError, match="holds no finished dataset"):
        Dataset(tmp_path)
    with pytest.raises(UserError, match="no split 'val'; it has test, train"):
        Dataset(plain).split("val")
    shutil.copytree(plain / "plain", tmp_path / "a")
    shutil.copytree(plain / "plain", tmp_path / "b")
    with pytest.raises(UserError, match="several datasets; name one of"):
        Dataset(tmp_path)
    folder = Dataset(tmp_path / "a").path
    next(folder.glob("*train.tfrecord*")).unlink()
    with pytest.raises(UserError, match=r"train.tfrecord-00000-of-00001: missing"):
        Dataset(tmp_path / "a").split("train")


def test_damaged_metadata_is_one_line(plain, tmp_path):
    shutil.copytree(plain / "plain", tmp_path / "a")
    folder = Dataset(tmp_path / "a").path
    (folder / "card.json").write_text("{")
    with pytest.raises(CorruptFileError, match=r"card.json: not valid JSON"):
        Dataset(folder)
    (folder / "card.json").unlink()
    (folder / "dataset_info.json").write_text("[]")
    with pytest.raises(UserError, match="not a readable dataset folder") as error:
        Dataset(folder)
    assert "\n" not in str(error.value)


def test_policies_of_unknown_labels_are_applied_when_reading(films):
    unknown = Dataset(films).label_array("train")
    assert np.isnan(unknown).any()
    counts = Dataset(films).card["splits"]["train"]["labels"].values()
    guessed = Dataset(films, uncertain="one", not_mentioned="zero").label_array("train")
    assert not np.isnan(guessed).any()
    known = ~np.isnan(unknown)
    np.testing.assert_array_equal(guessed[known], unknown[known])
    assert guessed.sum() - np.nansum(unknown) == sum(c["uncertain"] for c in counts)
