"""What was collected, from run directories or published files: numbers, and what is wrong."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_transfer.core.config import PRETRAIN
from keras_transfer.reporting import style

FULL = np.inf

# What a number is about: two finished runs must not claim the same.
KEY = ("kind", "source", "arch", "target", "shots", "seed", "split", "metric")


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
    def code_notes(self) -> list[str]:
        """Warnings about the code that the runs were made with."""
        commits = {commit for run in self.runs for commit in run.commits}
        notes = []
        if len({commit.rstrip("+") for commit in commits}) > 1:
            notes.append("The runs were made with different versions of the code.")
        if any(commit.endswith("+") for commit in commits):
            notes.append(
                "Some runs were made with uncommitted changes (marked +); "
                "their manifests hold the difference."
            )
        return notes

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


def name_numbers(row: Mapping[Any, Any] | pd.Series) -> str:
    """Says which numbers a row is about: ``scratch to pets, r50x1, shots 5, seed 0``."""
    return (
        f"{row['source']} to {row['target']}, {row['arch']}, "
        f"shots {style.shots_title(row['shots'])}, seed {row['seed']}"
    )
