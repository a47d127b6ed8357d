"""Which patients and images predictions are about: joined from a dataset's index, cut into groups.

An index is any table with one row per example and text columns ``example_id``, ``patient_id`` and
what groups are made of; "" is unknown, and is a group like any other.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from keras_transfer.core.errors import UserError, did_you_mean

UNKNOWN = "unknown"
AGE = "age"
AGE_EDGES = (20, 40, 60, 80)

_NAMED = 3  # ids in a message


def join(example_id: np.ndarray, index: pd.DataFrame, where: str) -> pd.DataFrame:
    """Returns the rows of the index for some examples, in their order.

    Args:
        example_id: str[N].
        index: Holds at least these examples, each once.
        where: What the index is of, for messages.

    Raises:
        UserError: If an example is not in the index, or is there twice.
    """
    ids = pd.Index(index["example_id"])
    if not ids.is_unique:
        double = ids[ids.duplicated()][0]
        raise UserError(f"{where}: the example id {double!r} occurs twice in the index.")
    rows = ids.get_indexer(pd.Index(example_id))
    missing = np.asarray(example_id)[rows < 0]
    if len(missing):
        named = ", ".join(repr(str(i)) for i in missing[:_NAMED])
        raise UserError(
            f"{where}: {len(missing)} of {len(example_id)} predicted examples are not in the index "
            f"({named}{', ...' if len(missing) > _NAMED else ''}): name the dataset that was "
            "predicted."
        )
    return index.iloc[rows].reset_index(drop=True)


def groups(
    table: pd.DataFrame, column: str, age_edges: Sequence[float] = AGE_EDGES
) -> dict[str, np.ndarray]:
    """Cuts examples into the groups of a column, in order of name or age, unknown last.

    Args:
        table: From `join`.
        column: A text column; ``age`` (years) is cut into bands.
        age_edges: Years at which a new band begins.

    Returns:
        Name of the group -> bool[N]. Every example is in exactly one.

    Raises:
        UserError: If the index has no such column, or an age is not a number.
    """
    if column not in table.columns:
        known = [name for name in table.columns if name not in ("example_id", "patient_id")]
        raise UserError(f"The index has no column {column!r}.{did_you_mean(column, known)}")
    if column == AGE:
        return _age_bands(table, np.asarray(age_edges, np.float64))
    values = np.where(table[column] == "", UNKNOWN, table[column]).astype(str)
    names = sorted(set(values.tolist()), key=lambda name: (name == UNKNOWN, name))
    return {name: values == name for name in names}


def _age_bands(table: pd.DataFrame, edges: np.ndarray) -> dict[str, np.ndarray]:
    if not len(edges) or (np.diff(edges) <= 0).any() or edges[0] <= 0:
        raise UserError(f"Ages must be cut at ascending years above 0, got {edges.tolist()}.")
    text = table[AGE].to_numpy(dtype=str)
    unknown = text == ""
    years = pd.to_numeric(pd.Series(np.where(unknown, "nan", text)), errors="coerce").to_numpy()
    bad = ~unknown & ~(np.isfinite(years) & (years >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        example = table["example_id"].iloc[row]
        raise UserError(
            f"The age {str(text[row])!r} of example {str(example)!r} is not a number of years."
        )
    band = np.searchsorted(edges, years, "right")
    # A band begins at its first year and ends before that of the next: 20-39 holds 39.9.
    starts = ["0", *(f"{edge:g}" for edge in edges)]
    names = [f"{start}-{edge - 1:g}" for start, edge in zip(starts, edges)] + [f"{starts[-1]}+"]
    found = {name: ~unknown & (band == number) for number, name in enumerate(names)}
    found[UNKNOWN] = unknown
    return {name: rows for name, rows in found.items() if rows.any()}
