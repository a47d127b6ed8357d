"""Shared by all tests: two logical CPU devices, and datasets made by the project's own builders."""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
import tensorflow as tf

# Before anything starts TensorFlow: tests of replicas need a second device.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def _build(source: str, folder: Path, *options: str) -> str:
    from tfrecords_builders import stages

    job = stages.make_job(source, options=options)
    return str(stages.build(job, folder, stages.Settings(num_workers=1)).folder)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> str:
    """Folder of scikit-learn's digits 0-4: 901 images, five classes."""
    return _build("digits", tmp_path_factory.mktemp("digits"), "classes=0-4")


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> str:
    """Folder of procedural chest films with several findings, some of them unknown."""
    return _build("phantom", tmp_path_factory.mktemp("films"), "num_patients=60,uncertain=0.2")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with oracles beside the checkout; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it holds the reference numbers of this test")
    return folder
