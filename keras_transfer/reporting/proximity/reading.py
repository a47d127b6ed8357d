"""Reads ``proximity.csv``, and says where it is wrong."""

import csv
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.core.errors import CorruptFileError, UserError, did_you_mean
from keras_transfer.evaluation.proximity.estimates import ProximityRow
from keras_transfer.evaluation.proximity.measures import MEASURES

_FIELDS = tuple(field.name for field in dataclasses.fields(ProximityRow))
_KEY = ("network", "source", "target", "measure")


def read(path: Path) -> pd.DataFrame:
    """Reads what `experiments.proximity` wrote; files may be joined by hand.

    Returns:
        One row per network, source, target and measure, with the columns of `ProximityRow`.

    Raises:
        UserError: If there is no such file.
        CorruptFileError: Naming row and column of the first thing that is wrong.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file. python -m experiments.proximity makes it.")
    with Path(path).open(newline="") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in _FIELDS if name not in (reader.fieldnames or ())]
        if missing:
            raise CorruptFileError(f"{path}: row 1: no column {missing[0]!r}.")
        # The line of the file, as an editor counts.
        rows = [_row(f"{path}: row {reader.line_num}", values) for values in reader]
    if not rows:
        raise CorruptFileError(f"{path}: no row below the names of the columns.")
    table = pd.DataFrame([dataclasses.asdict(row) for row in rows])
    _check(path, table)
    return table


def _row(place: str, values: Mapping[str, str | None]) -> ProximityRow:
    found: dict[str, Any] = {}
    for name in _FIELDS:
        text = values[name]
        kind: type = ProximityRow.__annotations__[name]
        try:
            found[name] = kind(text)
            if not text or (kind is not str and not math.isfinite(found[name])):
                raise ValueError
        except (TypeError, ValueError):
            wanted = {str: "a name", int: "a whole number", float: "a number"}[kind]
            raise CorruptFileError(f"{place}, column {name}: {text!r} is not {wanted}.") from None
    row = ProximityRow(**found)
    if row.measure not in MEASURES:
        hint = did_you_mean(row.measure, MEASURES)
        raise CorruptFileError(f"{place}, column measure: unknown {row.measure!r}.{hint}")
    return row


def _check(path: Path, table: pd.DataFrame) -> None:
    """Complains about pairs that are there twice, and values that cannot be compared."""
    twice = table.duplicated(list(_KEY))
    if twice.any():
        row = table[twice].iloc[0]
        raise CorruptFileError(
            f"{path}: {row['measure']} of {row['source']} and {row['target']} by {row['network']} "
            "is there twice. Keep one of the rows."
        )
    for network, rows in table.groupby("network"):
        counts = sorted({*rows["num_source"], *rows["num_target"]})
        if len(counts) > 1:
            raise CorruptFileError(
                f"{path}: columns num_source and num_target: {', '.join(map(str, counts))} images "
                f"for {network}. Values depend on the number: measure all datasets in one call."
            )
