"""Display names, order and looks of sources, targets and networks: decided here, once.

What is not listed is shown under its own name, after what is listed, in natural order, with the
next free look: a new dataset needs no entry.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keras_transfer.core import runs

# In the order of display, natural images before medical ones.
_TITLES = {
    runs.SCRATCH: "from scratch",
    "imagenet1k": "ImageNet-1k",
    "imagenet21k": "ImageNet-21k",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "flowers": "Flowers",
    "flowers102": "Flowers-102",
    "pets": "Pets",
    "covidx": "COVIDx",
    "tuberculosis": "Tuberculosis",
    "chexpert": "CheXpert",
    "mimic": "MIMIC",
    "nih": "NIH",
    "padchest": "PadChest",
    "padchest_cl": "PadChest-Cl",
}

# Kind of image by how a dataset's name begins: sources and targets of one kind are near.
_KINDS = {
    "digits": "handwritten digits",
    "phantom": "synthetic chest X-rays",
    "x-ray": "X-rays",
    **dict.fromkeys(
        ("imagenet", "cifar", "flowers", "oxford_flowers", "pets", "oxford_iiit_pet"),
        "natural images",
    ),
    **dict.fromkeys(
        ("nih", "padchest", "chexpert", "mimic", "covidx", "tuberculosis", "vindr"),
        "chest X-rays",
    ),
}

_METRICS = {"mean_auc": "mean AUC", "auc": "AUC", "f1": "F1", "macro_f1": "macro F1"}

# Okabe and Ito, "Color Universal Design", 2008, without black (text), with a darker yellow and
# purple, in an order whose neighbours also differ in luminance: lines stay apart in grey print.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#B8A800", "#6A3D9A")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# The paper's sources have the same look in every figure: warm colours for natural images, cold
# ones for X-rays, darker with more data. Places among the fourteen looks, the first seven filled.
_PLACES = {
    "imagenet1k": 1,
    "imagenet21k": 4,
    "chexpert": 3,
    "chexpert+mimic": 2,
    "chexpert+mimic+nih": 0,
    "chexpert+mimic+nih+padchest": 6,
    "mimic": 5,
    "nih": 10,
    "padchest": 7,
}
_DASHES: tuple[str | tuple, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))

# Stands for the colour of text: pages replace it, so that figures follow light and dark.
INK = "#1a1b1c"


@dataclass(frozen=True)
class Look:
    """How a line is drawn.

    Attributes:
        colour: Hexadecimal RGB, one per source.
        marker: Matplotlib marker, one per source.
        dash: Matplotlib line style, one per network.
        filled: Whether the marker is filled; open markers tell the second seven sources apart.
    """

    colour: str
    marker: str
    dash: str | tuple
    filled: bool


def title(name: str) -> str:
    """Returns the display name of a dataset.

    Unions (``a+b``) are joined by +, successive training (``a>b``) by an arrow.
    """
    stages = [
        " + ".join(_TITLES.get(part, re.sub("[_/]", " ", part)) for part in stage.split("+"))
        for stage in name.split(">")
    ]
    return " → ".join(stages)


def arch_title(arch: str) -> str:
    """Returns the display name of a network: ``r50x1`` is R50x1."""
    return arch[:1].upper() + arch[1:]


def pair_title(arch: str, source: str) -> str:
    """Returns a network and what it was pre-trained on: ``R50x1 on Pets``, as the paper has it."""
    return f"{arch_title(arch)} {'' if source == runs.SCRATCH else 'on '}{title(source)}"


def metric_title(metric: str) -> str:
    """Returns the display name of a metric: ``mean_auc`` is mean AUC."""
    family, _, label = metric.partition("/")
    text = _METRICS.get(family, family.replace("_", " "))
    return f"{text} of {label}" if label else text


def shots_title(shots: float) -> str:
    """Returns ``full`` for the whole training split (infinity), else the number."""
    return "full" if shots == float("inf") else str(int(shots))


def regime_title(shots: float) -> str:
    """Returns ``5-shot`` or ``full shot``."""
    text = shots_title(shots)
    return "full shot" if text == "full" else f"{text}-shot"


def kind_of(name: str) -> str:
    """Returns the kind of image of a dataset, "" if not known or of several kinds."""
    kinds = {
        next((k for word, k in _KINDS.items() if part.lower().startswith(word)), "")
        for part in re.split("[+>]", name)
    }
    return kinds.pop() if len(kinds) == 1 else ""


def order(names: Iterable[str], sizes: Mapping[str, int] | None = None) -> list[str]:
    """Returns the distinct names in the order of display.

    Training from scratch, the reference of every comparison, stands first; then what is listed
    here; then the rest by kind of image, size (number of images, where known) and name.
    """
    known = list(_TITLES)

    def key(name: str) -> tuple:
        parts = name.split("+")
        if all(part in known for part in parts):
            return (0, "", len(parts), [known.index(part) for part in parts], [])
        return (1, kind_of(name).lower(), (sizes or {}).get(name, 0), [], _natural(name.lower()))

    return sorted(set(names), key=key)


def order_archs(archs: Iterable[str]) -> list[str]:
    """Returns the distinct networks, shallow before deep, narrow before wide."""
    return sorted(set(archs), key=_natural)


def looks(columns: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Look]:
    """Returns a look for every (arch, source): a source has one colour, a network one dash.

    The paper's sources have their own; the other looks go to the rest in the order given. After
    seven colours they begin again with open markers.
    """
    columns = list(columns)
    sources = [s for s in dict.fromkeys(source for _, source in columns) if s != runs.SCRATCH]
    archs = order_archs(arch for arch, _ in columns)
    places = {source: _PLACES[source] for source in sources if source in _PLACES}
    free = (place for place in itertools.count() if place not in set(places.values()))
    places |= {source: next(free) for source in sources if source not in _PLACES}
    result = {}
    for arch, source in columns:
        dash = _DASHES[archs.index(arch) % len(_DASHES)]
        if source == runs.SCRATCH:
            result[arch, source] = Look(INK, ".", dash, True)
            continue
        place = places[source]
        slot = place % len(_COLOURS)
        filled = place // len(_COLOURS) % 2 == 0
        result[arch, source] = Look(_COLOURS[slot], _MARKERS[slot], dash, filled)
    return result


def _natural(text: str) -> list:
    """Sorts r50x1 before r152x4: numbers by value, then text."""
    return [
        (0, float(part), "") if re.fullmatch(r"\d+(\.\d+)?", part) else (1, 0.0, part)
        for part in re.split(r"(\d+(?:\.\d+)?)", text)
    ]
