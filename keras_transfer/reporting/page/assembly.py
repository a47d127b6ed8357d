"""One self-contained HTML page: tables, figures, claims, laws, and what is missing. No network."""

import datetime
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from keras_transfer.reporting import style
from keras_transfer.reporting.claims.examination import Claims
from keras_transfer.reporting.collection import Collection
from keras_transfer.reporting.figures.drawing import Figure
from keras_transfer.reporting.laws.findings import Laws
from keras_transfer.reporting.page import (
    attention,
    claims,
    laws,
    manifest,
    overview,
    parts,
    proximity,
    results,
)
from keras_transfer.reporting.page.parts import items, paragraphs, text
from keras_transfer.reporting.proximity.correlation import Proximity
from keras_transfer.reporting.tables import Table

TITLE = "What pre-training buys"

_STRICTER = (
    "The claims of the paper (below) are tested more strictly: seed by seed where the seed chooses "
    "the training images, and corrected for the number of tests. What is a difference here may be "
    "undecided there."
)


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a page shows; what is empty has no section.

    Attributes:
        collection: What was collected.
        table: The transfer table.
        paper_tables: HTML tables in the layout of the paper and the poster.
        figures: Figures to show, in order.
        claims: What was found on the claims of the paper.
        laws: Laws of scale.
        proximity: What distances between source and target say of transfer.
        absent: Tables and figures that could not be made, and why, in plain text.
        links: Names of the files beside the page.
        figure_folder: Where the figures' files are, seen from the page: ``"figures/"``.
    """

    collection: Collection
    table: Table
    paper_tables: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    claims: Claims | None = None
    laws: Laws | None = None
    proximity: Proximity | None = None
    absent: Sequence[str] = ()
    links: Sequence[str] = ()
    figure_folder: str = ""


@dataclass(frozen=True)
class _Section:
    name: str
    short: str
    title: str
    body: str


def render(content: Content) -> str:
    """Returns the page."""
    source = resources.files(__package__)
    sections = [section for section in _sections(content) if section.body]
    return Template((source / "page.html").read_text()).substitute(
        title=TITLE,
        css=(source / "page.css").read_text(),
        js="".join((source / name).read_text() for name in ("figures.js", "page.js")),
        nav=" ".join(f'<a href="#{s.name}">{s.short}</a>' for s in sections),
        sections="\n".join(
            f'<section id="{s.name}">\n<h2>{s.title}</h2>\n{s.body}\n</section>' for s in sections
        ),
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _sections(content: Content) -> Iterator[_Section]:
    collection, table = content.collection, content.table
    yield _Section("overview", "Overview", "Overview", overview.section(collection, table))
    yield _Section("paper", "Paper", "Tables of the paper", _paper(content))
    yield _Section("results", "Results", "All transfers", results.transfer_table(table))
    yield _Section("reading", "Reading", "What the table shows", _reading(content))
    yield _Section("figures", "Figures", "Figures", _figures(content))
    if content.claims:
        body = claims.section(content.claims)
        yield _Section("claims", "Claims", "Claims of the paper, examined", body)
    if content.laws:
        body = laws.section(content.laws, content.figure_folder)
        yield _Section("laws", "Laws", "Laws of scale", body)
    if content.proximity:
        body = proximity.section(content.proximity, content.figure_folder)
        yield _Section("proximity", "Proximity", "Does proximity explain transfer?", body)
    yield _Section(
        "attention",
        "Missing",
        "Unfinished, missing, doubtful",
        attention.section(collection, table),
    )
    body = manifest.section(collection)
    yield _Section("manifest", "Manifest", "Where the numbers come from", body)
    yield _Section("files", "Files", "Files beside this page", _files(content))


def _reading(content: Content) -> str:
    said = results.statements(content.table)
    if content.claims:
        said += paragraphs([_STRICTER], "method")
    return said


def _paper(content: Content) -> str:
    shown = "\n".join(content.paper_tables)
    if content.absent:
        shown += f"<h3>Not made</h3>{items(map(text, content.absent))}"
    return shown


def _figures(content: Content) -> str:
    table = content.table
    order = {
        "target": table.targets,
        "source": list(dict.fromkeys(source for _, source in table.columns)),
        "arch": table.archs,
        "shots": [style.shots_title(shots) for shots in sorted({shots for _, shots in table.rows})],
    }
    drawn = (parts.figure(figure, content.figure_folder) for figure in content.figures)
    return parts.figure_filters(content.figures, order) + "\n".join(drawn)


def _files(content: Content) -> str:
    """Returns links, those that differ in their ending only on one line."""
    endings: dict[str, list[str]] = defaultdict(list)
    for name in content.links:
        stem, dot, ending = name.rpartition(".")
        endings[stem if dot else name].append(ending if dot else "")
    lines = (
        f"{text(stem)} "
        + " · ".join(
            f'<a href="{text(f"{stem}.{one}" if one else stem)}">{text(one or stem)}</a>'
            for one in found
        )
        for stem, found in endings.items()
    )
    return items(lines).replace("<ul>", '<ul class="columns">', 1) if content.links else ""
