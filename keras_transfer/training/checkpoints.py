"""Checkpoints: one file per step, complete or absent, checked when read.

A checkpoint is an uncompressed ``.npz`` (a zip with a CRC-32 per array): every variable by name and
a JSON header. It is written under a temporary name and renamed, so a kill leaves a stray temporary
file and never a half checkpoint. Arrays are written and read one at a time.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.runs import atomic_write

_NAME = re.compile(r"step_(\d+)\.npz")
_HEADER = "header.json"


def path_of(folder: Path, step: int) -> Path:
    """Returns the file of a step."""
    return folder / f"step_{step:09d}.npz"


def steps(folder: Path) -> list[int]:
    """Returns the steps that have a checkpoint, oldest first."""
    names = (_NAME.fullmatch(file.name) for file in folder.glob("step_*.npz"))
    return sorted(int(match[1]) for match in names if match)


def save(folder: Path, step: int, variables: dict[str, Any], header: dict[str, Any]) -> Path:
    """Writes a checkpoint atomically.

    Args:
        folder: The run's checkpoint directory.
        step: Optimisation steps done.
        variables: Name -> variable (anything with ``.numpy()``).
        header: JSON-able facts that travel with it.

    Raises:
        UserError: If the disk is full; older checkpoints are not touched then.
    """
    path = path_of(folder, step)
    with atomic_write(path, "wb") as stream, zipfile.ZipFile(stream, "w", allowZip64=True) as out:
        out.writestr(_HEADER, json.dumps({"step": step, **header}))
        for name, variable in variables.items():
            with out.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(variable.numpy()), allow_pickle=False)
    return path


def restore(path: Path, variables: dict[str, Any]) -> dict[str, Any]:
    """Reads a checkpoint into variables, after checking that it is whole and fits.

    Returns:
        The header.

    Raises:
        CorruptFileError: If the file is cut short or altered; nothing has been assigned then.
        UserError: If names or shapes differ; nothing has been assigned then.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            if bad is not None:
                raise CorruptFileError(f"{path}: {bad} is damaged.")
            header = json.loads(archive.read(_HEADER))
            names = {n.removesuffix(".npy") for n in archive.namelist() if n != _HEADER}
            differing = sorted(names ^ set(variables))
            if differing:
                raise UserError(
                    f"{path} is of another network or optimiser: {differing[0]} differs."
                )
            for name, variable in variables.items():
                shape = _shape(archive, name)
                if shape != tuple(variable.shape):
                    raise UserError(
                        f"{path}: {name} has shape {shape}; the model wants {tuple(variable.shape)}"
                    )
            for name, variable in variables.items():
                with archive.open(f"{name}.npy") as entry:
                    variable.assign(np.lib.format.read_array(entry, allow_pickle=False))
            return header
    except (zipfile.BadZipFile, OSError, KeyError, EOFError) as error:
        raise CorruptFileError(f"{path}: not a whole checkpoint ({error}).") from None


def _shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(f"{name}.npy") as entry:
        start = io.BytesIO(entry.read(4096))
    version = np.lib.format.read_magic(start)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    return read(start)[0]


def restore_latest(folder: Path, variables: dict[str, Any]) -> dict[str, Any] | None:
    """Restores the newest checkpoint that is whole; warns of each one that is not.

    Returns:
        Its header, or None if there is no usable checkpoint.
    """
    for stray in folder.glob(".step_*.tmp"):
        logging.warning("%s: a checkpoint that was never finished; ignored and removed.", stray)
        stray.unlink(missing_ok=True)
    for step in reversed(steps(folder)):
        path = path_of(folder, step)
        try:
            return restore(path, variables)
        except CorruptFileError as error:
            logging.warning("%s Falling back to the checkpoint before it, if any.", error)
    return None


def prune(folder: Path, step: int, keep: int, keep_every: int) -> None:
    """Deletes what is not needed after ``step`` has been saved.

    Kept are the newest ``keep`` checkpoints and those at multiples of ``keep_every``. Later ones
    than ``step`` were damaged, else the run had gone on from them; they must not push out whole
    ones.
    """
    found = steps(folder)
    past = [s for s in found if s <= step]
    old = [s for s in past[: len(past) - keep] if not (keep_every and s % keep_every == 0)]
    for superfluous in old + [s for s in found if s > step]:
        path_of(folder, superfluous).unlink(missing_ok=True)
