"""Names, order and looks: deterministic, and apart from each other also in grey."""

import itertools

import pytest

from keras_transfer.reporting import style


def luminance(colour):
    """Relative luminance of sRGB, WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear))


def test_order_is_scratch_then_listed_then_by_kind_size_and_number():
    names = ["set10", "set9", "phantom large", "phantom small", "imagenet21k", "scratch",
             "chexpert+mimic+nih", "chexpert+mimic", "padchest", "set9"]  # fmt: skip
    expected = ["scratch", "imagenet21k", "padchest", "chexpert+mimic", "chexpert+mimic+nih",
                "set9", "set10", "phantom small", "phantom large"]  # fmt: skip
    sizes = {"phantom small": 500, "phantom large": 4000}
    for shuffled in (names, names[::-1], sorted(names)):
        assert style.order(shuffled, sizes) == expected


def test_titles():
    assert style.title("chexpert+mimic") == "CheXpert + MIMIC"
    assert style.title("digits/classes_0-4") == "digits classes 0-4"
    assert style.title("imagenet1k>pets") == "ImageNet-1k → Pets"
    assert style.arch_title("r152x4") == "R152x4"
    assert style.metric_title("mean_auc") == "mean AUC"
    assert style.metric_title("auc/Mass") == "AUC of Mass"
    assert style.metric_title("top_5_accuracy") == "top 5 accuracy"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("digits 0-4", "handwritten digits"),
        ("phantom/site_b", "synthetic chest X-rays"),
        ("imagenet21k", "natural images"),
        ("chexpert+mimic", "chest X-rays"),
        ("chexpert+imagenet1k", ""),
        ("X-rays (small)", "X-rays"),
        ("scratch", ""),
        ("my_set", ""),
    ],
)
def test_kind_of_image(name, kind):
    assert style.kind_of(name) == kind


def test_looks_are_distinct_and_a_source_keeps_its_colour():
    sources = ["scratch", *(f"s{i}" for i in range(14))]
    columns = [(arch, source) for arch in ("r50x1", "r152x4") for source in sources]
    looks = style.looks(columns)
    assert len(set(looks.values())) == len(columns)
    for source in sources:
        small, large = looks["r50x1", source], looks["r152x4", source]
        assert small.colour == large.colour and small.dash != large.dash
    assert looks["r50x1", "scratch"].colour == style.INK


def test_colours_stand_out_from_paper_and_neighbours_differ_in_grey():
    looks = style.looks([("a", f"s{i}") for i in range(7)])
    grey = [luminance(look.colour) for look in looks.values()]
    assert all(1.05 / (g + 0.05) > 1.9 for g in grey)
    for one, other in itertools.pairwise(grey):
        assert (max(one, other) + 0.05) / (min(one, other) + 0.05) > 1.35
    assert len({look.marker for look in looks.values()}) == 7
