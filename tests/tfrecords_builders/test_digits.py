"""The digits are scikit-learn's, all of them, and split as documented."""

from collections import Counter

import numpy as np
from sklearn.datasets import load_digits

from tfrecords_builders import images, sources, stages


def _items(*options: str, seed: int = 0):
    source = stages.make_job("digits", options=options, seed=seed).open_source()
    return source, list(source.items())


def test_all_1797_images_equal_scikit_learns():
    source, items = _items()
    bunch = load_digits()
    assert len(items) == 1797
    assert len({item.example_id for item in items}) == 1797
    for item in items:
        row = int(item.example_id.removeprefix("digit-"))
        assert source.labels.names[item.label] == str(bunch.target[row])
        expected = np.rint(bunch.images[row] / 16 * 255)
        np.testing.assert_array_equal(source.load(item), expected)


def test_splits_are_stratified_and_do_not_depend_on_the_classes():
    _, items = _items()
    counts = Counter((item.label, item.split) for item in items)
    for digit in range(10):
        total = sum(counts[digit, split] for split in ("train", "val", "test"))
        assert abs(counts[digit, "test"] - 0.2 * total) <= 0.5
        assert abs(counts[digit, "val"] - 0.1 * total) <= 0.5
    split_of = {item.example_id: item.split for item in items}
    source, some = _items("classes=5-9")
    assert source.labels.names == ("5", "6", "7", "8", "9")
    assert {item.label for item in some} == set(range(5))
    assert all(split_of[item.example_id] == item.split for item in some)
    _, other = _items(seed=1)
    assert any(split_of[item.example_id] != item.split for item in other)


def test_enlarged_digits_keep_their_shape():
    source, items = _items()
    rendering = images.Rendering("png", 32, 1)
    large = images.decode(rendering.render(source.load(items[0])))
    assert large.shape == (32, 32)
    back = images.resize_shorter(large, 8)
    # Cubic interpolation overshoots a little at edges.
    assert np.abs(back.astype(int) - source.load(items[0])).mean() < 12
    assert isinstance(items[0], sources.Item)
