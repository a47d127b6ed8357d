"""Sweeps that keep no weights, and what weights take."""

import types
from typing import Any

import numpy as np
import pytest

from experiments.configs import finetune
from experiments.configs.grids import Cell
from experiments.sweeps import disk, state, worker
from keras_transfer.core import runs

RULES = state.Rules(tries=2, stale_seconds=600.0)
MB = 1_000_000


def _cell(name, init="", model="bit-r50x1"):
    return Cell(name, finetune.make(data="data", init=str(init), model=model, shots="1"))


def _say(cells, states, folder, keep=True):
    return list(disk.describe(cells, states, folder, keep))


def test_disk_by_a_finished_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "_free", lambda _: 74_000 * MB)
    cells = [_cell(name) for name in ("a", "b", "c")]
    states = {"a": "done", "b": "to do", "c": "to do"}
    for cell in cells:
        (tmp_path / cell.name).mkdir()
    assert "do: 2 cells of unknown size; 74 GB are free" in _say(cells, states, tmp_path)[0]
    (tmp_path / "a" / runs.WEIGHTS_FILE).write_bytes(bytes(3 * MB))
    assert _say(cells, states, tmp_path) == [
        "disk for the weights of what is to do: 6 MB (2 x bit-r50x1 of 3 MB); 74 GB are free; "
        "--keep_weights=false keeps none"
    ]
    none = "disk for the weights of what is to do: none, --keep_weights=false"
    assert _say(cells, states, tmp_path, keep=False) == [none]
    assert _say(cells, {"a": "done"}, tmp_path) == []


@pytest.mark.parametrize("is_folder", [True, False])
def test_disk_by_what_a_cell_starts_from_without_its_head(tmp_path, is_folder):
    init = tmp_path / ("source" if is_folder else "source.npz")
    file = init / runs.WEIGHTS_FILE if is_folder else init
    file.parent.mkdir(exist_ok=True)
    body, head = np.zeros(500_000, np.float32), np.zeros(3_000_000, np.float32)
    arrays: dict[str, Any] = {"resnet/root_block/x": body, "resnet/head/conv2d/kernel": head}
    np.savez(file, **arrays)
    cells = [_cell("a", init), _cell("b", init), _cell("c", tmp_path / "gone", "bit-r152x4")]
    (line,) = _say(cells, {c.name: "to do" for c in cells}, tmp_path / "not" / "yet")
    assert ": 4 MB (2 x bit-r50x1 of 2 MB, 1 cells of unknown size); " in line


def test_large_sizes_are_readable():
    assert [disk._text(x * MB) for x in (2.04, 3713.7, 6_118_000)] == [
        "2.04 MB",
        "3.71 GB",
        "6.12 TB",
    ]


@pytest.mark.parametrize("keep", [True, False])
def test_the_choice_reaches_the_run(tmp_path, monkeypatch, keep):
    found = []

    def transfer(config, folder, *, engines, keep_weights):
        found.append(keep_weights)
        row = runs.ResultRow(
            run_id="0", source="scratch", arch="x", target="t", shots=1, seed=0, split="test",
            metric="accuracy", value=0.5, num_examples=10, step=1,
        )  # fmt: skip
        runs.write_result(folder, [row], primary_metric="accuracy", undefined={})

    training = types.SimpleNamespace(transfer=transfer, EngineCache=lambda: None)
    monkeypatch.setattr(worker._main, "training", lambda: training)
    job = worker.Job(tmp_path, [_cell("a")], RULES, keep)
    worker.run(worker.Job.from_json(job.to_json()), worker.Keeper(60.0))
    assert found == [keep]
    assert state.status(tmp_path / "a", _cell("a"), {}, RULES) == state.DONE
