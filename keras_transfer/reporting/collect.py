"""Run directories -> one tidy table of numbers, and what is wrong or missing among them."""

import dataclasses
import json
import os
from collections import defaultdict
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.core import runs
from keras_transfer.core.config import PRETRAIN, TRANSFER
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.evaluation import metrics
from keras_transfer.reporting import style
from keras_transfer.reporting.collection import FULL, KEY, Collection, Duplicate, Run, name_numbers

_ROW_FIELDS = tuple(field.name for field in dataclasses.fields(runs.ResultRow))
_FACTS = ("kind", "primary_metric", "directory", "num_train_examples")


def collect(runs_dir: str | os.PathLike, *, strict: bool = False) -> Collection:
    """Reads every run directory below a folder; symbolic links are not followed.

    Args:
        runs_dir: The folder, or a single run directory.
        strict: Whether runs that claim the same numbers are an error.

    Raises:
        UserError: If there is no run, a run lacks a file, or (strict) two claim the same numbers.
        CorruptFileError: If a file of a run cannot be read; the message names it.
    """
    if not Path(runs_dir).is_dir():
        raise UserError(f"{runs_dir}: no such folder of runs.")
    found, rows = [], []
    for directory in _run_directories(Path(runs_dir)):
        run = _read_run(directory)
        found.append(run)
        if run.finished:
            rows += _read_rows(run)
    if not found:
        raise UserError(f"{runs_dir} holds no run: nothing below it has a {runs.MANIFEST_FILE}.")
    table = pd.DataFrame(rows, columns=[*_ROW_FIELDS, *_FACTS])
    table["domain"] = table["source"].map(style.kind_of)
    duplicates = _mark_duplicates(table)
    if strict and duplicates:
        first = duplicates[0]
        raise UserError(
            f"{len(first.directories)} finished runs claim the same numbers ({first.what}): "
            f"{' and '.join(map(str, first.directories))}; move or delete all but one."
        )
    return Collection(table, found, duplicates)


def _run_directories(folder: Path) -> list[Path]:
    result = []
    for place, folders, files in os.walk(folder):
        for heavy in (runs.CHECKPOINT_DIR, runs.TENSORBOARD_DIR, runs.PREDICTIONS_DIR):
            if heavy in folders and runs.MANIFEST_FILE in files:
                folders.remove(heavy)
        if runs.MANIFEST_FILE in files:
            result.append(Path(place))
        elif runs.RESULT_FILE in files:
            raise CorruptFileError(
                f"{place} has a {runs.RESULT_FILE} but no {runs.MANIFEST_FILE}: "
                "it is not a whole run directory."
            )
    return sorted(result)


def _read_run(directory: Path) -> Run:
    manifest = _read_object(directory / runs.MANIFEST_FILE)
    config = _read_object(directory / runs.CONFIG_FILE)
    kind = config.get("kind")
    if kind not in (PRETRAIN, TRANSFER):
        raise CorruptFileError(f"{directory / runs.CONFIG_FILE}: unknown kind of run {kind!r}.")
    starts = manifest.get("starts") or [{}]
    finished = runs.is_finished(directory)
    return Run(
        directory=directory,
        kind=kind,
        finished=finished,
        what=_what(config),
        step=_last_step(directory / runs.METRICS_FILE),
        commits=tuple(dict.fromkeys(filter(None, (_commit(start) for start in starts)))),
        num_train_examples=starts[-1].get("num_train_examples"),
        total_steps=starts[-1].get("total_steps"),
    )


def _read_object(path: Path) -> dict[str, Any]:
    content = runs.read_json(path)
    if not isinstance(content, dict):
        raise CorruptFileError(f"{path}: expected a JSON object, got {type(content).__name__}.")
    return content


def _commit(start: dict[str, Any]) -> str:
    code = start.get("code") or {}
    return code.get("commit", "")[:12] + ("+" if code.get("diff") else "")


def _what(config: dict[str, Any]) -> str:
    data = config.get("name") or ", ".join(
        Path(folder).name for folder in config.get("data", {}).get("dirs", ())
    )
    network = config.get("model", {}).get("name", "a network")
    if config["kind"] == PRETRAIN:
        return f"pre-training of {network} on {data}, seed {config.get('seed')}"
    origin = config.get("model", {}).get("init") or style.title(runs.SCRATCH)
    return (
        f"transfer of {network} ({origin}) to {data}, shots {config.get('shots')}, "
        f"seed {config.get('seed')}"
    )


def _last_step(path: Path) -> int | None:
    """Returns the step of the last whole line; a kill may have cut the last one short."""
    if not path.is_file():
        return None
    for line in reversed(path.read_text(errors="replace").splitlines()):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return None


def _read_rows(run: Run) -> list[dict[str, Any]]:
    path = run.directory / runs.RESULT_FILE
    rows, primary = runs.read_result(run.directory)
    try:
        metrics.find(str(primary))
    except UserError as error:
        raise CorruptFileError(f"{path}: primary_metric: {error}") from None
    result = []
    for row in rows:
        values = dataclasses.asdict(row)
        _check_types(path, values)
        values["shots"] = FULL if row.shots is None else float(row.shots)
        facts = (run.kind, primary, run.directory, run.num_train_examples)
        result.append(values | dict(zip(_FACTS, facts, strict=True)))
    if run.kind == TRANSFER and primary not in {row.metric for row in rows}:
        raise CorruptFileError(f"{path}: no row holds its primary_metric {primary!r}.")
    keys = [tuple(values[name] for name in KEY) for values in result]
    if len(set(keys)) < len(keys):
        double = next(key for key in keys if keys.count(key) > 1)
        raise CorruptFileError(f"{path}: two rows for {double[-1]} on {double[-2]}.")
    return result


def _check_types(path: Path, values: dict[str, Any]) -> None:
    kinds = {"value": Real, "shots": Integral | None, "seed": Integral, "num_examples": Integral}
    for name, value in values.items():
        kind = kinds.get(name, Integral if name == "step" else str)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CorruptFileError(f"{path}: {name} of a row is {value!r}.")


def _mark_duplicates(table: pd.DataFrame) -> list[Duplicate]:
    """Adds the column ``used`` and returns one entry per set of runs that claim the same."""
    copies = table.duplicated(list(KEY), keep=False)
    table["used"] = ~copies
    clashes: dict[tuple, list[bool]] = defaultdict(list)
    for _, group in table[copies].groupby(list(KEY), sort=False):
        equal = group["value"].nunique(dropna=False) == 1
        if equal:
            table.loc[group.index[0], "used"] = True
        clashes[name_numbers(group.iloc[0]), tuple(group["directory"])].append(equal)
    return [Duplicate(what, where, all(equal)) for (what, where), equal in clashes.items()]
