"""PadChest-Cl: PadChest as one class per image, as in the paper's few-shot experiments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_transfer.core.labels import MULTICLASS, LabelSpace
from keras_transfer.data import records
from tfrecords_builders.sources import Dropped, Item, padchest


class PadChestCl(padchest.PadChest):
    """The images of `padchest` that have exactly one of the 27 findings.

    All 27 names are kept although one class stays empty: a consolidation is an infiltration, too.
    Images without a finding, such as normal ones, are left out.
    """

    name = "padchest_cl"
    description = "PadChest-Cl: the chest X-rays of PadChest with exactly one of 27 findings."

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        super().__init__(options, input_dir, seed)
        if self.settings["splits"] == self.settings["labels"] == "authors":
            self.published = {"test": 4_153}

    @property
    def labels(self) -> LabelSpace:
        """The 27 findings, in the authors' order."""
        return LabelSpace(MULTICLASS, super().labels.names)

    def _finished(self, item: Item) -> Item | Dropped:
        entry = super()._finished(item)
        if isinstance(entry, Dropped):
            return entry
        assert isinstance(entry.label, tuple)
        positive = [i for i, state in enumerate(entry.label) if state == records.POSITIVE]
        if len(positive) != 1:
            return Dropped(entry.source, "not exactly one finding")
        return entry._replace(label=positive[0])


SOURCE = PadChestCl
