import json

import pytest

from keras_transfer.core import config as config_lib
from keras_transfer.core import runs
from keras_transfer.core.config import PretrainConfig, TransferConfig
from keras_transfer.core.errors import CorruptFileError, UserError


def _config(**changes):
    config = TransferConfig(seed=3, shots="5")
    config.data.dirs = ("data/a,data/b",)
    for name, value in changes.items():
        owner, _, field = name.rpartition("__")
        setattr(getattr(config, owner) if owner else config, field, value)
    return config


def test_validate_splits_the_folders_of_a_command_line():
    config = _config()
    config.validate()
    assert config.data.dirs == ("data/a", "data/b")
    config.data.views, config.data.weights = ("PA, AP Supine", "L"), (1, 3)
    config.validate()
    assert config.data.views == ("PA", "AP Supine", "L") and config.data.weights == (1.0, 3.0)
    assert config.num_shots == 5
    assert TransferConfig().num_shots is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__dirs": ()}, "data.dirs is empty"),
        ({"train__accumulation": 0}, "train.accumulation must be at least 1"),
        ({"runtime__precision": "bfloat16"}, "Did you mean 'mixed_bfloat16'"),
        ({"runtime__precision": "mixed_float16"}, "runtime.precision"),
        ({"optim__base_lr": -1.0}, "optim.base_lr"),
        ({"optim__base_lr": float("nan")}, "optim.base_lr"),
        ({"data__mixup": -0.1}, "data.mixup"),
        ({"data__weights": (1.0,)}, "1 numbers for 2 folders"),
        ({"data__weights": (1.0, 0.0)}, "data.weights must be positive"),
        ({"data__weights": (1.0, float("nan"))}, "data.weights must be positive"),
        ({"data__weights": ("much", 1)}, "data.weights must be numbers"),
        ({"data__label_join": "some"}, "data.label_join"),
        ({"train__log_every": "often"}, "train.log_every"),
        ({"schedule__duration": "forever"}, "schedule.duration"),
        ({"shots": "0"}, "shots must be"),
        ({"shots": "many"}, "shots must be"),
    ],
)
def test_validate_names_the_field(changes, message):
    with pytest.raises(UserError, match=message):
        _config(**changes).validate()


def test_json_round_trip_and_digest():
    config = _config(data__mixup=0.1)
    again = config_lib.from_dict(json.loads(json.dumps(config_lib.to_dict(config))))
    assert again == config
    assert config_lib.digest(again) == config_lib.digest(config)
    again.runtime.xla = True
    assert config_lib.digest(again) == config_lib.digest(config)
    again.seed = 4
    assert config_lib.digest(again) != config_lib.digest(config)


def test_unknown_field_is_named():
    values = config_lib.to_dict(PretrainConfig())
    values["optim"]["learning_rate"] = 1.0
    with pytest.raises(UserError, match=r"optim.learning_rate.*Known: .*base_lr"):
        config_lib.from_dict(values)
    with pytest.raises(UserError, match="kind of config"):
        config_lib.from_dict({"kind": "pretraining"})


def _row(**changes):
    values = {
        "run_id": "r",
        "source": "scratch",
        "arch": "r50x1",
        "target": "t",
        "shots": None,
        "seed": 0,
        "split": "test",
        "metric": "accuracy",
        "value": 0.5,
        "num_examples": 9,
        "step": 1,
    }
    return runs.ResultRow(**values | changes)


def test_result_round_trip_keeps_nan(tmp_path):
    rows = [_row(), _row(metric="mean_auc", value=float("nan"))]
    assert not runs.is_finished(tmp_path)
    runs.write_result(tmp_path, rows, primary_metric="accuracy", undefined={})
    read, primary = runs.read_result(tmp_path)
    assert runs.is_finished(tmp_path) and primary == "accuracy"
    assert read[0] == rows[0] and read[1].value != read[1].value
    assert "NaN" not in (tmp_path / runs.RESULT_FILE).read_text()


def test_atomic_write_leaves_the_old_file_when_interrupted(tmp_path):
    path = tmp_path / "file.json"
    runs.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), runs.atomic_write(path) as stream:
        stream.write("{")
        raise RuntimeError
    assert runs.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_damaged_and_missing_files_are_named(tmp_path):
    (tmp_path / "result.json").write_text('{"rows": [')
    with pytest.raises(CorruptFileError, match=r"result.json: not valid JSON"):
        runs.read_result(tmp_path)
    (tmp_path / "result.json").write_text('{"rows": [{"value": 1}], "primary_metric": ""}')
    with pytest.raises(CorruptFileError, match=r"result.json"):
        runs.read_result(tmp_path)
    with pytest.raises(UserError, match=r"config.json: no such file"):
        runs.read_config(tmp_path)


def test_a_directory_belongs_to_one_config(tmp_path):
    config = _config()
    runs.start(tmp_path, config, {"devices": "cpu"})
    config.runtime.xla = True
    runs.start(tmp_path, config, {"devices": "gpu"})
    manifest = runs.read_json(tmp_path / runs.MANIFEST_FILE)
    assert [s["devices"] for s in manifest["starts"]] == ["cpu", "gpu"]
    assert manifest["starts"][0]["packages"]["keras"]
    with pytest.raises(UserError, match=r"optim.base_lr: 0.001 there, 0.1 here"):
        runs.start(tmp_path, _config(optim__base_lr=0.1), {})


def test_truncate_metrics_drops_later_and_broken_lines(tmp_path):
    for step in (5, 10, 15):
        runs.append_metrics(tmp_path, {"step": step, "loss": float("nan")})
    with (tmp_path / runs.METRICS_FILE).open("a") as stream:
        stream.write('{"step": 9, "lo')
    runs.truncate_metrics(tmp_path, 10)
    lines = (tmp_path / runs.METRICS_FILE).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 5, "loss": None},
        {"step": 10, "loss": None},
    ]
