"""Grids, how their cells stand, and sweeps that are killed, fail, and race."""

import collections
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import types

import pytest

from experiments.configs import finetune, grids
from experiments.configs.grids import Cell
from experiments.sweeps import cells as cells_lib
from experiments.sweeps import costs, listing, running, state, worker
from keras_transfer import training
from keras_transfer.core import claims, runs
from keras_transfer.core.errors import Preempted, UserError
from keras_transfer.data.dataset import Dataset
from tests.experiments import killing, stub_worker

RULES = state.Rules(tries=2, stale_seconds=600.0)
CSV_TARGETS = {
    "flowers_oversampling": "flowers102",
    "covidx_cxr2": "covidx",
    "tuberculosis_full": "tuberculosis",
    "padchest": "padchest_cl",
}


def _cell(cell_name, data="data", /, **changes):
    config = finetune.make(data=str(data), init="", shots="1")
    config.schedule.duration = "500 steps"
    for key, value in changes.items():
        setattr(config, key, value)
    return Cell(cell_name, config)


# Grids.


@pytest.mark.parametrize(("name", "count"), [("paper", 2700), ("published", 1445), ("poster", 440)])
@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_named_grids_are_valid(name, count, variant):
    cells = cells_lib.read_grid(f"{name}:variant={variant}", "d", "w")  # validates every config
    assert len(cells) == count
    assert {cell.config.seed for cell in cells} == {0, 1, 2, 3, 4}
    for cell in cells:
        arch = cell.source.rpartition("-")[2]
        assert cell.config.model.name == f"bit-{arch}"
        assert cell.config.model.init == f"w/{cell.source}"


def test_the_published_grid_is_that_of_the_csv_files(shared):
    published = set()
    for path in (shared / "data/published_results/results").glob("*_test_acc.csv"):
        with path.open() as stream:
            for row in csv.DictReader(stream):
                source, arch = row["pretrained_model"].rsplit("_bit", 1)
                weights = f"{source.replace('_', '+')}-r{arch}"
                target = CSV_TARGETS.get(row["dataset"], row["dataset"])
                published.add((target, weights, row["shot"].removesuffix("_shot")))
    ours = {(c.name.split("/")[0], c.source, c.config.shots) for c in grids.make("published")}
    assert published and ours == published
    paper = {(c.name.split("/")[0], c.source, c.config.shots) for c in grids.make("paper")}
    assert ours < paper and {source for _, source, _ in paper} == {s for _, s, _ in published}


def test_grids_share_the_names_of_their_cells():
    paper = {cell.name: cell.config for cell in grids.make("paper")}
    poster = {cell.name: cell.config for cell in grids.make("poster")}
    common = paper.keys() & poster.keys()
    assert len(common) == 7 * 8 * 5
    assert all(paper[name] == poster[name] for name in common)


def test_weights_are_found_in_a_folder_or_a_file(tmp_path):
    (tmp_path / "chexpert-r50x1.npz").touch()
    assert grids.find_weights(str(tmp_path), "chexpert-r50x1").endswith("chexpert-r50x1.npz")
    (tmp_path / "chexpert-r50x1").mkdir()
    assert grids.find_weights(str(tmp_path), "chexpert-r50x1").endswith("chexpert-r50x1")


def test_the_grid_in_the_documentation_works(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(grids.__doc__.split("```")[1])
    cells = cells_lib.read_grid(f"{path}:w/x.npz", None, None)
    assert len(cells) == 15 and {cell.source for cell in cells} == {"x"}
    assert {cell.source for cell in cells_lib.read_grid(str(path), None, None)} == {"scratch"}


HEADER = """
from experiments.configs import finetune
from experiments.configs.grids import Cell
config = finetune.make(data="d")
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines no get_grid"),
        ("def get_grid(arg):\n    return [1]", "found a int"),
        ("def get_grid(arg):\n    return []", "found nothing"),
        ("def get_grid(arg)", "line 5: SyntaxError"),
        ("def get_grid(arg):\n    return 1 / 0", "line 6: ZeroDivisionError"),
        ("def get_grid(arg):\n    return [Cell('a', config)] * 2", "'a' is there twice"),
        ("def get_grid(arg):\n    return [Cell(n, config) for n in ('a/b', 'a')]", "lies in"),
        ("def get_grid(arg):\n    return [Cell('../a', config)]", "below --workdir"),
        ("def get_grid(arg):\n    return [Cell('a', finetune.make())]", "data.dirs is empty"),
    ],
)
def test_wrong_grids_are_refused(tmp_path, text, message):
    path = tmp_path / "grid.py"
    path.write_text(HEADER + text)
    with pytest.raises(UserError, match=message):
        cells_lib.read_grid(str(path), None, None)


@pytest.mark.parametrize(
    ("text", "data", "message"),
    [
        ("papr", None, "Did you mean 'paper'"),
        ("paper:variant=x", None, "variant=x"),
        ("nowhere.py", None, "no such file"),
        ("nowhere.py", "data", "--data and --pretrained"),
    ],
)
def test_wrong_names_of_grids_are_refused(text, data, message):
    with pytest.raises(UserError, match=message):
        cells_lib.read_grid(text, data, None)


def test_only():
    cells = grids.make("paper")

    def count(*only):
        return len(cells_lib.select(cells, only))

    assert count() == 2700
    assert count("target=pets") == 15 * 4 * 5
    assert count("target=pets", "shots=5") == 75
    assert count("target=pets", "target=cifar10", "shots=full", "seed=0") == 30
    assert count("source=*-r50x1", "target=pets") == 6 * 4 * 5
    assert count("name=pets/mimic-*/shots_1.seed_?") == 5
    for wrong, message in (
        ("target=petz", "Did you mean 'pets'"),
        ("targets=pets", "Did you mean 'target'"),
        ("pets", "write KEY=PATTERN"),
    ):
        with pytest.raises(UserError, match=message):
            cells_lib.select(cells, [wrong])
    with pytest.raises(UserError, match="has all of it"):
        cells_lib.select(cells, ["target=pets", "shots=500"])


def test_cells_of_one_shape_are_one_group():
    cells = grids.make("paper")
    groups = cells_lib.by_shape(cells)
    assert len(groups) == 7 * 2  # targets and networks
    for group in groups:
        assert len({(cell.target, cell.config.model.name) for cell in group}) == 1
    one, other = _cell("a"), _cell("b", seed=3)
    assert len(cells_lib.by_shape([one, other])) == 1
    for change in (
        lambda c: setattr(c.optim, "nesterov", True),
        lambda c: setattr(c.runtime, "precision", "mixed_bfloat16"),
        lambda c: setattr(c.train, "global_batch_size", 64),
    ):
        other = _cell("b")
        change(other.config)
        assert len(cells_lib.by_shape([one, other])) == 2


# How cells stand.


def _finish(folder, cell, *, step_seconds=0.5, rest=2.0, start="2026-01-01T00:00:00+00:00"):
    """Writes a finished run of 500 steps as training leaves it."""
    facts = {"devices": "2 replica(s) on GPU, one process", "time": start}
    runs.start(folder, cell.config, facts)
    for step in (250, 500):
        rate = cell.config.train.global_batch_size / step_seconds
        runs.append_metrics(folder, {"step": step, "images_per_second": rate})
        runs.append_metrics(folder, {"step": step, "val/accuracy": 0.5})
    runs.write_result(folder, [], primary_metric="accuracy", undefined={})
    end = 1767225600 + 500 * step_seconds + rest
    os.utime(folder / runs.RESULT_FILE, (end, end))


@pytest.fixture
def every_state(tmp_path, digits):
    """One cell of each state, and one more to do; returns cells and their folder."""
    names = ("done", "running", "failed", "missing", "todo", "again")
    cells = {name: _cell(name, digits) for name in names}
    cells["missing"].config.model.init = str(tmp_path / "weights" / "nih-r152x4")
    _finish(tmp_path / "done", cells["done"])
    assert claims.take(tmp_path / "running")
    state.write_failure(tmp_path / "failed", "no\nway", again=False)
    state.write_failure(tmp_path / "again", "not yet", again=True, traceback="a\nb")
    return list(cells.values()), tmp_path


def _states(cells, folder):
    missing = state.missing_inputs(cells)
    return {c.name: state.status(folder / c.name, c, missing, RULES) for c in cells}, missing


def test_states_and_what_is_said_of_them(every_state):
    cells, folder = every_state
    states, missing = _states(cells, folder)
    assert states == {
        "done": "done",
        "running": "running",
        "failed": "failed",
        "missing": "missing",
        "todo": "to do",
        "again": "to do",
    }
    assert listing.totals(states) == "6 cells: 1 done, 1 running, 1 failed, 1 missing, 2 to do"
    header, *rows, legend = listing.table(cells, states)
    assert header.split() == ["source", cells[0].target] and legend.startswith("done/all")
    assert [" ".join(row.split()) for row in rows] == ["scratch 1/5 1r 1f", "nih-r152x4 0/1 1m"]
    (line,) = listing.missing(cells, states, missing)
    assert "(1 cells)" in line and f"paper_runs.py:nih-r152x4 --workdir={folder}/weights" in line
    assert list(listing.failures(folder, states)) == [
        "failed: failed (1 x, given up): no way",
        "failed: again (1 x, to be tried again): not yet",
    ]
    state.write_failure(folder / "again", "still not", again=True)
    assert _states(cells, folder)[0]["again"] == "failed"
    assert state.read_failure(folder / "again").attempts == 2


def test_missing_data_come_with_the_command_that_builds_them():
    cells = cells_lib.select(grids.make("poster", data="/no"), ["source=chexpert-r50x1"])
    missing = state.missing_inputs(cells)
    assert len(missing) == 11 + 1
    assert "--options=dataset=oxford_iiit_pet" in missing["/no/oxford_iiit_pet/default/1.0.0"]


def test_a_directory_of_another_grid_is_refused(tmp_path, digits):
    cell, same, other = _cell("a", digits), _cell("a", digits), _cell("a", digits)
    state.note_config(tmp_path / "a", cell)
    same.config.runtime.read_threads = 3  # no part of what a run means
    state.check_configs(tmp_path, [same])
    other.config.optim.base_lr = 0.5
    with pytest.raises(UserError, match=r"1 of 1 cells .*optim.base_lr: 0.001 there, 0.5 here"):
        state.check_configs(tmp_path, [other])


# What they cost.


def test_cost_by_finished_runs_of_the_same_shape(every_state):
    cells, folder = every_state
    speed = costs.measure([folder / "done"])
    assert (speed.runs, speed.device, speed.replicas) == (1, "GPU", 2)
    assert speed.step_seconds == pytest.approx(0.5)
    assert speed.hours([500, 500]) == pytest.approx(2 * 2 * (250 + speed.run_seconds) / 3600)
    line, total = costs.describe(cells, _states(cells, folder)[0], folder)
    assert "2 cells, 1,000 steps: " in line and "at 0.5 s a step" in line
    assert "GPU hours" in total and "unknown" not in total
    shutil.rmtree(folder / "done")
    line, total = costs.describe(cells, {"todo": "to do"}, folder)
    assert "time unknown, no run of this shape" in line and "1 cells of unknown time" in total


def test_time_beside_the_steps_is_that_of_runs_with_one_start(tmp_path, digits):
    cell = _cell("a", digits)
    _finish(tmp_path / "a", cell, step_seconds=0.5, rest=7.0)
    assert costs.measure([tmp_path / "a"]).run_seconds == pytest.approx(7.0)
    runs.start(tmp_path / "a", cell.config, {"devices": "1 replica(s) on CPU, one process"})
    speed = costs.measure([tmp_path / "a"])
    assert (speed.run_seconds, speed.device) == (0.0, "CPU")


@pytest.mark.parametrize(
    ("duration", "shots", "steps"),
    [
        ("70 steps", "1", 70),
        ("hyperrule", "full", 500),
        ("hyperrule", "5", 500),
        ("2 epochs", "full", 2 * 901 // 128),
        ("10 epochs", "full", round(10 * 901 / 128)),
        ("128 epochs", "2", 10),
        ("1280 examples", "5", 10),
    ],
)
def test_steps_of_a_cell(digits, duration, shots, steps):
    assert Dataset(digits).labels.num_classes == 5
    examples = Dataset(digits).splits["train"].num_examples
    cell = _cell("a", digits, shots=shots)
    cell.config.schedule.duration = duration
    expected = round(steps * examples / 901) if shots == "full" and "epoch" in duration else steps
    assert costs.steps_of(cell) == pytest.approx(expected, abs=1)
    missing = _cell("a", "nowhere", shots=shots)
    missing.config.schedule.duration = duration
    assert costs.steps_of(missing) == (70 if duration == "70 steps" else None)


# Workers, with cells that do what their names say.


@pytest.fixture
def stubbed(monkeypatch):
    monkeypatch.setattr(running, "_WORKER", (sys.executable, stub_worker.__file__))
    monkeypatch.setenv("PYTHONPATH", str(killing.ROOT))


def _attempts(folder):
    lines = (folder / "log").read_text().splitlines()
    return collections.Counter(line.split()[0] for line in lines)


def test_failures_are_retried_but_wrong_input_is_not(stubbed, tmp_path, digits, capfd):
    names = ("wrong input", "always broken", "broken once", "killed once", "fine")
    cells = [_cell(name.replace(" ", "_"), digits, name=name) for name in names]
    with running.Sweep(tmp_path, cells, {}, RULES) as sweep:
        sweep.run()
    assert _attempts(tmp_path) == {
        "wrong_input": 1,
        "always_broken": 2,
        "broken_once": 2,
        "killed_once": 2,
        "fine": 1,
    }
    states, _ = _states(cells, tmp_path)
    failed = {name for name, status in states.items() if status == state.FAILED}
    assert failed == {"wrong_input", "always_broken"}
    assert set(states.values()) == {state.DONE, state.FAILED}
    left = {path.parent.name for path in tmp_path.rglob(state.FAILED_FILE)}
    assert left == failed  # success takes the note away
    broken = state.read_failure(tmp_path / "always_broken")
    assert broken.attempts == 2 and "RuntimeError: no such luck" in broken.traceback[-1]
    wrong = state.read_failure(tmp_path / "wrong_input")
    assert (wrong.attempts, wrong.error, wrong.traceback) == (1, "this will never do", ())
    assert "killed_once: failed, its process was killed by SIGKILL" in capfd.readouterr().out
    with running.Sweep(tmp_path, cells, {}, RULES) as sweep:
        sweep.run()  # nothing is left to do: no worker starts
    assert _attempts(tmp_path).total() == 8


def test_cells_without_their_weights_are_left_out(stubbed, tmp_path, digits):
    cells = [_cell(name, digits, name="fine") for name in ("a", "b")]
    cells[0].config.model.init = "nowhere"
    with running.Sweep(tmp_path, cells, state.missing_inputs(cells), RULES) as sweep:
        sweep.run()
    assert _attempts(tmp_path) == {"b": 1}


STUBBED_SWEEP = f"""
import runpy, sys
from experiments.sweeps import running
running._WORKER = (sys.executable, {stub_worker.__file__!r})
runpy.run_module("experiments.sweep", run_name="__main__", alter_sys=True)
"""


def test_failed_cells_are_code_1_until_they_are_forgotten(stubbed, tmp_path, digits):
    grid = tmp_path / "grid.py"
    grid.write_text(
        "from experiments.configs import finetune\n"
        "from experiments.configs.grids import Cell\n"
        "def get_grid(arg):\n"
        f"    config = finetune.make(data={digits!r})\n"
        "    config.name = 'broken once'\n"
        "    return [Cell('cell', config)]\n"
    )
    flags = [f"--grid={grid}", f"--workdir={tmp_path / 'w'}", "--tries=1"]

    def sweep(*more):
        command = [sys.executable, "-c", STUBBED_SWEEP, *flags, *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout.splitlines()

    code, lines = sweep()
    assert code == 1
    assert lines[-2:] == [
        "failed: cell (1 x, given up): RuntimeError('not yet')",
        "1 cells: 0 done, 0 running, 1 failed, 0 missing, 0 to do",
    ]
    assert sweep()[0] == 1 and _attempts(tmp_path / "w") == {"cell": 1}
    code, lines = sweep("--retry_failed")
    assert code == 0 and lines[-1] == "1 cells: 1 done, 0 running, 0 failed, 0 missing, 0 to do"
    assert _attempts(tmp_path / "w") == {"cell": 2}


def test_two_workers_share_100_cells(tmp_path, digits):
    cells = [_cell(f"cell_{number}", digits, name="slow") for number in range(100)]
    job = worker.Job(tmp_path, cells, RULES).to_json()
    workers = [
        subprocess.Popen(
            [sys.executable, stub_worker.__file__],
            env=os.environ | {"PYTHONPATH": str(killing.ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    for process in workers:  # both have started Python when they get their job
        process.stdin.write(job)
    for process in workers:
        process.stdin.close()
    assert [process.wait(timeout=100) for process in workers] == [0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(cell.name for cell in cells)
    assert {int(line.split()[1]) for line in lines} == {process.pid for process in workers}
    assert len(killing.results(tmp_path)) == 100


def test_a_cell_that_was_finished_between_look_and_claim_is_left(tmp_path, digits, monkeypatch):
    cell, take = _cell("cell", digits), claims.take

    def take_late(folder, stale_seconds):
        runs.write_result(folder, [], primary_metric="accuracy", undefined={})
        return take(folder, stale_seconds)

    monkeypatch.setattr(claims, "take", take_late)
    # Without a `transfer`: to run the cell would fail.
    training = types.SimpleNamespace(EngineCache=lambda: None)
    monkeypatch.setattr(worker._main, "training", lambda: training)
    worker.run(worker.Job(tmp_path, [cell], RULES), worker.Keeper(60.0))
    assert state.read_failure(tmp_path / "cell") is None
    assert not claims.is_taken(tmp_path / "cell")


def test_a_worker_without_its_sweep_stops(tmp_path, digits, monkeypatch):
    """Also the way of every signal that comes while no run listens."""
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        with worker.Keeper(60.0) as keeper:
            keeper.check()
            monkeypatch.setattr(os, "getppid", lambda: 1)
            claim = claims.take(tmp_path)
            with keeper.holding(claim):
                signal.sigtimedwait([], 2.5)
        with pytest.raises(Preempted, match="SIGTERM between two runs"):
            keeper.check()
        assert not claims.is_taken(tmp_path)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


# The whole of it.


def test_a_sweep_that_is_killed_ends_as_one_that_is_not(tmp_path, digits):
    grid, rng = killing.write_grid(tmp_path, seeds=2), random.Random(5)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 75)):
        lines = killing.lines_of(killed) + rng.randint(1, 5)  # of 24 in all
        wait = rng.uniform(0, 0.2)
        assert killing.interrupt(grid, digits, killed, number, lines=lines, seconds=wait) == code
    assert len(killing.results(killed)) < 4
    killing.sweep(grid, digits, killed)
    engines = training.EngineCache()
    for cell in cells_lib.read_grid(f"{grid}:{digits}", None, None):
        training.transfer(cell.config, whole / cell.name, engines=engines)
    names = {f"digits/shots_{shots}.seed_{seed}" for shots in (1, 5) for seed in (0, 1)}
    assert set(killing.results(killed)) == names
    killing.assert_same(killed, whole)
    for seed in (0, 1):
        one, five = (
            set(json.loads((killed / f"digits/shots_{s}.seed_{seed}/fewshot.json").read_text()))
            for s in (1, 5)
        )
        assert len(one) == 5 and len(five) == 25 and one < five
    listed = killing.sweep(grid, digits, killed, "--list")
    assert "4 cells: 4 done, 0 running, 0 failed, 0 missing, 0 to do" in listed
    assert "4/4" in listed and "missing:" not in listed
