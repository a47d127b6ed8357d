"""Folders of images and finished datasets that several tests look at."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tfrecords_builders import images, stages


def write_image(path: Path, seed: int, shape=(12, 16, 3), kind: str = "png") -> Path:
    """Writes an image that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.write_bytes(images.encode(pixels, kind))
    return path


def digests(folder: Path) -> dict[str, str]:
    """Returns path -> SHA-256 of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def build(source: str, output: Path, *options: str, stage: str = "all", **arguments):
    """Builds in this process unless told otherwise; returns the outcome."""
    names = stages.Settings.__dataclass_fields__
    settings = {k: arguments.pop(k) for k in list(arguments) if k in names}
    job = stages.make_job(source, options=options, **arguments)
    return stages.build(job, output, stages.Settings(**{"num_workers": 1} | settings), stage)


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder with two classes of 20 and 10 PNG files."""
    folder = tmp_path / "photos"
    for number in range(30):
        name = "cat" if number < 20 else "dog"
        write_image(folder / name / f"{number:02d}.png", number)
    return folder
