"""Proximity with what chance does to it: repeated over halves of equal samples.

From every dataset equally many images are drawn, and cut into two halves of whole patients, again
and again. A value is the mean distance between the first half of the source and the second half of
the target. The null, what images alone give where there is nothing to find, is the same with the
source in place of the target: both have the bias of so few images, so that they can be compared.

The interval is that of 95 % of the repetitions. Half of a sample, drawn without replacement, varies
from repetition to repetition as much as the mean over all of them varies from sample to sample, so
this is a bootstrap interval. Drawing with replacement would not do: images that come twice look
like structure, and the distances of all resamples are larger than that of the sample.

References: Politis, Romano and Wolf, Subsampling, 1999, section 2; McCarthy, Rev. Int. Statist.
Inst. 37, 1969, for halves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from keras_transfer.core.seeds import generator
from keras_transfer.evaluation.proximity.measures import MEASURES, Cloud, Measure, classes_of
from keras_transfer.evaluation.resampling import units_of

_TAILS = (0.025, 0.975)


@dataclass(frozen=True, kw_only=True)
class ProximityRow:
    """One measure of one pair of datasets.

    Attributes:
        network: Weights whose features were compared, such as ``bit-r50x1.imagenet21k``.
        source: Name of the pre-training data, as results carry it.
        target: Name of the data transferred to, as results carry it.
        measure: A key of `measures.MEASURES`.
        value: Its mean over pairs of halves.
        low: Lower end of the 95 % interval.
        high: Upper end.
        null: The same between halves of the source.
        num_source: Images drawn from the source; one half holds half of them.
        num_target: From the target.
    """

    network: str
    source: str
    target: str
    measure: str
    value: float
    low: float
    high: float
    null: float
    num_source: int
    num_target: int


@dataclass(frozen=True)
class Sample:
    """Images drawn from a dataset.

    Attributes:
        features: float32[n, D].
        label: int[n], or float32[n, C] of 1, 0 and NaN.
        patients: str[n]; "" is unknown.
    """

    features: np.ndarray
    label: np.ndarray
    patients: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def halves(self, repetitions: int, seed: int) -> Iterator[tuple[Cloud, Cloud]]:
        """Yields two clouds without a patient in common, as often as asked for."""
        features, classes = self.features.astype(np.float64), classes_of(self.label)
        unit = units_of(self.patients)
        for repetition in range(repetitions):
            second = _second_half(classes, unit, generator(seed, "proximity halves", repetition))
            # In the order of classes: so thinned halves have all of them.
            order = np.argsort(classes, kind="stable")
            first, last = order[~second[order]], order[second[order]]
            yield Cloud(features[first], classes[first]), Cloud(features[last], classes[last])


def draw(label: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws examples without replacement, every class by its share.

    Args:
        label: int[N], or float32[N, C].
        count: At most N.
        seed: Seed of the drawing.

    Returns:
        int64[count], ascending.
    """
    rng = generator(seed, "proximity draw")
    order = np.lexsort((rng.random(len(label)), classes_of(label)))
    # Every N / count-th in the order of classes: shares are right to less than one image each.
    places = (np.arange(count) + rng.random()) * (len(order) / count)
    return np.sort(order[places.astype(np.int64)])


def compare(
    network: str,
    sources: Mapping[str, Sample],
    targets: Mapping[str, Sample],
    *,
    measures: Mapping[str, Measure] = MEASURES,
    repetitions: int = 50,
    seed: int = 0,
) -> Iterator[ProximityRow]:
    """Yields a row per source, target and measure.

    Args:
        network: Name of the network that has made all features.
        sources: Name -> images; of all datasets equally many, or values cannot be compared.
        targets: Likewise.
        measures: Name -> measure.
        repetitions: Pairs of halves behind each value.
        seed: Of the halves.
    """
    for source, images in sources.items():
        nulls = {n: distances(m, images, images, repetitions, seed) for n, m in measures.items()}
        for target, others in targets.items():
            for name, measure in measures.items():
                found = distances(measure, images, others, repetitions, seed)
                low, high = np.quantile(found, _TAILS)
                yield ProximityRow(
                    network=network,
                    source=source,
                    target=target,
                    measure=name,
                    value=float(found.mean()),
                    low=float(low),
                    high=float(high),
                    null=float(nulls[name].mean()),
                    num_source=len(images),
                    num_target=len(others),
                )


def distances(
    measure: Measure, source: Sample, target: Sample, repetitions: int, seed: int
) -> np.ndarray:
    """Returns float64[repetitions]: of first halves of the source from second ones of the target.

    With ``target`` the same as ``source``, this is the null.
    """
    pairs = zip(source.halves(repetitions, seed), target.halves(repetitions, seed))
    found = []
    for (first, _), (_, second) in pairs:
        size = min(len(first), len(second))
        found.append(measure.function(first.thinned(size), second.thinned(size)))
    return np.array(found)


def _second_half(classes: np.ndarray, unit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns bool[n]: which images are in the second half; whole units, classes shared evenly."""
    first, images = np.unique(unit, return_index=True, return_counts=True)[1:]
    # By the class of the first image, then by size. Of two neighbours one goes to each side.
    order = np.lexsort((rng.random(len(images)), images, classes[first]))
    flip = rng.integers(0, 2, (len(order) + 1) // 2)
    side = np.empty(len(order), bool)
    side[order] = (np.arange(len(order)) + np.repeat(flip, 2)[: len(order)]) % 2 == 1
    return side[unit]
