"""The command experiments.measure: from a run directory to a table, and its errors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_transfer import evaluation
from keras_transfer.core import runs
from keras_transfer.core.config import DataConfig, PretrainConfig
from keras_transfer.data.dataset import Dataset

ROOT = Path(__file__).resolve().parents[2]


def write_run(path, data, splits, noise, seed=0):
    """A run as training leaves it, as far as measuring looks: config and predictions."""
    dataset = Dataset(data)
    runs.write_config(path, PretrainConfig(name="films", data=DataConfig(dirs=(data,))))
    for split in splits:
        label = dataset.label_array(split)
        rng = np.random.default_rng(seed)
        logits = np.nan_to_num(label, nan=0.5) - 0.5 + noise * rng.normal(size=label.shape)
        found = evaluation.Predictions(
            dataset.example_ids(split), label, logits.astype(np.float32), np.ones(len(label))
        )
        path_of = path / runs.PREDICTIONS_DIR / f"{split}.npz"
        evaluation.save_predictions(path_of, found, dataset.labels)
    return path


@pytest.fixture(scope="module")
def two_runs(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    good = write_run(folder / "good", films, ("val", "test"), noise=0.5)
    return good, write_run(folder / "bad", films, ("val", "test"), noise=2.0, seed=1)


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "experiments.measure", *map(str, args)],
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def test_values_groups_calibration_and_differences(two_runs, films):
    good, bad = two_runs
    done = command(
        f"--run={good}", f"--against={bad}", "--groups=sex,view,age,source",
        "--resamples=200", "--calibrate_on=val",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "temperature from val" in done.stdout and "patients with" in done.stdout
    table = pd.read_csv(good / "measures.csv")
    facts = json.loads((good / "measures.json").read_text())
    assert facts["against"] == str(bad) and len(facts["measures"]) == len(table)

    predictions, labels = evaluation.load_predictions(good / "predictions" / "test.npz")
    report = evaluation.compute(predictions, labels)
    whole = table[(table.group == "all") & (table.kind == "value") & (table.temperature == 1)]
    boot = whole[whole.method == "bootstrap-bca"].set_index("metric")
    for name, value in report.values.items():
        assert boot.value[name] == pytest.approx(value, nan_ok=True)
    patients = Dataset(films).index("test", ["patient_id"])["patient_id"].nunique()
    assert boot.clusters["accuracy"] == patients < boot.n["accuracy"] == len(predictions)
    assert boot.low["accuracy"] < report.values["accuracy"] < boot.high["accuracy"]

    groups = table[table.group != "all"]
    for column in ("sex", "view", "age", "source"):
        part = groups[groups.group.str.startswith(f"{column}=") & (groups.metric == "accuracy")]
        assert part.n.sum() == len(predictions)
    lacking = groups[groups.metric.str.startswith("auc/") & groups.value.isna()]
    assert len(lacking) and lacking.note.str.startswith("no ").all()

    difference = table[(table.kind == "difference") & table.metric.str.startswith("auc/")]
    assert set(difference.test) == {"delong", "permutation, 200 random"}
    assert (difference.p_holm.dropna() >= difference.p.dropna()).all()
    accuracy = table[(table.kind == "difference") & (table.metric == "accuracy")].iloc[0]
    assert accuracy.value > 0 and accuracy.p < 0.05
    assert (table.temperature != 1).sum() > 0


def test_wrong_input_is_named_and_patients_can_be_left_aside(two_runs, films, tmp_path):
    good, bad = two_runs
    predictions, labels = evaluation.load_predictions(bad / "predictions" / "test.npz")
    fewer = tmp_path / "fewer" / "predictions" / "test.npz"
    evaluation.save_predictions(fewer, predictions.select(np.arange(2, len(predictions))), labels)
    gone = write_run(tmp_path / "gone", films, ("test",), noise=1)
    config = PretrainConfig(name="films", data=DataConfig(dirs=(str(tmp_path / "away"),)))
    runs.write_config(gone, config)
    out = tmp_path / "out"

    # In one process, as starting Python is most of the time: flags are set anew each time.
    script = """
import json, sys
from absl import flags
from experiments import measure
from keras_transfer.core.errors import UserError
for line in json.load(sys.stdin):
    flags.FLAGS.unparse_flags()
    for name in ("against", "groups", "calibrate_on", "metrics", "cluster", "split", "data"):
        flags.FLAGS[name].unparse()
    flags.FLAGS(["measure", "--resamples=20", "--metrics=auc", *line])
    try:
        measure.main()
        print("RESULT done")
    except UserError as error:
        print("RESULT", error)
"""
    cases = [
        ([f"--run={good}", "--split=train"], "no predictions of the split 'train' (there are: t"),
        ([f"--run={good}", f"--against={fewer.parents[1]}"], "2 only in the first (such as '"),
        ([f"--run={good}", "--calibrate_on=test"], "fit on other examples"),
        ([f"--run={good}", "--groups=sxe"], "sxe"),
        ([f"--run={good}", "--metrics=acu"], "Did you mean 'auc'"),
        ([f"--run={gone}"], "--cluster=none"),
        ([f"--run={gone}", "--groups=sex", "--cluster=none"], "--data=DIR"),
        ([f"--run={gone}", f"--data={films}"], "done"),
        ([f"--run={gone}", "--cluster=none", "--interval=percentile", f"--out={out}"], "done"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps([line for line, _ in cases]),
        cwd=ROOT, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    answers = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert len(answers) == len(cases), done.stderr
    for answer, (line, expected) in zip(answers, cases):
        assert expected in answer, line
    table = pd.read_csv(out / "measures.csv")
    assert "bootstrap-percentile" in set(table.method) and "examples one by one" in done.stdout
    assert table.clusters.max() == len(predictions)


def test_a_wrong_run_is_one_line_and_exit_code_2(tmp_path):
    done = command(f"--run={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
