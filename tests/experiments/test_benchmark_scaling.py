"""Scaling: the cost model against closed forms, the prediction, and one run of real processes."""

import dataclasses
import math
import random
import sys

import pytest

from experiments.benchmarks import allreduce, predicting, profiles, scaling, scaling_rows
from experiments.benchmarks.allreduce import Link, Step
from experiments.benchmarks.scaling_rows import Row
from experiments.benchmarks.scaling_worker import Task
from keras_transfer.core.errors import UserError

INSIDE, BETWEEN = Link(200.0, 0.01), Link(20.0, 0.1)
ENDLESS = Link(math.inf, 0.0)
COUNTS = (1, 2, 4, 8, 12, 64, 1024)
ALGORITHMS = (allreduce.flat_ring, allreduce.hierarchical)


def _random_step(seed: int) -> Step:
    rng = random.Random(seed)
    layers = rng.randrange(1, 30)
    times = tuple(rng.uniform(0, 2) for _ in range(layers))
    return Step(rng.uniform(0, 10), times, tuple(rng.uniform(1, 300) for _ in times), 0.5)


# --- One all-reduce


def test_ring_is_the_closed_form():
    for members in COUNTS:
        expected = 2 * (members - 1) / members * 1000 / 20 + 2 * (members - 1) * 0.1
        assert allreduce.ring(1000, members, BETWEEN) == pytest.approx(expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_alone_costs_nothing_and_a_node_is_a_ring(algorithm):
    assert algorithm(1000, 1, 4, INSIDE, BETWEEN) == 0
    for members in (2, 3, 4):
        expected = allreduce.ring(1000, members, INSIDE)
        assert algorithm(1000, members, 4, INSIDE, BETWEEN) == pytest.approx(expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_more_members_or_bytes_never_cost_less(algorithm):
    for sizes in ((10, 10), (10, 20)):
        costs = [algorithm(s, n, 4, INSIDE, BETWEEN) for n in COUNTS for s in sizes]
        assert costs == sorted(costs)


def test_hierarchical_is_the_closed_form():
    """Inside 2 * 3/4 of all, between nodes 2 * 7/8 of a quarter; 6 and 14 messages."""
    expected = 2 * 3 / 4 * 1000 / 200 + 2 * 3 * 0.01 + 2 * 7 / 8 * 250 / 20 + 2 * 7 * 0.1
    assert allreduce.hierarchical(1000, 32, 4, INSIDE, BETWEEN) == pytest.approx(expected)


def test_trees_take_over_where_rings_have_too_many_hops():
    """256 nodes, 8 hops up and down; a ring would have 255 messages each way."""
    across = 2 * (250 / 20 + 8 * 0.1)
    assert allreduce.tree(250, 256, BETWEEN) == pytest.approx(across)
    assert allreduce.ring(250, 256, BETWEEN) > 2 * 255 * 0.1 > across
    whole = allreduce.hierarchical(1000, 1024, 4, INSIDE, BETWEEN)
    assert whole == pytest.approx(allreduce.ring(1000, 4, INSIDE) + across)
    assert allreduce.tree(250, 1, BETWEEN) == 0


def test_flat_ring_is_the_closed_form():
    """The four adapters of a node carry the whole size; hops of both kinds follow each other."""
    hops = 8 * 0.1 + 24 * 0.01
    expected = 2 * 31 / 32 * 1000 / 80 + 2 * 31 / 32 * hops
    assert allreduce.flat_ring(1000, 32, 4, INSIDE, BETWEEN) == pytest.approx(expected)


# --- A step around them


def test_packs_are_cut_as_tensorflow_cuts_them():
    import tensorflow as tf
    from tensorflow.python.distribute import cross_device_utils

    rng = random.Random(1)
    sizes = [4 * rng.choice((1, 5, 30, 64, 200, 256)) for _ in range(60)]
    tensors = [tf.zeros([size // 4]) for size in sizes]
    for limit in (0, 1, 256, 1000, 10**6):
        groups = cross_device_utils.group_by_size(tensors, limit)
        expected = [[4 * int(t.shape[0]) for t in group] for group in groups]
        found = [[sizes[i] for i in pack] for pack in allreduce.packs(sizes, limit)]
        assert found == expected, limit


def test_endless_bandwidth_gives_full_efficiency():
    for members in COUNTS:
        for seed in range(5):
            step = _random_step(seed)

            def cost(size, members=members):
                return allreduce.hierarchical(size, members, 4, ENDLESS, ENDLESS)

            for overlap in (False, True):
                found = allreduce.step_time(step, cost, 100, overlap=overlap)
                assert found == pytest.approx(step.seconds)


def test_overlap_hides_but_never_beats_computing_or_communication():
    hidden = 0
    for seed in range(50):
        step = _random_step(seed)
        for pack in (0, 50, 300):

            def cost(size):
                return allreduce.hierarchical(size, 32, 4, INSIDE, BETWEEN)

            whole = allreduce.communication(step, cost, pack)
            overlapped = allreduce.step_time(step, cost, pack)
            plain = allreduce.step_time(step, cost, pack, overlap=False)
            assert plain == pytest.approx(step.seconds + whole)
            assert max(step.seconds, whole) - 1e-9 <= overlapped <= plain + 1e-9
            hidden += overlapped < plain - 1e-9
    assert hidden > 50


def test_overlap_of_two_packs_by_hand():
    """Gradients at 2 and 5; the first pack takes 2..6, the second waits for it: 6..7, update 1."""
    step = Step(before=1.0, backward=(1.0, 3.0), sizes=(4.0, 1.0), after=1.0)
    assert allreduce.step_time(step, lambda size: size, 1) == 8.0
    assert allreduce.step_time(step, lambda size: size, 0) == 11.0


def test_jitter_is_found_again():
    lost = [(n, 0.02 * allreduce.slowest_of(n)) for n in (64, 256, 1024)]
    assert allreduce.fit_jitter(lost) == pytest.approx(0.02)
    assert allreduce.fit_jitter([(64, -0.1)]) == 0
    rng = random.Random(0)
    drawn = [max(rng.gauss(0, 1) for _ in range(64)) for _ in range(4000)]
    assert allreduce.slowest_of(64) == pytest.approx(sum(drawn) / len(drawn), abs=0.03)


def test_solve_finds_a_place_or_says_that_there_is_none():
    assert allreduce.solve(lambda x: x**2, 9.0, 0.1, 100.0) == pytest.approx(3.0)
    assert math.isnan(allreduce.solve(lambda x: x, 200.0, 0.1, 100.0))


# --- The networks


def test_profile_knows_parameters_and_multiplications():
    """R50x1: 25,549,352 parameters (spec/upstream.md); multiplications counted by TensorFlow."""
    import tensorflow as tf

    from keras_transfer import models

    assert sum(profiles.profile("bit-r50x1", 224).sizes) == 4 * 25_549_352
    model = models.build("bit-r26x1", 10)
    graph = tf.function(model).get_concrete_function(tf.TensorSpec((1, 64, 64, 3))).graph
    counted = 0
    for node in graph.get_operations():
        if node.type in ("Conv2D", "MatMul"):
            *_, channels = (int(n) for n in node.outputs[0].shape)
            inputs = math.prod(node.inputs[1].shape[:-1])
            counted += math.prod(map(int, node.outputs[0].shape[:-1])) * channels * inputs
    found = profiles.profile("bit-r26x1", 64, 10)
    assert sum(found.multiplications) == counted


def test_backward_pass_begins_at_the_head():
    content = profiles.profile("bit-r26x1", 64)
    assert content.sizes[0] == 4 * 1000 and content.sizes[1] == 4 * 1000 * 2048
    step = content.step(3.0)
    assert step.seconds == pytest.approx(3.0) and step.before == pytest.approx(1.0)


def test_prediction_compares_with_the_paper_and_states_what_it_assumes(capsys):
    case = predicting.Case("bit-r26x1", 16, 224, 100.0, "a test", predicting.PAPER)
    predicting.predict([case], 32)
    text = capsys.readouterr().out
    for word in ("assumed", "25 GB/s", "240 GB/s", "67%", "a test", "to give the paper's numbers"):
        assert word in text
    lines = [line.split() for line in text.splitlines()]
    table = {int(words[0]): words[1:] for words in lines if words and words[0].isdigit()}
    assert table[1][:3] == ["100.0%"] * 3 and table[1024][4] == "93.77%"
    assert 90 < float(table[1024][5].rstrip("%")) < 97


def test_paper_cases_have_the_speed_of_the_training_times():
    small, large, _ = predicting.paper_cases()
    assert 14.2e6 * 90 / (small.images_per_second * 128) == pytest.approx(13.5 * 3600)
    assert 14.2e6 * 90 / (large.images_per_second * 256 * 0.9607) == pytest.approx(81 * 3600)


# --- Measured rows


def _rows(lost: float) -> list[Row]:
    rows = []
    for number in range(3):
        for workers in (1, 2):
            late = lost if workers == 2 else 0.0
            whole = 1.0 + number / 10
            times = (whole, whole, whole + late, whole, whole, whole + late / 2)
            rounded = (round(seconds, 6) for seconds in times)
            rows.append(Row(workers, "synthetic", number, "bit-r26x1", 64, 16, *rounded))
    return rows


def test_rows_survive_the_csv_and_calibrate_the_model(tmp_path, capsys):
    path = tmp_path / "scaling.csv"
    path.write_text(scaling_rows.to_csv(_rows(0.1)))
    rows = scaling_rows.read_csv(path)
    assert rows == _rows(0.1)
    predicting.predict_local(rows)
    text = capsys.readouterr().out
    assert "lose 100.0 ms" in text
    # What it was calibrated by, it gives back: 1.1 s of computing, 0.1 s lost.
    assert "2 workers: E 91.7%   measured 91.7%" in text
    assert "64 workers" in text


def test_a_wrong_csv_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        scaling_rows.read_csv(tmp_path / "none.csv")
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no column 'workers'"):
        scaling_rows.read_csv(wrong)
    wrong.write_text(scaling_rows.to_csv(_rows(0.1)).replace("synthetic,1", "synthetic,x"))
    with pytest.raises(UserError, match="line 4"):
        scaling_rows.read_csv(wrong)
    with pytest.raises(UserError, match="one worker only"):
        predicting.predict_local([row for row in _rows(0.1) if row.workers == 1])


def test_table_says_where_the_time_goes():
    rows = _rows(0.1)
    real = [dataclasses.replace(r, input="real", alone=r.alone + 0.2) for r in rows]
    real = [dataclasses.replace(r, apart=r.apart + 0.2, team=r.team + 0.2) for r in real]
    lines = scaling_rows.table([*rows, *real]).splitlines()
    assert "0.917" in lines[2]  # the median round: 1.1 / 1.2
    assert "1200.0 = compute 1100.0 (91.7%), shared machine 0.0 (0.0%)" in lines[-3]
    assert "all-reduce, CPU 50.0 (4.2%), all-reduce, waiting 50.0 (4.2%)" in lines[-3]
    assert "input 200.0" in lines[-1]


def test_two_real_workers_and_their_files(tmp_path):
    task = Task(model="bit-r14x0.25", batch=4, size=32, steps=2, pack_mib=None, data="")
    rows = scaling.scaling([2], task, threads=1, rounds=2, images=8, out=tmp_path)
    assert [(r.workers, r.input) for r in rows[:4]] == [
        (n, kind) for kind in ("synthetic", "real") for n in (1, 2)
    ]
    assert len(rows) == 8
    for row in rows:
        assert 0 < row.team < 30 and row.alone_cpu > 0
        assert row.images_per_second == pytest.approx(row.workers * 4 / row.team)
        if row.workers == 1:
            assert row.efficiency == 1
    assert scaling_rows.read_csv(tmp_path / scaling_rows.CSV_FILE)[0].workers == 1
    for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("csv", b"series,workers")):
        assert (tmp_path / f"scaling_curves.{kind}").read_bytes().startswith(start)


def test_a_worker_that_ends_ends_the_benchmark(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    task = Task(model="bit-r14x1", batch=4, size=32, steps=2, pack_mib=None, data="")
    with pytest.raises(UserError, match="crew 'single0' \\(1\\) ended"):
        scaling.scaling([1], task, threads=1, rounds=1, images=2, out=None)
