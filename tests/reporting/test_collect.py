"""Collecting run directories: completeness, duplicates, unfinished runs, broken files."""

import json
import math

import numpy as np
import pytest

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.reporting.collect import collect


def test_every_row_of_every_finished_run_is_there(folder):
    extra = {"auc/Mass": None, "loss": 0.5}.items()
    folder.transfer("pets", "scratch", 5, 0, 0.25, extra=extra)
    folder.transfer("pets", "scratch", None, 1, 0.75, name="deep/er/run")
    folder.pretrain("digits", 700)
    found = collect(folder.path)
    assert found.rows["used"].all() and not found.duplicates and not found.unfinished
    assert sorted(zip(found.rows["metric"], found.rows["kind"])) == [
        ("accuracy", "pretrain"),
        ("accuracy", "transfer"),
        ("accuracy", "transfer"),
        ("auc/Mass", "transfer"),
        ("loss", "transfer"),
    ]
    full = found.rows[found.rows["shots"] == math.inf]
    assert dict(zip(full["kind"], full["value"])) == {"transfer": 0.75, "pretrain": 0.9}
    assert np.isnan(found.rows.set_index("metric").loc["auc/Mass", "value"])
    assert found.source_sizes == {"digits": 700}


def test_a_single_run_directory_is_a_folder_of_runs(folder):
    directory = folder.transfer("pets", "scratch", 5, 0, 0.25)
    assert len(collect(directory).rows) == 1


def test_sizes_that_disagree_are_not_used(folder):
    folder.pretrain("digits", 700, seed=0)
    folder.pretrain("digits", 701, seed=1)
    folder.pretrain("phantom", None)
    assert collect(folder.path).source_sizes == {}


def test_unfinished_run_is_listed_with_its_last_whole_step(folder):
    folder.transfer("pets", "scratch", 5, 0, 0.25)
    half = folder.transfer("pets", "scratch", 5, 1, 0, finished=False)
    (half / runs.METRICS_FILE).write_text('{"step": 100}\n{"step": 150, "loss": 1}\n{"step": 2')
    folder.transfer("pets", "scratch", 10, 2, 0, finished=False)
    first, second = collect(folder.path).unfinished
    assert {first.directory.name, second.directory.name} == {
        "pets.scratch.r14x0.25.5.1",
        "pets.scratch.r14x0.25.10.2",
    }
    steps = {run.directory.name.split(".")[-1]: run.step for run in (first, second)}
    assert steps == {"1": 150, "2": None}
    assert "to pets, shots 10, seed 2" in first.what + second.what


def test_runs_that_claim_the_same_and_differ_are_named_and_both_left_out(folder):
    folder.transfer("pets", "scratch", 5, 0, 0.2, name="a")
    folder.transfer("pets", "scratch", 5, 0, 0.4, name="b")
    folder.transfer("pets", "scratch", 5, 1, 0.6, name="c")
    found = collect(folder.path)
    assert found.rows.loc[found.rows["used"], "value"].tolist() == [0.6]
    (double,) = found.duplicates
    assert [path.name for path in double.directories] == ["a", "b"] and not double.equal
    assert double.what == "scratch to pets, r14x0.25, shots 5, seed 0"
    with pytest.raises(UserError, match=r"/a and .*/b; move or delete all but one") as error:
        collect(folder.path, strict=True)
    assert "\n" not in str(error.value)


def test_copies_count_once(folder):
    folder.transfer("pets", "scratch", 5, 0, 0.2, name="a", extra={"auc/x": None}.items())
    folder.transfer("pets", "scratch", 5, 0, 0.2, name="b", extra={"auc/x": None}.items())
    found = collect(folder.path)
    assert found.rows["used"].tolist() == [True, True, False, False]
    assert found.duplicates[0].equal


@pytest.mark.parametrize(
    "difference",
    [{"arch": "r26x1"}, {"seed": 1}, {"shots": None}, {"split": "val"}, {"source": "digits"}],
)
def test_runs_that_differ_in_one_thing_are_no_duplicates(folder, difference):
    base = {"target": "pets", "source": "scratch", "shots": 5, "seed": 0, "value": 0.2}
    folder.transfer(**base, name="a")
    folder.transfer(**{**base, **difference}, name="b")
    assert not collect(folder.path).duplicates


def test_commits_and_changes_are_read_from_every_start(folder):
    directory = folder.transfer("pets", "scratch", 5, 0, 0.2, commit="a" * 40)

    def restart(manifest):
        manifest["starts"].append({"code": {"commit": "b" * 40, "diff": "- x\n+ y"}})
        manifest["starts"].append({"code": {}})

    folder.edit(directory, runs.MANIFEST_FILE, restart)
    assert collect(folder.path).runs[0].commits == ("a" * 12, "b" * 12 + "+")


@pytest.mark.parametrize("file", [runs.MANIFEST_FILE, runs.CONFIG_FILE, runs.RESULT_FILE])
@pytest.mark.parametrize("content", ["", '{"rows": [', "[1, 2]", "\x00\x01"])
def test_broken_file_is_named_in_one_line(folder, file, content):
    directory = folder.transfer("pets", "scratch", 5, 0, 0.2)
    (directory / file).write_text(content)
    with pytest.raises(CorruptFileError, match=file) as error:
        collect(folder.path)
    assert str(directory) in str(error.value) and "\n" not in str(error.value)


def edit_row(name, value):
    return lambda result: result["rows"][0].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit_row("value", "0.5"), "value of a row is '0.5'"),
        (edit_row("shots", "5"), "shots of a row is '5'"),
        (edit_row("seed", None), "seed of a row is None"),
        (edit_row("source", 3), "source of a row is 3"),
        (edit_row("novel", 3), "not a result"),
        (lambda r: r["rows"].append(r["rows"][0]), "two rows for accuracy on test"),
        (lambda r: r.update(primary_metric="acuracy"), "Did you mean 'accuracy'"),
        (lambda r: r.update(primary_metric="mean_auc"), "no row holds its primary_metric"),
        (lambda r: r.pop("rows"), "not a result"),
    ],
)
def test_result_that_cannot_be_right_is_refused(folder, change, message):
    directory = folder.transfer("pets", "scratch", 5, 0, 0.2)
    folder.edit(directory, runs.RESULT_FILE, change)
    with pytest.raises(CorruptFileError, match=message) as error:
        collect(folder.path)
    assert str(directory / runs.RESULT_FILE) in str(error.value)


def test_nothing_to_collect(folder, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        collect(tmp_path / "missing")
    folder.path.mkdir()
    with pytest.raises(UserError, match="holds no run"):
        collect(folder.path)
    (folder.path / "x").mkdir()
    (folder.path / "x" / runs.RESULT_FILE).write_text(json.dumps({"rows": []}))
    with pytest.raises(CorruptFileError, match=r"no manifest\.json"):
        collect(folder.path)


def test_unknown_kind_of_run(folder):
    directory = folder.transfer("pets", "scratch", 5, 0, 0.2)
    folder.edit(directory, runs.CONFIG_FILE, lambda config: config.update(kind="probe"))
    with pytest.raises(CorruptFileError, match="unknown kind of run 'probe'"):
        collect(folder.path)
