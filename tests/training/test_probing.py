"""The verb `probe` on digits: rows, selections, features that are used again or not, reports."""

import copy
import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest

from experiments import probe as script
from keras_transfer import evaluation, models, training
from keras_transfer.core import runs
from keras_transfer.core.config import TransferConfig
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.reporting import collect, tables
from keras_transfer.training import features as features_lib
from keras_transfer.training import probing, weights
from keras_transfer.training.setup import prepare
from tests.training.conftest import small

METHODS, SHOTS, SEEDS = ("linear", "knn"), ("1", "5", "full"), (0, 1, 2)
TITLES = {"linear": "r14x0.25 linear probe", "knn": "r14x0.25 k-NN"}


def _write_network(folder, seed):
    models.save_npz(models.build("bit-r14x0.25", 3, seed=seed), folder / runs.WEIGHTS_FILE)
    card = weights.WeightsCard(
        arch="bit-r14x0.25", source="things", normalisation="value_range(-1, 1)"
    )
    weights.write_card(folder, card)


@pytest.fixture
def config(transfer, tmp_path):
    folder = tmp_path / "network"
    _write_network(folder, 0)
    return transfer(model__init=str(folder), data__val_split="", data__test_split="test")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, engines, digits):
    """All probes of one network, made once."""
    folder = tmp_path_factory.mktemp("probes")
    _write_network(folder / "network", 0)
    init = str(folder / "network")
    made = small(TransferConfig, digits, model__init=init, data__test_split="test")
    rows, metric = training.probe(made, folder / "probes", SHOTS, SEEDS, engines=engines)
    return made, folder / "probes", rows, metric


def test_all_rows_are_there_and_follow_from_stored_predictions(whole):
    _, workdir, rows, metric = whole
    assert metric == "accuracy"
    cells = set(itertools.product(TITLES.values(), (1, 5, None), SEEDS, ("val", "test")))
    found = [(r.arch, r.shots, r.seed, r.split) for r in rows if r.metric == metric]
    assert len(found) == len(cells) == 36 and set(found) == cells
    for method, shots, seed in itertools.product(METHODS, SHOTS, SEEDS):
        directory = workdir / f"{method}.shots_{shots}.seed_{seed}"
        values = {(r.split, r.metric): r.value for r in runs.read_result(directory)[0]}
        for split in ("val", "test"):
            stored = evaluation.load_predictions(directory / "predictions" / f"{split}.npz")
            for name, value in evaluation.compute(*stored).values.items():
                assert values[split, name] == pytest.approx(value, nan_ok=True)
    mean = {
        (arch, shots): np.mean(
            [
                r.value
                for r in rows
                if (r.arch, r.shots, r.split, r.metric) == (arch, shots, "test", metric)
            ]
        )
        for arch in TITLES.values()
        for shots in (1, 5, None)
    }
    for arch in TITLES.values():  # of five classes, with random weights
        assert 0.3 < mean[arch, 1] < mean[arch, 5] < mean[arch, None]
        assert mean[arch, None] > 0.85
    lines = script.table(rows, metric)
    assert len(lines) == 5 and f"{mean[TITLES['knn'], None]:.4f}" in lines[-1]


def test_features_are_those_of_the_network(whole):
    config, workdir, _, _ = whole
    setup = probing._prepare(config)
    network = models.build("bit-r14x0.25", 3, seed=0)
    images = setup.examples["test"]
    batch = np.stack([setup.eval_pipeline({"image": images.image(i)})["image"] for i in range(9)])
    (file,) = (workdir / "features").glob("test.*.npy")
    stored = np.load(file, mmap_mode="r")
    assert stored.dtype == np.float32 and len(stored) == len(images)
    expected = models.feature_extractor(network)(batch)
    np.testing.assert_allclose(stored[:9], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_selections_are_those_of_fine_tuning(whole, seed):
    config, workdir, _, _ = whole
    for method in METHODS:
        chosen = {}
        for shots in ("1", "5"):
            tuned = copy.deepcopy(config)
            tuned.shots, tuned.seed = shots, seed
            directory = workdir / f"{method}.shots_{shots}.seed_{seed}"
            chosen[shots] = runs.read_json(directory / runs.FEWSHOT_FILE)
            assert chosen[shots] == prepare(tuned).train.example_ids().tolist()
        assert set(chosen["1"]) < set(chosen["5"])
        assert not (workdir / f"{method}.shots_full.seed_{seed}" / runs.FEWSHOT_FILE).exists()


def test_tables_do_not_mix_probes_with_fine_tuning(whole, tmp_path):
    config, workdir, _, metric = whole
    for place in workdir.glob("*.shots_*"):
        shutil.copytree(place, tmp_path / place.name)
    # What a fine-tuning of the same cell leaves behind.
    tuned = copy.deepcopy(config)
    tuned.shots, tuned.seed = "5", 2
    runs.start(tmp_path / "tuned", tuned, {})
    own, _ = runs.read_result(workdir / "linear.shots_5.seed_2")
    own = [dataclasses.replace(row, arch="r14x0.25") for row in own]
    runs.write_result(tmp_path / "tuned", own, primary_metric=metric, undefined={})
    found = collect.collect(tmp_path)
    assert len(found.runs) == 19 and not found.duplicates and not found.unfinished
    table = tables.tabulate(found)
    archs = ["r14x0.25", "r14x0.25 k-NN", "r14x0.25 linear probe"]
    assert [arch for arch, _ in table.columns] == archs
    assert {source for _, source in table.columns} == {"things"}
    assert [cell.n for cell in table.row((table.targets[0], 5.0))] == [1, 3, 3]


def test_a_probe_is_no_fine_tuning_that_could_go_on(whole, engines):
    _, workdir, _, _ = whole
    directory = workdir / "linear.shots_5.seed_1"
    config = runs.read_config(directory)
    config.validate()
    with pytest.raises(UserError, match="'0 steps' is no step at all"):
        training.transfer(config, directory, engines=engines)
    # Repeated by its own config it is the same.
    rows, _ = training.probe(config, workdir, ["5"], [1], engines=engines)
    assert {row.run_id for row in rows if "linear" in row.arch} == {
        row.run_id for row in runs.read_result(directory)[0]
    }


def _files(workdir):
    return {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}


def test_nothing_is_computed_twice_and_nothing_is_stale(config, engines, tmp_path, monkeypatch):
    computed = []
    original = features_lib.Features._compute

    def spy(self, split):
        computed.append(split)
        original(self, split)

    monkeypatch.setattr(features_lib.Features, "_compute", spy)
    workdir = tmp_path / "probes"

    def probe(shots):
        computed.clear()
        training.probe(config, workdir, shots, [0], methods=["linear"], engines=engines)
        return computed

    assert probe(["5"]) == ["train", "test"]
    before = _files(workdir)
    assert probe(["5"]) == []
    assert _files(workdir) == before
    # One split lost: no other image is read, nor what is finished computed again.
    (test,) = (workdir / "features").glob("test.*.npy")
    content = test.read_bytes()
    test.unlink()
    assert probe(["5", "full"]) == ["test"]
    assert test.read_bytes() == content
    del before[test]
    assert before.items() < _files(workdir).items()
    # Other weights behind the same name.
    _write_network(tmp_path / "network", 1)
    old = {p.name for p in (workdir / "features").iterdir()}
    assert probe(["5"]) == ["train", "test"]
    assert old.isdisjoint(p.name for p in (workdir / "features").iterdir())
    manifest = json.loads((workdir / "linear.shots_5.seed_0/manifest.json").read_text())
    assert len(manifest["starts"]) == 2
    assert (
        _files(workdir)[workdir / "linear.shots_5.seed_0/result.json"]
        != before[workdir / "linear.shots_5.seed_0/result.json"]
    )
    # A damaged file.
    (train,) = (workdir / "features").glob("train.*.npy")
    train.write_bytes(train.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match=r"train\.\w+\.npy: not a whole file"):
        probe(["10"])
    assert not list(workdir.rglob("*.tmp"))


def test_a_write_that_fails_leaves_no_file(config, engines, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "isfinite", lambda values: np.zeros(np.shape(values), bool))
    with pytest.raises(UserError, match="NaN or infinite"):
        training.probe(config, tmp_path / "probes", ["1"], [0], engines=engines)
    assert not list(tmp_path.glob("probes/features/*")) and not list(tmp_path.glob("probes/lin*"))


def test_several_findings_some_unknown(films, engines, tmp_path):
    config = small(TransferConfig, films, data__test_split="test", data__val_split="")
    config.data.uncertain = "nan"
    rows, metric = training.probe(config, tmp_path, ["2", "full"], [0, 1], engines=engines)
    assert metric == "mean_auc"
    values = [row.value for row in rows if row.metric == metric]
    assert len(values) == 8 and np.isfinite(values).all()
    assert {row.source for row in rows} == {runs.SCRATCH}


@pytest.mark.parametrize(
    ("shots", "seeds", "methods", "message"),
    [
        (["1000"], [0], ["knn"], "Too few examples for 1000-shot"),
        (["0"], [0], ["knn"], "shots must be a positive number"),
        (["1", "1"], [0], ["knn"], "shots: give at least one, and none twice"),
        (["1"], [], ["knn"], "seeds: give at least one"),
        (["1"], [0], ["ridge"], "methods: unknown 'ridge'"),
    ],
)
def test_wrong_requests_are_refused_before_any_image(
    config, tmp_path, shots, seeds, methods, message
):
    for verb in (training.probe, lambda *a, **k: list(training.probe_plan(*a, **k))):
        with pytest.raises(UserError, match=message):
            verb(config, tmp_path / "probes", shots, seeds, methods=methods)
    config.data.test_split = ""
    with pytest.raises(UserError, match=r"give data\.test_split"):
        training.probe(config, tmp_path / "probes", ["1"], [0])
    assert not (tmp_path / "probes").exists()


def test_a_plan_writes_nothing(config, engines, tmp_path):
    lines = list(
        training.probe_plan(config, tmp_path / "probes", ["5", "full"], [0, 1], engines=engines)
    )
    assert any(line.startswith("split test:") and "about" in line for line in lines)
    assert "shots 5: 25 training examples" in lines
    assert lines[-1].startswith("results: 8 in")
    assert not (tmp_path / "probes").exists()
