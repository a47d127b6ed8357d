"""One and two replicas on one machine: tests/conftest.py splits the CPU."""

import pytest
import tensorflow as tf


@pytest.fixture
def mirrored():
    """Returns a function: number of replicas -> strategy."""

    def make(replicas):
        names = [device.name for device in tf.config.list_logical_devices("CPU")[:replicas]]
        assert len(names) == replicas
        return tf.distribute.MirroredStrategy(names)

    return make
