"""The command line: exit codes, one-line errors, and what it prints."""

import json
import subprocess
import sys
from pathlib import Path

from conftest import write_image

from tfrecords_builders import sources

ROOT = Path(__file__).resolve().parents[2]

# Runs many command lines in one process: starting Python for each would cost seconds.
DRIVER = """
import contextlib, io, json, sys
from absl import flags
from absl.testing import flagsaver
from tfrecords_builders import build, command
results = []
for argv in json.load(sys.stdin):
    sys.argv[1:] = argv
    out, err, code = io.StringIO(), io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            command.guarded(build.main, command.parse(["build", *argv]))
        except SystemExit as stop:
            code = stop.code
    results.append((code, out.getvalue(), err.getvalue()))
json.dump(results, sys.stdout)
"""


def _run(*commands: list[str]) -> list[tuple[int, str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return [tuple(result) for result in json.loads(done.stdout)]


def test_wrong_commands_end_with_one_line_and_code_2(tmp_path):
    good = ["--source=digits", f"--output_dir={tmp_path}/out"]
    folder = ["--source=image_folder", f"--output_dir={tmp_path}/out"]
    write_image(tmp_path / "in" / "a" / "1.png", 0)
    (tmp_path / "in" / "a" / "2.png").write_bytes(b"no image")
    cases = {
        f"--source is missing: one of {', '.join(sources.names())}": good[1:],
        "Unknown source 'digit'. Did you mean 'digits'": ["--source=digit", good[1]],
        "--output_dir is missing": good[:1],
        "digits has no option 'class'. Did you mean 'classes'? Known: classes": [
            *good,
            "--options=class=3",
        ],
        "neither a digit nor a range": [*good, "--options=classes=a"],
        "Unknown command line flag 'optoins'": [*good, "--optoins=classes=3"],
        "flag --image_size=abc": [*good, "--image_size=abc"],
        "should be one of <jpeg|png|original>": [*good, "--encoding=webp"],
        "--max_bad_fraction=2": [*good, "--max_bad_fraction=2"],
        "drop --image_size": [*good, "--encoding=original", "--image_size=32"],
        "Unexpected argument 'digits'": [*good, "digits"],
        "--input_dir is missing": folder,
        "no such folder": [*folder, f"--input_dir={tmp_path}/nowhere"],
        "reads nothing; leave it out": [*good, f"--input_dir={tmp_path}"],
        "a/2.png: no image of a known format": [*folder, f"--input_dir={tmp_path}/in"],
        "--num_shards=5000: the largest split has 1259": [*good, "--num_shards=5000"],
        "no plan yet": [*good, "--stage=write"],
        "--task=2/2: write I/N with 0 <= I < N": [*good, "--stage=write", "--task=2/2"],
        "add --stage=write": [*good, "--task=0/2"],
        "nosalt: No such file": [*good, f"--hash_patients={tmp_path}/nosalt"],
        "head -c 32 /dev/urandom": [*good, f"--hash_patients={tmp_path}/in/a/2.png"],
    }
    for expected, (code, out, err) in zip(cases, _run(*cases.values()), strict=True):
        error = [line for line in err.splitlines() if line and "images/s" not in line]
        assert code == 2, (expected, out, err)
        assert len(error) == 1 and error[0].startswith("error: "), err
        assert expected in error[0]
        assert not out


def test_dry_run_shows_everything_and_writes_nothing(tmp_path, photos):
    (photos / "notes.txt").write_text("mine")
    (code, out, _), (_, films, _) = _run(
        [
            "--source=image_folder",
            f"--input_dir={photos}",
            f"--output_dir={tmp_path}/out",
            "--dry_run",
        ],
        [
            "--source=phantom",
            "--options=num_patients=50",
            "--dry_run",
            "--image_size=32",
            "--seed=3",
        ],
    )
    assert code == 0
    assert not (tmp_path / "out").exists()
    lines = [line.split() for line in out.splitlines()]
    assert ["train", "21", "-", "1"] in lines
    cats = next(line for line in lines if line and line[0] == "cat")
    assert sum(map(int, cats[1:])) == 20
    assert "left out: 1 not in a class folder" in out
    assert "about 0.0 MB" in out and "nothing was written" in out
    assert "val_fraction=0.1" in out
    assert "num_patients_50_site_a_size_64_32px_seed_3" in films
    assert "Pneumothorax" in films and "(positive/negative/uncertain/not mentioned)" in films


def test_a_build_prints_folder_counts_and_the_next_command(tmp_path):
    good = ["--source=digits", f"--output_dir={tmp_path}", "--options=classes=0-1"]
    (code, out, err), (again, second, _), (_, planned, _) = _run(
        good, good, [*good[:2], "--options=classes=0-2", "--stage=plan"]
    )
    folder = tmp_path / "digits" / "classes_0-1" / "1.0.0"
    assert (code, again) == (0, 0)
    assert f"{folder}: complete" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["test", "72", "-", "1", "0.0"] in lines
    assert ["0", "124", "18", "36"] in lines
    assert out.splitlines()[-1] == (
        "next: python -m experiments.finetune "
        f"--config=experiments/configs/finetune.py:data={folder} --dry_run"
    )
    assert "images/s" in err
    assert "was complete already, nothing was written" in second
    assert planned.splitlines()[-1].endswith("--options=classes=0-2 --stage=write")
