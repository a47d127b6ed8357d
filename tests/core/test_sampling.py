import numpy as np
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.core.sampling import (
    BalancedOrder,
    EpochOrder,
    MixtureOrder,
    few_shot,
    grouped_split,
    largest_remainder,
)


@pytest.mark.parametrize("n", [1, 7, 100])
def test_every_epoch_is_a_permutation_and_differs_from_the_last(n):
    order = EpochOrder(n, seed=3)
    epochs = order.indices(0, 5 * n).reshape(5, n)
    assert (np.sort(epochs) == np.arange(n)).all()
    if n > 10:
        assert len({tuple(epoch) for epoch in epochs}) == 5


def test_order_is_a_function_of_seed_and_position_only():
    whole = EpochOrder(37, seed=1).indices(0, 400)
    pieces = EpochOrder(37, seed=1)
    # Read backwards and in uneven pieces: a resumed or parallel reader sees the same.
    for start, count in [(390, 10), (100, 77), (0, 5), (36, 2), (370, 30)]:
        np.testing.assert_array_equal(pieces.indices(start, count), whole[start : start + count])
    assert (EpochOrder(37, seed=2).indices(0, 37) != whole[:37]).any()


def test_ids_of_an_epoch_are_a_partition_over_workers():
    n, workers, batch = 96, 4, 8
    orders = [EpochOrder(n, seed=0) for _ in range(workers)]
    share = batch // workers
    seen = [
        orders[w].indices(step * batch + w * share, share)
        for step in range(n // batch)
        for w in range(workers)
    ]
    assert sorted(np.concatenate(seen)) == list(range(n))


def test_oversampling_draws_every_class_equally_often():
    """10,000 draws, each class within 3 standard deviations of its binomial; examples likewise."""
    counts = np.array([500, 3, 0, 40, 7])
    label = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts))
    drawn = BalancedOrder(label, seed=1).indices(0, 10_000)
    found = np.bincount(label[drawn], minlength=5)
    assert found[2] == 0, "a class without examples"
    deviation = np.sqrt(10_000 * 0.25 * 0.75)
    assert (np.abs(found[counts > 0] - 2_500) < 3 * deviation).all()
    within = np.bincount(drawn, minlength=len(label))[label == 3]
    assert np.abs(within - 2_500 / 40).max() < 4 * np.sqrt(2_500 / 40)


def test_oversampling_is_a_function_of_seed_and_position_only():
    label = np.repeat([0, 1], [30, 5])
    whole = BalancedOrder(label, seed=1).indices(0, 10_000)
    for start, count in [(4_090, 20), (0, 5), (8_192, 1), (4_000, 5_000)]:
        part = BalancedOrder(label, seed=1).indices(start, count)
        np.testing.assert_array_equal(part, whole[start : start + count])
    assert (BalancedOrder(label, seed=2).indices(0, 100) != whole[:100]).any()


SOURCE = np.repeat([0, 1, 2], [50, 300, 7])


def _mixture(weights=(5, 3, 2), seed=1, block=64, source=SOURCE):
    return MixtureOrder(source, weights, seed, block)


def test_a_mixture_keeps_its_quotas_in_every_block():
    order = _mixture()
    np.testing.assert_array_equal(order.quotas, [32, 19, 13])  # 32, 19.2, 12.8 of 64
    blocks = SOURCE[order.indices(0, 40 * 64)].reshape(40, 64)
    for block in blocks:
        np.testing.assert_array_equal(np.bincount(block, minlength=3), order.quotas)
    assert len({tuple(block) for block in blocks}) == 40, "places are shuffled anew"


def test_a_source_of_a_mixture_goes_through_its_own_epochs():
    drawn = _mixture().indices(0, 64 * 200)
    for number in range(3):
        members = np.flatnonzero(np.equal(SOURCE, number))
        own = drawn[SOURCE[drawn] == number]
        epochs = own[: len(own) // len(members) * len(members)].reshape(-1, len(members))
        assert len(epochs) > 10 and (np.sort(epochs) == members).all()
        assert len({tuple(epoch) for epoch in epochs}) > 10


def test_a_mixture_is_a_function_of_seed_and_position_only():
    whole = _mixture().indices(0, 1000)
    pieces = _mixture()
    for start, count in [(990, 10), (100, 777), (0, 5), (63, 2), (64, 64), (500, 0)]:
        np.testing.assert_array_equal(pieces.indices(start, count), whole[start : start + count])
    assert (_mixture(seed=2).indices(0, 1000) != whole).any()
    shares = [_mixture() for _ in range(4)]  # workers, each with 8 of a batch of 32
    seen = [shares[w].indices(step * 32 + w * 8, 8) for step in range(31) for w in range(4)]
    np.testing.assert_array_equal(np.concatenate(seen), whole[: 31 * 32])


def test_weights_equal_to_sizes_are_the_shares_of_concatenation():
    sizes = [500, 3000, 70]
    order = MixtureOrder(np.repeat([0, 1, 2], sizes), sizes, seed=0)
    np.testing.assert_allclose(order.quotas / 4096, np.array(sizes) / sum(sizes), atol=0.5 / 4096)
    counts = np.bincount(order.indices(0, 100 * sum(sizes)), minlength=sum(sizes))
    assert abs(counts - 100).max() <= 3, "every example comes as often as in an epoch"


def test_examples_of_a_source_need_not_stand_together():
    source = np.array([1, 0, 0, 1, 0, 1, 0])
    drawn = _mixture((1, 3), source=source).indices(0, 640)
    assert (source[drawn] == 1).mean() == 0.75 and set(drawn) == set(range(7))


def test_mixtures_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"Weight 0\.001 of source 1 is too small"):
        _mixture((1, 0.001, 1))
    with pytest.raises(UserError, match="Source 3 of the mixture has no example"):
        _mixture((1, 1, 1, 1))


def test_largest_remainder_sums_up_and_rounds_to_a_neighbour():
    rng = np.random.default_rng(0)
    for _ in range(200):
        weights, total = rng.random(rng.integers(1, 9)) + 1e-3, int(rng.integers(1, 5000))
        exact = weights / weights.sum() * total
        shares = largest_remainder(weights, total)
        assert shares.sum() == total and (abs(shares - exact) < 1).all()
    np.testing.assert_array_equal(largest_remainder([1, 1, 1], 4), [2, 1, 1])


def test_few_shot_is_nested_balanced_and_seeded():
    label = np.random.default_rng(0).integers(0, 5, 500)
    chosen = {k: few_shot(label, k, seed=7) for k in (1, 5, 10)}
    assert set(chosen[1]) < set(chosen[5]) < set(chosen[10])
    for k, indices in chosen.items():
        assert (np.bincount(label[indices], minlength=5) == k).all()
    np.testing.assert_array_equal(chosen[5], few_shot(label, 5, seed=7))
    assert set(chosen[5]) != set(few_shot(label, 5, seed=8))


def test_few_shot_of_multilabel_has_positives_of_each_and_images_without():
    rng = np.random.default_rng(1)
    label = (rng.random((400, 4)) < 0.2).astype(np.float32)
    label[rng.random((400, 4)) < 0.1] = np.nan
    small, large = few_shot(label, 3, seed=0), few_shot(label, 9, seed=0)
    assert set(small) <= set(large)
    for indices, k in ((small, 3), (large, 9)):
        assert ((label[indices] == 1).sum(axis=0) >= k).all()
        assert (~(label[indices] == 1).any(axis=1)).sum() >= k


def test_few_shot_names_every_class_that_is_too_small():
    label = np.array([0] * 10 + [1] * 2 + [2] * 3)
    with pytest.raises(UserError, match="5-shot: dog: 2, fish: 3"):
        few_shot(label, 5, seed=0, names=("cat", "dog", "fish"))
    with pytest.raises(UserError, match="fish: 0"):
        few_shot(np.array([0, 1]), 1, seed=0, names=("cat", "dog", "fish"))


def test_grouped_split_keeps_patients_together_and_near_the_shares():
    rng = np.random.default_rng(0)
    patients = [f"p{i}" for i in rng.integers(0, 300, 2000)]
    split = grouped_split(patients, {"train": 0.7, "val": 0.1, "test": 0.2}, seed=0)
    for patient in set(patients):
        assert len({s for p, s in zip(patients, split) if p == patient}) == 1
    for name, share in {"train": 0.7, "val": 0.1, "test": 0.2}.items():
        assert abs((split == name).mean() - share) < 0.01


def test_grouped_split_treats_unknown_patients_as_different():
    split = grouped_split([""] * 1000, {"train": 0.5, "test": 0.5}, seed=0)
    assert abs((split == "train").mean() - 0.5) < 0.01
    with pytest.raises(UserError, match="sum to 1"):
        grouped_split([""], {"train": 0.5}, seed=0)
