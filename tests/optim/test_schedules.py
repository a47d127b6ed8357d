import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.optim import make_schedule, scale_linearly


def _authors(schedule, *, base_lr, workers, local_batch, epochs, warmup, per_epoch):
    """Every rate of a run by the authors' formulas (spec/upstream.md 1.2), with A = 1."""
    initial = base_lr * local_batch / 256
    rates = []
    for e in range(epochs):
        for i in range(per_epoch):
            if e < warmup:
                t = e + (i + 1) / per_epoch
                rate = initial * (1 + t * (workers - 1) / warmup)
            elif schedule == "step":
                power = 0 if e < 30 else 1 if e < 60 else 2 if e < 80 else 3
                rate = initial * workers / 10**power
            else:
                t = (e - warmup) + (i + 1) / per_epoch
                rate = initial * workers / 2 * (1 + math.cos(math.pi * t / (epochs - warmup)))
            rates.append(rate)
    return np.array(rates)


# Recipes of spec/upstream.md section 1, with the number of workers that gives the paper's batch.
def _recipe(base_lr, workers, local_batch, epochs, warmup):
    return {
        "base_lr": base_lr, "workers": workers, "local_batch": local_batch,
        "epochs": epochs, "warmup": warmup,
    }  # fmt: skip


MEDICAL = _recipe(0.01, 64, 16, 90, 15)
IMAGENET = _recipe(0.03, 256, 16, 90, 15)
IMAGENET_SGD = _recipe(0.1, 128, 32, 90, 5)
IMAGENET_21K = _recipe(0.01, 128, 32, 90, 2)
OPTIMIZED = _recipe(0.03, 128, 32, 120, 15)
ONE_WORKER = _recipe(0.01, 1, 16, 90, 15)


def _ours(name, recipe, per_epoch):
    peak = scale_linearly(recipe["base_lr"], recipe["workers"] * recipe["local_batch"])
    return make_schedule(
        name,
        peak_lr=peak,
        total_steps=recipe["epochs"] * per_epoch,
        warmup_steps=recipe["warmup"] * per_epoch,
        warmup_start=1 / recipe["workers"],
    )


@pytest.mark.parametrize("per_epoch", [100, 7])
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("step", MEDICAL),
        ("step", IMAGENET),
        ("step", IMAGENET_SGD),
        ("step", IMAGENET_21K),
        ("step", ONE_WORKER),
        ("cosine", OPTIMIZED),
        ("cosine", IMAGENET),
        ("cosine", ONE_WORKER),
    ],
)
def test_every_rate_of_the_authors_runs(name, recipe, per_epoch):
    expected = _authors(name, per_epoch=per_epoch, **recipe)
    rates = _ours(name, recipe, per_epoch)(np.arange(len(expected)))
    np.testing.assert_allclose(rates, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("recipe", "peak"),
    [(MEDICAL, 0.04), (IMAGENET, 0.48), (IMAGENET_SGD, 1.6), (IMAGENET_21K, 0.16)],
)
def test_peaks_that_were_seen_in_the_authors_runs(recipe, peak):
    schedule = _ours("step", recipe, 100)
    assert schedule.peak_lr == pytest.approx(peak, rel=1e-12)
    assert schedule(recipe["warmup"] * 100 - 1) == pytest.approx(peak, rel=1e-12)


@pytest.mark.parametrize(("recipe", "first"), [(MEDICAL, 6.5e-4), (IMAGENET, 2.19e-3)])
def test_first_rates_that_were_seen_in_the_authors_runs(recipe, first):
    assert _ours("step", recipe, 100)(0) == pytest.approx(first, rel=5e-3)


@pytest.mark.parametrize(
    ("name", "warmup"),
    [("bit", 0), *itertools.product(("constant", "cosine", "step"), (0, 1, 25))],
)
def test_rates_are_positive_bounded_and_continuous_after_warm_up(name, warmup):
    total, peak = 200, 0.3
    schedule = make_schedule(
        name, peak_lr=peak, total_steps=total, warmup_steps=warmup, num_examples=100
    )
    rates = schedule(np.arange(total))
    assert rates.dtype == np.float64 and rates.shape == (total,)
    assert rates.min() >= 0 and rates.max() == pytest.approx(peak, rel=1e-3)
    if name != "bit":
        assert (np.diff(rates[:warmup]) > 0).all()
        assert (np.diff(rates[warmup:]) <= 0).all()
        assert rates[0] > 0
    if warmup:
        assert rates[warmup - 1] == pytest.approx(peak, rel=1e-12)
        assert abs(rates[warmup] - rates[warmup - 1]) < peak * 1e-3
    # One at a time or all at once, a pure function of the step.
    assert [schedule(step) for step in range(total)] == list(rates)
    assert isinstance(schedule(3), float)
    grid = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(schedule(grid), rates[:6].reshape(2, 3))


def test_ends():
    steps = np.arange(90)
    constant = make_schedule("constant", peak_lr=2.0, total_steps=90)(steps)
    np.testing.assert_array_equal(constant, 2.0)
    cosine = make_schedule("cosine", peak_lr=2.0, total_steps=90)
    assert cosine(89) == pytest.approx(0, abs=1e-15) and cosine(44) == pytest.approx(1.0)
    assert make_schedule("cosine(final=0.25)", peak_lr=2.0, total_steps=90)(89) == 0.5
    step = make_schedule("step", peak_lr=1.0, total_steps=90)(steps)
    np.testing.assert_allclose(step[[29, 30, 59, 60, 79, 80]], [1, 0.1, 0.1, 0.01, 0.01, 0.001])
    halves = make_schedule("step(milestones=(0.5,), drop=0.5)", peak_lr=1.0, total_steps=10)
    np.testing.assert_allclose(halves(np.arange(10)), [1.0] * 5 + [0.5] * 5)


def test_linear_scaling():
    assert scale_linearly(0.01, 1024) == 0.04
    assert scale_linearly(0.003, 512, 512) == 0.003
    assert scale_linearly(0.001, 128, 0) == 0.001


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("cosin", {}, "Unknown schedule 'cosin'. Did you mean 'cosine'"),
        ("cosine(end=0)", {}, r"its signature is cosine\(final"),
        ("cosine(final=2)", {}, "final is a share"),
        ("step(milestones=(0.6, 0.3))", {}, "rising fractions"),
        ("step(milestones=(30, 60))", {}, "rising fractions"),
        ("step", {"warmup_steps": 40}, "would drop at step 33, within the warm-up of 40"),
        ("cosine", {"warmup_steps": 100}, "does not fit into a run of 100 steps"),
        ("constant", {"warmup_steps": -1}, "does not fit"),
        ("constant", {"total_steps": 0}, "total_steps must be at least 1"),
        ("constant", {"warmup_start": 1.5}, "share of the peak"),
        ("bit", {}, "number of training examples"),
        ("bit", {"num_examples": 10, "warmup_steps": 5}, "its own warm-up"),
    ],
)
def test_wrong_schedules(text, changes, message):
    with pytest.raises(UserError, match=message):
        make_schedule(text, **({"peak_lr": 0.1, "total_steps": 100} | changes))


@pytest.mark.parametrize("step", [-1, 100, np.array([0, 100])])
def test_steps_outside_the_run(step):
    with pytest.raises(ValueError, match="steps 0 to 99"):
        make_schedule("constant", peak_lr=0.1, total_steps=100)(step)


def test_schedules_do_not_start_tensorflow():
    code = (
        "import sys; from keras_transfer import optim; optim.make_schedule; optim.hyperrule;"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
