"""The network against the reference numbers, its seeds, and the ways it is used."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments import stock_bit
from keras_transfer import models
from keras_transfer.core.errors import UserError
from keras_transfer.models import resnetv2
from keras_transfer.models.layers import GroupNormReLU

NOISE_FACTOR = 5


def _activations(model, images):
    """Returns the outputs of all stages by the names of the reference."""
    root = model.get_layer("root_block")
    stages = {f"block{b}": model.get_layer(f"block{b}").output for b in (1, 2, 3, 4)}
    stages |= {"root": root.output, "pre_logits": model.get_layer("pool").output}
    found = keras.Model(model.input, stages | {"logits": model.output})(images)
    found["root_conv"] = root.conv(images)
    x = found["root"]
    for block in (1, 2, 3, 4):
        for unit in model.get_layer(f"block{block}").units:
            x = found[f"block{block}/{unit.name}"] = unit(x)
    found["features_raw"] = tf.reduce_mean(found["block4"], [1, 2])
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.mark.parametrize("variant, num_classes", [("R14", 10), ("R50", 21)])
def test_forward_equals_the_reference(variant, num_classes, oracle, rule, reference_model):
    model = reference_model(variant, 1, num_classes)
    noise = json.loads((oracle / "float32_noise_floor.json").read_text())
    with np.load(oracle / f"bit_{variant}x1_acts.npz") as expected:
        for size in {key.split("/")[0] for key in expected}:
            height, width, batch = map(int, size.split("x"))
            found = _activations(model, tf.constant(rule.inputs(height, width, batch)))
            floor = {k: v["max_abs"] for k, v in noise[f"{variant}x1/{size}"].items()}
            floor["root_conv"], floor["features_raw"] = floor["root"], floor["block4"]
            names = [key.removeprefix(f"{size}/") for key in expected if key.startswith(size)]
            assert {"root", "block1", "block4", "pre_logits", "features_raw", "logits"} <= {*names}
            for name in names:
                difference = np.abs(found[name] - expected[f"{size}/{name}"]).max()
                allowed = NOISE_FACTOR * floor[name.split("/")[0]]
                assert difference <= allowed, (size, name, difference, allowed)


def test_gradients_equal_the_reference(oracle, rule, reference_model):
    model = reference_model("R14", 1, 10)
    images = tf.constant(rule.inputs(32, 32, 4))
    with np.load(oracle / "bit_R14x1_train.npz") as arrays:
        expected = dict(arrays)
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            expected["labels"], model(images, training=True)
        )
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert float(loss) == pytest.approx(expected["loss"], rel=1e-5)
    keys = [models.npz_key(v.path) for v in model.trainable_variables]
    assert sorted(keys) == sorted(k[len("grad/") :] for k in expected if k.startswith("grad/"))
    for key, gradient in zip(keys, gradients):
        found = np.asarray(gradient, np.float64).ravel()
        total, norm, probe, *first = expected[f"grad/{key}"]
        assert found.sum() == pytest.approx(total, abs=5e-5 * norm * np.sqrt(found.size)), key
        assert np.linalg.norm(found) == pytest.approx(norm, rel=5e-5), key
        weighted = found @ rule.z(f"probe:{key}", (1, *gradient.shape)).ravel()
        assert weighted == pytest.approx(probe, abs=5e-5 * norm), key
        np.testing.assert_allclose(found[: len(first)], first, atol=5e-5 * norm, err_msg=key)
        if f"gradfull/{key}" in expected:
            whole = expected[f"gradfull/{key}"].ravel()
            np.testing.assert_allclose(found, whole, atol=5e-5 * norm, err_msg=key)


@pytest.mark.parametrize("name", ["bit-r14x1", "bit-r26x1"])
def test_equals_the_network_of_stock_parts(name, images):
    """Also at odd sizes, with the same seed, and with its gradients left to autodiff."""
    pair = [
        build(name, 3, head_init="uniform", seed=5) for build in (models.build, stock_bit.build)
    ]
    results = []
    for model in pair:
        with tf.GradientTape() as tape:
            logits = model(images)
            loss = tf.reduce_sum(logits * np.array([1.0, -2.0, 0.5]))
        gradients = tape.gradient(loss, model.trainable_variables)
        keys = [models.npz_key(v.path) for v in model.trainable_variables]
        results.append((logits, dict(zip(keys, gradients))))
    (ours, our_gradients), (stock, stock_gradients) = results
    np.testing.assert_allclose(ours, stock, atol=1e-5)
    assert our_gradients.keys() == stock_gradients.keys()
    for key, gradient in our_gradients.items():
        norm = np.linalg.norm(stock_gradients[key])
        np.testing.assert_allclose(gradient, stock_gradients[key], atol=1e-4 * norm, err_msg=key)


def _values(model):
    return {v.path: v.numpy() for v in model.weights}


def _assert_same(a, b):
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)


@pytest.mark.parametrize("head_init", ["zeros", "uniform"])
def test_reinitialize_gives_a_fresh_build(head_init):
    model = models.build("bit-r14x0.25", 5, seed=1)
    for variable in model.weights:
        variable.assign(variable + 1)
    models.reinitialize(model, 2, head_init=head_init)
    fresh = models.build("bit-r14x0.25", 5, head_init=head_init, seed=2)
    _assert_same(_values(model), _values(fresh))
    other = _values(models.build("bit-r14x0.25", 5, head_init=head_init, seed=3))
    kernels = [p for p in other if p.endswith("kernel") and not models.is_head(p)]
    assert not any((other[p] == _values(fresh)[p]).any() for p in kernels)


def test_initial_values_are_those_documented(tiny):
    draws = []
    for path, value in _values(tiny).items():
        if path.endswith(("gamma", "beta")):
            np.testing.assert_array_equal(value, float(path.endswith("gamma")))
            continue
        fan_in = 512 if models.is_head(path) else np.prod(value.shape[:-1])
        draws.append(value.ravel() * np.sqrt(fan_in))
        assert np.abs(draws[-1]).max() <= 1, path
    draws = np.concatenate(draws)
    # Uniform in (-1, 1): mean 0, variance 1/3; 4 standard errors.
    assert abs(draws.mean()) < 4 / np.sqrt(3 * draws.size)
    assert draws.var() == pytest.approx(1 / 3, abs=4 * np.sqrt(4 / 45 / draws.size))


def test_values_do_not_depend_on_what_was_built_before():
    path = "block4/unit01/b.standardized_conv2d/kernel"
    short = _values(models.build("bit-r14x0.25", 5))[path]
    long = _values(models.build("bit-r26x0.25", 7))[path]
    np.testing.assert_array_equal(short, long)


def test_any_size_in_and_the_documented_sizes_out(tiny):
    for side in (1, 2, 31, 33, 64):
        logits = tiny(tf.zeros([1, side, side + 3, 3]))
        assert logits.shape == (1, 5) and np.isfinite(logits).all()
    sides = [
        layer.output.shape[1] for layer in models.build("bit-r14x0.25", 5, input_size=65).layers
    ]
    assert sides[:7] == [65, 17, 17, 9, 5, 3, 3]
    assert models.build("bit-r14x0.25", 5, input_size=(33, 65)).input_shape == (None, 33, 65, 3)


def test_the_pool_is_padded_with_zeros():
    """Where all responses are negative, the border of the pooled map is 0, not their maximum."""
    root = models.build("bit-r14x0.25", 5).get_layer("root_block")
    images = np.random.default_rng(1).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    before, after = np.asarray(root.conv(images)), np.asarray(root(images))
    border = after[0, 0, 1:]
    assert (border >= 0).all()
    np.testing.assert_array_equal(border, [
        np.maximum(before[0, :2, 2 * i - 1 : 2 * i + 2].max((0, 1)), 0) for i in range(1, 8)
    ])  # fmt: skip
    assert (after[0, 1:, 1:] < 0).any(), "the test must be able to see minus infinity"


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(name, policy, images):
    exact = models.build("bit-r14x0.25", 5, head_init="uniform")(images)
    policy(name)
    model = models.build("bit-r14x0.25", 5, head_init="uniform")
    assert {v.dtype for v in model.weights} == {"float32"}
    assert model.get_layer("block1").units[0].conv_b.compute_dtype == name.removeprefix("mixed_")
    with tf.GradientTape() as tape:
        logits = model(images)
        loss = tf.reduce_sum(logits)
    assert logits.dtype == models.feature_extractor(model)(images).dtype == tf.float32
    np.testing.assert_allclose(logits, exact, atol=0.05 * np.abs(exact).max())
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert gradient.dtype == tf.float32 and np.isfinite(gradient).all()


def test_mixed_precision_standardizes_the_float32_kernel(policy):
    """A kernel whose spread bfloat16 rounds away still gives standardised responses."""
    policy("mixed_bfloat16")
    conv = models.build("bit-r14x0.25", 5).get_layer("block1").units[0].conv_a
    conv.kernel.assign(1 + 1e-3 * conv.kernel)
    response = np.asarray(conv(tf.eye(16)[:, None, None, :]), np.float32)
    np.testing.assert_allclose(response.std(axis=0), 1, rtol=0.01)


def test_compiled_and_with_unknown_sizes(tiny, images):
    expected = tiny(images)
    signature = [tf.TensorSpec([None, None, None, 3])]
    for found in (
        tf.function(tiny, input_signature=signature)(images),
        tf.function(tiny, jit_compile=True)(tf.constant(images)),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_saved_as_keras_file(tiny, images, tmp_path):
    tiny.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    _assert_same(_values(again), _values(tiny))
    np.testing.assert_array_equal(again(images), tiny(images))


def test_two_replicas_and_in_place_seeds(tiny, images):
    devices = [d.name for d in tf.config.list_logical_devices("CPU")[:2]]
    if len(devices) < 2:
        pytest.skip("one logical CPU device only: TensorFlow was started before tests/conftest.py")
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        model = models.build("bit-r14x0.25", 5, seed=1)
    models.reinitialize(model, 7, head_init="uniform")
    for variable, reference in zip(model.weights, tiny.weights):
        for copy in strategy.experimental_local_results(variable.value):
            np.testing.assert_array_equal(copy, reference.numpy(), err_msg=variable.path)
    halves = iter(np.split(images, 2))
    batch = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(next(halves))
    )
    logits = tf.function(lambda x: strategy.run(model, args=(x,)))(batch)
    found = np.concatenate([t.numpy() for t in strategy.experimental_local_results(logits)])
    np.testing.assert_allclose(found, tiny(images), atol=1e-6)


@pytest.mark.parametrize(
    "name, part",
    [
        ("bit-r50", "Did you mean 'bit-r50x"),
        ("resnet50", "Known: bit-r101x1"),
        ("bit-r34x1", "Unknown model 'bit-r34x1'"),
        ("bit-r14x0.3", "even number of channels"),
        ("bit-r14x0", "even number of channels"),
    ],
)
def test_wrong_names(name, part):
    with pytest.raises(UserError, match=r"^[^\n]*$") as error:
        models.build(name, 5)
    assert part in str(error.value)


@pytest.mark.parametrize("name", models.names())
def test_listed_networks_have_32_groups_everywhere(name, shapes_of):
    shapes = shapes_of(name, 1000)
    channels = {shape[0] for key, shape in shapes.items() if key.endswith("gamma")}
    assert {resnetv2._groups(c) for c in channels} == {32}


def test_narrow_networks_have_no_group_of_one_channel():
    assert [resnetv2._groups(c) for c in (2, 16, 24, 32, 48, 64, 80)] == [1, 8, 4, 16, 8, 32, 8]
    for norm in models.build("bit-r14x0.25", 2)._flatten_layers():
        if isinstance(norm, GroupNormReLU):
            assert norm.gamma.shape[0] % norm.groups == 0
