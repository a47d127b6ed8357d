"""Ridge regression on whitened features: every strength from one eigendecomposition.

Whitened means standardised feature by feature: x -> (x - mean) / scale, with the mean and scale of
the examples that are fitted. The scale is the standard deviation (over n, not n - 1), but at least
a tenth of the mean standard deviation of all features: of a few images many features behind a ReLU
are 0 or nearly so, and dividing by that would let them decide on every other image.

Targets are 1 for positive and -1 for negative labels. With X the whitened features of the n
examples whose label is known and y their targets, the solution minimises

    |y - X w - b|^2 + l2 n |w|^2,

scikit-learn's ``Ridge(alpha=l2 * n)``; the intercept b is not punished. Unknown labels are left
out, label by label.

Let Xc and yc be centred, D features. Where n >= D, Xc' Xc = V diag(s) V' gives
w = V (V' Xc' yc / (s + l2 n)); where n < D, Xc Xc' = U diag(s) U' gives w = Xc' U (U' yc / (s + l2
n)). Both are P (r / (s + l2 n)), so another l2 costs a product only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from keras_transfer.evaluation.embedded import Embedded

_SMALLEST_SCALE = 0.1


@dataclass(frozen=True)
class Whitening:
    """Per feature, mean and scale.

    Attributes:
        mean: float64[D].
        scale: float64[D], positive.
    """

    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Returns float64[b, D]."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True)
class Linear:
    """A linear classifier on whitened features.

    Attributes:
        whitening: What is done to features first.
        coefficients: float64[D, C].
        intercept: float64[C].
    """

    whitening: Whitening
    coefficients: np.ndarray
    intercept: np.ndarray

    def scores(self, examples: Embedded) -> np.ndarray:
        """Returns float32[n, C], about 1 for positive and -1 for negative labels."""
        result = np.empty((len(examples), len(self.intercept)), np.float32)
        for part, features in examples.blocks():
            result[part] = self.whitening(features) @ self.coefficients + self.intercept
        return result


def whitening(examples: Embedded) -> Whitening:
    """Measures mean and scale of every feature; labels do not matter."""
    mean, variance = np.zeros(examples.width), np.zeros(examples.width)
    for _, features in examples.blocks():
        mean += features.sum(axis=0, dtype=np.float64)
    mean /= len(examples)
    for _, features in examples.blocks():
        variance += ((features - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(variance / len(examples))
    scale = np.maximum(deviation, _SMALLEST_SCALE * deviation.mean())
    return Whitening(mean, scale if scale.any() else np.ones_like(scale))


def fit(examples: Embedded, strengths: Sequence[float]) -> list[Linear]:
    """Solves for several strengths at once.

    A label that no example knows gets the score 0.

    Args:
        examples: What is fitted; in memory at once, if they are fewer than their features.
        strengths: Values of l2, positive.

    Returns:
        One classifier per strength.
    """
    white = whitening(examples)
    coefficients = np.zeros((len(strengths), examples.width, examples.num_classes))
    intercepts = np.zeros((len(strengths), examples.num_classes))
    for labels, rows in examples.known_together():
        known = examples.take(rows)
        decompose = _primal if len(known) >= examples.width else _dual
        x_mean, y_mean, spectrum, projector, right = decompose(known, white, labels)
        for i, l2 in enumerate(strengths):
            solved = projector @ (right / (spectrum + l2 * len(known))[:, None])
            coefficients[i][:, labels] = solved
            intercepts[i][labels] = y_mean - x_mean @ solved
    return [Linear(white, c, b) for c, b in zip(coefficients, intercepts)]


# Means of X [D] and y [c], eigenvalues s [k], P [D, k] and r [k, c].
_Decomposition = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _primal(known: Embedded, white: Whitening, labels: np.ndarray) -> _Decomposition:
    width = known.width
    gram, x_y = np.zeros((width, width)), np.zeros((width, len(labels)))
    x_mean, y_mean = np.zeros(width), np.zeros(len(labels))
    for part, features in known.blocks():
        x, y = white(features), _targets(known, part, labels)
        gram += x.T @ x
        x_y += x.T @ y
        x_mean += x.sum(axis=0) / len(known)
        y_mean += y.sum(axis=0) / len(known)
    gram -= len(known) * np.outer(x_mean, x_mean)
    x_y -= len(known) * np.outer(x_mean, y_mean)
    spectrum, vectors = _eigh(gram)
    return x_mean, y_mean, spectrum, vectors, vectors.T @ x_y


def _dual(known: Embedded, white: Whitening, labels: np.ndarray) -> _Decomposition:
    x = np.concatenate([white(features) for _, features in known.blocks()])
    y = _targets(known, slice(None), labels)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x -= x_mean
    spectrum, vectors = _eigh(x @ x.T)
    return x_mean, y_mean, spectrum, x.T @ vectors, vectors.T @ (y - y_mean)


def _targets(known: Embedded, part: slice, labels: np.ndarray) -> np.ndarray:
    return 2 * known.truth(part)[:, labels] - 1


def _eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spectrum, vectors = linalg.eigh(matrix, driver="evd", overwrite_a=True, check_finite=False)
    return np.maximum(spectrum, 0), vectors  # rounding makes zeros negative
