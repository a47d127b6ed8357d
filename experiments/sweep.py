r"""Runs a grid of transfers; lists it, with what is missing and what it will cost.

    python -m experiments.sweep --grid=paper --workdir=runs/paper --list
    python -m experiments.sweep --grid=paper --workdir=runs/paper --data=data --pretrained=runs \
        --only=target=pets,target=flowers102,shots=5
    python -m experiments.sweep --grid=FILE.py --workdir=runs/mine

Grids and how to write one: ``experiments/configs/grids.py``.

The same command may be given again at any time, and by any number of processes at once, on any
machines that share --workdir: finished cells are skipped, no two processes work on one cell, and
what a process leaves behind goes on from its checkpoint. Cells of one shape share a process and its
compiled step. A cell that fails is tried once more, in a new process; wrong input is not. Why is in
its ``failed.json``. Weights and data that are missing keep the others from nothing.

With --keep_weights=false finished cells leave no ``weights.npz``, 3.7 GB each of R152x4. Everything
else stays; ``experiments.finetune --from_run=CELL --workdir=NEW`` makes the weights of one again.

Exit codes: 0 nothing failed; 1 a cell has failed; 2 wrong input; 75 stopped, start it again.
"""

import os
import sys
from pathlib import Path

from absl import flags

from experiments import _main
from experiments.configs.grids import Cell
from experiments.sweeps import cells as cells_lib
from experiments.sweeps import costs, disk, listing, running, state
from keras_transfer.core import claims
from keras_transfer.core.errors import UserError
from keras_transfer.training import launchers

_GRID = flags.DEFINE_string("grid", None, "paper, published, poster, or FILE.py[:ARG].")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the cells.")
_DATA = flags.DEFINE_string("data", None, "Named grids: folder of the datasets (data).")
_PRETRAINED = flags.DEFINE_string("pretrained", None, "Named grids: folder of the weights (runs).")
_ONLY = flags.DEFINE_list(
    "only", [], f"KEY=PATTERN,...: which cells; keys: {', '.join(cells_lib.KEYS)}."
)
_LIST = flags.DEFINE_bool("list", False, "Say how the cells stand and what they cost; run nothing.")
_KEEP_WEIGHTS = flags.DEFINE_bool(
    "keep_weights", True, "Keep the weights of finished cells; results and predictions stay anyway."
)
_TRIES = flags.DEFINE_integer("tries", 2, "Attempts at a cell.", 1)
_RETRY_FAILED = flags.DEFINE_bool("retry_failed", False, "Forget the failures there are.")
_STALE_MINUTES = flags.DEFINE_float(
    "stale_minutes",
    claims.STALE_SECONDS / 60,
    "A process on another machine is dead after such a silence.",
    0.1,
)


def _forget_failures(workdir: Path, cells: list[Cell]) -> None:
    for cell in cells:
        (workdir / cell.name / state.FAILED_FILE).unlink(missing_ok=True)


def main() -> None:
    """Runs what the flags say."""
    workdir = _main.require(_WORKDIR)
    if not _GRID.value:
        raise UserError("--grid is missing: paper, published, poster, or a FILE.py.")
    grid = cells_lib.read_grid(_GRID.value, _DATA.value, _PRETRAINED.value)
    cells = cells_lib.select(grid, _ONLY.value)
    state.check_configs(workdir, grid)
    rules = state.Rules(tries=_TRIES.value, stale_seconds=60 * _STALE_MINUTES.value)
    missing = state.missing_inputs(cells)
    if _RETRY_FAILED.value and not _LIST.value:
        _forget_failures(workdir, cells)

    def look() -> dict[str, str]:
        return {c.name: state.status(workdir / c.name, c, missing, rules) for c in cells}

    states = look()
    lines = [
        *listing.missing(cells, states, missing),
        *costs.describe(grid, states, workdir),
        *disk.describe(grid, states, workdir, _KEEP_WEIGHTS.value),
    ]
    if _LIST.value:
        lines = [*listing.table(cells, states), *listing.failures(workdir, states), *lines]
    for line in (*lines, listing.totals(states)):
        print(line, flush=True)
    if _LIST.value:
        return
    if set(states.values()) == {state.MISSING}:
        raise UserError(f"none of {len(cells)} cells can run: see what is missing above.")
    if launchers.detect(os.environ).size > 1:
        raise UserError("a cell is one process's: start sweeps beside each other, not as a team.")
    with running.Sweep(workdir, cells, missing, rules, _KEEP_WEIGHTS.value) as sweep:
        sweep.run()
    states = look()
    for line in (*listing.failures(workdir, states), listing.totals(states)):
        print(line, flush=True)
    if state.FAILED in states.values():
        sys.exit(1)


if __name__ == "__main__":
    _main.run(main)
