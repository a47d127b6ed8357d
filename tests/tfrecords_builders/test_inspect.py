"""What a person sees of a dataset, and what --verify finds."""

import gzip
import shutil

import numpy as np
import pytest
from conftest import build, write_image

from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import images, inspect, sheet


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    output = tmp_path_factory.mktemp("films")
    return build("phantom", output, "num_patients=20,size=32,site=c", num_shards=3).folder


def test_description_counts_what_the_index_holds(films):
    data = Dataset(films)
    text = inspect.describe(data)
    for split in data.splits:
        assert f"images of {split}: png" in text
        counts = inspect.label_counts(data, split)
        assert counts == data.card["splits"][split]["labels"]
        label = data.label_array(split)
        for column, name in enumerate(data.labels.names):
            assert counts[name]["positive"] == (label[:, column] == 1).sum()
            assert "/".join(map(str, counts[name].values())) in text
    views = data.index("train", ["view"])["view"].value_counts()
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    for view, count in views.items():
        assert lines[view][0] == str(count)


def test_the_sheet_shows_every_image_once(tmp_path):
    for number in range(8):
        write_image(tmp_path / "in" / "ab"[number % 2] / f"{number}.png", number, (40, 30, 3))
    options = "val_fraction=0,test_fraction=0"
    data = Dataset(
        build("image_folder", tmp_path / "out", options, input_dir=f"{tmp_path}/in").folder
    )
    encoded = [images.encode(np.full((40, 30), 20 * n, np.uint8), "png") for n in range(8)]
    drawn = sheet.draw(encoded, data.index("train"), data.labels)
    # Two rows of six squares; the last four are empty.
    tile = drawn.shape[1] // 6
    height = drawn.shape[0] // 2
    middles = drawn[tile // 2 :: height, tile // 2 :: tile, 0].ravel()
    np.testing.assert_allclose(middles[:8], np.arange(8) * 20, atol=1)
    assert (middles[8:] == 255).all()
    captions = drawn[tile + 1 : height, :tile]
    assert (captions < 100).any(), "the caption is empty"


def test_verify_finds_what_was_changed(films, tmp_path):
    assert list(inspect.verify(Dataset(films), num_workers=1)) == []
    shutil.copytree(films, tmp_path / "films")
    data = Dataset(tmp_path / "films")
    file = data.splits["train"].files[1]
    damaged = bytearray(file.read_bytes())
    damaged[200] ^= 1
    file.write_bytes(damaged)
    assert list(inspect.verify(data, num_workers=2)) == [f"{file}: not as written (checksum)"]
    (data.path / "shards.json").unlink()  # as in folders of others: records have checksums, too
    assert "record 0: corrupt record" in next(inspect.verify(data, num_workers=1))


def test_verify_compares_labels_with_the_index(films, tmp_path):

    shutil.copytree(films, tmp_path / "films")
    path = tmp_path / "films" / records.INDEX_FILE
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    cells = lines[1].split(",")
    cells[-1] = "1" if cells[-1] == "0" else "0"
    lines[1] = ",".join(cells)
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    problems = list(inspect.verify(Dataset(tmp_path / "films"), num_workers=1))
    assert len(problems) == 1
    assert f"record 0: not what the index says of {cells[0]!r}" in problems[0]
