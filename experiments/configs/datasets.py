"""The datasets by the names of the paper: their folders, and how to build them."""

import functools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_transfer.core.errors import UserError, did_you_mean
from tfrecords_builders import images, plan
from tfrecords_builders import sources as builders

_AUTHORS_PADCHEST = "labels=authors,splits=authors,views=PA,AP,AP Supine,L,COSTAL"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a dataset is built.

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


def _prepared(name: str, options: str = "", authors: str = "") -> Recipe:
    """A set of photographs that TFDS has prepared."""
    own = ",".join(filter(None, [f"dataset={name}", options]))
    return Recipe(
        builder="tfds_import",
        natural=True,
        options=own,
        authors=",".join(filter(None, [own, authors])),
        image_size=0,
    )


# To pre-train on.
SOURCES = {
    "imagenet1k": Recipe(builder="imagenet1k", natural=True, image_size=0),
    # One training pair per image and label: paper, section 3.1.1.
    "imagenet21k": Recipe(
        builder="imagenet21k",
        natural=True,
        options="records=per_label",
        authors="records=per_label",
        image_size=0,
    ),
    "chexpert": Recipe(builder="chexpert", authors="support_devices=zero"),
    "mimic": Recipe(builder="mimic_cxr", authors="splits=authors,support_devices=zero"),
    "nih": Recipe(builder="nih_cxr14", authors="splits=authors"),
    "padchest": Recipe(builder="padchest", authors=_AUTHORS_PADCHEST),
}

# Only transferred to.
_MORE = {
    # Some of their training images are among the test images: the card says how many.
    "cifar10": _prepared("cifar10", "leaky=true"),
    "cifar100": _prepared("cifar100", "leaky=true"),
    "flowers102": _prepared("oxford_flowers102", authors="splits=authors"),
    "pets": _prepared("oxford_iiit_pet"),
    "covidx": Recipe(builder="covidx_cxr2", authors="splits=authors"),
    "tuberculosis": Recipe(builder="tuberculosis", authors="splits=authors"),
    "padchest_cl": Recipe(builder="padchest_cl", authors="labels=authors,splits=authors"),
}
DATASETS = SOURCES | _MORE


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
    """Returns the folder that the builder makes of a dataset, below ``root``."""
    return f"{root}/{_place(DATASETS[name], authors)}"


def command(name: str, root: str, *, authors: bool) -> str:
    """Returns what builds a dataset; its input folder is named in capitals, for you to fill in."""
    recipe = DATASETS[name]
    options = recipe.authors if authors else recipe.options
    place = "TFDS" if recipe.builder == "tfds_import" else recipe.builder.upper()
    words = ["python", "-m", "tfrecords_builders.build", f"--source={recipe.builder}"]
    words += [f"--input_dir={place}_DIR", f"--output_dir={root}"]
    words += [f"--image_size={recipe.image_size}"] if recipe.image_size else []
    words += [f"--options={options}"] if options else []
    return shlex.join(words)


def require(folders: Sequence[str]) -> None:
    """Raises a UserError that names every missing dataset folder and the command that makes it."""
    missing = [path for path in folders if not Path(path).is_dir()]
    if missing:
        described = "; ".join(f"{path}: no such dataset folder, {advice(path)}" for path in missing)
        raise UserError(f"{len(missing)} of {len(folders)} datasets missing. {described}")


def advice(path: str) -> str:
    """Says what builds the dataset of a folder."""
    for name, recipe in DATASETS.items():
        for authors in (False, True):
            place = _place(recipe, authors)
            if f"/{path}".endswith(f"/{place}"):
                root = path.removesuffix(place).rstrip("/") or "."
                return f"build it with: {command(name, root, authors=authors)}"
    return "build it with tfrecords_builders.build"


@functools.cache
def _place(recipe: Recipe, authors: bool) -> str:
    """Returns ``<name>/<config>/<version>`` as the builder calls it."""
    kind = builders.get(recipe.builder)
    options = builders.parse_options(kind, [recipe.authors if authors else recipe.options])
    rendering = images.Rendering(encoding=kind.encoding, image_size=recipe.image_size, channels=1)
    job = plan.Job(
        source=recipe.builder,
        options=tuple(options.items()),
        input_dir="",
        seed=0,
        rendering=rendering,
    )
    # TFDS's own name goes before the builder's.
    return f"{options.get('dataset') or kind.name}/{job.config}/{kind.version}"
