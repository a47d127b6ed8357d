"""What the figures of the paper (arXiv:2106.00116) and of its poster show, as data."""

import string
from dataclasses import dataclass

from keras_transfer.reporting import style
from keras_transfer.reporting.paper.names import (
    ARCHS,
    MEDICAL_SOURCES,
    NATURAL_SOURCES,
    medical_sources,
)
from keras_transfer.reporting.tables import Column

NATURAL, FOUR, THREE = NATURAL_SOURCES, MEDICAL_SOURCES, medical_sources("padchest_cl")
# The smallest and the largest.
MEDICAL, MEDICAL_CL = (FOUR[0], FOUR[-1]), (THREE[0], THREE[-1])

BAR, SCALE, FEW_SHOT = "bar", "scale", "few_shot"

# How the paper's own figures of a kind differ.
DIFFERS = {
    BAR: "The authors' error bars are population standard deviations (of 5 seeds, 0.89 times these)"
    " and their axes begin at 30 %, CIFAR-100's at 0; here accuracy begins at 0 and AUC at 50 %,"
    " which is chance.",
    SCALE: "Error bars are as in the paper.",
    FEW_SHOT: "Error bars are as in the paper; its axes end near the data, these at chance where "
    "that is known.",
}
_OF_POSTER = (
    "Of the poster only the text is at hand: the sources are those of its table, and the kind of "
    "figure is that of the paper."
)


@dataclass(frozen=True)
class Panel:
    """A panel of a figure.

    Attributes:
        target: Evaluated data.
        sources: Pre-training data, in order.
        about: What else to say in its title.
    """

    target: str
    sources: tuple[str, ...]
    about: str = ""


@dataclass(frozen=True)
class Plan:
    """What a figure shows.

    Attributes:
        name: ``figure1``, ``poster1``, ...
        title: What it shows, one line.
        kind: ``bar``: bars over shots; ``scale``: the whole training split, over networks;
            ``few_shot``: lines over shots.
        panels: From left to right.
        note: How the printed figure differs, if not as all of this kind.
    """

    name: str
    title: str
    kind: str
    panels: tuple[Panel, ...]
    note: str = ""


def _two_domains(target: str, medical: tuple[str, ...]) -> tuple[Panel, Panel]:
    return Panel(target, NATURAL, "natural sources"), Panel(target, medical, "medical sources")


_VARYING = "Few-shot and full transfer, model and data size of pre-training varying"
_SOURCES = "Few-shot and full transfer, smallest and largest sources of each domain"

PLANS = (
    Plan(
        "figure1", _VARYING, BAR,
        (Panel("cifar100", NATURAL), Panel("padchest_cl", (*NATURAL, *THREE))),
    ),
    Plan(
        "figure2", "Full transfer over model size, smallest and largest sources", SCALE,
        (
            Panel("cifar100", NATURAL),
            Panel("covidx", (*NATURAL, *MEDICAL)),
            Panel("padchest_cl", (*NATURAL, *MEDICAL_CL)),
        ),
    ),
    Plan(
        "figure3", _SOURCES, FEW_SHOT,
        (Panel("cifar100", NATURAL, "natural sources"), *_two_domains("covidx", MEDICAL)),
    ),
    Plan("figure5", _VARYING, BAR, (Panel("flowers102", NATURAL), Panel("cifar10", NATURAL))),
    Plan("figure6", f"{_VARYING}: COVIDx", BAR, (Panel("covidx", (*NATURAL, *FOUR)),)),
    Plan("figure7", f"{_VARYING}: Tuberculosis", BAR, (Panel("tuberculosis", (*NATURAL, *FOUR)),)),
    Plan("figure8", f"{_SOURCES}: Tuberculosis", FEW_SHOT, _two_domains("tuberculosis", MEDICAL)),
    Plan("figure9", f"{_SOURCES}: PadChest-Cl", FEW_SHOT, _two_domains("padchest_cl", MEDICAL_CL)),
    Plan(
        "poster1", f"{_VARYING}: the large X-ray target PadChest-Cl", BAR,
        (Panel("padchest_cl", (*NATURAL, *MEDICAL_CL)),),
        _OF_POSTER,
    ),
    Plan(
        "poster2", f"{_SOURCES}: the small X-ray target Tuberculosis", FEW_SHOT,
        _two_domains("tuberculosis", MEDICAL),
        _OF_POSTER,
    ),
)  # fmt: skip


def figure_title(name: str) -> str:
    """Returns ``Figure 1 of the paper`` or ``Figure 1 of the poster``."""
    number = name.strip(string.ascii_letters)
    return f"Figure {number} of the {'poster' if name.startswith('poster') else 'paper'}"


def panel_title(panel: Panel) -> str:
    """Returns the target and what else there is to say."""
    return ", ".join(filter(None, (style.title(panel.target), panel.about)))


def columns(panel: Panel) -> list[Column]:
    """Returns what stands in a panel: natural sources first; of a domain, the small network."""
    domains = dict.fromkeys(map(style.kind_of, panel.sources))
    return [
        (arch, source)
        for domain in domains
        for arch in ARCHS
        for source in panel.sources
        if style.kind_of(source) == domain
    ]
