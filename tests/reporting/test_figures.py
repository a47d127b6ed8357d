"""The few-shot figure: what is drawn, as files and inside a page."""

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from keras_transfer.reporting import figures, formats, style
from keras_transfer.reporting.collect import collect
from keras_transfer.reporting.tables import tabulate


@pytest.fixture(scope="module")
def table(shared_folder):
    for target in ("digits 5-9", "phantom b"):
        for place, source in enumerate(("scratch", "digits 0-4", "phantom")):
            for shots in (1, 5, None):
                for seed in range(2 if (source, shots) != ("phantom", 5) else 1):
                    value = 0.3 + 0.1 * place + 0.02 * seed
                    shared_folder.transfer(target, source, shots, seed, value)
    return tabulate(collect(shared_folder.path))


@pytest.fixture(scope="module")
def figure(table):
    return figures.few_shot_curves(table)


def test_files_are_pictures_with_content(figure):
    image = np.asarray(Image.open(io.BytesIO(figure.png)).convert("RGB"))
    assert image.shape[0] > 400 and image.shape[1] > 1000
    for colour in ("#0072B2", "#E69F00", style.INK):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(image.astype(int) - wanted).max(axis=2) < 8).sum() > 200, colour
    assert figure.pdf.startswith(b"%PDF") and figure.pdf.rstrip().endswith(b"%%EOF")
    assert len(figure.csv.splitlines()) == 19


def test_svg_is_wellformed_and_takes_the_colour_of_the_page(figure):
    root = ElementTree.fromstring(figure.svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(name.startswith("few_shot-") for name in ids)
    links = re.findall(r'(?:url\(#|href="#)([^)"]+)', figure.svg)
    assert links and set(links) <= set(ids)
    assert style.INK not in figure.svg and "currentColor" in figure.svg
    assert root.get("width") is None and root.get("viewBox")
    assert "<metadata>" not in figure.svg


def test_same_input_gives_the_same_files(table, figure):
    again = figures.few_shot_curves(table)
    assert again == figure


def test_lines_stand_where_the_numbers_are(table):
    """One panel drawn alone: every point and error bar equals its cell."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    figures.few_shot._panel(axes, table, "digits 5-9", style.looks(table.columns))
    points = [line for line in axes.lines if line.get_marker() != "None"]
    cells = [
        table.cells[row, column]
        for column in table.columns
        for row in table.rows
        if row[0] == "digits 5-9"
    ]
    for line, cell, place in zip(points, cells, [0, 1, 2] * 3, strict=True):
        reach = cell.sd if cell.n > 1 else 0
        np.testing.assert_allclose(
            line.get_ydata(), [cell.mean - reach, cell.mean, cell.mean + reach]
        )
        assert np.ptp(line.get_xdata()) == 0 and abs(line.get_xdata()[0] - place) < 0.26
        assert line.get_markevery() == [1]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "5", "full"]
    assert axes.get_ylabel() == "accuracy, %" and axes.get_title() == "digits 5-9"


def test_a_page_finds_every_point_segment_and_panel(table, figure):
    groups = list(ElementTree.fromstring(figure.svg).iter("{http://www.w3.org/2000/svg}g"))
    by_class = {
        name: [group.attrib for group in groups if group.get("class") == name]
        for name in ("panel", "mark", "link")
    }
    assert [panel["data-target"] for panel in by_class["panel"]] == table.targets
    assert len(by_class["mark"]) == len(table.cells) == 18
    texts = {tuple(mark.values())[1:5]: mark["data-text"] for mark in by_class["mark"]}
    for (row, (arch, source)), cell in table.cells.items():
        key = (row[0], source, arch, style.shots_title(row[1]))
        assert texts[key].startswith(f"{style.pair_title(arch, source)}, ")
        assert f": {cell.mean:.2f} " in texts[key] and f"({cell.n} seed" in texts[key]
    assert sorted({link["data-shots"] for link in by_class["link"]}) == ["1 5", "5 full"]
    assert len(by_class["link"]) == 12 and not any("data-text" in g for g in by_class["link"])
    seeds = texts["phantom b", "phantom", "r14x0.25", "5"]
    assert seeds == "R14x0.25 on phantom, 5-shot: 50.00 % (1 seed)"


def test_names_may_hold_what_means_something_in_html(folder):
    name = """a<b "c" & 'd' id="e" 0.12345 {}"""
    folder.transfer(name, name, None, 0, 0.5, name="one")
    figure = figures.few_shot_curves(tabulate(collect(folder.path)))
    root = ElementTree.fromstring(figure.svg)
    (mark,) = [group for group in root.iter() if group.get("class") == "mark"]
    assert mark.get("data-target") == mark.get("data-source") == name
    assert f"on {name}, full shot: 50.00 % (1 seed)" in mark.get("data-text")
    assert name in [element.text for element in root.iter()]  # the title


def test_alternative_text_holds_every_number(table, figure):
    for (_, column), cell in table.cells.items():
        assert f"{cell.text(cell.mean)} ({style.shots_title(cell.shots)})" in figure.alt
        assert formats.column_title(table, column) in figure.alt


def test_one_point_and_many_targets(folder):
    for target in ("a", "b", "c", "d"):
        folder.transfer(target, "scratch", None, 0, 0.5)
    figure = figures.few_shot_curves(tabulate(collect(folder.path)))
    assert all(f"{target} (accuracy, %)" in figure.alt for target in "abcd")
    ElementTree.fromstring(figure.svg)
