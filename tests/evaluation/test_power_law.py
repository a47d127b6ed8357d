"""Laws of scale: fits against other fits, coverage of intervals, checks, and what is refused."""

import numpy as np
import pytest
from scipy import optimize, stats

from keras_transfer.core.errors import UserError
from keras_transfer.evaluation import power_law
from keras_transfer.evaluation.power_law import checks, result
from keras_transfer.evaluation.power_law.noise import gather

SIX = np.array([10, 50, 100, 1000, 5000, 50000.0])
FIVE = np.array([2, 10, 20, 200, 2000.0])
# Errors on Pets of R152x4 from ImageNet-1k, five seeds each (arXiv:2106.00116, published files).
PETS = {
    37: [46.307, 46.879, 38.267, 43.990, 43.145],
    185: [15.754, 17.225, 16.844, 15.154, 16.081],
    370: [12.810, 13.955, 10.766, 10.984, 10.766],
    3680: [6.977, 6.950, 6.378, 6.732, 6.351],
}
FALLING = np.array([0.1, 0.06, 0.04, 0.02, 0.01, 0.005])


def simulate(rng, x, a, b, c, sd, seeds=5, common=0.0):
    """Returns x, error and seed of every run; ``common`` is the correlation of a seed's runs."""
    noise = np.sqrt(common) * rng.normal(size=seeds) + np.sqrt(1 - common) * rng.normal(
        size=(len(x), seeds)
    )
    errors = (c + a * x**-b)[:, None] * np.exp(np.broadcast_to(sd, len(x))[:, None] * noise)
    return np.repeat(x, seeds), errors.ravel(), np.tile(np.arange(seeds), len(x))


def covers(law, **truth):
    return [law.parameters[k].low <= v <= law.parameters[k].high for k, v in truth.items()]


@pytest.mark.parametrize(
    ("x", "truth", "sd", "form"),
    [
        (SIX, {"a": 100, "b": 0.35}, 0.05, "power"),
        (FIVE, {"a": 60, "b": 0.4}, 0.15, "power"),
        (SIX, {"a": 90, "b": 0.3}, FALLING, "power"),
        (SIX, {"a": 100, "b": 0.35, "c": 5}, 0.05, "floor"),
    ],
    ids=["equal", "noisy five", "falling spread", "floor"],
)
def test_intervals_cover(x, truth, sd, form):
    """At least 93 % of 500 draws, each parameter: a true 95 % falls short once in 50 seeds.

    The checks of the same laws: at most 5 % are missed or found lacking, give or take 4 standard
    errors of 1 %, as the F test is a little liberal (Box's approximation).
    """
    rng = np.random.default_rng(3)
    covered, wrong = [], []
    for seed in range(500):
        runs = simulate(rng, x, truth["a"], truth["b"], truth.get("c", 0), sd)
        law = power_law.fit(*runs, forms=(form,), resamples=250, seed=seed)
        covered.append(covers(law, **truth))
        wrong.append([not law.held_out.met, law.lack_of_fit < 0.05])
    assert np.mean(covered, axis=0).min() >= 0.93
    assert np.mean(wrong, axis=0).max() <= 0.09
    assert np.mean(wrong, axis=0).min() >= 0.01


def test_picking_seeds_again_would_cover_less():
    """Why noise is not drawn by the percentile bootstrap of five seeds."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        _, errors, _ = simulate(rng, SIX, 100, 0.35, 0, 0.05)
        table = np.log(errors).reshape(len(SIX), 5)
        picked = np.take_along_axis(
            np.broadcast_to(table, (400, *table.shape)), rng.integers(0, 5, (400, 6, 5)), axis=2
        )
        slopes = -np.polyfit(np.log(SIX), picked.mean(axis=2).T, 1)[0]
        low, high = np.quantile(slopes, [0.025, 0.975])
        covered.append(low <= 0.35 <= high)
    assert np.mean(covered) < 0.93


def test_seeds_in_common_are_allowed_for():
    """Runs of one seed that resemble each other shift the curve and hardly tilt it."""
    rng = np.random.default_rng(1)
    covered, widths = [], []
    for seed in range(100):
        runs = simulate(rng, SIX, 100, 0.35, 0, 0.05, common=0.9)
        known = power_law.fit(*runs, forms=("power",), resamples=200, seed=seed)
        unknown = power_law.fit(*runs[:2], forms=("power",), resamples=200, seed=seed)
        covered.append(covers(known, b=0.35))
        widths.append([law.slope.high - law.slope.low for law in (known, unknown)])
    assert np.mean(covered) >= 0.93
    assert np.median(np.divide(*np.transpose(widths))) < 0.75


@pytest.mark.parametrize("seed", range(5))
def test_power_equals_polyfit(seed):
    """One run per x: no weights, so the line of least squares in log-log."""
    rng = np.random.default_rng(seed)
    x, errors, _ = simulate(rng, SIX, 100, 0.35, 0, 0.1, seeds=1)
    law = power_law.fit(x, errors, forms=("power",))
    slope, level = np.polyfit(np.log(x), np.log(errors), 1)
    assert law.parameters["b"].value == pytest.approx(-slope, rel=1e-10)
    assert law.parameters["a"].value == pytest.approx(np.exp(level), rel=1e-10)


def test_interval_of_single_runs_is_the_t_interval():
    x, errors, _ = simulate(np.random.default_rng(0), SIX, 100, 0.35, 0, 0.1, seeds=1)
    law = power_law.fit(x, errors, forms=("power",), resamples=100_000)
    line = stats.linregress(np.log(x), np.log(errors))
    half = stats.t.ppf(0.975, 4) * line.stderr
    assert law.slope.low == pytest.approx(-line.slope - half, abs=0.03 * half)
    assert law.slope.high == pytest.approx(-line.slope + half, abs=0.03 * half)


@pytest.mark.parametrize("seed", range(5))
def test_floor_equals_curve_fit(seed):
    rng = np.random.default_rng(seed)
    runs = simulate(rng, SIX, 100, 0.5, 6, 0.05)
    law = power_law.fit(*runs, forms=("floor",))
    points = gather(runs[0], np.log(runs[1]), runs[2])
    found, _ = optimize.curve_fit(
        lambda x, a, b, c: np.log(c + a * x**-b),
        *(SIX, points.mean, [80, 0.4, 4]),
        sigma=1 / np.sqrt(points.weight),
        ftol=1e-14,
        xtol=1e-14,
    )
    assert [law.parameters[k].value for k in "abc"] == pytest.approx(found, rel=1e-6)


def test_aicc_is_that_of_the_normal_distribution():
    runs = simulate(np.random.default_rng(0), SIX, 100, 0.5, 6, FALLING)
    law = power_law.fit(*runs)
    points = gather(runs[0], np.log(runs[1]), runs[2])
    for form, parameters in (("power", 3), ("floor", 4)):
        curve = checks.curve_of(form, points).at(points.u(points.x))[0]
        left = np.concatenate([v - f for v, f in zip(points.values, curve)])
        variance = np.repeat(points.variance, 5)
        variance *= np.mean(left**2 / variance)
        likelihood = stats.norm.logpdf(left, scale=np.sqrt(variance)).sum()
        correction = 2 * parameters * (parameters + 1) / (30 - parameters - 1)
        expected = 2 * parameters - 2 * likelihood + correction
        assert law.aic[form] == pytest.approx(expected, rel=1e-9)
    assert law.form == "floor" and law.aic["floor"] < law.aic["power"] - 10


def test_form_without_floor_is_chosen_where_there_is_none():
    rng = np.random.default_rng(0)
    laws = [
        power_law.fit(*simulate(rng, SIX, 100, 0.35, 0, 0.05), resamples=10) for _ in range(100)
    ]
    assert np.mean([law.form == "power" for law in laws]) > 0.85
    assert all(law.parameters["c"].value == 0 for law in laws if law.form == "power")


def test_lack_of_fit_of_many_equal_spreads_is_the_classical_f_test():
    rng = np.random.default_rng(0)
    x, errors, seeds = simulate(rng, FIVE, 60, 0.4, 0, 0.1, seeds=400)
    errors *= np.where(x == 20, 1.012, 1)
    law = power_law.fit(x, errors, seeds, forms=("power",))
    y = np.log(errors).reshape(5, 400)
    fitted = np.polyval(np.polyfit(np.log(FIVE), y.mean(axis=1), 1), np.log(FIVE))
    lack = 400 * ((y.mean(axis=1) - fitted) ** 2).sum() / 3
    assert law.lack_of_fit == pytest.approx(
        stats.f.sf(lack / y.var(axis=1, ddof=1).mean(), 3, 5 * 399), abs=0.03
    )


@pytest.mark.parametrize("sd", [0.03, np.array([0.06, 0.03, 0.04, 0.02, 0.02, 0.02])])
def test_bent_curves_are_refused(sd):
    """A curve that levels off at few images, as errors do at chance, is no law."""
    rng = np.random.default_rng(0)
    kinds: list[str] = []
    for _ in range(20):
        x, errors, seeds = simulate(rng, SIX, 100, 0.35, 0, sd)
        law = power_law.fit(x, 1 / (1 / errors + 1 / 45), seeds, resamples=200)
        assert not law.holds
        kinds += law.reasons
    assert kinds.count(result.LACK_OF_FIT) >= 18 and kinds.count(result.MISSED) >= 15


def test_exact_points_hold_without_width():
    law = power_law.fit(SIX, 100 * SIX**-0.35)
    assert law.holds and law.form == "power"
    assert law.parameters["b"].low == pytest.approx(0.35) == law.parameters["b"].high
    assert law.held_out.measured == pytest.approx(law.held_out.predicted.value)
    assert np.isnan(law.lack_of_fit)


def test_floor_of_zero_is_found_not_needed():
    runs = simulate(np.random.default_rng(2), SIX, 100, 0.35, 0, 0.05)
    law = power_law.fit(*runs, forms=("floor",))
    assert law.parameters["c"].low == 0 and covers(law, a=100, b=0.35, c=0) == [True] * 3


def refused(*args, **options):
    law = power_law.fit(*args, **options)
    assert not law.holds
    return law, list(law.reasons)


def test_flat_and_growing_errors_are_refused():
    rng = np.random.default_rng(0)
    _, kinds = refused(*simulate(rng, SIX, 30, 0.0005, 0, 0.1), forms=("power",))
    assert kinds == [result.NO_SLOPE]
    law, kinds = refused(*simulate(rng, SIX, 30, -0.1, 0, 0.02))
    assert kinds[0] == result.GROWS and law.reason.startswith("the error grows (exponent -0.098)")


def test_too_little_to_fit_is_refused():
    law, kinds = refused([10, 10, 100], [5, 6, 3], [0, 1, 0])
    assert kinds == [result.FEW_POINTS] and law.reason.startswith("2 points, ")
    assert law.form == "" and law.error.tolist() == pytest.approx([np.sqrt(30), 3])
    with pytest.raises(UserError, match="no curve to predict with: 2 points"):
        law.predict(50)
    law, kinds = refused([10, 100, 1000, 1000], [5, 3, 0, 1])
    assert kinds == [result.NOT_POSITIVE] and "x = 1000" in law.reason
    _, kinds = refused([1, 2, 4], [9, 5, 3])
    assert result.UNCHECKED in kinds


@pytest.mark.parametrize("points", [3, 4])
def test_few_points_take_no_floor(points):
    """The others, three at most, would meet a curve of three parameters exactly."""
    law = power_law.fit(*simulate(np.random.default_rng(0), SIX[:points], 100, 0.5, 8, 0.02))
    assert law.form == "power" and np.isnan(law.aic["floor"])
    law = power_law.fit(*simulate(np.random.default_rng(0), SIX[:5], 100, 0.5, 8, 0.02))
    assert law.form == "floor"


@pytest.mark.parametrize("times", [0.7, 1, 1.2, 1.5])
def test_held_out_check_of_four_points_can_fail(times):
    """A floor through four points held whatever the error of the last (0.5 is a straight line)."""
    x = np.repeat(list(PETS), 5)
    errors = np.ravel(list(PETS.values())) * np.where(x == 3680, times, 1)
    law, kinds = refused(x, errors, np.tile(np.arange(5), 4))
    assert result.MISSED in kinds
    assert law.held_out.predicted.high < 1.5 * law.held_out.predicted.low


def test_what_is_foretold_too_widely_is_not_checked():
    """An interval that hardly a point could miss is no check, though the point lies within."""
    runs = simulate(np.random.default_rng(1), FIVE, 60, 0.4, 5, 0.25)
    law, kinds = refused(*runs, forms=("floor",))
    foretold = law.held_out.predicted
    assert law.held_out.met and foretold.factor > 2 and kinds == [result.UNCHECKED]
    assert law.reason == (
        f"the other points leave the largest x open: {foretold.low:.2g} to {foretold.high:.2g}"
    )
    assert law.reach == FIVE[-1]


def test_predictions_inside_and_their_reach():
    law = power_law.fit(*simulate(np.random.default_rng(4), FIVE, 60, 0.4, 0, 0.05))
    assert law.holds and law.reach == 20000
    value, low, high = law.predict([2, 300, 20000])
    assert (low < value).all() and (value < high).all()
    a, b, c = (law.parameters[k].value for k in "abc")
    assert value == pytest.approx(c + a * np.array([2, 300, 20000.0]) ** -b)
    assert (high / low)[2] > (high / low)[1]
    with pytest.raises(UserError, match=r"x = 20001: measured are 2 to 2000, .* end at 20000"):
        law.predict(20001)
    with pytest.raises(UserError, match="x = 1: measured are 2 to 2000"):
        law.predict([5, 1])


def test_refused_law_predicts_only_inside():
    x, errors, seeds = simulate(np.random.default_rng(0), SIX, 100, 0.35, 0, 0.03)
    law = power_law.fit(x, 1 / (1 / errors + 1 / 45), seeds)
    assert law.reach == 50000 and len(law.predict(SIX)[0]) == 6
    with pytest.raises(UserError, match="does not hold: the points are further off the curve"):
        law.predict(60000)


def test_bands_cover():
    rng = np.random.default_rng(5)
    at = np.array([30.0, 2000, 200_000])
    truth, covered = 100 * at**-0.35, []
    for seed in range(300):
        runs = simulate(rng, SIX, 100, 0.35, 0, FALLING)
        law = power_law.fit(*runs, forms=("power",), resamples=250, seed=seed)
        if law.holds:
            _, low, high = law.predict(at)
            covered.append((low <= truth) & (truth <= high))
    assert len(covered) > 240 and np.mean(covered, axis=0).min() >= 0.93


def test_held_out_interval_has_the_noise_of_curve_and_point():
    """Where points are many and near, the noise of the point itself is most of it."""
    rng, x = np.random.default_rng(0), 10 * 2.0 ** np.arange(8)
    laws = [
        power_law.fit(*simulate(rng, x, 100, 0.35, 0, 0.05), forms=("power",), resamples=250)
        for _ in range(300)
    ]
    assert 0.93 <= np.mean([law.held_out.met for law in laws]) <= 0.99


def test_unequal_numbers_of_runs_and_seeds_twice():
    """A point of one run borrows its spread; a seed that ran twice at one x counts twice."""
    runs = simulate(np.random.default_rng(0), SIX, 100, 0.35, 0, 0.05)
    keep = np.arange(30) != 7
    keep[26:] = False
    x, errors, seeds = (np.append(part[keep], part[0]) for part in runs)
    law = power_law.fit(x, errors, seeds)
    assert law.num_runs == 26 and covers(law, a=100, b=0.35) == [True] * 2
    points = gather(x, np.log(errors), seeds)
    assert points.counts.tolist() == [6, 4, 5, 5, 5, 1]
    assert points.covariance[5, 5] == pytest.approx(points.variance[5])
    assert np.linalg.eigvalsh(points.covariance).min() > 0


def test_same_arguments_give_the_same_law():
    runs = simulate(np.random.default_rng(0), SIX, 100, 0.35, 5, 0.05)
    first, second = power_law.fit(*runs), power_law.fit(*runs)
    assert first.parameters == second.parameters and first.reasons == second.reasons


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], [1]), {}, r"one x, error and seed per run; got arrays of shape \(2,\), \(1,\)"),
        (([1, 2], [1, 2], [1]), {}, r"\(2,\), \(2,\) and \(1,\)"),
        (([], []), {}, "finite errors at finite x above 0"),
        (([0, 2], [1, 2]), {}, "finite errors at finite x above 0"),
        (([1, 2], [1, np.nan]), {}, "finite errors at finite x above 0"),
        (([1], [1]), {"forms": ("line",)}, "power and floor, got 'line'"),
        (([1], [1]), {"resamples": 0}, "resamples >= 1, got 0"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(UserError, match=message):
        power_law.fit(*arguments, **options)
