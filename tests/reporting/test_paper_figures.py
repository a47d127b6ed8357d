"""The paper's figures: their numbers, what a page finds in them, what runs of one's own give."""

import csv
import itertools
import re
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas

from keras_transfer.reporting import formats, style
from keras_transfer.reporting.collect import collect
from keras_transfer.reporting.figures import bars, lines
from keras_transfer.reporting.paper import figures as paper_figures
from keras_transfer.reporting.paper import plans
from keras_transfer.reporting.paper.names import ARCHS
from keras_transfer.reporting.tables import Cell, tabulate

GOLDEN = Path(__file__).parents[1] / "golden" / "paper"
NAMES = ["figure1", "figure2", "figure3", "figure5", "figure6", "figure7", "figure8", "figure9",
         "poster1", "poster2"]  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def table(primary):
    return tabulate(primary)


@pytest.fixture(scope="module")
def figures(table, only_svg):
    with only_svg():
        return {figure.name: figure for figure in paper_figures.draw(table)}


@pytest.fixture(scope="module")
def expected():
    """(target, shots, source, arch) -> mean, sd, n as the analysis of the authors' code has it."""
    targets = {"covidx_cxr2": "covidx", "tuberculosis_full": "tuberculosis",
               "flowers_oversampling": "flowers102", "padchest": "padchest_cl"}  # fmt: skip
    result, target, shots = {}, "", []
    for line in (GOLDEN / "all_shots.md").read_text().splitlines():
        cells = [text.strip() for text in line.strip("|").split("|")]
        if title := re.match(r"\*\*(\w+)\*\*", line):
            target = targets.get(title[1], title[1])
        elif line.startswith("| source model"):
            shots = [text.removesuffix("_shot") for text in cells[1:]]
        elif line.startswith("| ") and target:
            source, arch = re.fullmatch(r"(\w+)_bit(\w+)", cells[0]).groups()
            for shot, text in zip(shots, cells[1:], strict=True):
                mean, sd, n = re.match(r"([\d.]+) ± ([\d.]+)(?: \(n=(\d)\))?", text).groups()
                key = (target, shot, source.replace("_", "+"), f"r{arch}")
                result[key] = (mean, sd, int(n or 5))
    return result


def read(text):
    return {
        (row["target"], row["shots"], row["source"], row["arch"]): (
            f"{float(row['mean']):.2f}",
            f"{float(row['sd']):.2f}",
            int(row["n"]),
        )
        for row in csv.DictReader(text.splitlines())
    }


def grouped(figure, name):
    root = ElementTree.fromstring(figure.svg)
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == name]


def test_golden_files_are_what_they_were_taken_from(shared, tmp_path):
    text = (shared / "spec/upstream.md").read_text()
    assert (GOLDEN / "all_shots.md").read_text().strip() in text
    with tarfile.open(GOLDEN / "published.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    files = list(tmp_path.glob("*.csv"))
    assert len(files) == 7
    for file in files:
        original = shared / "data/published_results/results" / file.name
        assert file.read_bytes() == original.read_bytes()


def test_every_number_is_that_of_the_analysis(table, figures, expected):
    assert len(expected) == 289
    assert read(formats.to_csv(table)) == expected
    for figure in figures.values():
        numbers = read(figure.csv)
        assert numbers and numbers.items() <= expected.items(), figure.name


def test_figures_show_what_the_paper_shows(figures):
    assert list(figures) == NAMES
    counts = {name: len(read(figure.csv)) for name, figure in figures.items()}
    assert counts == {
        "figure1": 4 * 6 + 10 * 5,  # bars by shots, as in the paper's legends
        "figure2": 4 + 8 + 8,
        "figure3": 3 * 4 * 6,
        "figure5": 4 * 4 + 4 * 6,
        "figure6": 12 * 6,
        "figure7": 12 * 5,
        "figure8": 8 * 5,
        "figure9": 8 * 5,
        "poster1": 8 * 5,
        "poster2": 8 * 5,
    }
    titles = re.findall(r"<text[^>]*font-weight: 700[^>]*>([^<]+)<", figures["figure3"].svg)
    assert titles == [
        "a) CIFAR-100, natural sources",
        "b) COVIDx, natural sources",
        "c) COVIDx, medical sources",
    ]


def test_a_page_finds_every_number(figures, expected):
    for figure in figures.values():
        found = {}
        for mark in grouped(figure, "mark"):
            key = tuple(mark.get(f"data-{name}") for name in ("target", "shots", "source", "arch"))
            assert key not in found
            found[key] = mark.get("data-text")
        numbers = read(figure.csv)
        assert set(found) == set(numbers)
        for (_, shots, source, arch), (mean, sd, n) in numbers.items():
            regime = "full shot" if shots == "full" else f"{shots}-shot"
            place = f"{style.arch_title(arch)} on {style.title(source)}, {regime}"
            assert f"{place}: {mean} ± {sd} % ({n} seeds)" in found.values()
    mean, sd, n = expected["padchest_cl", "10", "chexpert+mimic", "r50x1"]
    assert n == 4
    assert f"CheXpert + MIMIC, 10-shot: {mean} ± {sd} % (4 seeds)" in figures["figure1"].svg


def test_a_page_finds_panels_and_segments(figures):
    panels = [p.get("data-target") for p in grouped(figures["figure3"], "panel")]
    assert panels == ["cifar100", "covidx", "covidx"]
    shots = [link.get("data-shots") for link in grouped(figures["figure9"], "link")]
    assert sorted(set(shots)) == ["1 5", "10 100", "100 full", "5 10"] and len(shots) == 8 * 4
    links = grouped(figures["figure2"], "link")
    assert len(links) == 10
    assert {(link.get("data-arch"), link.get("data-shots")) for link in links} == {
        ("r50x1 r152x4", "full")
    }
    assert not grouped(figures["figure6"], "link")


def test_pictures_are_small_and_say_in_words_what_they_show(figures, expected):
    for name, figure in figures.items():
        assert len(figure.svg) < 150_000
        assert ("poster" if name.startswith("poster") else "paper") in figure.title
        values = {value[0] for value in read(figure.csv).values()}
        assert values.issuperset(re.findall(r"\d+\.\d\d", figure.alt))
        assert "full shot from" in figure.alt and len(figure.alt) < 800
    best = expected["tuberculosis", "full", "chexpert+mimic+nih+padchest", "r152x4"][0]
    assert best == "90.91"
    assert f"to {best} (R152x4 on CheXpert + MIMIC + NIH + PadChest)" in figures["figure7"].alt
    assert "population standard deviation" in figures["figure6"].caption
    assert "poster only the text" in figures["poster1"].caption


def cell(target, arch, source, shots, values, metric="accuracy", classes=None):
    return Cell(
        target=target, shots=shots, source=source, arch=arch, metric=metric, split="test",
        num_examples=100, values=dict(enumerate(values)), num_train_examples=classes,
    )  # fmt: skip


def test_bars_stand_where_the_numbers_are():
    columns = [("r50x1", "nih"), ("r152x4", "nih")]
    cells = [
        cell("a", "r50x1", "nih", 5.0, [60.0, 70.0], "mean_auc"),
        cell("a", "r50x1", "nih", float("inf"), [80.0], "mean_auc"),
        cell("a", "r152x4", "nih", 5.0, [52.0, 44.0], "mean_auc"),
    ]
    axes = Canvas().subplots()
    bars.draw(axes, cells, style.looks(columns))
    places = []
    for bar, of in zip(axes.collections, cells, strict=True):
        corners = bar.get_paths()[0].vertices
        assert corners[:, 1].min() == min(50, of.mean) and corners[:, 1].max() == max(50, of.mean)
        places.append(corners[:, 0].mean())
        assert len(bar.get_paths()) == of.n
        if of.n == 2:
            ends = bar.get_paths()[1].vertices[:, 1]
            np.testing.assert_allclose(ends, [of.mean - of.sd, of.mean + of.sd])
    assert places[0] < 0 < places[2] < 0.5 < places[1]
    low, high = axes.get_ylim()
    assert low <= 48 - cells[2].sd and high > 80
    assert [line.get_ydata()[0] for line in axes.lines] == [50.0]
    alphas = [bar.get_facecolor()[0, 3] for bar in axes.collections]
    assert alphas[0] < 0.5 and alphas[2] == 1


def test_lines_over_networks_stand_where_the_numbers_are():
    cells = [cell("a", arch, "nih", float("inf"), [1.0, 3.0]) for arch in ARCHS]
    axes = Canvas().subplots()
    looks = style.looks([(arch, "nih") for arch in ARCHS])
    lines.draw_scale(axes, {"nih": cells}, looks, ARCHS)
    link, *marks = axes.lines
    np.testing.assert_array_equal(link.get_xydata(), [[0, 2], [1, 2]])
    for place, mark in enumerate(marks):
        assert set(mark.get_xdata()) == {place}
        np.testing.assert_allclose(mark.get_ydata(), [2 - cells[0].sd, 2, 2 + cells[0].sd])


def test_chance_is_said_only_where_it_is_known():
    known = [cell("a", "r", "s", s, [1.0], classes=n) for s, n in ((1.0, 4), (5.0, 20))]
    assert lines.chance(known) == 25
    assert lines.chance(known[1:]) is None
    assert lines.chance([cell("a", "r", "s", 1.0, [1.0])]) is None
    assert lines.chance([cell("a", "r", "s", 1.0, [1.0], "mean_auc")]) == 50
    assert lines.chance([cell("a", "r", "s", 1.0, [1.0], "f1", classes=4)]) is None


def test_the_papers_sources_keep_their_colours_and_families(table, figures):
    looks = {source: look for (_, source), look in style.looks(table.columns).items()}
    alone = style.looks([("r50x1", "mine"), ("r50x1", "chexpert")])
    assert alone["r50x1", "chexpert"].colour == looks["chexpert"].colour
    assert alone["r50x1", "mine"].colour != looks["chexpert"].colour

    def red_over_blue(source):
        colour = looks[source].colour
        return int(colour[1:3], 16) - int(colour[5:7], 16)

    assert all(red_over_blue(source) > 100 for source in plans.NATURAL)
    assert all(red_over_blue(source) < 0 for source in plans.FOUR)
    for sources in (plans.NATURAL, plans.FOUR):  # darker with more data
        greys = [grey(looks[source].colour) for source in sources]
        assert all(one > 1.25 * two for one, two in itertools.pairwise(greys))
        assert greys[-1] > 0.07, "lost on a dark page"
    assert len({(look.colour, look.filled) for look in looks.values()}) == len(looks)
    for name in ("figure1", "figure3"):
        assert to_hex(looks["imagenet21k"].colour) in figures[name].svg


def grey(colour):
    """Relative luminance of sRGB, WCAG 2.1."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_runs_of_ones_own_fill_what_they_can(folder):
    folder.transfer("cifar100", "imagenet1k", 1, 0, 0.2, arch="r50x1")
    folder.transfer("cifar100", "imagenet1k", 1, 1, 0.3, arch="r50x1")
    folder.transfer("digits", "phantom", None, 0, 0.9)
    table = tabulate(collect(folder.path))
    drawn = paper_figures.draw(table)
    assert [figure.name for figure in drawn] == ["figure1", "figure3"]
    assert drawn[0].caption.endswith("Without a run, left out: b) PadChest-Cl.")
    assert len(grouped(drawn[0], "panel")) == len(grouped(drawn[0], "mark")) == 1
    assert "CIFAR-100 (accuracy, %): 1-shot 25.00 (R50x1 on ImageNet-1k)." in drawn[0].alt
    for figure in drawn:
        assert figure.png.startswith(b"\x89PNG") and figure.pdf.startswith(b"%PDF")
    lost = paper_figures.missing(table)
    assert (
        "Figure 1 of the paper, CIFAR-100: no run of R50x1 on ImageNet-21k, R152x4 on "
        "ImageNet-1k, R152x4 on ImageNet-21k." in lost
    )
    assert "Figure 2 of the paper, CIFAR-100: no full-shot run at all." in lost
    assert "Figure 1 of the poster, PadChest-Cl: no run at all." in lost


def test_figures_without_a_run_are_listed_not_drawn(folder, table):
    folder.transfer("digits", "phantom", None, 0, 0.9)
    empty = tabulate(collect(folder.path))
    assert paper_figures.draw(empty) == []
    lost = paper_figures.missing(empty)
    panels = sum(len(plan.panels) for plan in plans.PLANS)
    assert len(lost) == 1 + panels and all("at all" in text for text in lost[1:])
    assert paper_figures.missing(table) == lost[:1] and "experiments.benchmark" in lost[0]


def test_legends_take_as_few_rows_as_fit():
    short, long = ["R50x1", "R152x4", "a", "b"], "CheXpert + MIMIC + NIH + PadChest"
    assert lines._columns_that_fit(short, 6) == 4
    assert lines._columns_that_fit([*short, long, long], 6) == 3  # in pairs, the long below
    assert lines._columns_that_fit([long, long], 3) == 1
