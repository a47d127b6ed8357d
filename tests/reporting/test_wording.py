"""Sentences from tables whose answers are known."""

import numpy as np
import pytest
from scipy import stats

from keras_transfer.reporting import statements
from keras_transfer.reporting.collect import collect
from keras_transfer.reporting.tables import tabulate


def spread(mean, n=3, width=0.01):
    """Values with a given mean and a sample sd of ``width`` (n = 3)."""
    return [mean - width, mean, mean + width][:n] if n > 1 else [mean]


def write(folder, target, cells, **rest):
    for (source, shots), values in cells.items():
        for seed, value in enumerate(values):
            folder.transfer(target, source, shots, seed, value, **rest)


def read(folder):
    return statements(tabulate(collect(folder.path)))


METHOD = (
    "A difference is claimed where Welch's t-test over seeds gives p < 0.05. {} behind these "
    "sentences, not corrected for their number or for picking the best first: at least one in "
    "twenty comparisons of equals is expected to be claimed by chance. The spread is that between "
    "seeds; another set of test images would move the numbers too."
)


def test_clear_winner_and_distance_to_scratch(folder):
    cells = {
        ("scratch", 5): spread(0.5),
        ("digits 0-4", 5): spread(0.8),
        ("my_set", 5): spread(0.7),
    }
    write(folder, "digits 5-9", cells)
    assert read(folder) == [
        "On digits 5-9, the best pre-training does better than training from scratch with 5 shots.",
        "On digits 5-9 with 5 shots, pre-training on digits 0-4 is best: accuracy 80.00 ± 1.00 %, "
        "10.00 points above the runner-up, pre-training on my set (70.00 %, p < 0.001). It is "
        "30.00 points above training from scratch (50.00 %, p < 0.001).",
        METHOD.format("2 tests stand"),
    ]


def test_difference_within_noise_is_not_claimed(folder):
    cells = {("scratch", 1): spread(0.5, width=0.05), ("digits", 1): spread(0.52, width=0.05)}
    write(folder, "my_set", cells)
    assert read(folder) == [
        "On my set, from 3 seeds no difference can be claimed between pre-training on digits and "
        "training from scratch with 1 shot.",
        "On my set with 1 shot, pre-training on digits has the highest accuracy, 52.00 ± 5.00 %, "
        "but from 3 seeds no difference can be claimed from training from scratch (50.00 %, "
        "p = 0.65).",
        METHOD.format("1 test stands"),
    ]


def test_scratch_can_win(folder):
    write(folder, "my_set", {("scratch", None): spread(0.9), ("digits", None): spread(0.7)})
    assert read(folder)[:2] == [
        "On my set, pre-training on digits does worse than training from scratch with all "
        "training data.",
        "On my set with all training data, training from scratch is best: accuracy "
        "90.00 ± 1.00 %, 20.00 points above the runner-up, pre-training on digits (70.00 %, "
        "p < 0.001).",
    ]


def test_undecided_best_but_better_than_scratch(folder):
    cells = {
        ("scratch", 5): spread(0.3),
        ("a", 5): spread(0.8, width=0.05),
        ("b", 5): spread(0.79, width=0.05),
    }
    write(folder, "my_set", cells)
    assert read(folder)[1] == (
        "On my set with 5 shots, pre-training on a has the highest accuracy, 80.00 ± 5.00 %, but "
        "from 3 seeds no difference can be claimed from pre-training on b (79.00 %, p = 0.82). "
        "It is 50.00 points above training from scratch (30.00 %, p = 0.002)."
    )


def test_one_seed_claims_nothing(folder):
    write(folder, "my_set", {("scratch", 5): [0.2], ("digits", 5): [0.9]})
    assert read(folder) == [
        "On my set, from one seed no difference can be claimed between pre-training on digits and "
        "training from scratch with 5 shots.",
        "On my set with 5 shots, pre-training on digits has the highest accuracy, 90.00 %, but "
        "from one seed no difference can be claimed from training from scratch (20.00 %).",
        "No difference is claimed: no two results that differ have a spread over seeds to compare.",
    ]


def test_equal_means_and_a_single_source(folder):
    write(folder, "equal", {("scratch", 5): spread(0.5), ("digits", 5): spread(0.5)})
    write(folder, "single", {("digits", 5): spread(0.5)})
    sentences = read(folder)
    assert (
        "On equal with 5 shots, training from scratch and pre-training on digits share the highest "
        "accuracy, 50.00 ± 1.00 %."
    ) in sentences
    assert (
        "On single with 5 shots, only pre-training on digits has a result: accuracy 50.00 ± 1.00 %."
    ) in sentences


def test_the_others_are_compared_with_a_tie(folder):
    three = {("scratch", 5): spread(0.5), ("digits", 5): spread(0.5), ("pets", 5): spread(0.49)}
    write(folder, "equal", three)
    sentences = read(folder)
    (found,) = [sentence for sentence in sentences if "share the highest" in sentence]
    assert "; no difference can be claimed from pre-training on Pets (49.00 %, p = 0." in found
    assert "tests stand behind these" in sentences[-1] or "test stands" in sentences[-1]


def test_lower_is_better_for_a_loss(folder):
    cells = {("scratch", 5): spread(0.9), ("digits", 5): spread(0.6)}
    write(folder, "my_set", cells, metric="loss")
    assert read(folder)[:2] == [
        "On my set, pre-training on digits does better than training from scratch with 5 shots.",
        "On my set with 5 shots, pre-training on digits is best: loss 0.6000 ± 0.0100, 0.3000 "
        "below the runner-up, training from scratch (0.9000, p < 0.001).",
    ]


def test_near_and_far_small_and_large_over_shots(folder):
    for source, size in (("phantom small", 500), ("phantom large", 4000), ("digits 0-4", 700)):
        folder.pretrain(source, size)
    gains = {1: (0.5, 0.5, 0.5), 5: (0.5, 0.6, 0.7), 10: (0.5, 0.7, 0.6), None: (0.9, 0.6, 0.7)}
    for shots, (digits, small, large) in gains.items():
        width = 0.05 if shots == 1 else 0.005
        cells = {("digits 0-4", shots): spread(digits, width=width)}
        cells |= {("phantom small", shots): spread(small + 0.001, width=width)}
        cells |= {("phantom large", shots): spread(large + 0.002, width=width)}
        write(folder, "phantom b", cells, metric="mean_auc")
    assert read(folder)[:2] == [
        "On phantom b, the best pre-training on the same kind of image (synthetic chest X-rays) "
        "does better than pre-training on digits 0-4 with 5 and 10 shots, worse with all training "
        "data; no difference can be claimed with 1 shot.",
        "On phantom b, pre-training on phantom large, 4,000 images, does better than pre-training "
        "on phantom small, 500 images, with 5 shots and with all training data, worse with 10 "
        "shots; no difference can be claimed with 1 shot.",
    ]
    assert read(folder)[2].startswith("On phantom b with 1 shot, pre-training on phantom large has")


def test_networks_are_named_where_there_are_several(folder):
    for arch, gain in (("r50x1", 0.0), ("r152x4", 0.1)):
        cells = {("scratch", 5): spread(0.5 + gain), ("digits", 5): spread(0.7 + gain)}
        write(folder, "my_set", cells, arch=arch)
    first, second, third, _ = read(folder)
    assert first.startswith("On my set with R50x1, pre-training on digits does better than")
    assert second.startswith("On my set with R152x4, pre-training on digits does better than")
    assert third == (
        "On my set with 5 shots, pre-training R152x4 on digits is best: accuracy 80.00 ± 1.00 %, "
        "10.00 points above the runner-up, pre-training R50x1 on digits (70.00 %, p < 0.001). It "
        "is 20.00 points above training R152x4 from scratch (60.00 %, p < 0.001)."
    )


def test_long_lists_of_candidates_are_cut_to_the_nearest(folder):
    cells = {(f"s{i}", 5): spread(0.5 - i / 1000, width=0.05) for i in range(7)}
    write(folder, "my_set", cells)
    assert (
        "from 3 seeds no difference can be claimed from pre-training on s1 (49.90 %, p = 0.98), "
        "pre-training on s2 (49.80 %, p = 0.96), pre-training on s3 (49.70 %, p = 0.94) and "
        "3 others."
    ) in read(folder)[0]


def test_different_numbers_of_seeds_are_said(folder):
    write(folder, "my_set", {("scratch", 5): [0.5, 0.6], ("digits", 5): [0.5, 0.6, 0.7]})
    assert "from 2 to 3 seeds no difference can be claimed" in read(folder)[0]


@pytest.mark.parametrize("p_side", ["above", "below"])
def test_rounded_p_shows_on_which_side_of_the_level_it_is(folder, p_side):
    """p is 0.0503 and 0.0497: printed with three digits both would be 0.050."""
    p = 0.0503 if p_side == "above" else 0.0497
    gap = stats.t.isf(p / 2, df=4) * 0.01 * np.sqrt(2 / 3)
    write(folder, "my_set", {("scratch", 5): spread(0.5), ("digits", 5): spread(0.5 + gap)})
    text = read(folder)[1]
    if p_side == "above":
        assert "no difference can be claimed" in text and "p = 0.0503" in text
    else:
        assert "is best" in text and "p = 0.0497" in text
