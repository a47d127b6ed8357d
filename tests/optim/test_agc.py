import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.core.errors import UserError
from keras_transfer.optim import AGC, SGD, clip_unitwise, unitwise_norm

# A body kernel with as many outputs as the head, which a rule by shape would take for the head.
_PATHS = {"body/kernel": (3, 3, 2, 5), "body/gamma": (5,), "head/kernel": (5, 5), "head/bias": (5,)}


def _variables(seed=0, paths=_PATHS):
    rng = np.random.default_rng(seed)
    made = []
    for path, shape in paths.items():
        layer, leaf = path.split("/")
        with keras.name_scope(layer):
            made.append(keras.Variable(rng.standard_normal(shape).astype("float32"), name=leaf))
    assert [v.path for v in made] == list(paths)
    return made


def _gradients(seed, scale=1.0, paths=_PATHS):
    rng = np.random.default_rng(1000 + seed)
    return [tf.constant(rng.standard_normal(s) * scale, tf.float32) for s in paths.values()]


def _values(variables):
    return [v.numpy() for v in variables]


def _step(optimizer, variables, seed=0, scale=1.0):
    if not optimizer.built:
        optimizer.build(variables)
    optimizer.apply(_gradients(seed, scale), variables)


def _plain():
    """w -= g, so that the update is the gradient."""
    return SGD(1.0, momentum=0.0)


@pytest.mark.parametrize(
    ("exclude", "whole"),
    [
        (None, {"head/kernel", "head/bias"}),
        (r"head/kernel$", {"head/kernel"}),
        (("gamma", "bias"), {"body/gamma", "head/bias"}),
        ((), set()),
    ],
)
def test_excluded_paths_are_not_clipped(exclude, whole):
    variables = _variables()
    before = _values(variables)
    optimizer = AGC(_plain()) if exclude is None else AGC(_plain(), exclude=exclude)
    _step(optimizer, variables)
    for path, w, variable, gradient in zip(_PATHS, before, variables, _gradients(0)):
        gradient = gradient if path in whole else clip_unitwise(gradient, w)
        np.testing.assert_array_equal(variable.numpy(), w - gradient.numpy(), err_msg=path)


def test_a_pattern_without_a_match_is_refused():
    paths = {"body/kernel": (2, 3), "logits/kernel": (3, 5)}
    with pytest.raises(UserError, match=r"matches none of the 2 variables.*logits/kernel"):
        AGC(_plain()).build(_variables(paths=paths))
    AGC(_plain(), exclude="logits").build(_variables(paths=paths))
    AGC(_plain(), clipping=None).build(_variables(paths=paths))


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(0.1, nesterov=True, weight_decay=0.01),
        lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.01),
        lambda: keras.optimizers.AdamW(0.1, weight_decay=0.1),
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 4)),
    ],
    ids=["sgd", "keras_sgd", "adamw", "adam_cosine"],
)
def test_without_clipping_it_is_the_inner_optimizer(make):
    """Weight decay, step counter, learning rate and schedule of the inner optimiser all count."""
    alone, wrapped = _variables(), _variables()
    optimizer, wrapper = make(), AGC(make(), clipping=None)
    for seed in range(4):
        _step(optimizer, alone, seed)
        _step(wrapper, wrapped, seed)
        assert float(wrapper.learning_rate) == float(optimizer.learning_rate)
    for a, b in zip(_values(alone), _values(wrapped)):
        np.testing.assert_array_equal(a, b)
    assert int(wrapper.iterations) == int(wrapper.inner.iterations) == 4


@pytest.mark.parametrize("rule", [{}, {"clipping": 0.02, "eps": 10.0}])
def test_clipping_comes_before_weight_decay_and_momentum(rule):
    variables = _variables()
    w, b = _values(variables)[0], 0.0
    optimizer = AGC(SGD(0.1, weight_decay=0.01), **rule)
    for seed in range(3):
        b = 0.9 * b + clip_unitwise(_gradients(seed)[0], w, **rule).numpy() + 0.01 * w
        w = w - 0.1 * b
        _step(optimizer, variables, seed)
    np.testing.assert_allclose(variables[0].numpy(), w, rtol=1e-6, atol=1e-7)


def test_sparse_gradients_are_clipped_as_dense_ones():
    paths = {"embedding/table": (4, 3)}
    rows = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    sparse = tf.IndexedSlices(rows, tf.constant([2, 2]), tf.constant([4, 3]))
    results = []
    for gradient in (sparse, tf.convert_to_tensor(sparse)):
        optimizer, variables = AGC(SGD(0.1), exclude=()), _variables(paths=paths)
        optimizer.build(variables)
        optimizer.apply([gradient], variables)
        results.append(variables[0].numpy())
    np.testing.assert_array_equal(*results)
    assert (results[0] != _values(_variables(paths=paths))[0]).any()


@pytest.mark.parametrize("clipping", [0.5, None])
def test_statistics(clipping):
    variables = _variables()
    optimizer = AGC(SGD(0.1), clipping=clipping)
    for seed in range(2):  # each step replaces the numbers of the one before
        before = _values(variables)
        gradients = _gradients(seed, scale=0.5)
        _step(optimizer, variables, seed, scale=0.5)
    found = {name: float(value) for name, value in optimizer.statistics().items()}

    def total(arrays):
        return np.sqrt(sum((np.float64(a) ** 2).sum() for a in arrays))

    clipped = np.concatenate(
        [
            np.ravel(unitwise_norm(g) > (clipping or np.inf) * unitwise_norm(w))
            for g, w in list(zip(gradients, before))[:2]
        ]
    )
    expected = {
        "grad_norm": total(gradients),
        "param_norm": total(before),
        "update_norm": total(v - w for v, w in zip(_values(variables), before)),
        "clipped_share": clipped.mean(),
    }
    assert found == pytest.approx(expected, rel=1e-6)
    assert clipping is None or 0 < found["clipped_share"] < 1


def test_statistics_before_the_first_step():
    optimizer = AGC(SGD(0.1))
    with pytest.raises(UserError, match="build"):
        optimizer.statistics()
    optimizer.build(_variables())
    assert all(float(value) == 0 for value in optimizer.statistics().values())


@pytest.mark.parametrize(
    "make",
    [
        lambda: AGC(SGD(0.1, nesterov=True, weight_decay=0.02, decay_mask="all"), clipping=0.3),
        lambda: AGC(keras.optimizers.AdamW(0.1), clipping=None, eps=0.1, exclude=("bias", "gamma")),
    ],
    ids=["sgd", "adamw"],
)
def test_serialisation(make):
    optimizer = make()
    config = keras.saving.serialize_keras_object(optimizer)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is AGC and type(copy.inner) is type(optimizer.inner)
    assert copy.get_config() == optimizer.get_config()
    for name in ("clipping", "eps", "exclude", "name"):
        assert getattr(copy, name) == getattr(optimizer, name)
    one, two = _variables(), _variables()
    for seed in range(2):
        _step(optimizer, one, seed)
        _step(copy, two, seed)
    for a, b in zip(_values(one), _values(two)):
        np.testing.assert_array_equal(a, b)


def test_variables_are_unique_and_have_stable_names():
    optimizers = [AGC(SGD(0.1)), AGC(SGD(0.1))]
    paths = []
    for optimizer in optimizers:
        optimizer.build(_variables())
        assert len({id(v) for v in optimizer.variables}) == len(optimizer.variables)
        assert {id(v) for v in optimizer.inner.variables} < {id(v) for v in optimizer.variables}
        paths.append([v.path for v in optimizer.variables])
        assert len(set(paths[-1])) == len(paths[-1])
    # Keras numbers optimisers by default, and a checkpoint by name would not be found again.
    assert paths[0] == paths[1]


def _save_by_path(optimizer, variables, folder):
    state = {v.path: v.numpy() for v in optimizer.variables}

    def restore(fresh):
        for v in fresh.variables:
            v.assign(state[v.path])

    return restore


def _save_by_tensorflow(optimizer, variables, folder):
    prefix = tf.train.Checkpoint(optimizer=optimizer).write(str(folder / "checkpoint"))

    def restore(fresh):
        status = tf.train.Checkpoint(optimizer=fresh).read(prefix)
        status.assert_consumed()

    return restore


@pytest.mark.parametrize("save", [_save_by_path, _save_by_tensorflow])
def test_a_restored_optimizer_continues_identically(save, tmp_path):
    def make():
        return AGC(SGD(0.1, nesterov=True), clipping=0.3)

    optimizer, variables = make(), _variables()
    for seed in range(2):
        _step(optimizer, variables, seed)
    optimizer.learning_rate.assign(0.05)
    restore, weights = save(optimizer, variables, tmp_path), _values(variables)

    fresh, resumed = make(), _variables(seed=9)
    fresh.build(resumed)
    restore(fresh)
    for variable, weight in zip(resumed, weights):
        variable.assign(weight)
    for seed in range(2, 4):
        _step(optimizer, variables, seed)
        _step(fresh, resumed, seed)
    for a, b in zip(_values(variables), _values(resumed)):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(_values(optimizer.variables), _values(fresh.variables)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scaled_by", ["wrapper", "inner"])
def test_clipping_sees_the_unscaled_gradient(scaled_by):
    plain, scaled = _variables(), _variables()
    _step(AGC(SGD(0.1)), plain)
    if scaled_by == "wrapper":
        optimizer = keras.optimizers.LossScaleOptimizer(AGC(SGD(0.1)), initial_scale=1024.0)
    else:
        optimizer = AGC(keras.optimizers.SGD(0.1, loss_scale_factor=1024.0))
    assert float(optimizer.scale_loss(1.0)) == 1024
    _step(optimizer, scaled, scale=1024.0)
    for a, b in zip(_values(plain), _values(scaled)):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (lambda: keras.optimizers.SGD(0.1, clipnorm=1.0), "clipnorm of SGD has no effect"),
        (lambda: keras.optimizers.SGD(0.1, clipvalue=1.0), "AGC: clipvalue of"),
        (lambda: keras.optimizers.SGD(0.1, global_clipnorm=1.0), "AGC: global_clipnorm of"),
        (lambda: keras.optimizers.SGD(0.1, use_ema=True), "AGC: use_ema of"),
        (
            lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
            "AGC: gradient_accumulation_steps of",
        ),
        (lambda: keras.optimizers.Nadam(0.1), "cannot wrap Nadam: it does more"),
        (
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
            "cannot wrap LossScaleOptimizer: wrap AGC in it instead",
        ),
    ],
)
def test_inner_optimizers_that_would_lose_something_are_refused(inner, message):
    with pytest.raises(UserError, match=message):
        AGC(inner())


@pytest.mark.parametrize("wrong", [{"clipping": 0}, {"clipping": -1.0}, {"eps": 0.0}])
def test_wrong_arguments(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        AGC(SGD(), **wrong)
