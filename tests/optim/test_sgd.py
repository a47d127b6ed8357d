import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.core.errors import UserError
from keras_transfer.optim import SGD

SHAPES = ((3, 3, 2, 4), (4, 5), (5,))
RATES = (0.0, 0.05, 0.1, 0.1, 0.01)


def _variables(dtype="float32"):
    rng = np.random.default_rng(0)
    return [
        keras.Variable(rng.standard_normal(s), dtype=dtype, name=f"w{i}")
        for i, s in enumerate(SHAPES)
    ]


def _gradients(step, dtype="float32"):
    rng = np.random.default_rng(100 + step)
    return [tf.constant(rng.standard_normal(s), dtype) for s in SHAPES]


def _train(optimizer, dtype="float32"):
    variables = _variables(dtype)
    optimizer.build(variables)
    for step, rate in enumerate(RATES):
        optimizer.learning_rate.assign(rate)
        optimizer.apply(_gradients(step, dtype), variables)
    return [v.numpy() for v in variables]


def _torch(momentum, nesterov, decays):
    """torch.optim.SGD as its documentation writes it, dampening 0, in float64."""
    weights = [v.numpy().astype(np.float64) for v in _variables()]
    for i, weight_decay in enumerate(decays):
        buffer = None
        for step, rate in enumerate(RATES):
            g = _gradients(step)[i].numpy().astype(np.float64)
            g = g + weight_decay * weights[i]
            if momentum:
                buffer = g if buffer is None else momentum * buffer + g
                g = g + momentum * buffer if nesterov else buffer
            weights[i] = weights[i] - rate * g
    return weights


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, False), (0.9, True), (0.0, False)])
@pytest.mark.parametrize(
    ("weight_decay", "mask", "decays"),
    [
        (0.0, "all", (0, 0, 0)),
        (0.03, "all", (0.03, 0.03, 0.03)),
        (0.03, "kernels", (0.03, 0.03, 0)),
    ],
)
def test_equals_torch(momentum, nesterov, weight_decay, mask, decays):
    optimizer = SGD(
        momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, decay_mask=mask
    )
    for ours, theirs in zip(_train(optimizer), _torch(momentum, nesterov, decays)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_keras_sgd_is_another_rule_when_the_rate_changes():
    ours = _train(SGD(momentum=0.9))
    keras_own = _train(keras.optimizers.SGD(0.1, momentum=0.9))
    start = [v.numpy() for v in _variables()]
    for a, b, w in zip(ours, keras_own, start):
        assert np.linalg.norm(a - b) > 0.1 * np.linalg.norm(a - w)


def test_float64_variables():
    for ours, theirs in zip(
        _train(SGD(nesterov=True, weight_decay=0.03), "float64"), _torch(0.9, True, (0.03, 0.03, 0))
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_eager_and_compiled_steps_are_equal():
    def compiled(optimizer):
        variables = _variables()
        optimizer.build(variables)
        step = tf.function(lambda gradients: optimizer.apply(gradients, variables))
        for number, rate in enumerate(RATES):
            optimizer.learning_rate.assign(rate)
            step(_gradients(number))
        return [v.numpy() for v in variables]

    def make():
        return SGD(nesterov=True, weight_decay=0.03)

    for a, b in zip(_train(make()), compiled(make())):
        np.testing.assert_array_equal(a, b)


def test_variables_excluded_through_keras_do_not_decay():
    optimizer = SGD(weight_decay=0.03)
    optimizer.exclude_from_weight_decay(var_names=["w1"])
    for ours, theirs in zip(_train(optimizer), _torch(0.9, False, (0.03, 0, 0))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_serialisation():
    optimizer = SGD(0.2, momentum=0.8, nesterov=True, weight_decay=0.01, decay_mask="all")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(copy) is SGD
    assert copy.get_config() == optimizer.get_config()
    assert copy.get_config()["learning_rate"] == pytest.approx(0.2)
    for a, b in zip(_train(optimizer), _train(copy)):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"momentum": 1.0}, "momentum"),
        ({"momentum": -0.1}, "momentum"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"decay_mask": "kernel"}, "kernels or all"),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(UserError, match=message):
        SGD(**wrong)
