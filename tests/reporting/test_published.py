"""The authors' csv files: what is in them, what is double, short or missing, and wrong files."""

import csv
import math
from pathlib import Path

import pytest

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.reporting import published, tables

RESULTS = Path(__file__).parents[3] / "shared/data/published_results/results"
HEADER = [
    "metric_value", "metric", "path", "seed", "shot", "pretrained_model", "dataset", "last_step"
]  # fmt: skip


def row(value=0.5, *, seed=0, shot="full_shot", model="imagenet1k_bit50x1", dataset="pets",
        metric="test/acc", step=500):  # fmt: skip
    path = f"finetuning_results/{dataset}/{model}/{shot}/seed_{seed}"
    return [value, metric, path, seed, shot, model, dataset, step]


@pytest.fixture
def write(tmp_path):
    def write(*rows, header=HEADER):
        with (tmp_path / "finetuning_results_pets_test_acc.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *rows])
        return tmp_path

    return write


@pytest.fixture(scope="module")
def found():
    if not RESULTS.is_dir():
        pytest.skip(f"{RESULTS} is not there: the authors' files are not part of this repository")
    return published.collect(RESULTS)


def test_all_files_and_what_is_double_or_short_among_them(found):
    assert len(found.files) == 42
    # spec/upstream.md, section 5: rows and runs of each target, times six metrics.
    assert sum(file.rows for file in found.files) == 6 * (240 + 240 + 160 + 152 + 833 + 742 + 489)
    assert len(found.runs) == 120 + 120 + 80 + 76 + 420 + 375 + 249
    assert found.rows["used"].sum() == 6 * len(found.runs)
    assert not found.duplicates
    once = found.rows[found.rows["metric"] == "accuracy"].groupby("run_id").size()
    single = once[once == 1].index.str.split("/").str[1].value_counts()
    assert single.to_dict() == {"covidx_cxr2": 7, "tuberculosis_full": 8, "padchest": 9}
    short = {(run.step, run.total_steps, run.what.split(",")[0]) for run in found.stopped_early}
    assert len(found.stopped_early) == 9
    assert short == {
        (400, 500, "transfer from chexpert+mimic+nih to covidx"),
        (400, 500, "transfer from chexpert+mimic+nih+padchest to tuberculosis"),
        (400, 500, "transfer from nih to tuberculosis"),
    }


def test_cells_with_fewer_seeds(found):
    table = tables.tabulate(found)
    thin = {(*row, *column): cell.n for (row, column), cell in table.cells.items() if cell.n < 5}
    pets = {("pets", s, "r50x1", "imagenet1k"): 4 for s in (1.0, 5.0, 10.0, math.inf)}
    assert thin == pets | {("padchest_cl", 10.0, "r50x1", "chexpert+mimic"): 4}
    assert table.usual_n == 5


def test_both_rules_of_spread(found):
    place = (("pets", math.inf), ("r50x1", "imagenet1k"))
    seeds = tables.tabulate(found).cells[place]
    rows = tables.tabulate(found, tables.AUTHORS).cells[place]
    assert f"{seeds.mean:.2f} ± {seeds.sd:.2f}" == "85.21 ± 0.58"
    assert f"{rows.mean:.2f} ± {rows.sd:.2f}" == "85.21 ± 0.54"
    assert rows.n == seeds.n == 4
    assert len(rows.every) == 8


def test_names_sizes_and_domains(found):
    rows = found.rows.drop_duplicates(["target", "shots", "source", "arch"])
    one = rows[(rows["source"] == "chexpert+mimic+nih+padchest") & (rows["shots"] == 10)]
    assert set(one["arch"]) == {"r50x1", "r152x4"} and set(one["domain"]) == {"chest X-rays"}
    assert dict(zip(one["target"], one["num_train_examples"])) == {"covidx": 20, "tuberculosis": 20}
    sizes = found.source_sizes
    assert sizes["chexpert+mimic+nih+padchest"] == 873_000 and sizes["imagenet21k"] == 14_000_000
    # 500 of each of 100 classes are the whole training part.
    cifar = rows[(rows["target"] == "cifar100") & (rows["shots"] == 500)]
    assert set(cifar["num_train_examples"]) == {50_000}


def test_copies_count_once_and_contradictions_not_at_all(write):
    found = published.collect(
        write(row(0.5), row(0.5), row(0.6, seed=1), row(0.7, seed=1), row(0.8, seed=2))
    )
    assert found.rows["used"].tolist() == [True, False, False, False, True]
    assert (found.files[0].rows, found.files[0].distinct) == (5, 4)
    (clash,) = found.duplicates
    assert not clash.equal and clash.what == "imagenet1k to pets, r50x1, shots full, seed 1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "jft300m_bit50x1"}, "line 3: pretrained_model 'jft300m_bit50x1' is not one"),
        ({"dataset": "dogs"}, "line 3: dataset 'dogs' is not one"),
        ({"shot": "0_shot"}, "line 3: shot '0_shot' is not one"),
        ({"metric": "val/acc"}, "line 3: metric 'val/acc' is not one"),
        ({"value": 50.0}, "line 3: metric_value is '50.0'"),
        ({"value": "nan"}, "line 3: metric_value is 'nan'"),
        ({"step": "?"}, "line 3: last_step is '?'"),
    ],
)
def test_wrong_rows_are_named(write, change, message):
    with pytest.raises(CorruptFileError) as error:
        published.collect(write(row(), row(**change)))
    assert f"pets_test_acc.csv, {message}" in str(error.value)


def test_wrong_files_are_named(tmp_path, write):
    with pytest.raises(UserError, match="holds no finetuning_results_"):
        published.collect(tmp_path)
    with pytest.raises(CorruptFileError, match="lacks the columns last_step"):
        published.collect(write(row()[:-1], header=HEADER[:-1]))
    with pytest.raises(CorruptFileError, match="has no rows"):
        published.collect(write())
