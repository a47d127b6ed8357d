"""From ``--grid`` and ``--only`` to cells, checked."""

import dataclasses
import importlib.util
import json
import traceback
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from experiments.configs import grids
from experiments.configs.grids import Cell
from keras_transfer.core.config import TransferConfig
from keras_transfer.core.errors import UserError, did_you_mean

# What --only can ask for.
KEYS = {
    "target": lambda cell: cell.target,
    "source": lambda cell: cell.source,
    "model": lambda cell: cell.config.model.name,
    "shots": lambda cell: cell.config.shots,
    "seed": lambda cell: str(cell.config.seed),
    "name": lambda cell: cell.name,
}


def read_grid(text: str, data: str | None, pretrained: str | None) -> list[Cell]:
    """Returns the cells of ``--grid``, checked as far as they can be without data.

    Args:
        text: The name of a grid with its options, or ``FILE.py`` or ``FILE.py:ARG``.
        data: ``--data``; None where it is not given.
        pretrained: ``--pretrained``; None where it is not given.

    Raises:
        UserError: If there is no such grid, or two of its cells would share a directory.
    """
    file, colon, arg = text.partition(":")
    if not file.endswith(".py"):
        cells = grids.named(text, data or "data", pretrained or "runs")
    elif data is not None or pretrained is not None:
        raise UserError("--data and --pretrained are for named grids: a FILE.py says it itself.")
    else:
        cells = _from_file(Path(file), arg if colon else None)
    _check(cells)
    return cells


def _from_file(path: Path, arg: str | None) -> list[Cell]:
    if not path.is_file():
        raise UserError(f"--grid={path}: no such file.")
    spec = importlib.util.spec_from_file_location("sweep_grid", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        get_grid = getattr(module, "get_grid", None)
        if get_grid is None:
            raise UserError(f"--grid={path} defines no get_grid(arg).")
        cells = list(get_grid(arg))
    except UserError:
        raise
    except Exception as error:  # whatever a file of the user's may raise
        raise UserError(f"--grid={path}{_line_in(path, error)}: {error!r}") from None
    wrong = next((c for c in cells if not isinstance(c, Cell)), None)
    if wrong is not None or not cells:
        found = "nothing" if wrong is None else f"a {type(wrong).__name__}"
        raise UserError(f"--grid={path}: get_grid returns a list of Cell, found {found} in it.")
    return cells


def _line_in(path: Path, error: Exception) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    return f", line {lines[-1]}" if lines else ""


def _check(cells: Sequence[Cell]) -> None:
    """Raises a UserError unless all configs are valid and no directory holds two cells."""
    seen = set()
    for cell in cells:
        path = PurePosixPath(cell.name)
        if not path.parts or path.is_absolute() or ".." in path.parts:
            raise UserError(f"cell {cell.name!r}: its name is a path below --workdir.")
        if path in seen:
            raise UserError(f"cell {cell.name!r} is there twice.")
        seen.add(path)
        if not isinstance(cell.config, TransferConfig):
            raise UserError(f"cell {cell.name!r}: a sweep runs a TransferConfig.")
        try:
            cell.config.validate()
        except UserError as error:
            raise UserError(f"cell {cell.name!r}: {error}") from None
    for path in seen:
        outer = next((p for p in path.parents if p in seen), None)
        if outer is not None:
            raise UserError(f"cell {str(path)!r} lies in the directory of cell {str(outer)!r}.")


def select(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """Returns the cells that ``--only`` names.

    Args:
        cells: All cells.
        only: ``KEY=PATTERN``; several of one key are alternatives, of different keys conditions.

    Raises:
        UserError: If a key is unknown or a pattern fits no cell.
    """
    wanted: dict[str, list[str]] = {}
    for text in only:
        key, equals, pattern = text.partition("=")
        if key not in KEYS or not equals:
            raise UserError(f"--only={text}: write KEY=PATTERN.{did_you_mean(key, KEYS)}")
        known = {KEYS[key](cell) for cell in cells}
        if not any(fnmatchcase(value, pattern) for value in known):
            shown = did_you_mean(pattern, known) if len(known) <= 30 else ""
            raise UserError(f"--only={text}: no cell of the grid has it.{shown}")
        wanted.setdefault(key, []).append(pattern)
    chosen = [
        cell
        for cell in cells
        if all(any(fnmatchcase(KEYS[k](cell), p) for p in ps) for k, ps in wanted.items())
    ]
    if not chosen:
        raise UserError(f"--only={','.join(only)}: no cell of the grid has all of it.")
    return chosen


def by_shape(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Groups cells that one compiled step serves, in the order of their first cells.

    Data of equal folders have equal labels, and equal strings and folders equal image sizes.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_shape(cell.config), []).append(cell)
    return list(groups.values())


def _shape(config: TransferConfig) -> str:
    data, model, train = config.data, config.model, config.train
    optim = dataclasses.asdict(config.optim)
    del optim["base_lr"], optim["base_batch_size"]
    texts = [data.label_join, data.train, data.eval, model.name, model.freeze_until]
    sizes = [train.global_batch_size, train.accumulation, train.eval_batch_size]
    runtime = dataclasses.asdict(config.runtime)
    return json.dumps([data.dirs, texts, sizes, optim, runtime])
