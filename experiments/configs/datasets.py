"""The pre-training sources by the names of the paper: their folders, and how to build them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_transfer.core.errors import UserError, did_you_mean
from tfrecords_builders import images, plan
from tfrecords_builders import sources as builders

_AUTHORS_PADCHEST = "labels=authors,splits=authors,views=PA,AP,AP Supine,L,COSTAL"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset to pre-train on.

    Attributes:
        builder: Value of the builder's ``--source``.
        natural: Whether its images are photographs; otherwise chest X-rays.
        options: The builder's options, by default its own.
        authors: The options that give what the authors' code read (spec: upstream.md 3).
        image_size: Shorter side of the stored images, 0 as they are. X-rays are stored small, but
            larger than the 224 pixels of pre-training: as targets they are read at up to 480.
    """

    builder: str
    natural: bool = False
    options: str = ""
    authors: str = ""
    image_size: int = 512


SOURCES = {
    "imagenet1k": Source(builder="imagenet1k", natural=True, image_size=0),
    # One training pair per image and label: paper, section 3.1.1.
    "imagenet21k": Source(
        builder="imagenet21k",
        natural=True,
        options="records=per_label",
        authors="records=per_label",
        image_size=0,
    ),
    "chexpert": Source(builder="chexpert", authors="support_devices=zero"),
    "mimic": Source(builder="mimic_cxr", authors="splits=authors,support_devices=zero"),
    "nih": Source(builder="nih_cxr14", authors="splits=authors"),
    "padchest": Source(builder="padchest", authors=_AUTHORS_PADCHEST),
}


def parse(text: str) -> list[str]:
    """Splits ``chexpert+mimic`` into known names.

    Raises:
        UserError: If a name is unknown, or there twice, or there is none.
    """
    names = [name for name in text.split("+") if name]
    for name in names:
        if name not in SOURCES:
            raise UserError(f"source={text}: unknown {name!r}.{did_you_mean(name, SOURCES)}")
    if not names or len(set(names)) < len(names):
        raise UserError(f"source={text!r}: write different names joined by +, chexpert+mimic.")
    return names


def folder(name: str, root: str, *, authors: bool) -> str:
    """Returns the folder that the builder makes below ``root``."""
    return f"{root}/{_place(SOURCES[name], authors)}"


def command(name: str, root: str, *, authors: bool) -> str:
    """Returns what builds a source; its input folder is named in capitals, for you to fill in."""
    source = SOURCES[name]
    options = source.authors if authors else source.options
    words = ["python", "-m", "tfrecords_builders.build", f"--source={source.builder}"]
    words += [f"--input_dir={source.builder.upper()}_DIR", f"--output_dir={root}"]
    words += [f"--image_size={source.image_size}"] if source.image_size else []
    words += [f"--options={options}"] if options else []
    return shlex.join(words)


def require(folders: Sequence[str]) -> None:
    """Raises a UserError that names every missing dataset folder and the command that makes it."""
    missing = [path for path in folders if not Path(path).is_dir()]
    if missing:
        described = "; ".join(
            f"{path}: no such dataset folder, {_advice(path)}" for path in missing
        )
        raise UserError(f"{len(missing)} of {len(folders)} datasets missing. {described}")


def _advice(path: str) -> str:
    for name, source in SOURCES.items():
        for authors in (False, True):
            place = _place(source, authors)
            if f"/{path}".endswith(f"/{place}"):
                root = path.removesuffix(place).rstrip("/") or "."
                return f"build it with: {command(name, root, authors=authors)}"
    return "build it with tfrecords_builders.build"


def _place(source: Source, authors: bool) -> str:
    """Returns ``<name>/<config>/<version>`` as the builder calls it."""
    kind = builders.get(source.builder)
    options = builders.parse_options(kind, [source.authors if authors else source.options])
    rendering = images.Rendering(encoding=kind.encoding, image_size=source.image_size, channels=1)
    job = plan.Job(
        source=source.builder,
        options=tuple(options.items()),
        input_dir="",
        seed=0,
        rendering=rendering,
    )
    return f"{kind.name}/{job.config}/{kind.version}"
