"""Recomputation in the training step, and the estimate that a dry run starts with."""

import os

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import training
from keras_transfer.core import config as config_lib
from keras_transfer.core.config import PretrainConfig
from keras_transfer.training import dry, memory
from tests.training.conftest import small
from tests.training.test_step import CHANGES, _train

GIB = 1024**3


@pytest.fixture(scope="module")
def plain(films):
    return _train(small(PretrainConfig, films, **CHANGES))


def test_recomputed_steps_of_two_replicas_equal_plain_ones_of_one(plain, films):
    """Same weights and momentum after three steps; checkpoints of both kinds are the same."""
    config = small(PretrainConfig, films, **CHANGES, runtime__recompute=True, runtime__replicas=2)
    rows, found = _train(config)
    expected_rows, expected = plain
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        if "statistics" not in name:  # squares, of which only the sums are reported
            np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-6, err_msg=name)
    for name, row in expected_rows.items():
        np.testing.assert_allclose(rows[name], row, rtol=2e-4, atol=1e-6, err_msg=name)
    before = small(PretrainConfig, films, **CHANGES)
    assert config_lib.digest(config) == config_lib.digest(before), "a run may go on either way"


# GiB above what Python and TensorFlow take: largest peaks of main memory over three steps of
# `experiments.benchmark memory`, with and without oneDNN.
MEASURED = [
    ("bit-r50x1", 32, 224, False, 3.41),
    ("bit-r50x1", 32, 224, False, 3.11),
    ("bit-r50x1", 32, 224, True, 1.78),
    ("bit-r50x1", 32, 224, True, 1.56),
    ("bit-r50x3", 1, 64, False, 3.21),
    ("bit-r50x3", 1, 64, True, 2.67),
    ("bit-r152x4", 1, 64, True, 10.20),
]


@pytest.mark.parametrize(("name", "batch", "size", "recompute", "peak"), MEASURED)
def test_the_estimate_is_within_a_sixth_of_what_was_measured(name, batch, size, recompute, peak):
    changes = {"train__global_batch_size": batch, "runtime__recompute": recompute}
    config = small(PretrainConfig, "", model__name=name, **changes)
    total = memory.estimate(config, 13, (size, size)).total
    assert total / GIB == pytest.approx(peak, rel=1 / 6)


def _items(**changes):
    replicas = changes.pop("replicas", 1)
    config = small(PretrainConfig, "", train__global_batch_size=64, **changes)
    found = memory.estimate(config, 10, (64, 64), replicas)
    assert found.total == sum(found.items.values())
    return found.items


def test_items_follow_the_config():
    kept, work = "activations kept for the backward pass", "largest part at work"
    whole, parts = _items(), _items(train__accumulation=4)
    halves = _items(replicas=2)
    for name in (kept, work):
        assert whole[name] == 4 * parts[name] == 2 * halves[name] > 0
    assert whole["weights"] == whole["momentum"] == whole["gradients"]
    assert {*parts} - {*whole} == {"gradients of the next micro-batch"}
    assert {*halves} - {*whole} == {"buffers to sum gradients over replicas"}
    assert "momentum" not in _items(optim__momentum=0.0)
    assert _items(runtime__precision="mixed_bfloat16")[kept] == whole[kept] / 2
    assert _items(runtime__recompute=True)[kept] < whole[kept] / 2
    frozen = _items(model__freeze_until="stage4")
    assert frozen["gradients"] < frozen["weights"] == whole["weights"]


def test_advice_names_the_first_change_that_fits():
    config = small(PretrainConfig, "", model__name="bit-r50x1", train__global_batch_size=64)

    def advice(gib, **changes):
        changed = small(PretrainConfig, "", model__name="bit-r50x1", **changes)
        changed.train.global_batch_size = 64
        return memory.advice(changed, 10, (224, 224), 1, int(gib * GIB))

    needed = memory.estimate(config, 10, (224, 224)).total / GIB
    assert advice(needed + 0.1) is None
    assert "--config.runtime.recompute=True would take" in advice(needed - 0.1)
    both = advice(needed / 4)
    assert "--config.runtime.recompute=True --config.train.accumulation=4 would" in both
    further = advice(needed / 4, runtime__recompute=True, train__accumulation=2)
    assert "recompute" not in further and "--config.train.accumulation=4 would" in further
    assert "take more workers, or a smaller network" in advice(0.1)
    assert all("\n" not in text for text in (both, further))


def test_a_dry_run_starts_with_the_estimate_and_builds_no_step_that_cannot_fit(
    pretraining, monkeypatch
):
    monkeypatch.setattr(memory, "capacity", lambda strategy: 10 * 1024**2)
    monkeypatch.setattr(dry, "Engine", None)
    *_, available, warning = lines = list(training.dry_run(pretraining()))
    names = ("weights", "momentum", "gradients", "standardised kernels", "activations", "together")
    for name in names:
        assert any(line.strip().startswith(name) and line.endswith(" GiB") for line in lines)
    assert available.split() == ["there", "is", "0.01", "GiB"]
    assert warning.startswith("warning: does not fit: about 0.0 GiB of 0.0 GiB per replica")


class _Strategy:
    def __init__(self, *devices):
        self.extended = self
        self.worker_devices = devices


def test_capacity_is_that_of_the_gpu_or_a_share_of_the_main_memory(monkeypatch):
    from tensorflow.python.client import device_lib

    class Device:
        def __init__(self, name, memory_limit):
            self.name, self.memory_limit = name, memory_limit

    found = [Device("/device:CPU:0", 1), Device("/device:GPU:0", 5), Device("/device:GPU:1", 7)]
    monkeypatch.setattr(device_lib, "list_local_devices", lambda: found)
    assert memory.capacity(_Strategy("/job:worker/replica:0/task:3/device:GPU:1")) == 7
    assert memory.capacity(_Strategy("/device:GPU:2")) is None
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory.capacity(_Strategy("/device:CPU:0", "/device:CPU:1")) == installed // 2
    device = tf.config.list_logical_devices("CPU")[0].name
    assert memory.capacity(tf.distribute.OneDeviceStrategy(device)) == installed
