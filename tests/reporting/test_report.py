"""The whole report: files, page, printed text."""

import html.parser
import re
import shutil
import subprocess
import sys

import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.reporting import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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
    return write_report(filled.path, filled.path.parent / "out")


class Outline(html.parser.HTMLParser):
    """Collects ids, links, open tags and text; raises on a tag closed out of order."""

    VOID = frozenset({"meta", "link", "br", "use", "path"})

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
    names = {path.name for path in report.files}
    assert names == {
        "index.html", "results.csv", "table.csv", "table.md", "table.tex",
        "few_shot.png", "few_shot.pdf", "few_shot.csv",
    }  # fmt: skip
    assert names == {path.name for path in report.page.parent.iterdir()}
    page = Outline(report.page.read_text())
    assert names - {"index.html"} <= set(page.links)


def test_page_is_whole_and_needs_no_network(report):
    text = report.page.read_text()
    page = Outline(text)
    assert page.stack == [] and len(page.ids) == len(set(page.ids))
    local = {f"#{name}" for name in page.ids}
    for link in page.links:
        assert link in local or link == "data:," or re.fullmatch(r"[\w.]+\.\w+", link), link
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
        "seed 1: nothing logged yet",
        "Pets, digits 0-4: everything",
    ):
        assert text in shown, text
    for text in ("Mind:", "claim the same numbers", "unfinished: transfer of bit-r14x0.25"):
        assert text in report.text, text
    assert "| digits 5-9 (accuracy, %) |     5 |" in report.text
    assert "- On digits 5-9 with 5 shots, pre-training on digits 0-4 is best" in report.text


def test_page_of_a_whole_set_says_so(folder, tmp_path):
    folder.transfer("pets", "scratch", 5, 0, 0.5)
    report = write_report(folder.path, tmp_path)
    assert "every run below the folder has finished" in report.page.read_text()
    assert "Mind:" not in report.text


def test_report_is_repeatable(filled, report, tmp_path):
    first = {p.name: p.read_bytes() for p in report.files}
    second = {p.name: p.read_bytes() for p in write_report(filled.path, tmp_path).files}
    for name in first.keys() - {"index.html"}:
        assert first[name] == second[name], name


def test_refusals(folder, tmp_path):
    folder.path.mkdir()
    with pytest.raises(UserError, match="holds no run"):
        write_report(folder.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    folder.transfer("pets", "scratch", 5, 0, 0.5, name="one")
    folder.transfer("pets", "scratch", 5, 0, 0.6, name="two")
    with pytest.raises(UserError, match="claim the same numbers"):
        write_report(folder.path, tmp_path / "out", strict=True)
    folder.transfer("pets", "scratch", 5, 1, 0.6)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(folder.path, tmp_path / "file")


def test_reporting_imports_without_tensorflow():
    code = (
        "import sys, keras_transfer.reporting as r\n"
        "assert 'matplotlib' not in sys.modules and 'pandas' not in sys.modules\n"
        "r.write_report, r.statements, r.collect.collect, r.tables, r.figures, r.page, r.style\n"
        "assert not {'tensorflow', 'keras', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_sorting_in_a_browser(report, tmp_path):
    """Presses a heading twice and reads the column back; any script error shows in the title."""
    probe = """
    <script>
    const heading = document.querySelectorAll("table.sortable thead th")[2];
    const read = () => [...document.querySelectorAll("table.sortable tbody tr")]
      .map((row) => row.cells[2].dataset.value ?? "none").join(" ");
    heading.querySelector("button").click();
    const up = read() + " " + heading.getAttribute("aria-sort");
    heading.querySelector("button").click();
    document.title = `up ${up} down ${read()} ${heading.getAttribute("aria-sort")} end`;
    </script></body>"""
    probed = tmp_path / "probe.html"
    probed.write_text(report.page.read_text().replace("</body>", probe))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [CHROMIUM, *options, profile, "--dump-dom", probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>up (.*) ascending down (.*) descending end</title>", done.stdout)
    up, down = ([float(value) for value in group.split()] for group in title.groups())
    assert up == sorted(up) and down == up[::-1] and len(up) == 4
