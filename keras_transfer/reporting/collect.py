"""Run directories -> one tidy table of numbers, and what is wrong or missing among them."""

import dataclasses
import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.core import runs
from keras_transfer.core.config import PRETRAIN, TRANSFER
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.evaluation import metrics
from keras_transfer.reporting import style

FULL = np.inf

# What a number is about: two finished runs must not claim the same.
KEY = ("kind", "source", "arch", "target", "shots", "seed", "split", "metric")

_ROW_FIELDS = tuple(field.name for field in dataclasses.fields(runs.ResultRow))
_FACTS = ("kind", "primary_metric", "directory", "num_train_examples")


@dataclass(frozen=True)
class Run:
    """A run directory.

    Attributes:
        directory: Where it is.
        kind: ``pretrain`` or ``transfer``.
        finished: Whether it has a result.
        what: What it is, in a few words.
        step: Step of its results; of an unfinished run its last logged one, None if nothing was
            logged.
        commits: Git commits of its starts, with ``+`` where files were changed; may be empty.
        num_train_examples: Images it was trained on, if its manifest says so.
        total_steps: Steps it was to take, if known.
    """

    directory: Path
    kind: str
    finished: bool
    what: str
    step: int | None
    commits: tuple[str, ...]
    num_train_examples: int | None
    total_steps: int | None = None

    @property
    def stopped_early(self) -> bool:
        """Whether it has a result of fewer steps than it was to take."""
        if self.step is None or self.total_steps is None:
            return False
        return self.finished and self.step < self.total_steps


@dataclass(frozen=True)
class File:
    """A file of published numbers.

    Attributes:
        path: Where it is.
        rows: Its rows.
        distinct: How many of them repeat no other.
    """

    path: Path
    rows: int
    distinct: int


@dataclass(frozen=True)
class Duplicate:
    """Finished runs that claim the same numbers.

    Attributes:
        what: Which numbers, in a few words.
        directories: The runs.
        equal: Whether they agree to the last bit; then the first one is used, else none.
    """

    what: str
    directories: tuple[Path, ...]
    equal: bool


@dataclass(frozen=True)
class Collection:
    """Everything below a folder of runs.

    Attributes:
        rows: One row per ``ResultRow``, with its fields and ``domain`` (kind of image of the
            source, "" if unknown), ``kind``, ``primary_metric`` (what tables show of this run),
            ``directory``, ``num_train_examples`` (NaN if unknown) and ``used`` (False for copies
            and for numbers that differ between runs that claim them). ``shots`` is float:
            infinity is the whole training split. ``value`` is NaN where the metric is undefined.
        runs: All run directories, in order of their paths.
        duplicates: Runs that claim the same numbers.
        files: The published files that the rows come from; none for run directories.
        known_sizes: Images per source, where pre-training runs do not say it.
    """

    rows: pd.DataFrame
    runs: list[Run]
    duplicates: list[Duplicate]
    files: list[File] = field(default_factory=list)
    known_sizes: dict[str, int] = field(default_factory=dict)

    @property
    def stopped_early(self) -> list[Run]:
        """Runs whose results are of fewer steps than they were to take."""
        return [run for run in self.runs if run.stopped_early]

    @property
    def unfinished(self) -> list[Run]:
        """Runs that started and have no result."""
        return [run for run in self.runs if not run.finished]

    @property
    def source_sizes(self) -> dict[str, int]:
        """Training images per source, from its pre-training runs; only where they agree."""
        sizes: dict[str, set[int]] = defaultdict(set)
        # 0 is unknown, and so is any source with such a run.
        by_directory = {run.directory: run.num_train_examples or 0 for run in self.runs}
        pretrained = self.rows[self.rows["kind"] == PRETRAIN]
        for source, directory in pretrained[["source", "directory"]].itertuples(index=False):
            sizes[source].add(by_directory[directory])
        return self.known_sizes | {
            source: found.pop() for source, found in sizes.items() if len(found) == 1 and all(found)
        }


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


def name_numbers(row: Mapping[Any, Any] | pd.Series) -> str:
    """Says which numbers a row is about: ``scratch to pets, r50x1, shots 5, seed 0``."""
    return (
        f"{row['source']} to {row['target']}, {row['arch']}, "
        f"shots {style.shots_title(row['shots'])}, seed {row['seed']}"
    )
