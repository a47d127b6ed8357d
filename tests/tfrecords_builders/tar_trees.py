"""Makes tars, tars of tars and images for tests of what ImageNet is handed out as."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image

Content = Union[bytes, "Tree"]
Tree = Mapping[str, Content]


def picture(seed: int, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    """Returns an image file that no other seed gives, 16 x 12."""
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, *channels), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, kind)
    return stream.getvalue()


def tar(files: Tree, *, form: int = tarfile.GNU_FORMAT) -> bytes:
    """Returns a tar; a mapping in it is a tar, too."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else tar(content, form=form)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def unpack(files: Tree, folder: Path) -> None:
    """Writes files as they are; a mapping is a folder."""
    for name, content in files.items():
        path = folder / name
        if isinstance(content, bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        else:
            path.mkdir(parents=True, exist_ok=True)
            unpack(content, path)
