import numpy as np
import pytest

from keras_transfer.core.config import PretrainConfig
from keras_transfer.core.errors import UserError
from keras_transfer.training.setup import prepare
from keras_transfer.training.step import COLUMNS, Engine
from tests.training.conftest import small

FLIPS = "decode|resize(36)|random_crop(32)|random_flip|value_range(-1, 1)"


def _train(config, steps=3):
    setup = prepare(config)
    engine = Engine(setup.shape, setup.config.runtime)
    engine.reset(0, "uniform")
    batch = config.train.global_batch_size
    iterator = engine.iterate(lambda: setup.train_batches(engine.slice(batch, training=True)))
    # Three steps: digits have large areas of one value, where rounding decides which of equal
    # pixels a maximum takes, and later steps carry that on (films follow for longer).
    rows = engine.train(iterator, np.linspace(0.1, 0.02, steps))
    return rows, {name: v.numpy() for name, v in engine.variables().items()}


CHANGES = {"data__mixup": 0.3, "data__train": FLIPS, "optim__nesterov": True}


@pytest.fixture(scope="module")
def one_batch(digits, films):
    """Each kind of data trained on one replica with whole batches, once for all tests."""
    folders = {"digits": digits, "films": films}
    return {
        kind: _train(small(PretrainConfig, folder, **CHANGES)) for kind, folder in folders.items()
    }


@pytest.mark.parametrize(
    ("kind", "replicas", "accumulation"), [("films", 2, 1), ("films", 2, 2), ("digits", 2, 2)]
)
def test_replicas_and_micro_batches_equal_one_batch(
    one_batch, request, kind, replicas, accumulation
):
    """Same weights to 2e-6 with AGC, mixup, augmentation and, for films, unknown labels."""
    rows, expected = one_batch[kind]
    config = small(PretrainConfig, request.getfixturevalue(kind), **CHANGES)
    config.runtime.replicas, config.train.accumulation = replicas, accumulation
    other_rows, got = _train(config)
    for name in COLUMNS:
        np.testing.assert_allclose(other_rows[name], rows[name], rtol=2e-4, atol=1e-6)
    moved = 0.0
    for name, value in expected.items():
        if "iterations" in name or "statistics" in name:
            continue
        np.testing.assert_allclose(got[name], value, rtol=0, atol=2e-6, err_msg=name)
        moved = max(moved, float(np.abs(value).max()))
    assert moved > 0.1
    assert rows["clipped_share"].max() > 0, "a test of AGC needs something to clip"


def test_a_batch_that_cannot_be_cut_is_refused(pretraining):
    with pytest.raises(UserError, match="batch of 18 cannot be cut evenly into 1 workers x 4"):
        _train(pretraining(train__global_batch_size=18, train__accumulation=4))
    with pytest.raises(UserError, match="must be even, got 1"):
        _train(pretraining(train__accumulation=16, data__mixup=0.1))
