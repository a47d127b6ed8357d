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
    lines = figures._panel(axes, table, "digits 5-9")
    assert set(lines) == set(table.columns)
    for column, container in lines.items():
        cells = [table.cells[row, column] for row in table.rows if row[0] == "digits 5-9"]
        data, _, (bars,) = container
        np.testing.assert_allclose(
            np.asarray(data.get_ydata(), float), [cell.mean for cell in cells]
        )
        assert np.abs(data.get_xdata() - [0, 1, 2]).max() < 0.26
        for segment, cell in zip(bars.get_segments(), cells):
            if cell.n > 1:
                np.testing.assert_allclose(
                    segment[:, 1], [cell.mean - cell.sd, cell.mean + cell.sd]
                )
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "5", "full"]
    assert axes.get_ylabel() == "accuracy, %" and axes.get_title() == "digits 5-9"


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
