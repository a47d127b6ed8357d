"""The page without a browser: pieces of HTML, what is missing with its command, the manifest."""

import dataclasses
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.configs import finetune, grids, paper_runs
from keras_transfer.core import runs
from keras_transfer.reporting import collect, figures, missing, page, tables
from keras_transfer.reporting.page import attention, manifest, parts
from keras_transfer.reporting.page import tables as page_tables

HOSTILE = '<b onclick="alert(1)"'


def _texts(html):
    return [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][ >].*?</t[hd]>", html)]


def test_a_frame_becomes_a_sortable_table():
    frame = pd.DataFrame(
        {
            "name": ["a", HOSTILE],
            "number": [0.123456, np.nan],
            "count": [1234567, 2],
            "bound": [np.inf, -1.5],
            "kind": ["x", HOSTILE],
        }
    )
    html = page_tables.frame_table(
        frame,
        {"name": "Name", "number": "P ± q", "count": "n", "bound": "Up to"},
        "What <it> is",
        {"number": ".2f", "count": ",d", "bound": lambda value: f"<i>{value}</i>"},
        name="one",
        facets=("kind",),
    )
    assert _texts(html) == [
        "Name", "P ± q", "n", "Up to",
        "a", "0.12", "1,234,567", "∞",
        "&lt;b onclick=&quot;alert(1)&quot;", "–", "2", "-1.5",
    ]  # fmt: skip
    assert re.findall(r'data-value="(.*?)"', html) == [
        "0.123456", "1234567.0", "Infinity", "2.0", "-1.5",
    ]  # fmt: skip
    assert (
        "<caption>What &lt;it&gt; is</caption>" in html
        and '<table class="sortable" id="one">' in html
    )
    assert '<th scope="row" class="text">a</th>' in html and HOSTILE not in html
    assert html.count("data-kind=") == 2 and html.count('type="checkbox"') == 2
    wide = page_tables.frame_table(
        pd.DataFrame([range(12)]), {i: str(i) for i in range(12)}, "Wide", name="two"
    )
    assert '"sortable wide"' in wide and "<form" not in wide


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0004, "&lt;\u00a00.001"), (0.04567, "0.046"), (0.0498, "0.0498"), (1.0, "1.000")],
)
def test_p_values(value, shown):
    assert page_tables.p_value(value) == shown


def test_numbers_are_kept_together():
    text = "53.31 ± 1.02 %, p < 0.001 and p = 0.5 (n=4)"
    nbsp = "\u00a0"
    assert parts.unbroken(text) == (
        f"53.31{nbsp}±{nbsp}1.02{nbsp}%, p{nbsp}<{nbsp}0.001 and p{nbsp}={nbsp}0.5 (n=4)"
    )


@pytest.fixture
def two_columns(folder):
    """Scratch has seeds 0 and 1 of shots 5 and full; the other source lacks some."""
    for shots in (5, None):
        for seed in (0, 1):
            folder.transfer(
                "pets", "scratch", shots, seed, 0.5, name=f"s/shots_{shots}.seed_{seed}"
            )
    folder.transfer("pets", HOSTILE, 5, 1, 0.7, name="h one/shots_5.seed_1")
    return folder


def _missing(folder):
    collection = collect.collect(folder.path)
    return missing.find(collection, tables.tabulate(collection))


def _flags(command):
    """Returns script and flags of a command, as a shell would split it."""
    python, dash_m, script, *options = shlex.split(command)
    assert (python, dash_m) == ("python", "-m")
    return script, dict(option.removeprefix("--").split("=", 1) for option in options)


def test_a_missing_run_repeats_one_beside_it(two_columns):
    (found,) = _missing(two_columns)
    assert (found.target, found.column, found.whole) == ("pets", ("r14x0.25", HOSTILE), False)
    assert found.text == "shots 5 (seed 0), full (seeds 0, 1)"
    home = two_columns.path / "h one"
    shared = {"from_run": str(home / "shots_5.seed_1"), "workdir": str(home)}
    assert [_flags(command) for command in found.commands] == [
        ("experiments.finetune", shared | {"shots": "5", "seeds": "0"}),
        ("experiments.finetune", shared | {"shots": "full", "seeds": "0,1"}),
    ]


def test_runs_of_several_kinds_in_one_folder_are_kept_apart(folder):
    for source, seeds in (("scratch", (0, 1)), ("digits 0-4", (0,))):
        for seed in seeds:
            folder.transfer("pets", source, 5, seed, 0.5, name=f"{source} {seed}")
    (found,) = _missing(folder)
    (command,) = found.commands
    _, flags = _flags(command)
    assert flags["workdir"] == str(folder.path / "pets_digits_0-4_r14x0.25")


def test_a_missing_probe_is_probed(folder):
    for source, seeds in (("scratch", (0, 1)), ("digits", (1,))):
        for seed in seeds:
            folder.transfer(
                "pets", source, 5, seed, 0.5, arch="r50x1 k-NN", name=f"{source}/{seed}"
            )
    (found,) = _missing(folder)
    script, flags = _flags(found.commands[0])
    assert script == "experiments.probe" and flags["methods"] == "knn"


def test_a_missing_pair_takes_data_and_weights_of_others(folder):
    def start_from_digits(config):
        config["model"]["init"] = "my runs/digits"

    folder.transfer("photos", "scratch", 5, 0, 0.5)
    folder.transfer("films", "scratch", 5, 0, 0.5)
    directory = folder.transfer("films", "digits", 5, 0, 0.5)
    folder.edit(directory, runs.CONFIG_FILE, start_from_digits)
    (found,) = _missing(folder)
    assert (found.target, found.text) == ("photos", "everything")
    _, flags = _flags(found.commands[0])
    config = finetune.get_config(flags["config"].partition(":")[2])
    assert (config.data.dirs, config.model.init) == (("data/photos",), "my runs/digits")
    assert config.model.name == "bit-r14x0.25"
    assert flags["workdir"] == str(folder.path / "photos" / "digits-r14x0.25")


def test_what_cannot_be_known_has_no_command(folder):
    folder.transfer("photos", "scratch", 5, 0, 0.5)
    folder.transfer("photos", "digits", 5, 1, 0.5)
    collection = collect.collect(folder.path)
    table = tables.tabulate(collection)
    elsewhere = dataclasses.replace(collection, rows=collection.rows.head(0))
    found = missing.find(elsewhere, table)
    assert [one.commands for one in found] == [(), ()]
    assert '<td class="text">–</td>' in attention.section(elsewhere, table)


def test_names_of_the_paper_are_those_of_experiments():
    assert tuple(finetune.TARGETS) == missing.TARGETS
    assert paper_runs.ARCHS == missing.ARCHS
    of_grids = {name.rpartition("-")[0] for name in grids.SOURCES}
    assert {part for name in of_grids for part in name.split("+")} == set(missing.SOURCES)


def test_commands_for_the_published_set_make_cells_of_its_grid(primary):
    found = missing.find(primary, tables.tabulate(primary))
    cells = {f"runs/paper/{cell.name}": cell.config for cell in grids.make("paper")}
    made = 0
    for one in found:
        assert one.commands
        for command in one.commands:
            script, flags = _flags(command)
            assert script == "experiments.finetune"
            config = finetune.get_config(flags["config"].partition(":")[2])
            for shots in flags["shots"].split(","):
                for seed in flags["seeds"].split(","):
                    cell = cells[f"{flags['workdir']}/shots_{shots}.seed_{seed}"]
                    config.shots, config.seed = shots, int(seed)
                    assert config == cell
                    made += 1
    assert made == len(cells) - 1440
    overlapping = {one.column[1] for one in found if one.overlaps}
    assert overlapping == {"padchest", "chexpert+mimic+nih+padchest"}


def test_an_unfinished_run_goes_on(folder):
    run = folder.transfer("pets", "scratch", 5, 0, 0, name="a b", finished=False)
    (found,) = collect.collect(folder.path).unfinished
    script, flags = _flags(missing.continuation(found))
    assert script == "experiments.finetune"
    assert flags == {"from_run": str(run), "workdir": str(run)}


def test_fewer_seeds_are_named(two_columns):
    table = tables.tabulate(collect.collect(two_columns.path))
    assert attention.few_seeds(table) == {("pets", ("r14x0.25", HOSTILE)): {(1,): ["5"]}}
    html = attention.section(collect.collect(two_columns.path), table)
    assert "shots 5: 1 seed (1)" in html


def test_manifests_are_grouped(folder):
    for seed in range(3):
        directory = folder.transfer("pets", "scratch", 5, seed, 0.5, commit="ab" * 20)
        facts = {
            "devices": "1 replica(s) on CPU",
            "packages": {"keras": f"3.{seed // 2}"},
            "time": f"2026-01-0{3 - seed}",
            "data": {"data/pets": "0ea4"},
        }
        folder.edit(directory, runs.MANIFEST_FILE, lambda m, f=facts: m["starts"][0].update(f))
    texts = _texts(manifest.section(collect.collect(folder.path)))
    start = texts.index("transfer")
    assert texts[start : start + 7] == [
        "transfer", "ab" * 6, "1 replica(s) on CPU", "keras 3.0", "2", "unknown",
        "2026-01-02 to 2026-01-03",
    ]  # fmt: skip
    assert texts[start + 7 : start + 12][3:] == ["keras 3.1", "1"]
    assert texts[-3:] == ["data/pets", "0ea4", "3"]


def test_only_what_there_is_has_a_section(two_columns):
    collection = collect.collect(two_columns.path)
    table = tables.tabulate(collection)
    html = page.render(page.Content(collection=collection, table=table))
    names = re.findall(r'<section id="(\w+)">', html)
    assert names == ["overview", "results", "reading", "attention", "manifest"]
    assert re.findall(r'<a href="#(\w+)">', html) == names
    drawn = figures.few_shot_curves(table)
    whole = page.Content(
        collection=collection, table=table, figures=[drawn], absent=["No <b>"], links=["a b.csv"],
        figure_folder="figures/",
    )  # fmt: skip
    html = page.render(whole)
    assert 'href="figures/few_shot.png"' in html and "<li>No &lt;b&gt;</li>" in html
    assert 'href="a b.csv"' in html and html.count('class="mark"') == 3 and HOSTILE not in html
    sources = re.search(r"<legend>Source</legend>(.*?)</fieldset>", html)[1]
    assert re.findall(r'value="(.*?)"', sources) == [
        "scratch",
        "&lt;b onclick=&quot;alert(1)&quot;",
    ]


def test_nothing_is_loaded_from_elsewhere():
    folder = Path(page.__file__).parent
    for file in ("page.html", "page.css", "page.js", "figures.js"):
        assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch\(", (folder / file).read_text())
