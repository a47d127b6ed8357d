"""How a cell stands, read from its directory and from what it needs."""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.configs import datasets, paper_runs
from experiments.configs.grids import Cell
from keras_transfer.core import claims, runs
from keras_transfer.core.config import to_dict
from keras_transfer.core.errors import CorruptFileError, UserError

DONE, RUNNING, FAILED, MISSING, TO_DO = "done", "running", "failed", "missing", "to do"
STATES = (DONE, RUNNING, FAILED, MISSING, TO_DO)

FAILED_FILE = "failed.json"
CELL_FILE = "cell.json"
_TRACEBACK_LINES = 25


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a cell has no result; `FAILED_FILE` in its directory.

    Attributes:
        attempts: How often it was tried.
        again: Whether trying again may help; not after wrong input.
        error: The last error in one line.
        traceback: The end of its traceback; empty for wrong input.
        time: Of the last attempt, in UTC.
        holder: Host and process of the last attempt.
    """

    attempts: int
    again: bool
    error: str
    traceback: tuple[str, ...]
    time: str
    holder: str


def read_failure(folder: Path) -> Failure | None:
    """Returns why a cell failed, None if it did not."""
    path = folder / FAILED_FILE
    if not path.is_file():
        return None
    values = runs.read_json(path)
    try:
        return Failure(**{**values, "traceback": tuple(values["traceback"])})
    except (KeyError, TypeError) as error:
        raise CorruptFileError(f"{path}: not a note of a sweep ({error}): delete it.") from None


def write_failure(folder: Path, error: str, *, again: bool, traceback: str = "") -> Failure:
    """Notes one more failed attempt."""
    before, holder = read_failure(folder), claims.Holder.this_process()
    failure = Failure(
        attempts=1 + (before.attempts if before else 0),
        again=again,
        error=" ".join(error.split()),
        traceback=tuple(traceback.splitlines()[-_TRACEBACK_LINES:]),
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        holder=f"{holder.host}, process {holder.pid}",
    )
    runs.write_json(folder / FAILED_FILE, asdict(failure))
    return failure


def is_given_up(failure: Failure | None, tries: int) -> bool:
    """Whether a cell is not tried again."""
    return failure is not None and (not failure.again or failure.attempts >= tries)


def note_config(folder: Path, cell: Cell) -> None:
    """Keeps what the grid said of a cell; `check_configs` compares."""
    if not (folder / CELL_FILE).is_file():
        runs.write_json(folder / CELL_FILE, to_dict(cell.config))


def check_configs(workdir: Path, cells: Sequence[Cell]) -> None:
    """Raises a UserError if directories hold cells of a grid that said something else."""
    changed = []
    for cell in cells:
        path = workdir / cell.name / CELL_FILE
        if path.is_file():
            old, new = runs.read_json(path), json.loads(json.dumps(to_dict(cell.config)))
            for config in (old, new):
                config.pop("runtime", None)  # no part of what a run means
            if old != new:
                changed.append((cell.name, _first_difference(old, new)))
    if changed:
        name, difference = changed[0]
        raise UserError(
            f"{len(changed)} of {len(cells)} cells of {workdir} were made by another grid, such as "
            f"{name} ({difference}): choose another --workdir, or delete them."
        )


def _first_difference(old: Mapping, new: Mapping, prefix: str = "") -> str:
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if before != now:
            if isinstance(before, dict) and isinstance(now, dict):
                return _first_difference(before, now, f"{prefix}{key}.")
            return f"{prefix}{key}: {before!r} there, {now!r} here"
    raise AssertionError("called for different configs only")


def missing_inputs(cells: Sequence[Cell]) -> dict[str, str]:
    """Returns the datasets and weights that are not there: path -> what makes them."""
    missing = {}
    for path in dict.fromkeys(path for cell in cells for path in cell.config.data.dirs):
        if not Path(path).is_dir():
            missing[path] = datasets.advice(path)
    for cell in {cell.config.model.init: cell for cell in cells}.values():
        init = cell.config.model.init
        if init and not _has_weights(Path(init)):
            missing[init] = _weights_advice(init, cell.source)
    return missing


def _has_weights(path: Path) -> bool:
    if path.is_dir():
        # The card is written after the weights.
        return all((path / n).is_file() for n in (runs.WEIGHTS_FILE, runs.WEIGHTS_CARD_FILE))
    return path.is_file()


def _weights_advice(init: str, name: str) -> str:
    if name not in paper_runs.names():
        return "a finished run, converted weights or a BiT .npz"
    return (
        "train them: python -m experiments.pretrain "
        f"--config=experiments/configs/paper_runs.py:{name} --workdir={init}; or convert published "
        f"ones: python -m experiments.convert_weights --in=FILE --out={init}"
    )


@dataclass(frozen=True)
class Rules:
    """What decides how a cell stands.

    Attributes:
        tries: Attempts at a cell before it is given up.
        stale_seconds: See `claims.take`.
    """

    tries: int
    stale_seconds: float


def status(folder: Path, cell: Cell, missing: Mapping[str, str], rules: Rules) -> str:
    """Returns one of `STATES`."""
    if runs.is_finished(folder):
        return DONE
    if claims.is_taken(folder, rules.stale_seconds):
        return RUNNING
    if is_given_up(read_failure(folder), rules.tries):
        return FAILED
    if any(path in missing for path in (cell.config.model.init, *cell.config.data.dirs)):
        return MISSING
    return TO_DO
