"""Procedural chest films: determinism, labels that are true of the pixels, sites that differ."""

import dataclasses
import itertools

import numpy as np
import pytest

from keras_transfer.data import records
from tfrecords_builders import stages
from tfrecords_builders.phantom import cases, chest, film, findings, render
from tfrecords_builders.phantom.canvas import Canvas

NAMES = tuple(cases.FINDINGS)
STYLE = film.style_of("a", 1.0)
STRAIGHT = {"angle": 0.0, "zoom": 1.0, "shift": (0.0, 0.0)}


def _source(*options: str, seed: int = 0):
    return stages.make_job("phantom", options=options, seed=seed).open_source()


def _case(number: int, view: str = "PA", **severity: float) -> cases.Case:
    who = cases.patient(1, number, 1.0)
    plain = cases.case(1, who, 0, findings=(), prevalence=1.0, ap_share=0.0)
    return dataclasses.replace(plain, view=view, severity=severity, inspiration=0.8)


def _attenuation(case: cases.Case, size: int = 128) -> np.ndarray:
    return render.attenuate(case, Canvas(size, **STRAIGHT))


def _lungs(case: cases.Case, *, behind_heart: bool = False, size: int = 128) -> np.ndarray:
    """Where the lungs are without any finding, bool[size, size]."""
    canvas, body = Canvas(size, **STRAIGHT), chest.body_of(case)
    both = sum(canvas.region(chest.lung(body, side)) for side in (chest.RIGHT, chest.LEFT))
    return (both > 0.99) & ((canvas.region(chest.heart(body)) < 0.01) | behind_heart)


def test_images_are_pure_functions_of_seed_patient_and_number():
    source, again = _source("num_patients=6,size=48"), _source("num_patients=6,size=48")
    items = list(source.items())
    assert items == list(again.items())
    for item in reversed(items):  # in another order
        np.testing.assert_array_equal(source.load(item), again.load(item))
    other = next(iter(_source("num_patients=6,size=48", seed=1).items()))
    assert not np.array_equal(source.load(items[0]), _source("size=48", seed=1).load(other))


def test_a_small_set_is_part_of_a_large_one():
    small = {i.example_id: i for i in _source("num_patients=40").items()}
    large = {i.example_id: i for i in _source("num_patients=200").items()}
    assert small.items() <= large.items()
    patients = {i.patient_id: i.split for i in large.values()}
    shares = {s: sum(v == s for v in patients.values()) / 200 for s in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.02)


def test_patients_keep_their_split_and_have_several_images():
    items = list(_source("num_patients=300,images_per_patient=3").items())
    splits = {}
    for item in items:
        splits.setdefault(item.patient_id, set()).add(item.split)
    assert all(len(names) == 1 for names in splits.values())
    assert len(items) / 300 == pytest.approx(3, abs=0.35)
    assert len(list(_source("num_patients=50,images_per_patient=1").items())) == 50


def test_prevalences_are_as_set_and_findings_come_together():
    source = _source("num_patients=2000,images_per_patient=1,uncertain=0,not_mentioned=0")
    states = np.array([item.label for item in source.items()])
    assert set(np.unique(states)) == {records.NEGATIVE, records.POSITIVE}
    share = dict(zip(source.labels.names, states.mean(axis=0)))
    for name, finding in cases.FINDINGS.items():
        # Four standard errors of a proportion of 2,000.
        tolerance = 4 * np.sqrt(finding.prevalence * (1 - finding.prevalence) / 2000)
        assert share[name] == pytest.approx(finding.prevalence, abs=tolerance)
    column = {name: states[:, i] for i, name in enumerate(source.labels.names)}
    congested = column["Cardiomegaly"] == 1
    assert column["Edema"][congested].mean() > 2 * column["Edema"][~congested].mean()
    tumour = column["Mass"] == 1
    assert column["Nodule"][tumour].mean() > 2 * column["Nodule"][~tumour].mean()
    rare = _source("num_patients=2000,images_per_patient=1,prevalence=0.5,uncertain=0")
    halved = np.array([item.label for item in rare.items()]) == 1
    np.testing.assert_allclose(halved.mean(axis=0), states.mean(axis=0) / 2, atol=0.03)


def test_the_sickest_are_filmed_lying():
    items = list(_source("num_patients=1000,images_per_patient=1,uncertain=0").items())
    lying = np.array([item.view == "AP" for item in items])
    devices = np.array([item.label[NAMES.index("Support Devices")] == 1 for item in items])
    assert lying.mean() == pytest.approx(film.SITES["a"].ap_share, abs=0.04)
    assert devices[lying].mean() > 2.5 * devices[~lying].mean()


def test_uncertain_and_not_mentioned_labels_are_dialled():
    truth = _source("num_patients=600,uncertain=0,not_mentioned=0")
    read = _source("num_patients=600,uncertain=0.2,not_mentioned=0.3")
    true = np.array([item.label for item in truth.items()])
    states = np.array([item.label for item in read.items()])
    assert (states == records.UNCERTAIN).mean() == pytest.approx(0.2, abs=0.015)
    absent = true == records.NEGATIVE
    assert (states[absent] == records.NOT_MENTIONED).mean() == pytest.approx(0.3, abs=0.015)
    assert (states[~absent] == records.NOT_MENTIONED).sum() == 0
    known = states >= 0
    np.testing.assert_array_equal(states[known], true[known])


def test_findings_that_are_not_asked_for_are_not_drawn():
    source = _source("num_patients=80,findings=Mass,prevalence=8,uncertain=0")
    assert source.labels.names == ("Mass",)
    items = list(source.items())
    assert all(len(item.label) == 1 for item in items)
    assert 0.3 < np.mean([item.label[0] == 1 for item in items]) < 0.7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("view", ["PA", "AP"])
def test_every_finding_changes_the_film_more_the_more_severe(name, view):
    for number in range(5):
        plain = _attenuation(_case(number, view))
        mild, severe = (
            np.abs(_attenuation(_case(number, view, **{name: s})) - plain).sum() for s in (0.1, 1.0)
        )
        if name in ("Nodule", "Pleural_Thickening", "Support Devices"):
            assert mild > 2  # small, but several pixels of it
            assert severe >= mild
        else:
            assert severe > 1.25 * mild > 10


def test_cardiomegaly_is_a_ratio_above_one_half():
    for number in range(30):
        assert chest.body_of(_case(number)).heart_ratio < 0.5
        large = chest.body_of(_case(number, Cardiomegaly=0.5))
        assert large.heart_ratio > 0.55
        outline = chest.heart(large)
        width = outline[:, 0].max() - outline[:, 0].min()
        assert width == pytest.approx(large.heart_width, rel=0.04)
        lying = chest.body_of(_case(number, "AP"))
        assert lying.heart_width > chest.body_of(_case(number)).heart_width


def test_fluid_whitens_the_base_and_air_blackens_the_apex():
    for number in range(5):
        plain, lungs = _attenuation(_case(number)), _lungs(_case(number))
        rows = np.arange(128)[:, None] / 128
        base, apex = lungs & (rows > 0.66), lungs & (rows < 0.3)
        fluid = _attenuation(_case(number, Effusion=0.8)) - plain
        assert fluid[base].max() > 0.25
        assert abs(fluid[apex]).max() < 0.02
        air = _attenuation(_case(number, Pneumothorax=0.6)) - plain
        assert np.percentile(air[apex], 10) < -0.02


@pytest.mark.parametrize("name", ["Consolidation", "Mass", "Nodule"])
def test_opacities_lie_in_the_lungs(name):
    for number in range(8):
        change = _attenuation(_case(number, **{name: 0.7})) - _attenuation(_case(number))
        dense = change > 0.08
        assert dense.sum() > 3
        inside = dense & _lungs(_case(number), behind_heart=True)
        assert inside.sum() > 0.9 * dense.sum()


def test_collapsed_lung_pulls_the_diaphragm_up():
    for number in range(5):
        before, after = chest.body_of(_case(number)), chest.body_of(_case(number, Atelectasis=0.9))
        findings.shape(_case(number, Atelectasis=0.9), after)
        raised = [s for s in (chest.RIGHT, chest.LEFT) if after.domes[s] < before.domes[s] - 0.04]
        assert len(raised) == 1
        assert np.sign(after.shift) == raised[0]  # and the heart to its side


def test_images_of_a_patient_are_more_alike_than_those_of_two():
    source = _source("num_patients=40,images_per_patient=3,prevalence=0,size=48")
    by_patient = {}
    for item in source.items():
        if item.view == "PA":
            by_patient.setdefault(item.patient_id, []).append(source.load(item).astype(float))
    pairs = [(v[0], v[1]) for v in by_patient.values() if len(v) > 1]
    assert len(pairs) > 10
    same = [np.abs(a - b).mean() for a, b in pairs]
    strangers = [np.abs(a[0] - b[0]).mean() for a, b in itertools.pairwise(pairs)]
    assert np.mean(same) > 3  # another pose and exposure
    assert np.mean(same) < np.mean(strangers)


def test_shift_goes_from_site_a_to_the_site():
    assert film.style_of("c", 0.0) == film.SITES["a"]
    assert film.style_of("c", 1.0) == film.SITES["c"]
    half = film.style_of("c", 0.5)
    assert half.noise == pytest.approx((film.SITES["a"].noise + film.SITES["c"].noise) / 2)
    items = list(_source("num_patients=12,images_per_patient=1,size=48").items())

    def far(shift):
        source = _source(f"num_patients=12,images_per_patient=1,size=48,site=c,shift={shift}")
        near = _source("num_patients=12,images_per_patient=1,size=48")
        return np.mean([np.abs(source.load(i).astype(float) - near.load(i)).mean() for i in items])

    distances = [far(shift) for shift in (0.0, 0.3, 1.0)]
    assert distances[0] == 0
    assert 3 < distances[1] < distances[2]


@pytest.mark.parametrize("site", sorted(film.SITES))
def test_films_use_their_bits(site):
    source = _source(f"num_patients=4,site={site},size=64")
    for item in source.items():
        image = source.load(item)
        assert image.shape == (64, 64)
        assert image.dtype == (np.uint16 if source.bits == 16 else np.uint8)
        share = image / (2.0**source.bits - 1)
        assert share.max() > 0.75 and share.min() < 0.2 and share.std() > 0.12


def test_a_film_looks_alike_at_every_size():
    case = _case(2, Effusion=0.5)
    large = _attenuation(case, 256).reshape(64, 4, 64, 4).mean(axis=(1, 3))
    small = _attenuation(case, 128).reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.corrcoef(large.ravel(), small.ravel())[0, 1] > 0.995
    style = film.style_of("b", 1.0)  # borders, letters and exposure included
    for number in range(6):
        films = [render.render(_case(number), style, size) / 65535 for size in (64, 192)]
        films[1] = films[1].reshape(64, 3, 64, 3).mean(axis=(1, 3))
        assert np.corrcoef(films[0].ravel(), films[1].ravel())[0, 1] > 0.97
        assert np.abs(films[0].mean() - films[1].mean()) < 0.02


def test_canvas_coordinates_agree_with_what_is_drawn():
    canvas = Canvas(256, angle=0.2, zoom=0.9, shift=(0.05, -0.03))
    box = np.array([(-0.2, 0.3), (0.2, 0.3), (0.2, 0.7), (-0.2, 0.7)])
    drawn = canvas.region(box) > 0.5
    expected = (np.abs(canvas.x) < 0.2) & (np.abs(canvas.y - 0.5) < 0.2)
    assert (drawn != expected).mean() < 0.02
    assert drawn.sum() == pytest.approx(0.16 * (0.9 * 256) ** 2, rel=0.04)
