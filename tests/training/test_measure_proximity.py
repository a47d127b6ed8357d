"""Proximity of real pixels: graded shifts are ranked rightly, folders become a csv."""

import csv
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_transfer import models, training
from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.evaluation.proximity import estimates
from keras_transfer.evaluation.proximity.estimates import Sample
from keras_transfer.evaluation.proximity.measures import MEASURES
from keras_transfer.reporting.proximity import reading as proximity_reading
from keras_transfer.training import Folders, weights
from keras_transfer.training import proximity as verb
from keras_transfer.training.features import Features
from tfrecords_builders import stages
from tfrecords_builders.sources import Item

ARCH, EVAL = "bit-r14x0.25", "decode|resize(32)|value_range(-1, 1)"
STRENGTHS = (0.25, 0.5, 1.0)
COUNT, REPETITIONS = 120, 4


@functools.cache
def _extractor():
    """A small network with random weights, float32[n, 32, 32] in [0, 255] -> float32[n, 512]."""
    network = models.feature_extractor(models.build(ARCH, 2, seed=0))

    def extract(images):
        scaled = np.repeat(images[..., None], 3, axis=-1) / np.float32(127.5) - 1
        return np.asarray(network(scaled.astype(np.float32), training=False))

    return extract


def _films(count, seed, **options):
    """Images, float32[count, 32, 32] in [0, 255], and labels of a phantom set."""
    settings = {"num_patients": count, "size": 32, "images_per_patient": 1, **options}
    text = ",".join(f"{name}={value}" for name, value in settings.items())
    source = stages.make_job("phantom", options=[text], seed=seed).open_source()
    items = [item for item in source.items() if isinstance(item, Item)][:count]
    images = np.stack([source.load(item) for item in items]).astype(np.float32)
    label = np.array([item.label for item in items], np.float32)
    return images * (255 / (2**source.bits - 1)), np.where(label < 0, np.nan, label)


def _sample(images, label):
    return Sample(_extractor()(images), label, np.full(len(images), ""))


def _digits(count):
    from sklearn.datasets import load_digits

    found = load_digits()
    images = found.images[:count].repeat(4, axis=1).repeat(4, axis=2)
    return (images * (255 / 16)).astype(np.float32), found.target[:count]


@dataclasses.dataclass
class Fixed:
    """What all shifts are compared with.

    Attributes:
        source: Phantoms of site a.
        near: Images and labels of other patients of site a.
        rows: From the source to those, and to digits.
    """

    source: Sample
    near: tuple[np.ndarray, np.ndarray]
    rows: dict[tuple[str, str], estimates.ProximityRow]


@pytest.fixture(scope="module")
def fixed():
    source, near = _sample(*_films(COUNT, 1)), _films(COUNT, 2)
    targets = {"near": _sample(*near), "digits": _sample(*_digits(COUNT))}
    rows = estimates.compare("net", {"a": source}, targets, repetitions=REPETITIONS)
    return Fixed(source, near, {(row.measure, row.target): row for row in rows})


def _shifted(kind, strength, near):
    images, label = near
    if kind == "noise":
        noise = np.random.default_rng(0).normal(0, 40 * strength, images.shape)
        return _sample(np.clip(images + noise, 0, 255).astype(np.float32), label)
    if kind == "gamma":
        return _sample(255 * (images / 255) ** np.float32(1 + strength), label)
    return _sample(*_films(len(images), 2, site=kind, shift=strength))


@pytest.mark.parametrize("kind", ["noise", "gamma", "b", "c", "d"])
def test_every_measure_ranks_graded_shifts(fixed, kind):
    """Other patients at four strengths of a shift, sites b, c and d among them; then digits."""
    shifted = [_shifted(kind, strength, fixed.near) for strength in STRENGTHS]
    for name, measure in MEASURES.items():
        near, digits = (fixed.rows[name, target] for target in ("near", "digits"))
        between = [
            estimates.distances(measure, fixed.source, images, REPETITIONS, seed=0).mean()
            for images in shifted
        ]
        values = np.array([near.value, *between, digits.value])
        steps = np.diff(values if measure.nearer_is_smaller else -values)
        assert (steps > 0).all(), (name, values)
        # Other patients of the same site are as near as the source's own.
        assert near.value == pytest.approx(near.null, rel=0.05)
        assert abs(near.value - near.null) < steps[:2].sum()


def test_contrast_is_nothing_to_this_network(fixed):
    """Standardised kernels and group norms take brightness and contrast away: no distance."""
    images, label = fixed.near
    paler = _sample(128 + (images - 128) * np.float32(0.5), label)
    for name, measure in MEASURES.items():
        value = estimates.distances(measure, fixed.source, paler, REPETITIONS, seed=0).mean()
        assert value == pytest.approx(fixed.rows[name, "near"].value, rel=0.01)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    models.save_npz(models.build(ARCH, 3, seed=0), folder / runs.WEIGHTS_FILE)
    card = weights.WeightsCard(
        arch=ARCH, source="things", normalisation="value_range(-1, 1)", eval=EVAL
    )
    weights.write_card(folder, card)
    return training.open_network(str(folder))


@pytest.fixture(scope="module")
def old_films(tmp_path_factory):
    """Phantoms of the old site, another seed than `films`."""
    job = stages.make_job("phantom", options=["num_patients=60,site=b"], seed=5)
    folder = tmp_path_factory.mktemp("old films")
    return str(stages.build(job, folder, stages.Settings(num_workers=1)).folder)


@pytest.fixture(scope="module")
def measured(network, digits, films, old_films, engines, tmp_path_factory):
    out = tmp_path_factory.mktemp("proximity")
    sources = [Folders((films,)), Folders((films, old_films), "both")]
    targets = [Folders((digits,)), Folders((old_films,), "old")]
    rows = training.measure_proximity(
        network, sources, targets, out, examples=60, repetitions=REPETITIONS, engines=engines
    )
    return rows, out, (sources, targets)


def test_rows_are_all_pairs_by_the_names_of_runs(measured, films, digits):
    rows, out, _ = measured
    names = [Path(folder).parent for folder in (films, digits)]
    film, digit = (f"{name.parent.name}/{name.name}" for name in names)
    pairs = [(s, t) for s in (film, "both") for t in (digit, "old")]
    assert [(r.source, r.target, r.measure) for r in rows] == [
        (*p, m) for p in pairs for m in MEASURES
    ]
    assert {(r.network, r.num_source, r.num_target) for r in rows} == {(f"{ARCH}.things", 60, 60)}
    by = {(r.source, r.target, r.measure): r.value for r in rows}
    for name, measure in MEASURES.items():
        sign = 1 if measure.nearer_is_smaller else -1
        # Digits are farther from films than films of two sites are; the union holds the old ones.
        assert sign * (by[film, digit, name] - by[film, "old", name]) > 0
        assert sign * (by["both", digit, name] - by[film, "old", name]) > 0
        assert sign * (by[film, "old", name] - by["both", "old", name]) > 0
    # The csv is what the report reads.
    assert proximity_reading.read(out / verb.CSV_FILE).to_dict("records") == [
        dataclasses.asdict(row) for row in rows
    ]
    facts = json.loads((out / verb.FACTS_FILE).read_text())
    assert facts["network"]["evaluation"] == EVAL and facts["seed"] == 0
    assert {Path(file).is_file() for file in facts["features"]} == {True}
    assert len(facts["features"]) == 4


def test_features_are_used_again_and_numbers_are_the_same(measured, network, engines, monkeypatch):
    rows, out, data = measured

    def refuse(self, split):
        raise AssertionError("computed again")

    monkeypatch.setattr(Features, "_compute", refuse)
    again = training.measure_proximity(
        network, *data, out, examples=60, repetitions=REPETITIONS, engines=engines
    )
    assert again == rows


def test_what_cannot_be_measured_is_refused(network, digits, films, tmp_path):
    one, other = Folders((digits,)), Folders((films,))

    def measure(sources, targets, **settings):
        training.measure_proximity(network, sources, targets, tmp_path / "out", **settings)

    for sources, targets, settings, message in (
        ([one], [], {}, "at least one source and one target"),
        ([one], [other], {"examples": 49}, "examples >= 50 and repetitions >= 2, got 49"),
        ([one], [Folders((films,), "x"), Folders((digits,), "x")], {}, "both called 'x'.*NAME=DIR"),
    ):
        with pytest.raises(UserError, match=message):
            measure(sources, targets, **settings)
    small = tmp_path / "small"
    built = stages.make_job("phantom", options=["num_patients=20,images_per_patient=1"])
    stages.build(built, small, stages.Settings(num_workers=1))
    with pytest.raises(UserError, match=r"small: \d+ images in the split 'train', but proximity"):
        measure([one], [Folders((str(small),))])
    assert not (tmp_path / "out").exists()


def test_folders_are_written_as_texts(digits, films, tmp_path):
    assert Folders.parse(digits) == Folders((digits,))
    assert Folders.parse(f"digits={digits}") == Folders((digits,), "digits")
    assert Folders.parse(f"u={digits}+{films}") == Folders((digits, films), "u")
    odd = tmp_path / "a=b+c"
    odd.mkdir()
    assert Folders.parse(str(odd)) == Folders((str(odd),))
    assert Folders.parse(f"odd={odd}") == Folders((str(odd),), "odd")
    for text in ("nowhere", f"x={digits}+nowhere", "x="):
        with pytest.raises(UserError, match=r"no such dataset folder\. Write DIR, NAME=DIR"):
            Folders.parse(text)


def test_a_network_knows_its_input_or_must_be_told(network, tmp_path):
    assert network.name == f"{ARCH}.things" and network.evaluation == EVAL
    folder = Path(network.init)
    assert training.open_network(str(folder / runs.WEIGHTS_FILE)) == dataclasses.replace(
        network, init=str(folder / runs.WEIGHTS_FILE)
    )
    other = training.open_network(str(folder), evaluation="decode|resize(40)|value_range(-1, 1)")
    assert "40" in other.evaluation
    # Without a card: of a released file the name tells all, of another nothing.
    for name in ("BiT-M-R50x1.npz", "mine.npz"):
        shutil.copy(folder / runs.WEIGHTS_FILE, tmp_path / name)
    released = training.open_network(str(tmp_path / "BiT-M-R50x1.npz"))
    assert (released.arch, released.name) == ("bit-r50x1", "bit-r50x1.BiT-M-R50x1")
    assert released.evaluation == "decode|resize(224)|value_range(-1, 1)"
    mine = str(tmp_path / "mine.npz")
    for init, arch, evaluation, message in (
        ("", "", "", "--init=WEIGHTS is missing"),
        (str(tmp_path / "gone"), "", "", "--init: .* is neither a run directory nor an existing"),
        (mine, "", "", "give --model=NAME"),
        (mine, ARCH, "", "write one string for all datasets, such as 'decode"),
        (mine, "bit-r14x", EVAL, "Unknown model 'bit-r14x'"),
        (str(folder), "", "hyperrule", "write one string for all datasets"),
        (str(folder), "", "decode|resize(32)|value_range(0, 1)", "were trained with 'value_range"),
    ):
        with pytest.raises(UserError, match=message):
            training.open_network(init, arch, evaluation)


def _run(*flags):
    command = [sys.executable, "-m", "experiments.proximity", *flags]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


def test_the_command_answers_from_stored_features(measured, network, digits, old_films):
    """By the same folder and names as before: the network need not run again."""
    _, out, _ = measured
    flags = [f"--init={network.init}", f"--sources=old={old_films}", f"--targets={digits}"]
    done = _run(*flags, f"--out={out}", "--examples=60", "--repetitions=3")
    assert done.returncode == 0, done.stderr
    assert "retracing" not in done.stderr
    with (out / verb.CSV_FILE).open() as stream:
        written = list(csv.DictReader(stream))
    assert len(written) == len(MEASURES)
    for row in written:
        assert f"{float(row['value']):.4g}" in done.stdout
    assert done.stdout.splitlines()[-1] == f"finished: {out / verb.CSV_FILE}"


def test_the_command_says_what_is_missing():
    for flags, message in (
        (["--sources=a"], "--targets is missing."),
        (["--sources=tests", "--targets=gone"], "gone: no such dataset folder. Write DIR, "),
    ):
        done = _run("--init=x", "--out=y", *flags)
        assert done.returncode == 2 and done.stderr.startswith(f"error: {message}")
        assert done.stderr.count("\n") == 1
