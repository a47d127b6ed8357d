"""Any number of replicas takes the same steps on the same global batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.optim import AGC, SGD, clip_unitwise

STEPS, BATCH, CLIPPING = 6, 8, 0.05
RATES = np.float32([0.0, 0.1, 0.2, 0.2, 0.02, 0.02])


def _network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(8, 3, name="conv"),
            keras.layers.GroupNormalization(4, name="norm"),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, name="head"),
        ]
    )


def _data():
    rng = np.random.default_rng(0)
    image = rng.standard_normal((STEPS, BATCH, 6, 6, 3), np.float32)
    return image, rng.integers(0, 5, (STEPS, BATCH))


def _train(strategy, make_optimizer, *, clip_local=False, image=None):
    """Trains in one compiled loop, as the training loop does.

    Returns:
        Weights of every replica, and the statistics of every step [STEPS, 4] as seen across
        replicas and by each replica.
    """
    with strategy.scope():
        model = _network()
        optimizer = make_optimizer()
        optimizer.build(model.trainable_variables)
    label = _data()[1]
    image = _data()[0] if image is None else image
    measured = hasattr(optimizer, "statistics")

    def replica_step(image, label):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(label, model(image))
            loss = tf.reduce_sum(losses) / BATCH
        variables = model.trainable_variables
        gradients = tape.gradient(loss, variables)
        if clip_local:
            gradients = [
                g if v.path.startswith("head") else clip_unitwise(g, v, clipping=CLIPPING)
                for g, v in zip(gradients, variables)
            ]
        optimizer.apply(gradients, variables)
        return tf.stack(list(optimizer.statistics().values())) if measured else tf.zeros(4)

    def dataset(context):
        steps = tf.data.Dataset.from_tensor_slices((image, label)).unbatch()
        return steps.batch(BATCH // strategy.num_replicas_in_sync, drop_remainder=True)

    @tf.function
    def window(iterator, rates):
        shape = [strategy.num_replicas_in_sync + 1, 4]
        rows = tf.TensorArray(tf.float32, size=STEPS, element_shape=shape)
        for step in tf.range(STEPS):
            optimizer.learning_rate.assign(rates[step])
            inside = strategy.run(replica_step, args=next(iterator))
            inside = strategy.experimental_local_results(inside)
            across = list(optimizer.statistics().values()) if measured else tf.zeros(4)
            rows = rows.write(step, tf.stack([tf.stack(across), *inside]))
        return rows.stack()

    iterator = iter(strategy.distribute_datasets_from_function(dataset))
    rows = window(iterator, tf.constant(RATES)).numpy()
    assert int(optimizer.iterations.numpy()) == STEPS
    per_replica = zip(
        *(
            [t.numpy() for t in strategy.experimental_local_results(v.value)]
            for v in model.trainable_variables
        )
    )
    return [list(weights) for weights in per_replica], rows


def _agc():
    return AGC(SGD(nesterov=True, weight_decay=1e-2, decay_mask="all"), clipping=CLIPPING)


@pytest.fixture(scope="module")
def plain():
    """One device, no strategy, eager: what every other way is compared with."""
    model, optimizer = _network(), _agc()
    optimizer.build(model.trainable_variables)
    statistics = []
    for image, label, rate in zip(*_data(), RATES):
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(label, model(image))
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        statistics.append([float(value) for value in optimizer.statistics().values()])
    return [v.numpy() for v in model.trainable_variables], np.array(statistics)


def _largest_difference(a, b):
    return max(np.abs(x - y).max() for x, y in zip(a, b))


@pytest.mark.parametrize("number", [1, 2])
def test_replicas_take_the_steps_of_one_device(number, mirrored, plain):
    strategy = mirrored(number)
    replicas, statistics = _train(strategy, _agc)
    weights, expected = plain
    assert len(replicas) == strategy.num_replicas_in_sync == number
    for replica in replicas:
        assert _largest_difference(replica, weights) < 1e-6
        assert _largest_difference(replica, replicas[0]) == 0
    # Each replica and the view across replicas hold the statistics of the global batch.
    for view in range(statistics.shape[1]):
        np.testing.assert_allclose(statistics[:, view], expected, rtol=1e-4, atol=1e-6)
    clipped_share = expected[:, 3]
    assert clipped_share.max() > 0, "nothing was clipped: the comparison shows nothing"


def test_clipping_local_gradients_would_be_found_out(mirrored, plain):
    """What Keras' own clipping does: the same rule before the sum is another optimiser."""
    inner = lambda: SGD(nesterov=True, weight_decay=1e-2, decay_mask="all")  # noqa: E731
    replicas, _ = _train(mirrored(2), inner, clip_local=True)
    assert _largest_difference(replicas[0], plain[0]) > 1e-3


@pytest.mark.parametrize("number", [1, 2])
def test_a_step_that_one_replica_spoils_changes_nothing_on_any(number, mirrored):
    """As if its rate were 0 and the momentum knew nothing of it: the rest is a run without it."""
    image, label = _data()
    spoiled = image.copy()
    spoiled[3, -1] = np.nan  # of the last replica's half
    make = lambda: AGC(SGD(nesterov=True), clipping=CLIPPING, skip_non_finite=True)  # noqa: E731
    replicas, statistics = _train(mirrored(number), make, image=spoiled)
    assert np.isnan(statistics[3]).all() and np.isfinite(np.delete(statistics, 3, 0)).all()

    model, optimizer = _network(), make()
    optimizer.build(model.trainable_variables)
    for step in (0, 1, 2, 4, 5):
        optimizer.learning_rate.assign(RATES[step])
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(label[step], model(image[step]))
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
    for replica in replicas:
        assert _largest_difference(replica, [v.numpy() for v in model.trainable_variables]) < 1e-6
