"""What is missing or unfinished, and the command that would produce each."""

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from keras_transfer.core import runs
from keras_transfer.core.config import PRETRAIN, TRANSFER
from keras_transfer.reporting import formats, style
from keras_transfer.reporting.collection import Collection, Run
from keras_transfer.reporting.paper.names import ARCHS
from keras_transfer.reporting.tables import Column, Table

# Targets that experiments/configs/finetune.py knows by name, and sources of paper_runs.py.
TARGETS = (
    "cifar10", "cifar100", "flowers102", "pets", "covidx", "tuberculosis", "padchest_cl",
    "mimic", "chexpert", "padchest", "nih",
)  # fmt: skip
SOURCES = ("imagenet1k", "imagenet21k", "chexpert", "mimic", "nih", "padchest")
# What the paper's sources and targets, and the poster's table, take; see configs/grids.py.
GRID_COMMANDS = tuple(
    f"python -m experiments.sweep --grid={grid} --workdir=runs/{grid} --list"
    for grid in ("paper", "poster")
)

_CONFIG = "experiments/configs/finetune.py"
# Networks that were probed -> what experiments.probe calls the method.
_PROBES = {"linear probe": "linear", "k-NN": "knn"}

_MOST_NAMED = 3

_Place = tuple[str, Column]


@dataclass(frozen=True)
class Missing:
    """Runs of one target and column that other columns have.

    Attributes:
        target: Evaluated data.
        column: Network and source.
        lost: Shots -> seeds without a value.
        whole: Whether the column has no value at all for the target.
        commands: What would produce them; empty if it cannot be known.
    """

    target: str
    column: Column
    lost: Mapping[float, tuple[int, ...]]
    whole: bool
    commands: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is missing, in words: ``everything`` or ``shots 5 (seeds 1, 2)``."""
        if self.whole:
            return "everything"
        parts = (
            f"{style.shots_title(shots)} ({'seed' if len(seeds) == 1 else 'seeds'} "
            f"{', '.join(map(str, seeds))})"
            for shots, seeds in self.lost.items()
        )
        return f"shots {', '.join(parts)}"

    @property
    def overlaps(self) -> bool:
        """Whether the source holds images of the target: then nothing is transferred."""
        return self.target.removesuffix("_cl") in self.column[1].split("+")


def gaps(table: Table) -> list[Missing]:
    """Returns what other columns of a row have and one has not, without commands."""
    lost: dict[_Place, dict[float, tuple[int, ...]]] = defaultdict(dict)
    for (target, shots), column, seeds in table.missing():
        lost[target, column][shots] = tuple(seeds)
    found = []
    for (target, column), by_shots in lost.items():
        of_target = [row for row in table.rows if row[0] == target]
        whole = not any((row, column) in table.cells for row in of_target)
        found.append(Missing(target, column, by_shots, whole))
    return found


def find(collection: Collection, table: Table) -> list[Missing]:
    """Returns what is missing, with commands.

    A run that is missing beside others of its target, source and network repeats one of them with
    ``--from_run``, which has all of its options. Where there is none, data and weights are those
    that other runs had, and for published files those of the paper's grids.
    """
    known = _Known(collection)
    return [
        replace(gap, commands=tuple(_commands(known.start(gap.target, gap.column), gap.lost)))
        for gap in gaps(table)
    ]


def continuation(run: Run) -> str:
    """Returns the command that goes on with an unfinished run."""
    script = "pretrain" if run.kind == PRETRAIN else "finetune"
    where = shlex.quote(str(run.directory))
    return f"python -m experiments.{script} --from_run={where} --workdir={where}"


def to_frame(missing: Sequence[Missing]) -> pd.DataFrame:
    """Returns a row per entry, for people: target, source, network, missing, commands."""
    return pd.DataFrame(
        {
            "target": [style.title(one.target) for one in missing],
            "source": [style.title(one.column[1]) for one in missing],
            "network": [style.arch_title(one.column[0]) for one in missing],
            "missing": [
                one.text + (" – the source holds images of the target" if one.overlaps else "")
                for one in missing
            ],
            "commands": [list(one.commands) for one in missing],
        },
    )


def texts(table: Table) -> list[str]:
    """Returns a line per target and column that lacks some of what other columns have.

    Columns that lack all of a target share one line.
    """
    found = gaps(table)
    lines = [
        f"{style.title(one.target)}, {formats.column_title(table, one.column)}: {one.text}"
        for one in found
        if not one.whole
    ]
    for target in table.targets:
        whole = [one.column for one in found if one.whole and one.target == target]
        named = [formats.column_title(table, column) for column in whole[:_MOST_NAMED]]
        if whole:
            more = f" and {len(whole) - len(named)} more" if len(whole) > len(named) else ""
            lines.append(f"{style.title(target)}: everything from {'; '.join(named)}{more}")
    return lines


def _commands(start: str, lost: Mapping[float, tuple[int, ...]]) -> Iterator[str]:
    """Yields one command for all shots that lack the same seeds."""
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for shots, seeds in lost.items():
        groups[seeds].append(style.shots_title(shots))
    for seeds, shots_of in groups.items():
        if start:
            yield f"{start} --shots={','.join(shots_of)} --seeds={','.join(map(str, seeds))}"


def _method(arch: str) -> str:
    """Returns how a network was probed, "" if it was fine-tuned."""
    return next((method for title, method in _PROBES.items() if arch.endswith(f" {title}")), "")


class _Known:
    """Run directories by what they are about; none for published files."""

    def __init__(self, collection: Collection):
        rows = collection.rows
        rows = rows[rows["kind"] == TRANSFER].drop_duplicates("directory")
        self._folders: dict[_Place, list[Path]] = defaultdict(list)
        self._places_in: dict[Path, set[_Place]] = defaultdict(set)
        for row in rows.to_dict("records") if not collection.files else ():
            place = row["target"], (row["arch"], row["source"])
            self._folders[place].append(row["directory"])
            self._places_in[row["directory"].parent].add(place)

    def start(self, target: str, column: Column) -> str:
        """Returns a command without its shots and seeds, "" if none is known."""
        arch, source = column
        alike = self._folders.get((target, column))
        if alike:
            options = f"--from_run={shlex.quote(str(alike[0]))}"
            workdir = alike[0].parent
            # Its runs will be named by shots and seed only: one folder for each target and column.
            if len(self._places_in[workdir]) > 1:
                workdir /= re.sub(r"[^\w.+-]", "_", f"{target}_{source}_{arch}")
        else:
            home = self._home() if self._places_in else Path("runs/paper")
            described = self._from_others(target, column) or _as_in_paper(target, column)
            if not described:
                return ""
            options = f"--config={_CONFIG}:{shlex.quote(described)}"
            workdir = home / target / f"{source}-{arch}"
        method = _method(arch)
        if method:
            options += f" --methods={method}"
        script = "probe" if method else "finetune"
        return f"python -m experiments.{script} --workdir={shlex.quote(str(workdir))} {options}"

    def _home(self) -> Path:
        """Returns the folder that holds all runs, where the next report will find new ones."""
        return Path(os.path.commonpath(self._places_in))

    def _from_others(self, target: str, column: Column) -> str:
        """Returns data and weights, each as other runs had them."""
        on_target = [folders[0] for (t, _), folders in self._folders.items() if t == target]
        of_column = [folders[0] for (_, c), folders in self._folders.items() if c == column]
        if not on_target or not of_column:
            return ""
        folders = _config(on_target[0])["data"]["dirs"]
        if len(folders) != 1:  # the config file's argument takes one
            return ""
        model = _config(of_column[0])["model"]
        init = f",init={model['init']}" if model["init"] else ""
        return f"data={folders[0]}{init},model={model['name']}"


def _config(directory: Path) -> dict:
    return runs.read_json(directory / runs.CONFIG_FILE)


def _as_in_paper(target: str, column: Column) -> str:
    arch, source = column
    of_paper = source == runs.SCRATCH or set(source.split("+")) <= set(SOURCES)
    if target not in TARGETS or arch not in ARCHS or not of_paper:
        return ""
    init = "" if source == runs.SCRATCH else f",init=runs/{source}-{arch}"
    return f"target={target}{init},model=bit-{arch}"
