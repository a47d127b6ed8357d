"""The page in a real browser: sorting, filters, values, address, print. Needs Debian's chromium."""

import io
import itertools
import json
import re
import time
import unicodedata

import pypdf
import pytest

from keras_transfer.reporting import (
    claims,
    collect,
    figures,
    laws,
    page,
    paper,
    proximity,
    published,
    tables,
    write_report,
)
from keras_transfer.reporting.page.paper import to_html
from tests.reporting.browser import chromium
from tests.reporting.test_page import HOSTILE
from tests.reporting.test_page_findings import distances, small_table
from tests.reporting.test_report import Outline

_TARGETS = ("cifar10", "pets", "tuberculosis")
_SOURCES = ("imagenet1k", "imagenet21k", HOSTILE)
_LONG_NAMES = ("chexpert+mimic+nih", "chexpert+mimic+nih+padchest", "a_source_of_my_own+another")
_ARCHS = ("r50x1", "r152x4")
_A4_MM = (297, 210)


def _content(collection, **parts):
    table = tables.tabulate(collection)
    filled, absent = paper.fill_all(table)
    return page.Content(
        collection=collection,
        table=table,
        figures=[figures.few_shot_curves(table)],
        paper_tables=[to_html(one) for one in filled],
        absent=absent,
        links=["table.csv"],
        **parts,
    )


@pytest.fixture(scope="module")
def site(shared_folder, tmp_path_factory, only_svg):
    """The page of a few runs; one column lacks a target, one run has not finished."""
    places = itertools.product(_TARGETS, _SOURCES, _ARCHS, (5, 10, None), range(2))
    for number, (target, source, arch, shots, seed) in enumerate(places):
        if (target, source) != ("pets", HOSTILE):
            value = 0.3 + 0.005 * (number * 37 % 100)
            shared_folder.transfer(target, source, shots, seed, value, arch=arch, name=f"{number}")
    for source, arch in itertools.product(_LONG_NAMES, _ARCHS):
        shared_folder.transfer("cifar10", source, 5, 0, 0.5, arch=arch)
    shared_folder.transfer("pets", "imagenet1k", 5, 7, 0, finished=False)
    table = small_table()
    path = tmp_path_factory.mktemp("site") / "index.html"
    with only_svg():
        content = _content(
            collect.collect(shared_folder.path),
            claims=claims.examine(table),
            laws=laws.fit_all(table),
            proximity=proximity.correlate(table, distances()),
        )
        path.write_text(page.render(content))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def opened(browser, site):
    shown = browser.open(site)
    yield shown
    assert shown.problems() == []
    shown.close()


def _marks(shown, group="mark", figure="figure"):
    """Returns what each visible mark or link is about."""
    return shown.run(
        f"return [...document.querySelectorAll('{figure} .{group}')]"
        ".filter((m) => m.getClientRects().length)"
        ".map((m) => [m.dataset.target, m.dataset.source, m.dataset.arch, m.dataset.shots])"
    )


def _press(shown, form, facet, value):
    shown.run(
        f"return [...document.querySelectorAll('#{form} input')].find((box) => "
        f"box.name === {json.dumps(facet)} && box.value === {json.dumps(value)}).click()"
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wrong_at_any_size(browser, site, dark, width):
    shown = browser.open(site, width=width, dark=dark)
    assert shown.problems() == []
    assert shown.run("document.documentElement.scrollWidth") <= width
    shades = shown.run(
        "return [document.body, document.querySelector('figure text')].map((node, i) => "
        "getComputedStyle(node)[i ? 'fill' : 'backgroundColor'].match(/\\d+/g).map(Number))"
    )
    background, letters = (sum(shade) / 3 for shade in shades)
    assert (background < 60 and letters > 200) if dark else (background > 200 and letters < 60)
    shown.close()


def test_figures_and_tables_say_what_they_are(opened):
    assert opened.run(
        "return [...document.querySelectorAll('figure svg')].every((svg) => "
        "svg.getAttribute('role') === 'img' && svg.getAttribute('aria-label').length > 50)"
    )
    assert opened.run(
        "return [...document.querySelectorAll('table')].every((table) => table.caption && "
        "[...table.querySelectorAll('th')].every((heading) => heading.scope))"
    )
    names = opened.run("return [...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(names) == len(set(names))


_COLUMN = """
const [table, column] = [document.getElementById(%r), %d];
const read = () => [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.value ??
  row.cells[column].textContent.trim());
"""
_READ_COLUMN = _COLUMN + "return read()"
_PRESS_THRICE = (
    _COLUMN
    + """
const heading = [...table.tHead.rows].at(-1).cells[column];
const shown = [[heading.getAttribute("aria-sort"), read()]];
for (let press = 0; press < 3; press++) {
  heading.querySelector("button").click();
  shown.push([heading.getAttribute("aria-sort"), read()]);
}
return shown"""
)


def _key(value):
    """Numbers before missing values; text as it is."""
    try:
        return (0, float(value))
    except ValueError:
        return (1, 0.0)


def test_every_table_sorts_by_every_column(opened):
    columns = opened.run(
        "return [...document.querySelectorAll('table.sortable')].map((table) => "
        "[table.id, [...table.tHead.rows].at(-1).cells.length])"
    )
    assert {"transfer", "table1", "claim-list", "missing-runs", "unfinished-runs"} <= {
        name for name, _ in columns
    }
    for name, count in columns:
        rows = opened.run(f"document.getElementById('{name}').rows.length")
        for column in range(0, count, 1 if rows < 100 else 4):
            orders, reads = zip(*opened.run(_PRESS_THRICE % (name, column)))
            assert orders == ("none", "ascending", "descending", "none")
            before, up, down, after = reads
            assert after == before and sorted(up) == sorted(before)
            missing = [value for value in before if value in ("", "–")]
            rest = len(before) - len(missing)
            assert set(up[rest:] + down[rest:]) <= {"", "–"}
            assert up[:rest] == down[:rest][::-1] or len(set(before)) < len(before)
            if all(_key(value)[0] == 0 for value in up[:rest]):
                assert up[:rest] == sorted(up[:rest], key=_key)
                assert down[:rest] == sorted(down[:rest], key=_key, reverse=True)
            else:  # equal ones stand together
                assert len(list(itertools.groupby(up[:rest]))) == len(set(up[:rest]))
    opened.run("document.querySelector('#missing-runs th:nth-child(3) button').click()")
    networks = opened.run(_READ_COLUMN % ("missing-runs", 2))
    assert networks == sorted(networks, reverse=True) and set(networks) == {"R50x1", "R152x4"}


def test_filters_hide_exactly_what_does_not_match(opened):
    everything, links = _marks(opened), _marks(opened, "link")
    assert len(_marks(opened, "mark", "#figure-few_shot")) == 54
    assert len(_marks(opened, "link", "#figure-few_shot")) == 32
    _press(opened, "figure-filters", "target", "pets")
    _press(opened, "figure-filters", "target", "tuberculosis")
    _press(opened, "figure-filters", "source", HOSTILE)
    _press(opened, "figure-filters", "shots", "5")
    _press(opened, "figure-filters", "shots", "full")
    _press(opened, "figure-filters", "arch", "r152x4")
    wanted = [
        mark
        for mark in everything
        if mark[0] in ("pets", "tuberculosis")
        and mark[1] == HOSTILE
        and mark[2] == "r152x4"
        and mark[3] in ("5", "full")
    ]
    assert _marks(opened) == wanted and len(wanted) == 2
    assert _marks(opened, "link") == []  # 5 and full are joined by 10
    # Of Pets nothing is left: its panel goes, and the other takes the first place.
    panels = (
        "return [...document.querySelectorAll('#figure-few_shot .panel')]"
        ".map((panel) => panel.getClientRects().length > 0)"
    )
    assert opened.run(panels) == [False, False, True]
    said = opened.run("document.querySelector('#figure-filters output').textContent")
    assert said == f"2 of {len(everything)} values shown, in 1 figure"
    opened.run("document.querySelector('#figure-filters [type=reset]').click()")
    assert _marks(opened) == everything and _marks(opened, "link") == links
    _press(opened, "figure-filters", "shots", "5")
    _press(opened, "figure-filters", "shots", "10")
    assert {tuple(link)[3] for link in _marks(opened, "link")} == {"5 10"}


def test_panels_that_are_left_move_together(opened):
    frame = "document.querySelector('#figure-few_shot svg').getBoundingClientRect()"
    places = (
        "return [...document.querySelectorAll('#figure-few_shot .panel')]"
        ".filter((p) => p.getClientRects().length > 0)"
        ".map((p) => Math.round(p.querySelector('path').getBoundingClientRect().x))"
    )
    before, height = opened.run(places), opened.run(f"{frame}.height")
    _press(opened, "figure-filters", "target", "tuberculosis")
    assert abs(opened.run(places)[0] - before[0]) <= 1 and len(opened.run(places)) == 1
    assert opened.run(f"{frame}.height") <= height + 1


def test_rows_of_claims_are_filtered(opened):
    shown = (
        "return [...document.querySelectorAll('#claim-list tbody tr')]"
        ".filter((row) => row.checkVisibility()).map((row) => row.dataset.verdict)"
    )
    every = opened.run(shown)
    kind = min(set(every), key=every.count)
    _press(opened, "claim-list-rows", "verdict", kind)
    assert opened.run(shown) == [kind] * every.count(kind) and every.count(kind) < len(every)
    said = opened.run("document.querySelector('#claim-list-rows output').textContent")
    assert said == f"{every.count(kind)} of {len(every)} rows shown"


def test_the_address_keeps_what_was_chosen(browser, site, opened):
    _press(opened, "figure-filters", "source", HOSTILE)
    opened.run("document.querySelectorAll('#transfer thead button')[2].click()")
    opened.run("document.querySelector('nav a[href=\"#figures\"]').click()")
    until = time.monotonic() + 5
    while "source=" not in (address := opened.run("location.hash")):
        assert time.monotonic() < until, address
    assert address.startswith("#figures?")
    again = browser.open(site, address)
    assert _marks(again) == _marks(opened) and len(_marks(again)) == 12
    heading = "document.querySelectorAll('#transfer thead th')[2].getAttribute('aria-sort')"
    assert again.run(heading) == "ascending"
    assert again.run("scrollY") > 0 and again.problems() == []
    again.close()


_MIDDLE = """
const mark = document.querySelectorAll("#figure-few_shot .mark")[%d];
mark.scrollIntoView({block: "center"});
const box = mark.getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2, mark.dataset.text]"""
_TIP = (
    "return document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent"
)


def test_values_show_under_pointer_and_finger(opened):
    for number in (0, 13, 47):
        x, y, text = opened.run(_MIDDLE % number)
        opened.point(x, y)
        assert re.fullmatch(rf"[\w-]+: {re.escape(text)}", opened.run(_TIP))
    box = opened.run(
        "const box = document.getElementById('tip').getBoundingClientRect(); "
        "return [box.left, box.top, innerWidth - box.right, innerHeight - box.bottom]"
    )
    assert min(box) >= 0
    opened.point(2, 2)
    assert opened.run(_TIP) == ""
    x, y, text = opened.run(_MIDDLE % 20)
    opened.tap(x, y)
    assert text in opened.run(_TIP)


def test_values_are_gone_through_by_keys(opened):
    opened.run(
        "document.querySelector('#figure-few_shot').previousElementSibling?.scrollIntoView()"
    )
    texts = opened.run(
        "return [...document.querySelectorAll('#figure-few_shot .mark')].map((m) => m.dataset.text)"
    )
    stops = (
        "return [...document.querySelectorAll('figure *')]"
        ".filter((node) => node.tabIndex >= 0 && !node.href).length"
    )
    assert opened.run(stops) == opened.run("document.querySelectorAll('figure').length")
    opened.run("document.querySelector('#figure-filters input:last-of-type').focus()")
    for _ in range(40):
        opened.key("Tab")
        if opened.run("document.activeElement.classList.contains('plot')"):
            break
    spoken = "document.getElementById('spoken').textContent"
    assert texts[0] in opened.run(_TIP) and opened.run(spoken).endswith(f"1 of {len(texts)}")
    opened.key("ArrowRight")
    opened.key("ArrowRight")
    opened.key("ArrowLeft")
    assert texts[1] in opened.run(_TIP) and texts[1] in opened.run(spoken)
    opened.key("End")
    assert texts[-1] in opened.run(_TIP)
    opened.key("Escape")
    assert opened.run(_TIP) == ""


def _printed_rows(shown):
    """Returns the text of every row that is printed."""
    return shown.run(
        "return [...document.querySelectorAll('table tr')].filter((row) => row.checkVisibility())"
        ".map((row) => row.innerText)"
    )


def _squeezed(text):
    """Returns text without spaces, and with letters instead of ligatures."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def _check_print(shown):
    """Compares what is printed with what the tables hold; returns the number of rows."""
    size = 1280, 900
    shown.resize(round((_A4_MM[0] - 24) / 25.4 * 96), 700)
    shown.print_media()
    shown.run("dispatchEvent(new Event('beforeprint'))")
    rows = [_squeezed(row) for row in _printed_rows(shown)]
    cut = shown.run(
        "const page = document.documentElement; "
        "return [page, ...document.querySelectorAll('table, th, td, .scroll, figure svg')].filter("
        "(node) => node.scrollWidth > node.clientWidth + 1 && node.clientWidth ||"
        "node.getBoundingClientRect().right > page.clientWidth)"
        ".map((node) => node.outerHTML.slice(0, 200))"
    )
    assert cut == []
    shown.resize(*size)
    # Figures are slow to read, and hold no table.
    shown.run("for (const figure of document.querySelectorAll('figure')) figure.remove()")
    lost, text = [], ""
    for sheet in pypdf.PdfReader(io.BytesIO(shown.pdf())).pages:
        width, height = (float(v) for v in sheet.mediabox[2:])
        assert (width, height) == pytest.approx([mm / 25.4 * 72 for mm in _A4_MM], abs=1)

        def place(part, to_page, at, *_):
            x = at[4] * to_page[0] + at[5] * to_page[2] + to_page[4]
            y = at[4] * to_page[1] + at[5] * to_page[3] + to_page[5]
            if part.strip() and not (0 < x < width and 0 < y < height):  # noqa: B023
                lost.append(part)

        text += sheet.extract_text(visitor_text=place)
    assert lost == []
    squeezed = _squeezed(text)
    assert [row for row in rows if row not in squeezed] == []
    return len(rows)


def test_print_cuts_nothing(opened):
    assert _check_print(opened) > 60


@pytest.fixture(scope="module")
def of_published(shared, tmp_path_factory, only_svg):
    """The whole report of the authors' files."""
    with only_svg():
        collection = published.collect(shared / "data/published_results/results")
        return write_report(collection, tmp_path_factory.mktemp("published"))


def test_files_of_the_published_set(of_published):
    home = of_published.page.parent
    names = {path.relative_to(home).as_posix() for path in of_published.files}
    papers = itertools.product(("table1", "table2", "poster"), ("md", "tex", "csv", "html"))
    pictures = {f"figures/figure{n}.svg" for n in (1, 2, 3, 5, 6, 7, 8, 9)}
    others = {"claims.csv", "contrasts.csv", "laws.csv", "effective_data.csv"}
    assert {f"tables/{name}.{kind}" for name, kind in papers} | pictures | others <= names
    assert {"figures/poster1.svg", "figures/poster2.svg"} <= names
    text = of_published.page.read_text()
    assert len(text.encode()) < 8e6
    page = Outline(text)
    assert page.stack == [] and len(page.ids) == len(set(page.ids))
    assert names - {"index.html"} <= set(page.links)
    assert {"paper", "claims", "laws", "figures", "attention", "manifest"} <= set(page.ids)


def test_page_of_the_published_set(browser, of_published):
    shown = browser.open(of_published.page)
    assert shown.problems() == []
    facts = " ".join(shown.run("document.getElementById('overview').innerText").split())
    for fact in ("Published files 42", "Rows 17,136", "8,496, counted once", "Runs 1,440"):
        assert fact in facts
    assert shown.run("document.querySelectorAll('#stopped-runs tbody tr').length") == 9
    assert shown.run("document.querySelectorAll('#manifest-files tbody tr').length") == 42
    attention = shown.run("document.getElementById('attention').textContent")
    assert "Pets, ImageNet-1k, R50x1, shots 1, 5, 10, full: 4 seeds (0, 1, 2, 3)" in attention
    said = shown.run("document.querySelector('#figure-filters output').textContent")
    marks = of_published.page.read_text().count('class="mark"')
    assert said.startswith(f"{marks} of {marks} values shown") and marks > 500
    without = (
        "return [...document.querySelectorAll('figure svg')].filter((s) => !s.ariaLabel).length"
    )
    assert shown.run(without) == 0
    assert _check_print(shown) > 150
    shown.close()
