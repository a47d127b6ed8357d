"""Pieces of HTML that every section of the page is made of; all text is escaped here."""

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from keras_transfer.reporting import style
from keras_transfer.reporting.figures.drawing import FILES, Figure

_LONG = 45  # characters

# What figures can be filtered by: attribute of a mark -> heading and how its values are shown.
FACETS: dict[str, tuple[str, Callable[[str], str]]] = {
    "target": ("Target", style.title),
    "source": ("Source", style.title),
    "arch": ("Network", style.arch_title),
    "shots": ("Shots", str),
}


def text(value: object) -> str:
    """Returns text as HTML."""
    return html.escape(str(value))


def unbroken(value: str) -> str:
    """Keeps a number, its spread and its unit on one line."""
    return re.sub(r" (?=[%±<=] ?)|(?<=[±<=]) ", "\u00a0", value)


def items(lines: Iterable[str]) -> str:
    """Returns a list of HTML fragments."""
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def sentences(lines: Iterable[str]) -> str:
    """Returns plain lines as a list."""
    return items(text(unbroken(line)) for line in lines)


def paragraphs(lines: Iterable[str], kind: str = "") -> str:
    """Returns plain lines as paragraphs, of a class if one is named."""
    start = f'<p class="{kind}">' if kind else "<p>"
    return "".join(f"{start}{text(unbroken(line))}</p>" for line in lines)


def facts(pairs: Mapping[str, str]) -> str:
    """Returns names and values side by side; empty values are left out, long ones have a line."""
    parts = (
        ('<div class="long">' if len(value) > _LONG else "<div>")
        + f"<dt>{text(name)}</dt><dd>{text(value)}</dd></div>"
        for name, value in pairs.items()
        if value
    )
    return f"<dl>{''.join(parts)}</dl>"


def folded(summary: str, body: str, instead: str = "") -> str:
    """Returns a part that opens on demand.

    Args:
        summary: What it is.
        body: HTML.
        instead: What is printed instead of the body; "" prints it.
    """
    if not instead:
        return f"<details><summary>{text(summary)}</summary>{body}</details>"
    return (
        f'<details class="screen"><summary>{text(summary)}</summary>{body}</details>'
        f'<p class="paper-only">{text(f"{summary} are not printed: {instead}")}</p>'
    )


def chips(facet: str, title: str, values: Mapping[str, str]) -> str:
    """Returns a group of choices, of which none pressed means all.

    Args:
        facet: What is chosen; the attribute ``data-FACET`` of what is filtered.
        title: Its heading.
        values: Value of the attribute -> how it is shown.
    """
    boxes = "".join(
        f'<label><input type="checkbox" name="{text(facet)}" value="{text(value)}">'
        f"<span>{text(shown)}</span></label>"
        for value, shown in values.items()
    )
    return f"<fieldset><legend>{text(title)}</legend>{boxes}</fieldset>"


def filters(name: str, label: str, groups: str) -> str:
    """Returns a form of ``chips``; scripts show it, and say in it how much is shown."""
    return (
        f'<form class="filters" id="{name}" aria-label="{text(label)}" autocomplete="off" hidden>'
        f'{groups}<p><output aria-live="polite"></output> <button type="reset">Show all</button>'
        "</p></form>"
    )


def scroller(table: str, label: str) -> str:
    """Returns a table that can be moved sideways, also by keyboard, where it is too wide."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(label)}">{table}</div>'
    )


def figure(drawn: Figure, folder: str = "") -> str:
    """Returns a figure whose marks can be filtered, pointed at, and gone through by arrow keys.

    Args:
        drawn: The figure.
        folder: Where its files are, seen from the page, with a slash at its end; "" is beside it.
    """
    links = " · ".join(f'<a href="{text(folder + drawn.name)}.{kind}">{kind}</a>' for kind in FILES)
    svg = drawn.svg.replace("<svg ", f'<svg role="img" aria-label="{text(drawn.alt)}" ', 1)
    marks = drawn.svg.count('class="mark"')
    keys = (
        f' tabindex="0" role="application" aria-roledescription="figure" '
        f'aria-label="{text(drawn.title)}: {marks} values, arrow keys go through them"'
        if marks
        else ""
    )
    return (
        f'<figure id="figure-{text(drawn.name)}"><div class="plot"{keys}>{svg}</div>'
        f"<figcaption><strong>{text(drawn.title)}.</strong> {text(unbroken(drawn.caption))} "
        f"{links}</figcaption></figure>"
    )


def figure_filters(figures: Sequence[Figure], order: Mapping[str, Sequence[str]]) -> str:
    """Returns the filters of all figures: a group for each facet that has a choice.

    Args:
        figures: The figures, whose marks say what can be chosen.
        order: Facet -> its values in the order of display; others follow.
    """
    svg = "".join(drawn.svg for drawn in figures)
    groups = ""
    for facet, (title, show) in FACETS.items():
        found = {
            html.unescape(value)
            for value in re.findall(rf'class="mark"[^>]* data-{facet}="([^"]*)"', svg)
        }
        known = [value for value in order.get(facet, ()) if value in found]
        values = known + sorted(found - set(known))
        if len(values) > 1:
            groups += chips(facet, title, {value: show(value) for value in values})
    return filters("figure-filters", "Filters of the figures", groups) if groups else ""
