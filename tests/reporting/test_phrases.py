"""Pieces of sentences."""

import pytest

from keras_transfer.reporting.phrases import counted, joined, p_text


@pytest.mark.parametrize(
    ("p", "fewest", "shown"),
    [
        (0.0004, 2, "< 0.001"),
        (0.0123, 2, "= 0.012"),
        (0.456, 2, "= 0.46"),
        (0.456, 3, "= 0.456"),
        (1.0, 2, "= 1.00"),
        # On which side of 0.05 it is must be seen.
        (0.0498, 2, "= 0.0498"),
        (0.05002, 3, "= 0.05002"),
        (0.05, 2, "= 0.050000"),
    ],
)
def test_p_shows_on_which_side_of_the_level_it_is(p, fewest, shown):
    assert p_text(p, fewest) == shown


def test_lists_and_counts():
    assert [joined(list(names)) for names in ("", "a", "ab", "abc")] == [
        "", "a", "a and b", "a, b and c"
    ]  # fmt: skip
    assert [counted(n, "seed") for n in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
