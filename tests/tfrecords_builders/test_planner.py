"""Order, shards, limits and refusals of the plan."""

import numpy as np
import pytest
from conftest import write_image

from keras_transfer.core.errors import UserError
from tfrecords_builders import checks, plan, planner, stages


def _make(tmp_path, source="digits", *, num_shards=0, tolerance=None, **arguments):
    job = stages.make_job(source, **arguments)
    made = planner.make(job, tmp_path, tolerance or checks.Tolerance(), num_shards=num_shards)
    rows = {}
    for shard in made.shards:
        rows.setdefault(shard.split, []).extend(plan.read_items(tmp_path, shard))
    return made, rows


def test_every_item_is_in_one_shard_and_shards_are_even(tmp_path):
    made, rows = _make(tmp_path, num_shards=7)
    ids = [item.example_id for items in rows.values() for item in items]
    assert len(ids) == len(set(ids)) == 1797
    assert list(rows) == ["train", "val", "test"]
    lengths = [shard.count for shard in made.shards_of("train")]
    assert len(lengths) == 7 and max(lengths) - min(lengths) <= 1
    assert [shard.file for shard in made.shards_of("val")] == ["digits-val.tfrecord-00000-of-00001"]
    assert made.sizes == {split: len(items) for split, items in rows.items()}
    assert plan.load(tmp_path) == made


def test_order_depends_on_the_seed_and_not_on_what_else_there_is(tmp_path):
    _, rows = _make(tmp_path / "all")
    _, some = _make(tmp_path / "some", options=["classes=3-5"])
    _, other = _make(tmp_path / "other", seed=1)
    order = [item.example_id for item in rows["train"]]
    kept = {item.example_id for item in some["train"]}
    assert [i for i in order if i in kept] == [item.example_id for item in some["train"]]
    assert order != sorted(order)
    assert order != [item.example_id for item in other["train"]]
    labels = np.array([item.label for item in rows["train"][:200]])
    assert set(labels.tolist()) == set(range(10))  # shuffled over classes


def test_shard_counts_serve_parallel_writing_and_large_sets():
    members = {"train": np.arange(4000), "val": np.arange(300), "test": np.arange(10)}
    assert planner._choose(members, 0, 3e3) == {"train": 16, "val": 4, "test": 1}
    # 4,000 images of 1 MB: 30 shards of 128 MB, rounded up to a power of two.
    assert planner._choose(members, 0, 2**20) == {"train": 32, "val": 4, "test": 1}
    assert planner._choose(members, 8, 1.0) == {"train": 8, "val": 1, "test": 1}
    with pytest.raises(UserError, match="the largest split has 4000"):
        planner._choose(members, 4001, 1.0)


def test_limit_keeps_a_sample_that_grows(tmp_path):
    made, rows = _make(tmp_path / "50", limit=50)
    _, more = _make(tmp_path / "200", limit=200)
    ids = {item.example_id for items in rows.values() for item in items}
    assert len(ids) == 50
    assert ids < {item.example_id for items in more.values() for item in items}
    assert made.left_out == {"beyond --limit": 1747}
    assert {item.label for items in more.values() for item in items} == set(range(10))


def test_fingerprints_tell_content_apart(tmp_path):
    jobs = [{}, {"options": ["classes=0-8"]}, {"seed": 1}, {"image_size": 16}]
    made = [_make(tmp_path / str(n), **job)[0] for n, job in enumerate(jobs)]
    again = _make(tmp_path / "again", num_shards=3)[0]
    assert len({plan.fingerprint for plan in made}) == 4
    assert again.fingerprint == made[0].fingerprint  # how it is cut is not content
    assert made[0].shards[0].fingerprint != made[3].shards[0].fingerprint


def test_ids_must_be_unique(tmp_path):
    write_image(tmp_path / "in" / "a.png", 0)
    (tmp_path / "in" / "t.csv").write_text("path,label\na.png,x\na.png,y\n")
    with pytest.raises(UserError, match=r"example id 'a.png' is not unique: .*a.png \("):
        _make(tmp_path, "image_folder", input_dir=str(tmp_path / "in"), options=["csv=t.csv"])


def test_missing_files_stop_the_plan_or_are_put_aside(tmp_path):
    folder = tmp_path / "in"
    rows = ["path,label"]
    for number in range(20):
        if number not in (3, 7):
            write_image(folder / f"{number}.png", number)
        rows.append(f"{number}.png,{number % 2}")
    (folder / "t.csv").write_text("\n".join(rows))
    arguments = {"input_dir": str(folder), "options": ["csv=t.csv"]}
    with pytest.raises(
        UserError, match=r"2 of 20 .*3.png \(.*t.csv, line 5\): no such file; 7.png \(.*line 9"
    ):
        _make(tmp_path, "image_folder", **arguments)
    with pytest.raises(UserError, match=r"more than --max_bad_fraction=0.05 allows"):
        _make(
            tmp_path,
            "image_folder",
            tolerance=checks.Tolerance("quarantine", 0.05),
            **arguments,
        )
    made, rows = _make(
        tmp_path, "image_folder", tolerance=checks.Tolerance("quarantine", 0.1), **arguments
    )
    assert made.rows_in == 20 and sum(map(len, rows.values())) == 18
    assert [reason for _, reason in made.defects] == ["no such file"] * 2


def test_patients_in_two_splits_stop_the_plan_unless_declared(tmp_path):
    folder = tmp_path / "in"
    rows = ["path,label,patient_id,split"]
    for number in range(8):
        write_image(folder / f"{number}.png", number)
        rows.append(f"{number}.png,{number % 2},p{number % 3},{'train' if number < 6 else 'test'}")
    (folder / "t.csv").write_text("\n".join(rows))
    arguments = {"input_dir": str(folder)}
    with pytest.raises(UserError, match="2 patients are in several splits, such as p0, p1"):
        _make(tmp_path, "image_folder", options=["csv=t.csv"], **arguments)
    made, _ = _make(tmp_path, "image_folder", options=["csv=t.csv,leaky=true"], **arguments)
    assert made.shared_patients == 2
    assert made.patients == {"train": 3, "test": 2}


def test_nothing_found_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "t.csv").write_text("path,label\n")
    with pytest.raises(UserError, match="no example found"):
        _make(tmp_path, "image_folder", input_dir=str(tmp_path / "in"), options=["csv=t.csv"])
    assert not list((tmp_path / "plan").glob("*.tmp"))
