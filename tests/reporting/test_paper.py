"""The paper's tables: print against its text, found against print, marks against scipy."""

import io
import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from keras_transfer.core.errors import UserError
from keras_transfer.reporting import paper, tables
from keras_transfer.reporting.collect import collect
from keras_transfer.reporting.collection import FULL
from keras_transfer.reporting.page.paper import to_html
from keras_transfer.reporting.paper import formats, marks, printed

SHARED = Path(__file__).parents[3] / "shared"
NUMBER = r"(\d+\.\d\d) ± (\d+\.\d\d)"
SIZES = {"table1": 28, "table2": 22, "poster": 88}


@pytest.fixture(scope="module")
def by_seeds(primary):
    return tables.tabulate(primary, spread="seeds")


@pytest.fixture(scope="module")
def by_rows(primary):
    return tables.tabulate(primary, spread="authors")


def text_of(pattern):
    paths = sorted((SHARED / "seeds").glob(pattern))
    if not paths:
        pytest.skip(f"{SHARED}/seeds is not there: the paper's text is not part of this repository")
    return paths[0].read_text(errors="replace")


def cell(target, arch, source, values, *, every=(), metric=None, split="test"):
    metric = metric or printed.metric_of(target)
    seeds = dict(enumerate(values))
    return tables.Cell(target, FULL, source, arch, metric, split, 100, seeds, every=every)


def table_of(*cells):
    places = {((c.target, c.shots), (c.arch, c.source)): c for c in cells}
    rows = list(dict.fromkeys(row for row, _ in places))
    return tables.Table(places, rows, list(dict.fromkeys(col for _, col in places)), {}, [])


def entry(filled, target, arch, source):
    return next(e for e in filled.entries if (e.target, e.arch, e.source) == (target, arch, source))


# ---- The print


def test_every_place_of_the_layouts_is_printed_once_but_two():
    for name, size in SIZES.items():
        numbers = printed.read(name)
        layout = printed.LAYOUTS[name]
        places = [
            (target, column.of(target), arch)
            for targets in layout.targets.values()
            for target in targets
            for arch in printed.ARCHS
            for column in layout.sources
        ]
        assert len(numbers) == size and len(places) == len(set(places))
        dashes = set(places) - set(numbers)
        assert set(numbers) <= set(places)
        four = "chexpert+mimic+nih+padchest"
        expected = {("padchest_cl", four, arch) for arch in printed.ARCHS}
        assert dashes == (expected if name == "table2" else set())
    rows = (Path(printed.__file__).parent / "printed.csv").read_text().splitlines()
    assert rows[0] == "table,target,source,arch,mean,sd" and len(rows) == 1 + 28 + 22 + 88


def test_the_poster_is_transcribed_as_its_text_has_it():
    names = {
        "CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "Flowers-102": "flowers102",
        "Pets": "pets", "COVIDx": "covidx", "Tuberculosis": "tuberculosis", "MIMIC CXR": "mimic",
        "CheXpert": "chexpert", "PadChest": "padchest", "PadChest-Cl": "padchest_cl",
        "NIH CXR": "nih",
    }  # fmt: skip
    small, three = "chexpert", "chexpert+mimic+nih"
    lines = re.findall(rf"^(\S.*)\(([12])\) ((?:{NUMBER} ?){{8}})$", text_of("002*"), re.M)
    assert len(lines) == 11
    numbers = printed.read("poster")
    for name, metric, text, *_ in lines:
        target = names[name]
        large = three if target == "padchest_cl" else f"{three}+padchest"
        sources = [small, large, "imagenet1k", "imagenet21k"]
        places = [(target, source, arch) for arch in ("r50x1", "r152x4") for source in sources]
        for place, (mean, sd) in zip(places, re.findall(NUMBER, text), strict=True):
            assert numbers.pop(place).text == f"{mean} ± {sd}", place
        assert printed.metric_of(target) == ("accuracy" if metric == "1" else "mean_auc")
    assert not numbers


def test_table_1_is_transcribed_as_its_text_has_it():
    text = text_of("001*")
    found = re.findall(NUMBER, text[text.index("Table 1: ") : text.index("Table 2: ")])
    assert len(found) == 28
    archs, sources = ("r50x1", "r152x4"), ("imagenet1k", "imagenet21k")
    # The text has the natural targets column by column, then the medical ones row by row.
    natural, medical = ("cifar10", "cifar100", "flowers102", "pets"), (
        "padchest_cl", "covidx", "tuberculosis",
    )  # fmt: skip
    places = [(t, s, a) for a in archs for s in sources for t in natural]
    places += [(t, s, a) for a in archs for t in medical for s in sources]
    numbers = {place: number.text for place, number in printed.read("table1").items()}
    assert numbers == {p: f"{mean} ± {sd}" for p, (mean, sd) in zip(places, found, strict=True)}


def test_table_2_is_transcribed_as_its_text_has_it():
    text = text_of("001*")
    start = text.index("Table 2: ")
    found = re.findall(rf"{NUMBER}|--", text[start : text.index("in full shot regime across")])
    union = ["chexpert", "mimic", "nih", "padchest"]
    places = [
        (target, "+".join(union[:count]), arch)
        for arch in ("r50x1", "r152x4")
        for count in (1, 2, 3, 4)
        for target in ("padchest_cl", "covidx", "tuberculosis")
    ]
    expected = {p: f"{m} ± {sd}" for p, (m, sd) in zip(places, found, strict=True) if m}
    assert {p: number.text for p, number in printed.read("table2").items()} == expected


# ---- Found against print


def test_the_poster_is_reproduced_by_distinct_seeds(by_seeds):
    filled = paper.fill(by_seeds, "poster")
    counts = {kind: count for kind, count in filled.counts.items() if count}
    assert counts == {"reproduces": 40, "no data": 48}
    lost = {
        e.target for e in filled.entries if e.verdict.kind == "no data" and "imagenet" in e.source
    }
    assert lost == {"mimic", "chexpert", "padchest", "nih"}
    assert "40 reproduced" in filled.summary and "48 without data" in filled.summary


def test_the_papers_tables_are_reproduced_by_every_row_but_two_numbers(by_rows):
    first, second = paper.fill(by_rows, "table1"), paper.fill(by_rows, "table2")
    assert first.counts["reproduces"] + second.counts["reproduces"] == 48
    assert second.counts["not printed"] == 2
    differing = [e for t in (first, second) for e in t.entries if e.verdict.kind == "differs"]
    assert {(e.target, e.arch, e.source): e.verdict.text for e in differing} == {
        ("padchest_cl", "r152x4", "imagenet1k"): "differs by +1.71 "
        "(printed 80.84 ± 0.14, found 82.55 ± 0.05)",
        ("padchest_cl", "r152x4", "imagenet21k"): "differs by +0.71 "
        "(printed 83.31 ± 0.99, found 84.02 ± 0.24)",
    }
    for text in (formats.to_markdown(first), formats.to_latex(first)):
        assert text.count("differs by") == 2 and "80.84 ± 0.14" in text


def test_the_other_rule_of_the_spread_is_said(by_seeds, by_rows):
    assert "--spread=authors" in " ".join(paper.fill(by_seeds, "table1").notes)
    assert "--spread=seeds" in " ".join(paper.fill(by_rows, "poster").notes)
    same = [paper.fill(by_seeds, "poster"), paper.fill(by_rows, "table2")]
    assert all("--spread" not in note for filled in same for note in filled.notes)
    assert paper.fill(by_seeds, "table1").counts["mean only"] == 20


def test_marks_of_the_published_numbers(by_seeds, by_rows):
    poster = paper.fill(by_seeds, "poster")
    bold = {(e.target, e.arch): e.source for e in poster.entries if e.best}
    assert bold["tuberculosis", "r152x4"] == "chexpert+mimic+nih+padchest"
    assert bold["covidx", "r50x1"] == "imagenet21k" and len(bold) == 14
    italic = {(e.target, e.arch, e.source) for e in poster.entries if e.flat}
    natural = {("covidx", "r50x1"), ("covidx", "r152x4"), ("pets", "r152x4"),
               ("tuberculosis", "r152x4")}  # fmt: skip
    assert italic == {(*place, f"imagenet{k}") for place in natural for k in ("1k", "21k")}
    top = {e.target: (e.arch, e.source) for e in poster.entries if e.top}
    assert top["padchest_cl"] == ("r152x4", "imagenet21k") and len(top) == 7
    # A row that was logged twice is no second observation: the marks are those of the seeds.
    again = paper.fill(by_rows, "poster")
    assert [(e.best, e.flat, e.top) for e in again.entries] == [
        (e.best, e.flat, e.top) for e in poster.entries
    ]


# ---- Verdicts and marks of single cells


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, "no data"),
        ({"values": [85.21]}, "mean equal, one seed has no ± (printed 85.21 ± 0.54, found 85.21)"),
        ({"values": [84.67, 85.75]}, "mean equal, ± differs by +0.22 "
         "(printed 85.21 ± 0.54, found 85.21 ± 0.76)"),
        ({"values": [84.67, 85.21, 85.75]}, "reproduces"),
        ({"values": [84.6549, 85.2049, 85.7549]}, "differs by -0.01 "
         "(printed 85.21 ± 0.54, found 85.20 ± 0.55)"),
        ({"values": [85.0], "metric": "macro_f1"},
         "not comparable: found macro F1 of test, printed accuracy of test"),
        ({"values": [85.21], "split": "val"},
         "not comparable: found accuracy of val, printed accuracy of test"),
    ],
)  # fmt: skip
def test_verdicts(found, text):
    cells = [cell("pets", "r152x4", "imagenet1k", [93.0])]
    cells += [cell("pets", "r50x1", "imagenet1k", **found)] if found else []
    filled = paper.fill(table_of(*cells), "table1")
    place = entry(filled, "pets", "r50x1", "imagenet1k")
    assert place.verdict.text == text
    assert text in set(filled.frame["verdict"])


def test_what_was_found_where_the_print_has_a_dash_is_new():
    union = "chexpert+mimic+nih+padchest"
    filled = paper.fill(table_of(cell("padchest_cl", "r50x1", union, [80.0, 81.0])), "table2")
    assert entry(filled, "padchest_cl", "r50x1", union).verdict.kind == "new"
    assert entry(filled, "padchest_cl", "r152x4", union).verdict.kind == "not printed"
    # The poster has the union without the target's own images in that column.
    poster = paper.fill(table_of(cell("padchest_cl", "r50x1", union, [80.0, 81.0])), "poster")
    assert not poster.has_data


def test_equal_prints_are_all_bold_and_one_alone_is_not():
    cells = [
        cell("pets", "r50x1", "imagenet1k", [90.001, 90.003]),
        cell("pets", "r50x1", "imagenet21k", [89.997, 89.999]),
        cell("pets", "r152x4", "imagenet21k", [89.0, 90.0]),
        cell("cifar10", "r50x1", "imagenet1k", [50.0, 51.0]),
    ]
    filled = paper.fill(table_of(*cells), "table1")
    assert [(e.arch, e.source) for e in filled.entries if e.best] == [
        ("r50x1", "imagenet1k"), ("r50x1", "imagenet21k"),
    ]  # fmt: skip
    assert [e for e in filled.entries if e.best] == [e for e in filled.entries if e.top]


def welch_holm_minimum(groups):
    """The smallest p of all pairs after Holm's correction, by scipy."""
    p = [stats.ttest_ind(a, b, equal_var=False).pvalue for a, b in combinations(groups, 2)]
    return min(p) * len(p)


def test_italics_follow_scipys_welch_and_holm():
    rng = np.random.default_rng(5)
    sources = [column.source for column in printed.LAYOUTS["table2"].sources]
    seen = set()
    for _ in range(60):
        groups = rng.normal(80 + np.array([0, 0, 0, 2.2]), 1, (5, 4)).T
        cells = [cell("covidx", "r50x1", s, g) for s, g in zip(sources, groups)]
        flat = welch_holm_minimum(groups) >= 0.05
        filled = paper.fill(table_of(*cells), "table2")
        assert {e.flat for e in filled.entries if e.cell} == {flat}
        # Holm matters: for some draws a pair alone would have differed.
        seen.add((flat, welch_holm_minimum(groups) / 6 >= 0.05))
    assert seen == {(True, True), (True, False), (False, False)}


def test_no_italics_without_a_test():
    for values in ([80.0], [80.0, 80.0, 80.0]):
        cells = [cell("pets", "r50x1", f"imagenet{k}", values) for k in ("1k", "21k")]
        assert not any(e.flat for e in paper.fill(table_of(*cells), "table1").entries)
    alone = cell("pets", "r50x1", "imagenet1k", [80.0, 81.0])
    assert not any(e.flat for e in paper.fill(table_of(alone), "table1").entries)


def test_italics_do_not_take_repeated_rows_for_seeds():
    first, second = [80.0, 81.0, 82.0], [82.2, 83.2, 84.2]
    assert 0.05 < stats.ttest_ind(first, second, equal_var=False).pvalue < 0.06
    cells = [
        cell("pets", "r50x1", source, values, every=tuple(values * 2))
        for source, values in (("imagenet1k", first), ("imagenet21k", second))
    ]
    assert cells[0].sd == pytest.approx(np.std(first * 2, ddof=1))
    assert len(marks.flat(cells)) == 2


def test_an_unknown_table_is_refused():
    with pytest.raises(UserError, match=r"no printed table 'table3': choose of table1, table2, po"):
        paper.fill(table_of(cell("pets", "r50x1", "imagenet1k", [80.0])), "table3")


# ---- Run directories


def test_run_directories_fill_the_tables_they_belong_to(folder):
    for seed, value in enumerate((0.84, 0.85, 0.86)):
        folder.transfer("pets", "imagenet1k", None, seed, value, arch="r50x1")
        folder.transfer("pets", "imagenet1k", 5, seed, 0.1, arch="r50x1")
        folder.transfer("digits", "scratch", None, seed, 0.9, arch="r50x1")
    made, without = paper.fill_all(tables.tabulate(collect(folder.path)))
    assert [filled.layout.name for filled in made] == ["table1", "poster"]
    assert without == ["Table 2"]
    assert made[0].differences == [
        "Pets (1), ResNet-50x1, 1K: differs by -0.21 (printed 85.21 ± 0.54, found 85.00 ± 1.00)"
    ]
    assert "27 without data" in made[0].summary


# ---- Formats


@pytest.fixture
def small():
    cells = [
        cell("pets", "r50x1", "imagenet1k", [85.0, 86.0]),
        cell("pets", "r50x1", "imagenet21k", [84.9, 86.2]),
        cell("pets", "r152x4", "imagenet1k", [93.3]),
        cell("pets", "r152x4", "imagenet21k", [93.1, 93.4]),
        cell("covidx", "r50x1", "imagenet1k", [70.0, 70.1], metric="macro_f1"),
    ]
    return paper.fill(table_of(*cells), "table1")


def test_csv_has_one_line_per_place_with_all_digits(small):
    text = formats.to_csv(small)
    assert text.splitlines()[0] == (
        "target,source,arch,metric,n,mean,sd,printed_mean,printed_sd,verdict"
    )
    frame = pd.read_csv(io.StringIO(text))
    assert len(frame) == 28
    rows = {(row["target"], row["arch"], row["source"]): row for _, row in frame.iterrows()}
    pets = rows["pets", "r50x1", "imagenet21k"]
    assert (pets["n"], pets["metric"]) == (2, "accuracy")
    assert pets["mean"] == np.mean([84.9, 86.2]) and pets["sd"] == np.std([84.9, 86.2], ddof=1)
    assert (pets["printed_mean"], pets["printed_sd"]) == (87.23, 0.17)
    assert "85.55 ± 0.92" in pets["verdict"]
    assert np.isnan(rows["pets", "r152x4", "imagenet1k"]["sd"])
    nothing = rows["cifar10", "r50x1", "imagenet1k"]
    assert nothing["verdict"] == "no data" and np.isnan(nothing["mean"])
    assert (nothing["printed_mean"], nothing["printed_sd"]) == (94.26, 0.04)


def test_markdown_shows_marks_and_both_numbers(small):
    lines = formats.to_markdown(small).splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    pets = next(re.split(r" *\| *", line) for line in lines if "Pets" in line)
    assert pets[1:-1] == [
        "Pets (1)", "natural", "*85.50 ± 0.71*", "***85.55 ± 0.92***", "**93.30 (n=1)** †",
        "93.25 ± 0.21",
    ]  # fmt: skip
    assert any("COVIDx (macro F1)" in line and "70.05 ± 0.07" in line for line in lines)
    assert any(line.startswith("- Pets (1), ResNet-50x1, 1K: differs by +0.29") for line in lines)


def test_latex_is_whole(small, by_seeds):
    for filled in (small, *(paper.fill(by_seeds, name) for name in printed.LAYOUTS)):
        text = formats.to_latex(filled)
        assert text.isascii() or set(re.findall(r"[^\x00-\x7f]", text)) <= {"±"}
        code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        assert code.isascii() and "%" not in code.replace(r"\%", "")
        assert code.replace(r"\{", "").count("{") == code.replace(r"\}", "").count("}")
        columns = 1 + 2 * len(filled.layout.sources)
        assert rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}" in code
        lines = [line for line in code.splitlines() if line.endswith(r"\\") and "multi" not in line]
        assert len(lines) == 1 + len(filled.rows)
        assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {columns - 1}
        assert code.count(r"\cmidrule(lr)") == 2
        assert code.count(r"\dag}") == sum(e.top for e in filled.entries)
        for name in ("table*", "tabular"):
            assert code.count(rf"\begin{{{name}}}") == code.count(rf"\end{{{name}}}") == 1
    text = formats.to_latex(small)
    assert r"\textcolor{red!75!black}{\textbf{93.30$_{n=1}$}\dag}" in text
    assert r"\textbf{\textit{85.55$\pm$0.92}}" in text


class Rows(HTMLParser):
    """Reads the lines of a table: (tag, attributes, text) of each cell; knows what is open."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append([tag, dict(attrs), ""])
        if tag != "br":
            self.open.append(tag)
        elif self.rows[-1]:
            self.rows[-1][-1][2] += " "

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "tr" in self.open and self.rows[-1]:
            self.rows[-1][-1][2] += data.replace("\u00a0", " ")


def test_html_is_sortable_and_shows_what_was_printed(small):
    page = to_html(small)
    parsed = Rows(page)
    assert not parsed.open and page.count("<caption>") == 1
    groups, head, *body = parsed.rows
    assert [(a.get("scope"), a["colspan"]) for _, a, _ in groups] == [
        (None, "2"), ("colgroup", "2"), ("colgroup", "2"),
    ]  # fmt: skip
    assert [text for *_, text in head] == ["Target", "Domain", "1K", "21K", "1K", "21K"]
    assert {attrs["scope"] for _, attrs, _ in head} == {"col"}
    assert len(body) == 7 and {len(row) for row in body} == {6}
    assert all(row[0][0] == "th" and row[0][1]["scope"] == "row" for row in body)
    pets = next(row for row in body if row[0][2] == "Pets (1)")
    assert [text for *_, text in pets[2:]] == [
        "85.50 ± 0.71 differs: printed 85.21 ± 0.54", "85.55 ± 0.92 differs: printed 87.23 ± 0.17",
        "93.30 (n=1) † differs: printed 93.32 ± 0.28", "93.25 ± 0.21 differs: printed 93.21 ± 0.13",
    ]  # fmt: skip
    values = [float(attrs["data-value"]) for _, attrs, _ in pets[2:]]
    assert values == pytest.approx([85.5, 85.55, 93.3, 93.25])
    assert [attrs.get("class") for _, attrs, _ in pets[2:]] == [None, None, "best", None]
    empty = body[0][2]
    assert empty[1]["data-value"] == "" and empty[2] == "– printed 94.26 ± 0.04"
    assert empty[1]["title"] == "no data"
    assert page.count("<strong>") == 2 and page.count("<em>") == 2


def test_html_of_the_published_numbers_has_every_verdict(by_rows, by_seeds):
    first = to_html(paper.fill(by_rows, "table1"))
    assert first.count("as printed") == 26 and first.count("verdict differs") == 2
    poster = Rows(to_html(paper.fill(by_seeds, "poster")))
    texts = [text for row in poster.rows for *_, text in row]
    assert sum("as printed" in text for text in texts) == 40
    assert sum(text.startswith("– printed ") for text in texts) == 48
    second = Rows(to_html(paper.fill(by_rows, "table2")))
    assert sum(text == "–" for row in second.rows for *_, text in row) == 2
    assert [text for *_, text in second.rows[1]][:2] == ["Target", "CheXpert"]
