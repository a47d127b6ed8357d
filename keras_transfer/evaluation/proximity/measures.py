"""How far two datasets are from each other in the features of one fixed network.

Four measures, from two clouds of feature vectors (`Cloud`). Three are distances in the unit of the
features, of order 2:

* ``frechet``: between the Gaussians of equal means and covariances; its square is the FID.
* ``sliced_wasserstein``: of projections on a line, root mean square over 500 of them; smaller than
  the others by a factor of about sqrt(D).
* ``otdd``: of images with their labels; at least the Wasserstein distance without them, which is at
  least each of the other two.

``cka`` is a similarity in [0, 1]: how much alike the D features are correlated over the images.

Values depend on the number of images: compare only what was computed from equally many
(`estimates` sees to it).
"""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np

PROJECTIONS = 500
# Transport costs more than the square of the number of images.
TRANSPORTED = 1000

_POT_BACKENDS = ("PYTORCH", "JAX", "CUPY", "TENSORFLOW")


@dataclass(frozen=True)
class Cloud:
    """Images of a dataset as a network sees them.

    Attributes:
        features: float64[n, D].
        classes: int64[n]; images of equal numbers have equal labels (`classes_of`).
    """

    features: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    def thinned(self, most: int) -> "Cloud":
        """Returns ``most`` images, evenly spaced in the order they have."""
        if len(self) <= most:
            return self
        rows = np.arange(most) * len(self) // most
        return Cloud(self.features[rows], self.classes[rows])


class Measure(NamedTuple):
    """A measure of proximity.

    Attributes:
        function: Two clouds of equal D -> its value; the order does not matter.
        nearer_is_smaller: Whether it is a distance; otherwise a similarity.
        title: Its name for people.
    """

    function: Callable[[Cloud, Cloud], float]
    nearer_is_smaller: bool
    title: str


def classes_of(label: np.ndarray) -> np.ndarray:
    """Returns int64[n], equal where labels are equal.

    Args:
        label: int[n], or float32[n, C] of 1, 0 and NaN. Images with the same set of positive
            findings are of one class: what is unknown counts as absent, or most images of sets
            labelled from reports would be classes by themselves.
    """
    if label.ndim == 1:
        return label.astype(np.int64)
    return np.unique(label == 1, axis=0, return_inverse=True)[1].reshape(-1)


def frechet(source: Cloud, target: Cloud) -> float:
    """Returns the Fréchet distance: the 2-Wasserstein distance of Gaussians of equal moments.

    d^2 = |m - m'|^2 + tr S + tr S' - 2 tr (S S')^(1/2). With S = A'A and S' = B'B the last trace is
    the sum of the singular values of AB', so that no root of a matrix is taken, which is
    inaccurate where N < D. Cost: O(min(N, D)^3 + N^2 D).

    References: Dowson and Landau, J. Multivariate Anal. 12, 1982; Heusel et al., arXiv:1706.08500.
    """
    gap = source.features.mean(axis=0) - target.features.mean(axis=0)
    first, second = _root(source.features), _root(target.features)
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    squared = gap @ gap + (first**2).sum() + (second**2).sum() - 2 * shared
    return float(np.sqrt(max(squared, 0.0)))


def _root(features: np.ndarray) -> np.ndarray:
    """Returns A [min(N, D), D] such that A'A is the covariance (divided by N - 1)."""
    spread = _centred(features)
    if len(spread) <= spread.shape[1]:
        return spread
    return np.asarray(np.linalg.qr(spread, mode="r"))


def _centred(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(axis=0)) / np.sqrt(max(len(features) - 1, 1))


def cka(source: Cloud, target: Cloud) -> float:
    """Returns linear CKA between two datasets: 1 is alike, 0 has nothing in common.

    The D features of the network are the examples and images the variables, so that the numbers of
    images may differ: the cosine of the two D x D Gram matrices, rows and columns centred. It does
    not change if the images of one dataset are permuted, all scaled alike, or if the same number
    is added to all features of an image.

    Differs from the usual use, which compares two networks on the same images.

    Reference: Kornblith et al., arXiv:1905.00414, equation 3.
    """
    first, second = (c.features - c.features.mean(axis=1, keepdims=True) for c in (source, target))
    scale = np.sqrt(_overlap(first, first) * _overlap(second, second))
    return float(_overlap(first, second) / scale)


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the inner product of X'X and Y'Y, by whichever matrix is smaller."""
    if len(first) * len(second) <= first.shape[1] ** 2:
        return float(((first @ second.T) ** 2).sum())
    return float(((first.T @ first) * (second.T @ second)).sum())


def sliced_wasserstein(source: Cloud, target: Cloud) -> float:
    """Returns the sliced 2-Wasserstein distance over `PROJECTIONS` fixed random directions.

    Reference: Bonneel et al., J. Math. Imaging Vis. 51, 2015; computed by POT.
    """
    value = _pot().sliced_wasserstein_distance(
        source.features, target.features, n_projections=PROJECTIONS, p=2, seed=0
    )
    return float(value)


def otdd(source: Cloud, target: Cloud) -> float:
    """Returns the optimal transport dataset distance, of order 2.

    Moving an image costs its squared distance to the other one, plus the squared 2-Wasserstein
    distance between the images of its class and those of the other's, each taken for a Gaussian.
    With several findings, an image's class is the set of its positive ones. Exact transport
    between at most `TRANSPORTED` images of each, evenly spaced.

    Reference: Alvarez-Melis and Fusi, arXiv:2002.02923; the transport is computed by POT.
    """
    pot = _pot()
    first, second = source.thinned(TRANSPORTED), target.thinned(TRANSPORTED)
    cost = pot.dist(first.features, second.features, metric="sqeuclidean")
    rows, columns = (np.unique(cloud.classes, return_inverse=True)[1] for cloud in (first, second))
    cost += _between_classes(first, second)[rows][:, columns]
    return float(np.sqrt(max(pot.emd2([], [], cost), 0.0)))


def _between_classes(source: Cloud, target: Cloud) -> np.ndarray:
    """Returns float64[C, C']: squared distances between the Gaussians of classes, in their order.

    As `frechet`, but for all pairs of classes of equal numbers of images at once.
    """
    (means, roots), (others, other_roots) = _moments(source), _moments(target)
    traces, other_traces = (np.array([(a**2).sum() for a in r]) for r in (roots, other_roots))
    squared = _pot().dist(means, others, metric="sqeuclidean") + traces[:, None] + other_traces
    for size, classes in _by_size(roots).items():
        for other_size, other_classes in _by_size(other_roots).items():
            first = np.concatenate([roots[c] for c in classes])
            second = np.concatenate([other_roots[c] for c in other_classes])
            products = (first @ second.T).reshape(
                len(classes), size, len(other_classes), other_size
            )
            shared = np.linalg.svd(products.transpose(0, 2, 1, 3), compute_uv=False).sum(axis=-1)
            squared[np.ix_(classes, other_classes)] -= 2 * shared
    return np.maximum(squared, 0.0)


def _moments(cloud: Cloud) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the mean float64[C, D] and the root of the covariance of each class."""
    parts = [cloud.features[cloud.classes == c] for c in np.unique(cloud.classes)]
    return np.stack([part.mean(axis=0) for part in parts]), [_root(part) for part in parts]


def _by_size(roots: Sequence[np.ndarray]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for number, root in enumerate(roots):
        found.setdefault(len(root), []).append(number)
    return found


@functools.cache
def _pot() -> ModuleType:
    """Imports POT without TensorFlow and other engines, which it would start for their arrays."""
    switches = {f"POT_BACKEND_DISABLE_{name}": "1" for name in _POT_BACKENDS}
    kept = {name: os.environ.get(name) for name in switches}
    os.environ.update(switches)
    try:
        import ot
    finally:
        for name, value in kept.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
    return ot


MEASURES = {
    "frechet": Measure(frechet, True, "Fréchet distance"),
    "cka": Measure(cka, False, "linear CKA"),
    "sliced_wasserstein": Measure(sliced_wasserstein, True, "sliced Wasserstein distance"),
    "otdd": Measure(otdd, True, "OT dataset distance"),
}
