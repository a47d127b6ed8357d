import numpy as np
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import union
from keras_transfer.core.sampling import MixtureOrder
from keras_transfer.data import augment, pipeline
from keras_transfer.data.dataset import Dataset

TRAIN = "decode|resize(12)|random_crop(8)|random_flip|value_range(-1, 1)"
EVAL = "decode|resize(8)|value_range(-1, 1)"


@pytest.fixture
def examples(digits):
    return pipeline.Examples([Dataset(digits)], "train")


def _take(examples, steps, start=0, workers=1, pieces=1, batch=12, **kwargs):
    """Global batches, put together from the pieces of all workers."""
    made = []
    for worker in range(workers):
        part = pipeline.Slice(
            global_batch_size=batch, worker=worker, num_workers=workers, pieces=pieces
        )
        ds = pipeline.train_dataset(
            examples, augment.compose(TRAIN), part, seed=3, start_step=start, **kwargs
        )
        made.append(list(ds.take(steps * pieces).as_numpy_iterator()))
    return [
        {
            key: np.concatenate(
                [piece[key] for w in made for piece in w[s * pieces : (s + 1) * pieces]]
            )
            for key in ("image", "label", "weight")
        }
        for s in range(steps)
    ]


def _assert_equal(a, b):
    for one, other in zip(a, b, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_batches_do_not_depend_on_how_they_are_cut(examples, mixup):
    whole = _take(examples, 4, mixup=mixup)
    _assert_equal(whole, _take(examples, 4, workers=3, pieces=2, mixup=mixup))
    _assert_equal(whole, _take(examples, 4, pieces=6, mixup=mixup, read_threads=1))
    _assert_equal(whole[2:], _take(examples, 2, start=2, workers=2, mixup=mixup))


def test_batches_are_what_they_promise(examples):
    batch = _take(examples, 1)[0]
    assert batch["image"].shape == (12, 8, 8, 3) and batch["image"].dtype == np.float32
    assert -1 <= batch["image"].min() < -0.5 and 0.5 < batch["image"].max() <= 1
    assert batch["label"].dtype == np.int32 and (batch["weight"] == 1).all()


def test_augmentation_differs_between_epochs_and_examples(examples):
    one = examples.subset(np.array([5]))
    images = np.concatenate([b["image"] for b in _take(one, 3)])
    assert len({image.tobytes() for image in images}) > 10


def test_fewer_examples_than_a_batch(examples):
    few = examples.subset(np.array([3, 30, 300]))
    labels = np.concatenate([b["label"] for b in _take(few, 5)]).reshape(-1, 3)
    assert (np.sort(labels) == np.sort(few.label)).all(), "every epoch holds each example once"


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("kind", ["digits", "films"])
def test_evaluation_sees_every_example_once(request, kind, batch):
    examples = pipeline.Examples([Dataset(request.getfixturevalue(kind))], "test")
    seen, weight = [], 0.0
    for worker in range(3):
        part = pipeline.Slice(global_batch_size=3 * batch, worker=worker, num_workers=3)
        batches = list(
            pipeline.eval_dataset(examples, augment.compose(EVAL), part).as_numpy_iterator()
        )
        assert len(batches) == -(-len(examples) // (3 * batch))
        for b in batches:
            assert len(b["image"]) == batch
            real = b["index"] >= 0
            seen.extend(b["index"][real])
            np.testing.assert_array_equal(b["label"][real], examples.label[b["index"][real]])
            assert (b["weight"][~real] == 0).all()
            weight += b["weight"].sum()
    assert sorted(seen) == list(range(len(examples)))
    assert weight == np.isfinite(examples.label).sum()


def test_unknown_labels_have_weight_0(films):
    examples = pipeline.Examples([Dataset(films)], "train")
    batch = _take(examples, 3)[2]
    unknown = np.isnan(batch["label"])
    assert unknown.any() and (batch["weight"] == ~unknown).all()


def test_several_datasets_are_joined_by_name(films, tmp_path):
    dataset = Dataset(films)
    both = pipeline.Examples([dataset, dataset], "train")
    alone = pipeline.Examples([dataset], "train")
    assert len(both) == 2 * len(alone)
    n = len(alone)
    assert both.read(np.array([1, n + 1, n - 1, n])) == alone.read(np.array([1, 1, n - 1, 0]))
    assert both.example_ids()[0].startswith(f"{dataset.name}:")


def test_views_are_kept_by_name_and_by_dataset(films, digits, caplog):
    dataset = Dataset(films)
    whole = pipeline.Examples([dataset], "train")
    view = dataset.index("train", ["view"])["view"].to_numpy()
    pa = np.flatnonzero(view == "PA")
    assert 0 < len(pa) < len(view)
    with caplog.at_level("INFO"):
        kept = pipeline.Examples([dataset], "train", keep_views=("PA",))
    others = len(view) - len(pa)
    assert f"keeps {len(pa)} images of {len(view)}; left out: {others} AP" in caplog.text
    np.testing.assert_array_equal(kept.example_ids(), whole.example_ids()[pa])
    np.testing.assert_array_equal(kept.label, whole.label[pa])
    np.testing.assert_array_equal(kept.positives(), (whole.label[pa] == 1).sum(axis=0))
    assert kept.read(np.array([3, 0])) == whole.read(pa[[3, 0]])
    two = kept.subset(np.array([4, 2]))
    np.testing.assert_array_equal(two.example_ids(), whole.example_ids()[pa[[4, 2]]])

    spaces = [Dataset(digits), dataset]
    labels = union([d.labels for d in spaces], "all")
    both = pipeline.Examples(spaces, "train", labels, ("phantom:PA",))
    digit_count = len(both) - len(pa)
    assert (both.source == 1).sum() == len(pa)
    assert digit_count == Dataset(digits).split("train").num_examples, "no entry concerns digits"
    with pytest.raises(UserError, match=r"has a view of data.views \(PA\); it has \d+ unknown"):
        pipeline.Examples(spaces, "train", labels, ("PA",))
    with pytest.raises(UserError, match="'chexpert:PA' names no dataset"):
        pipeline.Examples([dataset], "train", keep_views=("chexpert:PA",))


@pytest.fixture
def mixture(digits, films):
    """Classes and findings under one head."""
    datasets = [Dataset(digits), Dataset(films)]
    return pipeline.Examples(datasets, "train", union([d.labels for d in datasets], "all"))


def test_sources_of_one_batch_know_their_own_labels_only(mixture, digits, films):
    batch = _take(mixture, 1, batch=64, weights=(1.0, 1.0))[0]
    digit = ~np.isnan(batch["label"][:, 0])
    assert 16 < digit.sum() < 48
    assert (batch["label"][digit, :5].sum(axis=1) == 1).all(), "one class of five, the others 0"
    assert np.isnan(batch["label"][digit, 5:]).all() and np.isnan(batch["label"][~digit, :5]).all()
    assert (batch["weight"] == np.isfinite(batch["label"])).all()
    alone = [pipeline.Examples([Dataset(folder)], "train") for folder in (digits, films)]
    count = len(alone[0])
    np.testing.assert_array_equal(mixture.label[:count, :5].argmax(axis=1), alone[0].label)
    np.testing.assert_array_equal(mixture.label[count:, 5:], alone[1].label)
    np.testing.assert_array_equal(mixture.positives(), (mixture.label == 1).sum(axis=0))
    np.testing.assert_array_equal(alone[0].positives(), np.bincount(alone[0].label))


def test_a_mixture_does_not_depend_on_how_it_is_cut(mixture):
    weights = (1.0, 3.0)
    whole = _take(mixture, 4, weights=weights)
    _assert_equal(whole, _take(mixture, 4, workers=3, pieces=2, weights=weights))
    _assert_equal(whole[2:], _take(mixture, 2, start=2, workers=2, weights=weights))
    order = MixtureOrder(mixture.source, weights, seed=3)
    expected = mixture.label_at(order.indices(0, 48))
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in whole]), expected)


def test_random_evaluation_and_uneven_batches_are_refused(examples):
    part = pipeline.Slice(global_batch_size=4)
    with pytest.raises(UserError, match="must not be random"):
        pipeline.eval_dataset(examples, augment.compose(TRAIN), part)
    with pytest.raises(UserError, match="cannot be cut evenly into 3 workers"):
        pipeline.Slice(global_batch_size=4, num_workers=3)
