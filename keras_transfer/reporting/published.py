"""The authors' published csv files -> the same tidy table as run directories give.

Reference: SLAMPAI/large-scale-pretraining-transfer, ``results/*.csv`` (MIT licence): 42 files,
``finetuning_results_<target>_test_<metric>.csv``, one row per value logged at a run's last step.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.core.config import TRANSFER
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.reporting import style
from keras_transfer.reporting.collection import (
    FULL,
    KEY,
    Collection,
    Duplicate,
    File,
    Run,
    name_numbers,
)

# What a target is called in the files -> our name, test images, training images, classes. The
# numbers are those of the authors' splits: Flowers' is swapped, PadChest-Cl has images with one of
# 26 findings; its training part is not known exactly, but nine times its test part, which like the
# other test parts follows from the accuracies.
_TARGETS = {
    "cifar10": ("cifar10", 10_000, 50_000, 10),
    "cifar100": ("cifar100", 10_000, 50_000, 100),
    "flowers_oversampling": ("flowers102", 2_040, 6_149, 102),
    "pets": ("pets", 3_669, 3_680, 37),
    "covidx_cxr2": ("covidx", 400, 15_951, 2),
    "tuberculosis_full": ("tuberculosis", 121, 679, 2),
    "padchest": ("padchest_cl", 4_153, 37_377, 26),
}
_METRICS = {
    "acc": "accuracy",
    "mean_auc": "mean_auc",
    "mean_average_precision": "mean_average_precision",
    "average_precision_class_0": "average_precision/0",
    "f1_0": "f1/0",
    "recall_0": "recall/0",
}
_MULTILABEL = "padchest_cl"

# Images of each source (arXiv:2106.00116, table 3); a union has the sum.
_SOURCE_SIZES = {
    "imagenet1k": 1_400_000,
    "imagenet21k": 14_000_000,
    "chexpert": 224_000,
    "mimic": 377_000,
    "nih": 112_000,
    "padchest": 160_000,
}
_COLUMNS = (
    "metric_value", "metric", "path", "seed", "shot", "pretrained_model", "dataset", "last_step",
)  # fmt: skip
_MODEL = re.compile(rf"((?:{'|'.join(_SOURCE_SIZES)})(?:_(?:{'|'.join(_SOURCE_SIZES)}))*)_bit(.+)")
_SHOTS = re.compile(r"(full|[1-9]\d*)_shot")


def collect(folder: str | os.PathLike) -> Collection:
    """Reads every csv file of a folder.

    A run that logged its last value twice has two equal rows: the second is not ``used``.

    Args:
        folder: Where the ``finetuning_results_*.csv`` are.

    Raises:
        UserError: If there is no such file.
        CorruptFileError: If a file has other columns, or a row that cannot be understood; the
            message names file and line.
    """
    paths = sorted(Path(folder).glob("finetuning_results_*.csv"))
    if not paths:
        raise UserError(f"{folder} holds no finetuning_results_*.csv: is it the authors' results?")
    tables = [_read(path) for path in paths]
    rows = pd.concat(tables, ignore_index=True)
    rows["domain"] = rows["source"].map(style.kind_of)
    copies = rows.duplicated([*KEY, "directory", "value", "step"])
    rows["used"] = ~copies
    counts = rows.groupby("file")["used"].agg(["size", "sum"])
    clashes = _clashes(rows)
    files = [File(path, *map(int, counts.loc[str(path)])) for path in paths]
    sources = sorted(set(rows["source"]))
    return Collection(
        rows=rows.drop(columns="file"),
        runs=_runs(rows),
        duplicates=clashes,
        files=files,
        known_sizes={s: sum(_SOURCE_SIZES[part] for part in s.split("+")) for s in sources},
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is no csv file: {error}") from None
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise CorruptFileError(f"{path} lacks the columns {', '.join(missing)}.")
    if table.empty:
        raise CorruptFileError(f"{path} has no rows.")
    columns = {
        "metric": _understood(path, table["metric"], _metric),
        "target": _understood(path, table["dataset"], _TARGETS.get),
        "shots": _understood(path, table["shot"], _shots),
        "model": _understood(path, table["pretrained_model"], _model),
    }
    for name, low, high in (("metric_value", 0, 1), ("seed", 0, None), ("last_step", 1, None)):
        values = pd.to_numeric(table[name], errors="coerce")
        wrong = values.isna() | (values < low) | (values > (high or float("inf")))
        if wrong.any():
            found = str(table.loc[wrong, name].iloc[0])
            raise CorruptFileError(f"{_line(path, wrong)}: {name} is {found!r}.")
    facts, shots = columns["target"], columns["shots"]
    return pd.DataFrame(
        {
            "run_id": table["path"],
            "source": [source for source, _ in columns["model"]],
            "arch": [arch for _, arch in columns["model"]],
            "target": [target for target, *_ in facts],
            "shots": shots,
            "seed": table["seed"].astype(int),
            "split": "test",
            "metric": columns["metric"],
            "value": table["metric_value"].astype(float),
            "num_examples": [test for _, test, *_ in facts],
            "step": table["last_step"].astype(int),
            "kind": TRANSFER,
            "primary_metric": [
                "mean_auc" if target == _MULTILABEL else "accuracy" for target, *_ in facts
            ],
            "directory": [Path(path) for path in table["path"]],
            "num_train_examples": [
                min(train, train if shot == FULL else int(shot) * classes)
                for (_, _, train, classes), shot in zip(facts, shots)
            ],
            "file": str(path),
        }
    )


def _understood(path: Path, texts: pd.Series, meaning: Callable[[str], Any]) -> list:
    """Returns what each text means; the same text is looked up once."""
    known = {text: meaning(text) for text in texts.unique()}
    for text, value in known.items():
        if value is None:
            raise CorruptFileError(
                f"{_line(path, texts == text)}: {texts.name} {text!r} is not one of the authors'."
            )
    return [known[text] for text in texts]


def _line(path: Path, wrong: pd.Series) -> str:
    return f"{path}, line {int(wrong.to_numpy().argmax()) + 2}"


def _metric(text: str) -> str | None:
    return _METRICS.get(str(text).removeprefix("test/"))


def _shots(text: str) -> float | None:
    match = _SHOTS.fullmatch(str(text))
    return (FULL if match[1] == "full" else float(match[1])) if match else None


def _model(text: str) -> tuple[str, str] | None:
    match = _MODEL.fullmatch(str(text))
    return (match[1].replace("_", "+"), f"r{match[2]}") if match else None


def _clashes(rows: pd.DataFrame) -> list[Duplicate]:
    """Takes rows that claim the same number with another value out of use, and names them."""
    used = rows[rows["used"]]
    clashing = used[used.duplicated(list(KEY), keep=False)]
    rows.loc[clashing.index, "used"] = False
    found: dict[str, list] = defaultdict(list)
    for _, group in clashing.groupby(list(KEY), sort=False):
        found[name_numbers(group.iloc[0])] += list(group["directory"])
    return [Duplicate(what, tuple(dict.fromkeys(d)), False) for what, d in found.items()]


def _runs(rows: pd.DataFrame) -> list[Run]:
    """Returns one entry per path; how far it should have gone is what most of its like did."""
    every = rows.drop_duplicates("run_id")
    usual = every.groupby(["target", "shots"])["step"].agg(lambda steps: steps.mode().max())
    return [
        Run(
            directory=Path(row["directory"]),
            kind=TRANSFER,
            finished=True,
            what=f"transfer from {name_numbers(row)}",
            step=row["step"],
            commits=(),
            num_train_examples=row["num_train_examples"],
            total_steps=int(usual[row["target"], row["shots"]]),
        )
        for row in every.to_dict("records")
    ]
