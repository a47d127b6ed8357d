"""What marks a number in a printed table: rules of cells, computed, never typed.

* best: the best mean of a target and network, as it is printed; of equal ones all (bold;
  `tables.all_best`);
* flat: the amount of pre-training data makes no significant difference: among the sources of one
  domain, for a target and network, no pair differs (Welch over distinct seeds, p >= 0.05 after
  Holm's correction over the pairs of these sources; of two sources that is one plain test). It
  does not say that they are equal, and is not given where a pair cannot be tested (italic);
* top: the best mean of a target (a dagger; red in the poster).

Cells without data take no part in a mark.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from keras_transfer.evaluation.testing import holm
from keras_transfer.reporting import comparisons
from keras_transfer.reporting.tables import Cell

TOP = "†"
RULE = (
    "Bold: best mean of a target and network. Italic: no significant difference by the amount of "
    "data of one domain (Welch over seeds, Holm over the pairs of sources, p ≥ 0.05; no proof that "
    f"they are equal). {TOP}: best mean of a target. All are computed from the places with data."
)


def flat(cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells if no pair of them differs; none if a pair does, or has no test."""
    # Over distinct seeds, whatever ± is over: a value logged twice is no second observation.
    pairs = combinations(cells, 2)
    p = holm(np.array([comparisons.compare(first, second).p for first, second in pairs]))
    return list(cells) if len(p) and (p >= comparisons.LEVEL).all() else []
