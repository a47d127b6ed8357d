import numpy as np
import pytest

from keras_transfer.optim import clip_unitwise, unitwise_norm

GRADIENTS = ("none", "tiny", "mixed", "large")
CLIPPINGS = (0.01, 0.04, 0.16)
# Which references share our rule where they do not all agree (spec/bit.md section 7): optax takes a
# kernel with one input for a vector, and reduces rank 3 over its first axis only.
SAME_RULE = {
    "dense_1x6": {"timm", "fork"},
    "conv_1x1x1x6": {"timm", "fork"},
    "conv1d_3x4x5": {"timm", "optax_axis01"},
}
CASES = (
    "scalar", "bias7", "gain32", "bias_zero", "dense_5x3", "dense_64x10", "dense_5x1", "dense_1x6",
    "dense_zero_head", "conv1d_3x4x5", "conv_3x3x4x6", "conv_7x7x3x8", "conv_1x1x8x4",
    "conv_1x1x1x6", "conv_1x1x6x1", "conv_zero",
)  # fmt: skip
SHAPES = ((), (5,), (1, 1), (7, 3), (3, 4, 5), (3, 3, 4, 6), (1, 1, 8, 2), (2, 2, 2, 3, 4))


@pytest.fixture(scope="module")
def oracle(shared):
    with np.load(shared / "oracles" / "agc" / "agc_oracle.npz") as arrays:
        return dict(arrays)


def test_every_case_of_the_reference_is_tested(oracle):
    assert {key.split("/")[0] for key in oracle} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_clipping_equals_the_references(case, oracle):
    parameter, followed, differing = oracle[f"{case}/param"], set(), set()
    for kind in GRADIENTS:
        gradient = oracle[f"{case}/{kind}/grad"]
        for clipping in CLIPPINGS:
            ours = clip_unitwise(gradient, parameter, clipping=clipping).numpy()
            start = f"{case}/{kind}/clip{clipping}/"
            for key in (key for key in oracle if key.startswith(start)):
                scale = np.abs(oracle[key]).max()
                error = np.abs(ours - oracle[key]).max() / (scale or 1)
                (followed if error <= 1e-6 else differing).add(key.removeprefix(start))
    references = followed | differing
    assert len(references) >= 4
    assert references - differing == SAME_RULE.get(case, references)


def _pair(shape, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    parameter = rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 1, shape[-1:])
    gradient = rng.standard_normal(shape) * scale * 10.0 ** rng.uniform(-4, 1, shape[-1:])
    return np.float32(gradient), np.float32(parameter)


def _norms(x):
    """The norm of each unit, by a loop over units."""
    x = np.asarray(x, np.float64)
    columns = x.reshape(-1, x.shape[-1]).T if x.ndim > 1 else [x]
    return np.array([np.sqrt(sum(float(v) ** 2 for v in np.ravel(c))) for c in columns])


@pytest.mark.parametrize("shape", SHAPES)
def test_unitwise_norm(shape):
    gradient, _ = _pair(shape, 0)
    norm = unitwise_norm(gradient)
    assert norm.shape.rank == len(shape)
    np.testing.assert_allclose(np.ravel(norm), _norms(gradient), rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_clipping_properties(shape, seed):
    gradient, parameter = _pair(shape, seed)
    clipping, eps = 0.02, 1e-3
    clipped = clip_unitwise(gradient, parameter, clipping=clipping, eps=eps).numpy()
    limit = clipping * np.maximum(_norms(parameter), eps)
    # Bounded, up to the rounding of the norms.
    assert (_norms(clipped) <= limit * (1 + 1e-5)).all()
    # Units within the limit keep every bit; the others keep their direction and reach the limit.
    small = _norms(gradient) < limit * (1 - 1e-5)
    large = _norms(gradient) > limit * (1 + 1e-5)
    if gradient.ndim > 1:
        np.testing.assert_array_equal(clipped[..., small], gradient[..., small])
        direction = clipped[..., large] / _norms(clipped)[large]
        np.testing.assert_allclose(
            direction, gradient[..., large] / _norms(gradient)[large], rtol=1e-5
        )
    elif small[0]:
        np.testing.assert_array_equal(clipped, gradient)
    np.testing.assert_allclose(_norms(clipped)[large], limit[large], rtol=1e-5)
    # Idempotent.
    again = clip_unitwise(clipped, parameter, clipping=clipping, eps=eps).numpy()
    np.testing.assert_allclose(again, clipped, rtol=1e-5, atol=0)


def test_the_pairs_of_the_property_test_have_both_kinds_of_units():
    clips = [
        _norms(g) > 0.02 * np.maximum(_norms(w), 1e-3)
        for g, w in (_pair((3, 3, 4, 6), seed) for seed in range(3))
    ]
    assert 0 < np.mean(clips) < 1


def test_zero_weights_and_zero_gradients():
    zeros, ones = np.zeros((4, 3), np.float32), np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(clip_unitwise(zeros, zeros), zeros)
    np.testing.assert_array_equal(clip_unitwise(zeros, ones), zeros)
    # Zero weights move by clipping * eps per unit.
    np.testing.assert_allclose(_norms(clip_unitwise(ones, zeros)), 1e-5, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_stays_visible(bad):
    gradient = np.ones((4, 3), np.float32)
    gradient[0, 1] = bad
    clipped = clip_unitwise(gradient, np.ones((4, 3), np.float32)).numpy()
    assert np.isnan(clipped[0, 1])
    assert np.isfinite(clipped[:, [0, 2]]).all()
