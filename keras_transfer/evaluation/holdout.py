"""A part of a training set to choose settings on: whole patients, every class on both sides."""

import numpy as np
from scipy import sparse

from keras_transfer.core.seeds import generator

SHARE = 0.2


def hold_out(
    label: np.ndarray, patients: np.ndarray, seed: int, share: float = SHARE
) -> np.ndarray:
    """Chooses the examples to hold out.

    Patients are gone through in random order. One is held out if a class of its images still lacks
    held-out examples, and if each of its classes keeps another patient. So no class is lost, and a
    class of two patients is on both sides, unless other classes need both of them. Findings of
    multi-label sets count as classes, and so do images without any positive, as in
    `sampling.few_shot`.

    Scikit-learn's StratifiedGroupKFold knows neither several labels nor this promise.

    Args:
        label: int[n], or float32[n, C] of 1, 0 and NaN.
        patients: str[n]; "" is unknown, a patient by itself.
        seed: Seed of the choice.
        share: Wanted share of each class.

    Returns:
        bool[n]; all False where every class has one patient only, as in 1-shot.
    """
    named = np.where(patients == "", np.char.add("\0", np.arange(len(label)).astype(str)), patients)
    patient = np.unique(named, return_inverse=True)[1].reshape(-1)
    counts = _counts(label, patient)
    images = np.asarray(counts.sum(axis=0)).ravel()
    keeps = np.asarray((counts > 0).sum(axis=0)).ravel().tolist()
    lacks = np.maximum(1, np.round(share * images)).astype(int).tolist()
    # Plain lists: rows of one or two entries are slow as arrays.
    first, classes, number = (a.tolist() for a in (counts.indptr, counts.indices, counts.data))
    held = np.zeros(counts.shape[0], bool)
    for p in generator(seed, "holdout").permutation(counts.shape[0]).tolist():
        span = range(first[p], first[p + 1])
        wanted = any(lacks[classes[i]] > 0 for i in span)
        if wanted and all(keeps[classes[i]] > 1 for i in span):
            held[p] = True
            for i in span:
                lacks[classes[i]] -= number[i]
                keeps[classes[i]] -= 1
    return held[patient]


def _counts(label: np.ndarray, patient: np.ndarray) -> sparse.csr_array:
    """Returns int64[patients, classes]: images of each patient that are of each class."""
    if label.ndim == 1:
        rows, classes = np.arange(len(label)), label.astype(np.int64)
    else:
        positive = label == 1
        groups = np.column_stack([positive, ~positive.any(axis=1)])
        rows, classes = np.nonzero(groups)
    ones = np.ones(len(rows), np.int64)
    return sparse.csr_array(sparse.coo_array((ones, (patient[rows], classes))))
