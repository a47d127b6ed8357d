"""scikit-learn's bundled handwritten digits: 1,797 real images that need no download."""

import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, LabelSpace
from keras_transfer.core.seeds import generator
from tfrecords_builders import sources

_VAL_FRACTION, _TEST_FRACTION = 0.1, 0.2


def _parse_classes(text: str) -> tuple[int, ...]:
    """Parses ``0-4`` or ``0,2,5-9`` to sorted, distinct digits."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d)(?:-(\d))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"{part!r} is neither a digit nor a range such as 0-4")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    if len(found) < 2:
        raise ValueError("a classifier needs at least two classes")
    return tuple(sorted(found))


def _show_classes(classes: tuple[int, ...]) -> str:
    """Writes sorted digits with their ranges: ``0-4``, ``0+2+5-9``."""
    starts = [digit for digit in classes if digit - 1 not in classes]
    ends = [digit for digit in classes if digit + 1 not in classes]
    return "+".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends))


@functools.lru_cache(maxsize=1)
def _bundle() -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8[1797, 8, 8] in 0..255 and int64[1797]."""
    # The file that sklearn.datasets.load_digits reads; importing scikit-learn for it would cost
    # every worker seconds.
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UserError("The digits come with scikit-learn: pip install scikit-learn.")
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",")  # 64 pixels and the digit
    # Values are 0..16: the number of inked pixels in 4x4 blocks of the scan.
    pixels = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8)
    return pixels.reshape(-1, 8, 8), table[:, -1].astype(np.int64)


class Digits(sources.Source):
    """Handwritten digits, 8 x 8 pixels, white ink on black.

    Every class is split on its own, 70 / 10 / 20 percent into train, val and test, by a permutation
    that depends on the seed and the class only: a digit is in the same split whatever ``classes``
    is. ``--image_size`` enlarges with cubic interpolation.
    """

    name = "digits"
    description = "Handwritten digits of the UCI repository, as bundled with scikit-learn."
    citation = (
        "@misc{alpaydin1998optical, author={Alpaydin, E. and Kaynak, C.}, year={1998},\n"
        "  title={Optical Recognition of Handwritten Digits}, "
        "publisher={UCI Machine Learning Repository}, doi={10.24432/C50P49}}"
    )
    licence = "CC BY 4.0"
    homepage = "https://archive.ics.uci.edu/dataset/80"
    needs_input_dir = False
    encoding = "png"
    options = (
        sources.Option(
            "classes",
            tuple(range(10)),
            "digits to keep, ranges and lists: 0-4 or 0,2,5-9",
            _parse_classes,
            named="always",
            show=_show_classes,
        ),
    )

    @property
    def labels(self) -> LabelSpace:
        """The digits that were chosen."""
        return LabelSpace(MULTICLASS, tuple(map(str, self.settings["classes"])))

    def items(self) -> Iterator[sources.Item | sources.Dropped]:
        """Yields every image of the chosen classes."""
        target = _bundle()[1]
        for label, digit in enumerate(self.settings["classes"]):
            rows = generator(self.seed, "digits", digit).permutation(
                np.flatnonzero(target == digit)
            )
            test = round(len(rows) * _TEST_FRACTION)
            val = test + round(len(rows) * _VAL_FRACTION)
            for position, row in enumerate(rows):
                split = "test" if position < test else "val" if position < val else "train"
                yield sources.Item(f"digit-{row:04d}", split, str(row), label)

    def load(self, item: sources.Item) -> np.ndarray:
        """Returns uint8[8, 8]."""
        return _bundle()[0][int(item.source)]


SOURCE = Digits
