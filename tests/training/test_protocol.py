"""What a transfer may choose: the metric that counts, the tested weights, what is frozen."""

import json

import numpy as np
import pytest

from keras_transfer import models, training
from keras_transfer.core import runs
from keras_transfer.core.errors import Preempted
from keras_transfer.training import saving


def _validation(run_dir):
    lines = (run_dir / runs.METRICS_FILE).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {line["step"]: line["val/loss"] for line in found if "val/loss" in line}


@pytest.fixture
def choosing(transfer):
    """A transfer whose loss falls and then rises again: the best is neither first nor last."""
    return transfer(
        metric="loss",
        train__select="best",
        train__eval_every="2 steps",
        train__checkpoint_every="3 steps",
        schedule__name="constant",
        schedule__warmup="0 steps",
        schedule__duration="12 steps",
        optim__base_lr=0.3,
        data__test_split="test",
        model__head_init="uniform",
    )


def test_the_best_evaluation_is_tested_and_kept(choosing, engines, tmp_path):
    training.transfer(choosing, tmp_path / "run", engines=engines)
    looks = _validation(tmp_path / "run")
    rows, primary = runs.read_result(tmp_path / "run")
    assert primary == "loss" and list(looks) == [2, 4, 6, 8, 10]
    final = {row.split: row.value for row in rows if row.metric == "loss"}
    (step,) = {row.step for row in rows}
    assert final["val"] == pytest.approx(min(*looks.values(), final["val"]))
    assert step in (12, min(looks, key=looks.__getitem__))
    if step != 12:
        assert final["val"] == pytest.approx(looks[step], rel=1e-6)
    # The weights left behind are those that were tested.
    report, _ = training.evaluate(tmp_path / "run", "", "test")
    assert report.values["loss"] == pytest.approx(final["test"], rel=1e-5)
    assert not list((tmp_path / "run").glob("**/best_*.npz"))
    assert step != 12, "this run shows nothing: its last evaluation is its best"


def test_a_choice_survives_an_interruption(choosing, engines, tmp_path, monkeypatch):
    """Stopped three times, a run ends with the choice of an undisturbed one."""
    training.transfer(choosing, tmp_path / "whole", engines=engines)

    class Stops(saving.StopOnSignal):
        def __call__(self, progress):
            if progress.step in (2, 4, 9) and progress.step > Stops.last:
                Stops.last = progress.step
                self._received = 15
            super().__call__(progress)

        last = 0

    monkeypatch.setattr(saving, "StopOnSignal", Stops)
    for _ in range(3):
        with pytest.raises(Preempted):
            training.transfer(choosing, tmp_path / "parts", engines=engines)
    training.transfer(choosing, tmp_path / "parts", engines=engines)
    ends = [runs.read_result(tmp_path / name)[0] for name in ("whole", "parts")]
    assert ends[0] == ends[1]
    whole, parts = (np.load(tmp_path / name / "weights.npz") for name in ("whole", "parts"))
    for name in whole:
        np.testing.assert_array_equal(parts[name], whole[name])


@pytest.mark.parametrize(("until", "frozen"), [("stage3", 4), ("stage4", 6)])
def test_frozen_parts_stay_and_the_rest_moves(transfer, tmp_path, until, frozen):
    config = transfer(model__freeze_until=until, model__head_init="uniform", shots="5")
    config.schedule.duration, config.schedule.warmup = "2 steps", "1 steps"
    config.schedule.warmup_start = 0.5
    training.transfer(config, tmp_path)
    parts = ["root_block", "block1", "block2", "block3", "block4", "group_norm", "head"]
    before = models.build("bit-r14x0.25", 5, head_init="uniform", seed=config.seed)
    models.save_npz(before, tmp_path / "before.npz")
    with np.load(tmp_path / "before.npz") as old, np.load(tmp_path / "weights.npz") as new:
        for name in old:
            moved = not np.array_equal(old[name], new[name])
            assert moved == (name.split("/")[1] in parts[frozen:]), name
