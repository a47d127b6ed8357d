"""What a page can find in a figure: every point, bar and segment says what it shows.

Matplotlib passes an artist's ``gid`` on as the id of its group in an SVG file; ``tag`` writes into
it what ``embeddable`` turns into attributes of that group.
"""

import html
import json
import re
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from keras_transfer.reporting import style
from keras_transfer.reporting.formats import value_text
from keras_transfer.reporting.phrases import counted
from keras_transfer.reporting.tables import Cell

# Where a page's machine lacks the first: fonts as wide or narrower, so that texts never meet.
_SVG_STYLE = "svg text{font-family:'DejaVu Sans',Verdana,Geneva,sans-serif}"
_TAG = "tag:"  # how the id of a tagged artist begins


def tag(
    artist: Artist,
    *,
    target: str,
    source: str,
    arch: str | Sequence[str],
    shots: float | Sequence[float],
    text: str = "",
) -> None:
    """Lets a page find what is drawn: it filters by these values and shows the text.

    The artist's group becomes ``<g class="mark" data-target data-source data-arch data-shots
    data-text>``. What joins two marks has no text and the values of both, apart by a space:
    ``<g class="link" ... data-shots="5 10">``.
    """
    archs = [arch] if isinstance(arch, str) else arch
    places = [shots] if isinstance(shots, (int, float)) else shots
    values = {
        "class": "mark" if text else "link",
        "data-target": target,
        "data-source": source,
        "data-arch": " ".join(archs),
        "data-shots": " ".join(map(style.shots_title, places)),
    }
    artist.set_gid(_TAG + json.dumps(values | ({"data-text": text} if text else {})))


def tag_panel(axes: Axes, target: str) -> None:
    """Lets a page find a panel: its group becomes ``<g class="panel" data-target>``."""
    axes.set_gid(_TAG + json.dumps({"class": "panel", "data-target": target}))


def tag_cell(artist: Artist, cell: Cell) -> None:
    """Tags the mark of a cell."""
    tag(
        artist,
        target=cell.target,
        source=cell.source,
        arch=cell.arch,
        shots=cell.shots,
        text=cell_says(cell),
    )


def cell_says(cell: Cell) -> str:
    """Returns a cell in words: ``R50x1 on Pets, 5-shot: 53.31 ± 1.02 % (5 seeds)``."""
    return (
        f"{style.pair_title(cell.arch, cell.source)}, {style.regime_title(cell.shots)}: "
        f"{value_text(cell)} ({counted(cell.n, 'seed')})"
    )


def embeddable(svg: str, name: str) -> str:
    """Makes an SVG file part of a page: unique ids, tags, the page's text colour, its own width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = svg.replace(style.INK, "currentColor")
    svg = re.sub(r" transform=\"rotate\(-0 [^\"]*\"| font-family: '[^;\"]*;", "", svg)
    svg = svg.replace("</style>", f"{_SVG_STYLE}</style>", 1)
    svg = re.sub(
        r"""(<[^<>]*?\s)id=(["'])(.*?)\2""", lambda found: found[1] + _identity(found[3], name), svg
    )
    svg = re.sub(r"<[^<>]*>", _two_decimals, svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    size = re.compile(r'width="([\d.]+)pt" height="[\d.]+pt"')
    return size.sub(lambda found: f'style="max-width:{1.3 * float(found[1]):.0f}pt"', svg, count=1)


def _identity(escaped: str, name: str) -> str:
    """Returns the attributes that an id stands for: a tag's, or the id made unique."""
    value = html.unescape(escaped)
    if not value.startswith(_TAG):
        return f'id="{name}-{escaped}"'
    values = json.loads(value.removeprefix(_TAG))
    return " ".join(f'{key}="{html.escape(text)}"' for key, text in values.items())


def _two_decimals(element: re.Match) -> str:
    """Cuts coordinates to a hundredth of a point, which nobody sees; not tags."""
    if "data-" in element[0]:
        return element[0]
    return re.sub(r"(?<![\w.])(-?\d+\.\d\d)\d+", r"\1", element[0])
