"""The whole report: files, page, printed text."""

import html.parser
import re
import subprocess
import sys

import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.reporting import collect, figures, write_report

HOSTILE = '<b onclick="alert(1)"'


@pytest.fixture(scope="module")
def filled(shared_folder):
    folder = shared_folder
    for source, base in (("scratch", 0.5), ("digits 0-4", 0.8), (HOSTILE, 0.6)):
        for shots in (5, 10, None):
            for seed in range(2):
                value = base + 0.01 * seed + 0.001 * (shots or 100)
                folder.transfer("digits 5-9", source, shots, seed, value)
    folder.transfer("pets", "scratch", 5, 0, 0.25, commit="f" * 40)
    folder.transfer("pets", "digits 0-4", 5, 0, 0.5, name="one")
    folder.transfer("pets", "digits 0-4", 5, 0, 0.75, name="two")
    folder.transfer("pets", "digits 0-4", 5, 1, 0, finished=False)
    folder.pretrain("digits 0-4", 700)
    return folder


@pytest.fixture(scope="module")
def report(filled):
    return write_report(collect.collect(filled.path), filled.path.parent / "out")


class Outline(html.parser.HTMLParser):
    """Collects ids, links, open tags and text; raises on a tag closed out of order."""

    VOID = frozenset({"meta", "link", "br", "use", "path", "input"})

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.stack, self.text = [], [], [], []
        self.tags = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.setdefault(tag, []).append(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href")]
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.stack):
            self.text.append(data)


def test_files_are_written_and_linked(report):
    home = report.page.parent
    names = {path.relative_to(home).as_posix() for path in report.files}
    drawn = {
        f"figures/{name}.{kind}"
        for name in ("few_shot", "law_images", "law_sources", "law_parameters")
        for kind in figures.FILES
    }
    always = {"index.html", "results.csv", "table.csv", "table.md", "table.tex", "laws.csv"}
    always |= {name for name in drawn if "few_shot" in name}
    assert always <= names <= always | drawn | {"effective_data.csv"}
    assert names == {path.relative_to(home).as_posix() for path in home.rglob("*.*")}
    page = Outline(report.page.read_text())
    assert names - {"index.html"} <= set(page.links)


def test_page_is_whole_and_needs_no_network(report):
    text = report.page.read_text()
    page = Outline(text)
    assert page.stack == [] and len(page.ids) == len(set(page.ids))
    local = {f"#{name}" for name in page.ids}
    for link in page.links:
        assert link in local or link == "data:," or re.fullmatch(r"(figures/)?\w+\.\w+", link), link
    assert not re.search(r"@import|url\(['\"]?(?!#)|fetch\(|XMLHttp", text)
    assert page.tags["html"][0]["lang"] == "en"
    assert all(svg["aria-label"] for svg in page.tags["svg"])
    assert len(text) < 400_000


def test_names_from_results_cannot_run_as_code(report):
    text = report.page.read_text()
    assert HOSTILE not in text and "&lt;b onclick=&quot;alert(1)&quot;" in text
    assert "b" not in Outline(text).tags and "<!--" not in text


def test_page_names_what_is_wrong_or_missing(report):
    shown = " ".join(Outline(report.page.read_text()).text)
    for text in (
        "different versions of the code",
        "digits 0-4 to pets, r14x0.25, shots 5, seed 0",
        "different, left out of the table",
        "nothing logged yet",
        "2 runs missing, for 2 pairs of target and column",
    ):
        assert text in shown, text
    for text in ("Mind:", "claim the same numbers", "unfinished: transfer of bit-r14x0.25"):
        assert text in report.text, text
    assert "| digits 5-9 (accuracy, %) |     5 |" in report.text
    assert "- On digits 5-9 with 5 shots, pre-training on digits 0-4 is best" in report.text


def test_page_of_a_whole_set_says_so(folder, tmp_path):
    folder.transfer("pets", "scratch", 5, 0, 0.5)
    report = write_report(collect.collect(folder.path), tmp_path)
    assert "all runs have finished, none is missing" in report.page.read_text()
    assert "Mind:" not in report.text


def test_report_is_repeatable(filled, report, tmp_path):
    first = {p.name: p.read_bytes() for p in report.files}
    again = write_report(collect.collect(filled.path), tmp_path)
    second = {p.name: p.read_bytes() for p in again.files}
    for name in first.keys() - {"index.html"}:
        assert first[name] == second[name], name


def test_a_file_that_cannot_be_written_is_named(folder, tmp_path):
    folder.transfer("pets", "scratch", 5, 1, 0.6)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(collect.collect(folder.path), tmp_path / "file")


def test_reporting_imports_without_tensorflow():
    code = (
        "import sys, keras_transfer.reporting as r\n"
        "assert 'matplotlib' not in sys.modules and 'pandas' not in sys.modules\n"
        "r.write_report, r.statements, r.collect.collect, r.tables, r.figures, r.page, r.style\n"
        "assert not {'tensorflow', 'keras', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
