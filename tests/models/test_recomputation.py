"""Recomputed units: same numbers, less kept, and the bytes of `footprint` counted in a graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import models
from keras_transfer.core.errors import UserError

NAME = "bit-r14x0.25"
# Their output is (a view of) their input: no memory of their own.
VIEWS = {"Identity", "IdentityN", "Reshape", "CheckNumerics"}


def _build(recompute, **changes):
    return models.build(NAME, 5, head_init="uniform", seed=3, recompute=recompute, **changes)


def _loss(model, images):
    return tf.reduce_sum(model(images, training=True) * np.array([1.0, -2, 0.5, 3, -1]))


def _gradients(model, images):
    with tf.GradientTape() as tape:
        loss = _loss(model, images)
    return loss, tape.gradient(loss, model.trainable_variables)


def _assert_close(found, expected, tolerance):
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.linalg.norm(b))


@pytest.mark.parametrize("precision, tolerance", [("float32", 2e-6), ("mixed_bfloat16", 0.02)])
def test_same_gradients(images, policy, precision, tolerance):
    policy(precision)
    pair = [_build(recompute) for recompute in (False, True)]
    both = tf.function(lambda x: [_gradients(model, x) for model in pair], autograph=False)
    plain, recomputed = both(images)
    _assert_close(recomputed, plain, tolerance)
    assert min(np.abs(g).max() for g in plain[1]) > 0


def test_same_gradients_eagerly_and_of_frozen_networks(images):
    pair = [_build(recompute) for recompute in (False, True)]
    for model in pair:
        models.freeze(model, "stage2")
    plain, recomputed = (_gradients(model, images) for model in pair)
    assert len(plain[1]) == len(pair[0].trainable_variables) < len(pair[0].variables)
    _assert_close(recomputed, plain, 2e-6)


def test_same_weights_and_files(images, tmp_path):
    plain, recomputed = _build(False), _build(True)
    assert [v.path for v in plain.variables] == [v.path for v in recomputed.variables]
    for a, b in zip(plain.variables, recomputed.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    models.save_npz(recomputed, tmp_path / "weights.npz")
    models.load_npz(plain, tmp_path / "weights.npz")
    recomputed.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("block2").recompute
    for training in (False, True):
        np.testing.assert_array_equal(again(images, training=training), plain(images))


def _kept(model, images):
    """Returns the bytes of the forward pass that the backward pass uses, and its operations."""
    seen = {}

    def step(x):
        with tf.GradientTape() as tape:
            loss = _loss(model, x)
        seen["forward"] = set(x.graph.get_operations())
        return tape.gradient(loss, model.trainable_variables)

    graph = tf.function(step, autograph=False).get_concrete_function(images).graph
    backward, todo = set(), [output.op for output in graph.outputs]
    while todo:  # what the gradients depend on; the rest is never run
        op = todo.pop()
        if op not in backward and op not in seen["forward"]:
            backward.add(op)
            todo += [tensor.op for tensor in op.inputs]
    kept = {}
    for tensor in (t for op in backward if op.type != "Shape" for t in op.inputs):
        if tensor.op in seen["forward"]:
            tensor = _owner(tensor)
            if tensor.op.type not in ("ReadVariableOp", "Const", "Placeholder"):
                kept[tensor.ref()] = tensor.shape.num_elements() * tensor.dtype.size
    return sum(kept.values()), [op.type for op in backward]


def _owner(tensor):
    """Returns the tensor that holds the memory of a view."""
    while tensor.op.type in VIEWS:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimate_is_what_the_graph_keeps(policy, precision, recompute):
    """Counted in the graph, tensor by tensor; the estimate leaves out vectors per channel."""
    policy(precision)
    batch, size = 3, (70, 96)
    model = _build(recompute)
    kept, operations = _kept(model, tf.TensorSpec([batch, *size, 3]))
    cost = models.footprint(NAME, 5, size, precision=precision, recompute=recompute)
    kernels = 0 if recompute else cost.kernels  # made again when they are needed
    assert kept == pytest.approx(cost.activations * batch + kernels, rel=0.05)
    # The 7x7 convolution and the 3x3 one of each of the four units are in the backward pass again.
    assert operations.count("Conv2D") == (5 if recompute else 0)


def test_frozen_parts_keep_nothing():
    kept = [
        models.footprint(NAME, 5, (224, 224), freeze_until=part)
        for part in ("", "root", "stage2", "stage4")
    ]
    bytes_kept = [cost.activations for cost in kept]
    assert bytes_kept == sorted(bytes_kept, reverse=True)
    assert bytes_kept[0] > 2 * bytes_kept[2] > bytes_kept[3] == 0
    assert kept[3].parameters == kept[0].parameters == kept[0].trained
    assert kept[3].trained == 512 * 5 + 5


def test_the_largest_network_is_estimated_without_building_it():
    cost = models.footprint("bit-r152x4", 13, (64, 64))
    assert cost.parameters == 928_446_733
    with pytest.raises(UserError, match="Unknown model"):
        models.footprint("bit-r9000", 13, (64, 64))
