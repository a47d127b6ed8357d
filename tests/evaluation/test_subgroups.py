"""Joining predictions with an index, and cutting them into groups."""

import numpy as np
import pandas as pd
import pytest

from keras_transfer.core.errors import UserError
from keras_transfer.evaluation import subgroups


def index():
    return pd.DataFrame(
        {
            "example_id": ["a", "b", "c", "d", "e"],
            "patient_id": ["1", "1", "2", "", "3"],
            "sex": ["F", "F", "M", "", "F"],
            "age": ["19", "20", "39.5", "", "85"],
        }
    )


def test_join_follows_the_predictions():
    table = subgroups.join(np.array(["d", "a", "c"]), index(), "folder")
    assert table["patient_id"].tolist() == ["", "1", "2"]


def test_missing_and_double_ids_are_named():
    with pytest.raises(UserError, match=r"folder: 2 of 3 .*'x', 'y'"):
        subgroups.join(np.array(["x", "a", "y"]), index(), "folder")
    with pytest.raises(UserError, match="'a' occurs twice"):
        subgroups.join(np.array(["a"]), pd.concat([index(), index()]), "folder")


def test_groups_are_a_partition_with_unknown_last():
    found = subgroups.groups(index(), "sex")
    assert list(found) == ["F", "M", "unknown"]
    assert found["F"].tolist() == [True, True, False, False, True]
    assert (np.sum(list(found.values()), axis=0) == 1).all()


def test_age_bands_begin_at_their_edges():
    found = {k: np.flatnonzero(v).tolist() for k, v in subgroups.groups(index(), "age").items()}
    assert found == {"0-19": [0], "20-39": [1, 2], "80+": [4], "unknown": [3]}
    found = subgroups.groups(index(), "age", [50])
    assert {k: int(v.sum()) for k, v in found.items()} == {"0-49": 3, "50+": 1, "unknown": 1}


def test_wrong_columns_ages_and_bands():
    with pytest.raises(UserError, match="Did you mean 'sex'"):
        subgroups.groups(index(), "sxe")
    for wrong in ("old", "-3", "inf"):
        with pytest.raises(UserError, match=f"'{wrong}' of example 'b'"):
            subgroups.groups(index().assign(age=["1", wrong, "2", "", "3"]), "age")
    for edges in ([40, 20], [], [0, 20]):
        with pytest.raises(UserError, match="ascending"):
            subgroups.groups(index(), "age", edges)
