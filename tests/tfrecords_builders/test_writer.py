"""Shards: their bytes, and what happens when writing is interrupted or the result damaged."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import build, digests, write_image
from tensorflow_datasets.core import example_serializer

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace
from keras_transfer.data import records
from tfrecords_builders import checks, finish, writer
from tfrecords_builders.sources import Item

ROOT = Path(__file__).resolve().parents[2]
FILMS = "num_patients=24,size=32"
SHARDS = 6
COMMAND = [sys.executable, "-m", "tfrecords_builders.build", "--source=phantom"]
COMMAND += [f"--options={FILMS}", f"--num_shards={SHARDS}"]

# Dies in the middle of a shard, without a chance to clean up.
DIE_AT_RECORD = """
import os, runpy, signal, sys
from tfrecords_builders import writer
frame, count = writer.frame, 0
def frame_and_die(*parts):
    global count
    count += 1
    if count == {record}:
        os.kill(os.getpid(), signal.SIGKILL)
    return frame(*parts)
writer.frame = frame_and_die
sys.argv[1:] = {arguments!r}
runpy.run_module("tfrecords_builders.build", run_name="__main__", alter_sys=True)
"""


def _films(output: Path, **settings) -> Path:
    return build("phantom", output, FILMS, num_shards=SHARDS, **settings).folder


# Builds in children of its own, each of which is killed after a while.
KILL_AT_RANDOM = """
import json, os, random, signal, sys, time
from pathlib import Path
from tfrecords_builders import stages
job = stages.make_job("phantom", options=[{films!r}])
settings = stages.Settings(num_workers=1, num_shards={shards})
stages.build(job, Path({output!r}, "timed"), settings)
start = time.monotonic()
stages.build(job, Path({output!r}, "again"), settings)
seconds, moments = time.monotonic() - start, random.Random(0)
for number in range({kills}):
    child = os.fork()
    if not child:
        stages.build(job, Path({output!r}, str(number)), settings)
        os._exit(0)
    time.sleep(moments.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def _target(output: Path) -> Path:
    return output / "phantom" / "num_patients_24_site_a_size_32" / "1.0.0"


@pytest.fixture(scope="module")
def films_once(tmp_path_factory) -> dict[str, str]:
    """Digests of a dataset built by one process without interruption."""
    return digests(_films(tmp_path_factory.mktemp("once")))


@pytest.mark.parametrize("task", [MULTICLASS, MULTILABEL])
def test_records_equal_those_of_tfds(task):
    names = ("a", "b", "c", "d")
    label = 2 if task == MULTICLASS else (1, 0, -1, -2)
    item = Item("id ü", "train", "x.png", label, patient_id="p1", view="PA")
    features = records.features(LabelSpace(task, names), channels=1, encoding="png")
    image = b"\x89PNG not really"
    example = {"image": image, "label": label}
    example |= {"example_id": item.example_id, "patient_id": "p1", "view": "PA"}
    if task == MULTILABEL:
        states = np.array(label, np.int8)
        example |= {"label": records.label_from_states(states), "label_state": states}
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    expected = serializer.get_tf_example(features.encode_example(example))
    assert b"".join(writer.serialise(item, image)) == expected.SerializeToString(deterministic=True)


def test_any_number_of_workers_gives_the_same_bytes(tmp_path, films_once):
    assert digests(_films(tmp_path, num_workers=3)) == films_once


def test_a_killed_build_goes_on_and_ends_the_same(tmp_path, films_once):
    arguments = [*COMMAND[3:], f"--output_dir={tmp_path}", "--num_workers=1"]
    script = DIE_AT_RECORD.format(record=20, arguments=arguments)
    killed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    building = _target(tmp_path).with_name("1.0.0" + records.BUILDING)
    assert not _target(tmp_path).exists()
    assert list(building.glob(".*.tmp"))  # the shard that was being written
    finished = {p: p.stat().st_mtime_ns for p in building.glob("phantom-*")}
    assert finished
    kept = []
    original = writer.write_shard

    def spy(folder, job, shard):
        kept.append((folder / shard.file).exists())
        return original(folder, job, shard)

    writer.write_shard = spy
    try:
        _films(tmp_path)
    finally:
        writer.write_shard = original
    assert sum(kept) == len(finished)
    assert digests(_target(tmp_path)) == films_once
    for path, written in finished.items():  # finished shards were kept, not written again
        assert (_target(tmp_path) / path.name).stat().st_mtime_ns == written


def test_builds_killed_at_any_moment_end_the_same(tmp_path, films_once):
    kills = 20
    arguments = {"films": FILMS, "shards": SHARDS, "output": str(tmp_path), "kills": kills}
    script = KILL_AT_RANDOM.format(**arguments)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split().count(str(int(signal.SIGKILL))) > kills / 2  # the rest was quicker
    states = set()
    for number in range(kills):
        output = tmp_path / str(number)
        building = _target(output).with_name("1.0.0" + records.BUILDING)
        states.add((building.exists(), len(list(building.glob("phantom-*")))))
        assert digests(_films(output)) == films_once
        assert not building.exists()
    assert len(states) > 3, "the moments should differ"


def test_workers_follow_a_killed_parent_and_import_no_tensorflow(tmp_path, films_once):
    for name in ("tensorflow", "keras"):
        (tmp_path / "forbidden" / name).mkdir(parents=True)
        (tmp_path / "forbidden" / name / "__init__.py").write_text("raise SystemError(__name__)")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "forbidden")}
    command = [*COMMAND, f"--output_dir={tmp_path}", "--num_workers=2"]
    parent = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    records_dir = _target(tmp_path).with_name("1.0.0" + records.BUILDING) / writer.SHARDS_DIR
    deadline = time.monotonic() + 120
    while not list(records_dir.glob("*.json")) and parent.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent.kill()
    parent.wait()
    tree = str(tmp_path).encode()
    while any(tree in line for line in _command_lines()):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert digests(_target(tmp_path)) == films_once


def _command_lines() -> list[bytes]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:
            continue
    return lines


@pytest.mark.parametrize("limit, stage", [(2000, "plan"), (6500, "write")])
def test_a_full_disk_is_named_and_finished_shards_are_kept(tmp_path, films_once, limit, stage):
    # A limit on file sizes stands for the disk: the same OSError from the same calls.
    arguments = [*COMMAND[3:], f"--output_dir={tmp_path}", "--num_workers=1"]
    script = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "runpy.run_module('tfrecords_builders.build', run_name='__main__', alter_sys=True)"
    )
    failed = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert failed.returncode == 2, failed.stderr
    said = rf"error: {tmp_path}.*: File too large\. (What is finished is kept|Files .* are whole)"
    assert re.search(said, failed.stderr)
    building = _target(tmp_path).with_name("1.0.0" + records.BUILDING)
    assert bool(list(building.glob("phantom-*"))) == (stage == "write")
    assert not _target(tmp_path).exists()
    _films(tmp_path)
    assert digests(_target(tmp_path)) == films_once


def test_a_build_goes_on_when_a_full_disk_has_room_again(tmp_path, films_once):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=72k", "none", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(UserError, match="No space left on device"):
            _films(disk)
        written = list(disk.rglob("phantom-*-of-*[0-9]"))
        shards = [name for name in films_once if ".tfrecord-" in name]
        assert 0 < len(written) < len(shards)
        subprocess.run([*mount, "remount,size=10M", "none", disk], check=True)
        _films(disk)
        assert digests(_target(disk)) == films_once
    finally:
        subprocess.run(["umount", disk], check=True)


def test_tasks_of_a_cluster_share_the_shards_and_give_the_same_bytes(tmp_path, films_once):
    _films(tmp_path, stage="plan")
    written = []
    for number in (1, 0):
        building = _films(tmp_path, stage="write", task=(number, 2))
        written.append(len(list(building.glob("*.tfrecord-*"))))
    assert 0 < written[0] < written[1]
    assert digests(_films(tmp_path, stage="finalize")) == films_once


def test_verify_finds_a_flipped_bit_and_a_cut_at_a_record(tmp_path):
    folder = build("digits", tmp_path, "classes=0-1").folder
    shards = sorted(folder.glob("*train.tfrecord-*"))
    whole = shards[0].read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    shards[0].write_bytes(bytes(flipped))
    with pytest.raises(CorruptFileError, match=rf"{shards[0].name}: not as written.*--overwrite"):
        build("digits", tmp_path, "classes=0-1", stage="verify")
    shards[0].write_bytes(whole[: records.scan_offsets(shards[0])[-2]])
    records.scan_offsets(shards[0])  # reads without an error: the file is short, not broken
    with pytest.raises(CorruptFileError, match=shards[0].name):
        build("digits", tmp_path, "classes=0-1", stage="verify")
    shards[0].write_bytes(whole)
    assert not build("digits", tmp_path, "classes=0-1", stage="verify").built


def test_damage_while_building_is_mended_by_the_same_command(tmp_path):
    expected = digests(build("digits", tmp_path / "once", "classes=0-1").folder)
    for stage in ("plan", "write"):
        folder = build("digits", tmp_path, "classes=0-1", stage=stage).folder
    first, second = sorted(folder.glob("*train.tfrecord-*"))[:2]
    first.write_bytes(first.read_bytes()[: records.scan_offsets(first)[-2]])
    with pytest.raises(UserError, match=r"1 of .* shards are not finished"):
        build("digits", tmp_path, "classes=0-1", stage="finalize")
    build("digits", tmp_path, "classes=0-1", stage="write")
    flipped = bytearray(second.read_bytes())
    flipped[40] ^= 1
    second.write_bytes(bytes(flipped))
    with pytest.raises(CorruptFileError, match=f"{second.name}: not as written"):
        build("digits", tmp_path, "classes=0-1", stage="verify")
    outcome = build("digits", tmp_path, "classes=0-1")
    assert digests(outcome.folder) == expected


def test_unreadable_images_stop_the_build_or_are_put_aside(tmp_path, photos):
    broken = photos / "cat" / "03.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-20])
    (photos / "dog" / "25.png").write_bytes(b"")
    arguments = {"input_dir": str(photos)}
    with pytest.raises(UserError) as caught:
        build("image_folder", tmp_path / "out", **arguments)
    for part in ("2 of 30", "cat/03.png: truncated PNG", "dog/25.png: empty file", "quarantine"):
        assert part in str(caught.value)
    with pytest.raises(UserError, match=r"more than --max_bad_fraction=0.05"):
        build(
            "image_folder",
            tmp_path / "out",
            tolerance=checks.Tolerance("quarantine", 0.05),
            **arguments,
        )
    # A file that is mended in between is stored, although its shard was finished without it.
    broken.write_bytes(whole)
    outcome = build(
        "image_folder",
        tmp_path / "out",
        tolerance=checks.Tolerance("quarantine", 0.05),
        **arguments,
    )
    card = outcome.card
    assert card["rows"] == {"in": 30, "stored": 29, "quarantined": 1, "left_out": 0}
    assert card["quarantined"] == {"empty file": 1}
    assert (outcome.folder / finish.QUARANTINE_FILE).read_text().splitlines() == [
        "example_id,source,reason",
        "dog/25.png,dog/25.png,empty file",
    ]


def test_equal_pixels_in_two_splits_stop_the_build_unless_declared(tmp_path):
    folder = tmp_path / "in"
    for number in range(4):
        write_image(folder / "train" / str(number % 2) / f"{number}.png", number)
        write_image(folder / "test" / str(number % 2) / f"{number}.png", number + (number != 2))
    # In test, 2 is train's 2, and 0, 1 and 3 are train's 1, 2 and 4 (of which there is no 4).
    with pytest.raises(UserError, match="2 images with equal pixels") as caught:
        build("image_folder", tmp_path / "out", input_dir=str(folder))
    assert "train/0/2.png (train)" in str(caught.value)
    assert "test/0/2.png (test)" in str(caught.value)
    building = tmp_path / "out" / "in" / "default" / "1.0.0.building"
    written = {p: p.stat().st_mtime_ns for p in building.glob("*.tfrecord-*")}
    outcome = build("image_folder", tmp_path / "out", "leaky=true", input_dir=str(folder))
    for path, when in written.items():  # no image is rendered again for it
        assert (outcome.folder / path.name).stat().st_mtime_ns == when
    assert outcome.card["leaks"] == {
        "declared": "declared by the user",
        "patients": 0,
        "images_with_equal_pixels": 2,
    }


def test_only_what_dead_processes_left_is_swept(tmp_path):
    from socket import gethostname

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".a.tfrecord-00000-of-00001.{gethostname()}.{dead.pid}.tmp"
    alive = tmp_path / "plan" / f".b.{gethostname()}.{os.getpid()}.tmp"
    elsewhere = tmp_path / f".c.other-host.{dead.pid}.tmp"
    alive.parent.mkdir()
    for path in (left, alive, elsewhere):
        path.touch()
    writer.sweep(tmp_path)
    assert (left.exists(), alive.exists(), elsewhere.exists()) == (False, True, True)
    writer.sweep(tmp_path, everything=True)
    assert not alive.exists() and not elsewhere.exists()
