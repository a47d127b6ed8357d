"""The oracle's weights by name, and small models of which there is no need to have two."""

import functools
import importlib.util

import keras
import numpy as np
import pytest

from keras_transfer import models


@pytest.fixture(scope="session")
def oracle(shared):
    """Folder of reference numbers of the BiT networks."""
    return shared / "oracles" / "bit"


@pytest.fixture(scope="session")
def rule(oracle):
    """The rule that names weights and inputs of the reference numbers."""
    spec = importlib.util.spec_from_file_location("genrule", oracle / "genrule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference_model(rule, tmp_path_factory):
    """Returns a function (variant, width, classes) -> model with the reference weights."""

    def load(variant, width, num_classes):
        path = tmp_path_factory.mktemp("reference") / "weights.npz"
        np.savez(path, **rule.weights(variant, width, num_classes))
        model = models.build(f"bit-{variant.lower()}x{width}", num_classes)
        models.load_npz(model, path)
        path.unlink()
        return model

    return load


@pytest.fixture(scope="session")
def shapes_of():
    """``models.npz_shapes``, once per network."""
    return functools.cache(models.npz_shapes)


@pytest.fixture(scope="session")
def tiny():
    """A small network, not to be changed."""
    return models.build("bit-r14x0.25", 5, head_init="uniform", seed=7)


@pytest.fixture(scope="session")
def images():
    """float32[4, 37, 50, 3] in [-1, 1], of odd and even sides."""
    return np.random.default_rng(0).uniform(-1, 1, (4, 37, 50, 3)).astype(np.float32)


@pytest.fixture
def policy():
    """Sets the global dtype policy for one test."""
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)
