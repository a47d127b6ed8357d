"""The README's way from a DICOM folder to a fine-tuned model, typed as it stands there."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

ROOT = Path(__file__).resolve().parents[2]
FILMS = (
    "RG1_UNCI.dcm",
    "RG1_J2KR.dcm",
    "RG3_UNCI.dcm",
    "RG3_J2KR.dcm",
    "CT_small.dcm",
    "MR_small.dcm",
    "examples_overlay.dcm",
    "693_J2KI.dcm",
)
# A network and a run that a test has time for; the released weights are not here.
SMALLER = {"init=BiT-M-R50x1.npz": "model=bit-r14x0.25"}
FEWER_STEPS = ["--config.schedule.duration=3 steps", "--config.train.global_batch_size=4"]


def _section(title: str) -> list[str]:
    """Returns the code blocks of a section of the README."""
    text = (ROOT / "README.md").read_text().split(f"### {title}\n")[1].split("\n## ")[0]
    return text.split("```")[1::2]


def _commands(block: str) -> list[list[str]]:
    lines = block.replace("\\\n", " ").strip().splitlines()
    return [shlex.split(line) for line in lines]


@pytest.fixture
def clinic(tmp_path):
    """Real DICOM files in ``cxr/`` with a table like that of the README."""
    table = _section("From your folder to a fine-tuned model")[0].strip().splitlines()
    header = table[0].split(",")
    assert header == ["path", "patient_id", "split", "Mass", "Effusion"]
    rows = [table[0]]
    for number, name in enumerate(FILMS):
        found = get_testdata_file(name, download=False)
        if not found:
            pytest.skip("pydicom-data is not installed")
        path = tmp_path / "cxr" / "ab"[number % 2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found, path)
        split = "test" if number in (2, 3, 4, 7) else "train"
        states = (number % 2, "" if number == 1 else number // 4)
        rows.append(f"{'ab'[number % 2]}/{name},p{number},{split},{states[0]},{states[1]}")
    (tmp_path / "cxr" / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_from_a_dicom_folder_to_a_fine_tuned_model(clinic):
    (block,) = _section("From your folder to a fine-tuned model")[1:]
    commands = _commands(block)
    assert [words[2] for words in commands] == [
        "tfrecords_builders.build",
        "tfrecords_builders.inspect",
        "experiments.finetune",
        "experiments.evaluate",
    ]
    (clinic / "experiments").symlink_to(ROOT / "experiments")  # configs are named by their path
    for words in commands:
        for typed, instead in SMALLER.items():
            words = [word.replace(typed, instead) for word in words]
        words += FEWER_STEPS if words[2] == "experiments.finetune" else []
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=clinic,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    assert (clinic / "sheet.png").stat().st_size > 10_000
    result = json.loads((clinic / "runs/cxr/shots_full.seed_0/result.json").read_text())
    rows = {row["metric"]: row for row in result["rows"] if row["split"] == "test"}
    assert rows["mean_auc"]["num_examples"] == 4
    assert "mean_auc" in done.stdout
