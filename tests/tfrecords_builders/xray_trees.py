"""What the tests of chest X-ray sources share: reading a tree without building, and odd images."""

from pathlib import Path

import numpy as np
from PIL import Image

from tfrecords_builders import images, stages
from tfrecords_builders.sources import Dropped, Item

KINDS = ("grey", "grey16", "rgb", "rgba", "palette")


def read(source: str, folder: Path, *options: str):
    """Returns the source, its items, and what it dropped."""
    made = stages.make_job(source, input_dir=str(folder), options=options).open_source()
    entries = list(made.items())
    items = [entry for entry in entries if isinstance(entry, Item)]
    return made, items, [entry for entry in entries if isinstance(entry, Dropped)]


def write(path: Path, seed: int, kind: str = "grey") -> Path:
    """Writes a PNG of 12 x 16 pixels that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    if kind == "grey16":
        pixels = generator.integers(0, 2**16, (12, 16), dtype=np.uint16)
        pixels[0, 0] = 2**16 - 1
        path.write_bytes(images.encode(pixels, "png"))
        return path
    shape = {"grey": (12, 16), "palette": (12, 16), "rgba": (12, 16, 4)}.get(kind, (12, 16, 3))
    picture = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
    if kind == "palette":
        picture = picture.convert("RGB").convert("P")
    picture.save(path, "PNG")
    return path


def truncate(path: Path) -> None:
    """Cuts the end off a file."""
    path.write_bytes(path.read_bytes()[:-20])
