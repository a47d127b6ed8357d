import itertools
import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import evaluation, training
from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from keras_transfer.training import weights
from keras_transfer.training.setup import Setup
from keras_transfer.training.step import EngineCache
from tests.training.spoiled import spoil


def _metrics(run_dir):
    return [json.loads(line) for line in (run_dir / runs.METRICS_FILE).read_text().splitlines()]


def test_a_finished_pretraining_leaves_what_is_promised(pretraining, engines, tmp_path):
    config = pretraining(train__eval_every="4 steps", train__checkpoint_every="3 steps")
    training.pretrain(config, tmp_path, engines=engines)
    rows, primary = runs.read_result(tmp_path)
    values = {row.metric: row.value for row in rows}
    assert primary == "accuracy" and 0 <= values["accuracy"] <= 1
    assert {row.step for row in rows} == {6} and {row.split for row in rows} == {"val"}
    assert rows[0].source == rows[0].target == "digits/classes_0-4" and rows[0].arch == "r14x0.25"
    card = weights.read_card(tmp_path)
    assert card.normalisation == "value_range(-1, 1)" and card.labels == tuple("01234")
    with np.load(tmp_path / runs.WEIGHTS_FILE) as file:
        assert "resnet/root_block/standardized_conv2d/kernel" in file.files
    steps = [row["step"] for row in _metrics(tmp_path)]
    assert steps == [2, 4, 4, 6]
    line = _metrics(tmp_path)[0]
    for name in ("loss", "accuracy", "grad_norm", "param_norm", "update_norm", "clipped_share"):
        assert math.isfinite(line[f"train/{name}"])
    assert line["images_per_second"] > 0 and "val/accuracy" in _metrics(tmp_path)[2]
    assert list((tmp_path / runs.TENSORBOARD_DIR).iterdir())
    manifest = runs.read_json(tmp_path / runs.MANIFEST_FILE)
    assert manifest["starts"][0]["initialised_from"] == "scratch, seed 0"
    assert len(manifest["starts"][0]["seeds"]) == 5

    before = (tmp_path / runs.RESULT_FILE).stat().st_mtime_ns
    training.pretrain(config, tmp_path, engines=engines)
    assert (tmp_path / runs.RESULT_FILE).stat().st_mtime_ns == before
    config.optim.base_lr = 0.2
    with pytest.raises(UserError, match=r"another config \(optim.base_lr: 0.05 there, 0.2 here\)"):
        training.pretrain(config, tmp_path, engines=engines)


def test_the_same_config_gives_the_same_bits_and_another_seed_does_not(transfer, tmp_path):
    engines = EngineCache()
    for name, seed, cache in (("a", 1, engines), ("c", 2, engines), ("b", 1, EngineCache())):
        training.transfer(transfer(seed=seed, shots="5"), tmp_path / name, engines=cache)
    files = [np.load(tmp_path / name / runs.WEIGHTS_FILE) for name in "abc"]
    equal = [all((files[0][k] == f[k]).all() for k in files[0].files) for f in files[1:]]
    assert equal == [True, False]


def test_transfers_of_one_shape_are_traced_once(pretraining, transfer, tmp_path):
    source = tmp_path / "source"
    training.pretrain(pretraining(), source)
    engines = EngineCache()
    chosen = {}
    for shots in ("1", "5", "full"):
        for seed in (0, 1):
            run_dir = tmp_path / f"{shots}.{seed}"
            config = transfer(shots=shots, seed=seed, model__init=str(source))
            config.schedule.duration = "5 steps" if shots == "1" else "6 steps"
            training.transfer(config, run_dir, engines=engines)
            if shots != "full":
                chosen[shots, seed] = set(runs.read_json(run_dir / runs.FEWSHOT_FILE))
            assert not (run_dir / runs.CHECKPOINT_DIR).exists()
    engine = engines._engine
    assert engine._window.experimental_get_tracing_count() == 1
    assert engine._predict.experimental_get_tracing_count() == 1
    assert [len(chosen[s, 0]) for s in ("1", "5")] == [5, 25]
    for seed in (0, 1):
        assert chosen["1", seed] < chosen["5", seed]
    assert chosen["5", 0] != chosen["5", 1]
    rows, _ = runs.read_result(tmp_path / "5.1")
    assert (rows[0].source, rows[0].shots, rows[0].seed) == ("digits/classes_0-4", 5, 1)
    assert weights.read_card(tmp_path / "5.1").source == "digits/classes_0-4>digits/classes_0-4"


def test_init_takes_the_backbone_and_a_fresh_head(pretraining, transfer, engines, tmp_path):
    training.pretrain(pretraining(), tmp_path / "source", engines=engines)
    config = transfer(model__init=str(tmp_path / "source"), optim__base_lr=0.0)
    training.transfer(config, tmp_path / "target", engines=engines)
    with (
        np.load(tmp_path / "source" / runs.WEIGHTS_FILE) as source,
        np.load(tmp_path / "target" / runs.WEIGHTS_FILE) as target,
    ):
        for key in source.files:
            if "head" in key:
                assert (target[key] == 0).all() and (source[key] != 0).any()
            else:
                np.testing.assert_array_equal(source[key], target[key])
    manifest = runs.read_json(tmp_path / "target" / runs.MANIFEST_FILE)
    assert "new head (zeros)" in manifest["starts"][0]["initialised_from"]


def test_resume_continues_another_run(pretraining, engines, tmp_path):
    training.pretrain(pretraining(), tmp_path / "short", engines=engines)
    longer = pretraining(schedule__duration="9 steps")
    resume = str(tmp_path / "short")
    training.pretrain(longer, tmp_path / "long", resume=resume, engines=engines)
    assert [row["step"] for row in _metrics(tmp_path / "long")] == [8, 9]
    with pytest.raises(UserError, match=r"--resume: .*nowhere holds no usable checkpoint"):
        training.pretrain(longer, tmp_path / "x", resume=str(tmp_path / "nowhere"), engines=engines)


@pytest.mark.parametrize("kind", ["digits", "films"])
def test_evaluation_is_the_same_for_any_batch_size(pretraining, request, kind, tmp_path):
    config = pretraining(request.getfixturevalue(kind), data__test_split="test")
    training.pretrain(config, tmp_path)
    reports, logits = [], []
    for batch_size in (1, 7, 64):
        report, path = training.evaluate(tmp_path, "", "test", batch_size=batch_size)
        reports.append(report.values)
        logits.append(evaluation.load_predictions(path)[0])
    rows, _ = runs.read_result(tmp_path)
    stored = {row.metric: row.value for row in rows if row.split == "test"}
    for values in reports:
        assert values.keys() == stored.keys()
        for name, value in values.items():
            np.testing.assert_allclose(value, stored[name], rtol=1e-6, atol=1e-7, err_msg=name)
    for predictions in logits:
        assert len(set(predictions.example_id)) == rows[-1].num_examples
        np.testing.assert_allclose(predictions.logits, logits[0].logits, rtol=0, atol=1e-5)


def test_evaluate_refuses_other_labels(pretraining, engines, films, tmp_path):
    training.pretrain(pretraining(), tmp_path, engines=engines)
    with pytest.raises(UserError, match="labels"):
        training.evaluate(tmp_path, films, "test")


def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(pretraining, tmp_path):
    config = pretraining(optim__clipping=0.0, optim__base_lr=1e30, model__head_init="uniform")
    with pytest.raises(UserError, match=r"step [1-6]: the loss .* is NaN .*; the last checkpoint"):
        training.pretrain(config, tmp_path)
    assert not runs.is_finished(tmp_path)


def _spoil(monkeypatch, steps):
    monkeypatch.setattr(Setup, "train_batches", spoil(Setup.train_batches, steps))


def test_steps_that_are_not_finite_are_left_out_and_counted(
    pretraining, engines, tmp_path, monkeypatch, caplog
):
    """The third and fourth of six: a whole pair of lines, and the last step counts again."""
    _spoil(monkeypatch, {2, 3})
    config = pretraining(optim__non_finite="skip", train__checkpoint_every="2 steps", train__keep=9)
    training.pretrain(config, tmp_path, engines=engines)
    lines = _metrics(tmp_path)
    assert [line.get("train/skipped_steps", 0) for line in lines] == [0, 2, 0]
    assert ["train/loss" in line for line in lines] == [True, False, True]
    assert [f"step {s}: the loss" in caplog.text for s in (2, 3, 4, 5)] == [
        False,
        True,
        True,
        False,
    ]
    saved = [dict(np.load(tmp_path / "checkpoints" / f"step_{s:09d}.npz")) for s in (2, 4, 6)]
    state = [name for name in saved[0] if name.startswith("model/") or "momentum" in name]
    skipped, trained = (
        [name for name in state if not np.array_equal(a[name], b[name])]
        for a, b in itertools.pairwise(saved)
    )
    assert not skipped and len(trained) == len(state)


def test_nothing_but_steps_that_are_not_finite_ends_the_run(
    pretraining, engines, tmp_path, monkeypatch
):
    _spoil(monkeypatch, set(range(2, 99)))
    config = pretraining(optim__non_finite="skip", schedule__duration="20 steps")
    with pytest.raises(UserError, match=r"step 12: .* NaN or infinite, as in the 9 steps before"):
        training.pretrain(config, tmp_path, engines=engines)


@pytest.fixture
def broken(digits, tmp_path):
    """Alters the first record of a copy of the data, and returns the copy and the file."""

    def make(alter):
        folder = tmp_path / "data"
        shutil.copytree(digits, folder)
        file = Dataset(folder).split("train").files[0]
        data = file.read_bytes()
        end = records.scan_offsets(file)[1]
        file.write_bytes(alter(data[:end]) + data[end:])
        return str(folder), file

    return make


def test_a_corrupt_record_is_named(pretraining, engines, broken, tmp_path):
    folder, file = broken(lambda record: record[:60] + bytes([record[60] ^ 255]) + record[61:])
    config = pretraining(folder, schedule__duration="1 epochs")
    with pytest.raises((CorruptFileError, tf.errors.OpError), match=rf"{file.name}, record 0"):
        training.pretrain(config, tmp_path / "run", engines=engines)


def test_an_image_that_cannot_be_decoded_is_named(pretraining, engines, broken, tmp_path):
    def alter(record):
        payload = records.unframe(record, "the record")
        return records.frame(payload.replace(b"\x89PNG", b"JUNK"))

    folder, _ = broken(alter)
    name = Dataset(folder).example_ids("train")[0]
    config = pretraining(folder, schedule__duration="1 epochs")
    with pytest.raises(CorruptFileError, match=rf"image of example '{name}' cannot be decoded"):
        training.pretrain(config, tmp_path / "run", engines=engines)


def test_dry_run_says_what_it_costs_and_writes_nothing(transfer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "\n".join(training.dry_run(transfer(shots="5")))
    for word in ("25 examples", "6 steps", "learning rate", "parameters", "GiB", "s per step"):
        assert word in text
    assert not list(tmp_path.iterdir())
