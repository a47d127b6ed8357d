"""The head: which variables it is, its initial values, its replacement, the features below it."""

import numpy as np
import pytest

from keras_transfer import models
from keras_transfer.core.errors import UserError


def test_head_is_told_by_path(tiny):
    paths = [v.path for v in tiny.weights]
    assert [p for p in paths if models.is_head(p)] == ["head/kernel", "head/bias"]
    assert not models.is_head("group_norm/head")
    assert models.is_head("outer/head/kernel")


def test_zero_head_gives_zero_logits(images):
    assert not models.build("bit-r14x0.25", 3, seed=1)(images).numpy().any()


def test_uniform_head_is_within_the_bound_of_its_features(tiny):
    kernel, bias = (v.numpy() for v in tiny.get_layer("head").weights)
    bound = 1 / np.sqrt(512)
    assert 0.98 * bound < np.abs(kernel).max() <= bound
    assert bias.any() and np.abs(bias).max() <= bound


def test_features_are_what_the_head_sees(tiny, images):
    features = models.feature_extractor(tiny)(images)
    assert features.shape == (4, 512) and (features.numpy() >= 0).all()
    kernel, bias = tiny.get_layer("head").weights
    np.testing.assert_allclose(features @ kernel.numpy() + bias.numpy(), tiny(images), atol=1e-6)


def test_new_head_on_the_same_backbone(images):
    model = models.build("bit-r14x0.25", 5, head_init="uniform", seed=1)
    before = model(images).numpy()
    replaced = models.replace_head(model, 3, head_init="uniform", seed=2)
    fresh = models.build("bit-r14x0.25", 3, head_init="uniform", seed=2)
    for a, b in zip(replaced.get_layer("head").weights, fresh.get_layer("head").weights):
        assert a.path == b.path
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    shared = [v for v in replaced.weights if not models.is_head(v.path)]
    assert all(a is b for a, b in zip(shared, model.weights)) and len(shared) == 43
    np.testing.assert_array_equal(model(images), before)
    assert replaced(images).shape == (4, 3)


@pytest.mark.parametrize("num_classes, head_init", [(0, "zeros"), (-1, "zeros"), (3, "ones")])
def test_wrong_heads(num_classes, head_init):
    with pytest.raises(UserError, match=r"^[^\n]*(class|zeros)[^\n]*$"):
        models.build("bit-r14x0.25", num_classes, head_init=head_init)
