"""The plan of a very large dataset: time and memory of listing, shuffling and sharding."""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from keras_transfer.core.labels import MULTICLASS, LabelSpace
from tfrecords_builders import checks, planner, stages
from tfrecords_builders.plan import Job
from tfrecords_builders.sources import Item, Source

_CLASSES, _IMAGE = 21_841, bytes.fromhex("ffd8ffd9")


class _Listed(Source):
    """Rows like those of ImageNet-21k read from its tars, without the tars."""

    name, description, licence = "listed", "Rows without images.", "none"
    num_rows = 0

    @property
    def labels(self) -> LabelSpace:
        return LabelSpace(MULTICLASS, tuple(f"n{number:08d}" for number in range(_CLASSES)))

    def items(self) -> Iterator[Item]:
        for number in range(self.num_rows):
            label = number * _CLASSES // self.num_rows
            name = f"n{label:08d}_{number}.JPEG"
            place = f"fall11_whole.tar@{number * 92_160}+91_432:n{label:08d}.tar/{name}"
            yield Item(name, "train", place, label)

    def load(self, item: Item) -> bytes:
        return _IMAGE


class _ListedJob(Job):
    num_rows = 0

    def open_source(self) -> Source:
        source = _Listed({}, None, 0)
        source.num_rows = _ListedJob.num_rows
        return source


def plan(rows: int) -> None:
    """Prints what planning costs.

    Args:
        rows: Images of the imagined dataset.
    """
    job = stages.make_job("digits", encoding="original")
    fields = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    _ListedJob.num_rows = rows
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        made = planner.make(_ListedJob(**fields), Path(folder), checks.Tolerance(), num_shards=8192)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert sum(made.sizes.values()) == rows
        size = sum(file.stat().st_size for file in Path(folder).rglob("*")) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{rows:,} rows into {len(made.shards):,} shards: {wall:.0f} s ({cpu / rows * 1e6:.1f} us "
        f"CPU a row), peak memory {peak:.2f} GB, plan on disk {size:.2f} GB"
    )
