"""Looks at a finished dataset: what is in it, what was left out, and whether it is intact.

    python -m tfrecords_builders.inspect data/chexpert/default/1.0.0
    python -m tfrecords_builders.inspect data/chexpert/default/1.0.0 --sheet=films.png
    python -m tfrecords_builders.inspect data/chexpert/default/1.0.0 --verify

Datasets that TFDS or others wrote can be looked at, too; they have no card and no views.
"""

import csv
import gzip
import itertools
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.machine import cores
from keras_transfer.data import records
from keras_transfer.data.dataset import Dataset
from tfrecords_builders import (
    command,
    finish,
    formats,
    images,
    plan,
    sheet,
    summary,
    writer,
)

_SHEET = flags.DEFINE_string("sheet", "", "Draws some images with their labels into this PNG.")
_IMAGES = flags.DEFINE_integer("images", 24, "Images of the sheet.", 1)
_SPLIT = flags.DEFINE_string("split", "", "Split of the sheet; the first by default.")
_SEED = flags.DEFINE_integer("seed", 0, "Which images the sheet shows.")
_VERIFY = flags.DEFINE_boolean("verify", False, "Reads every record again and compares it.")
_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes of --verify; 0 uses all cores.", 0)

_SAMPLES = 500  # images of each split whose size is looked at


def describe(data: Dataset) -> str:
    """Returns counts, labels, views, sizes and what was left out, as text."""
    parts = [f"{data.path}", ""]
    if data.card:
        parts += [summary.describe_card(data.card), ""]
    else:
        counts = {split: label_counts(data, split) for split in data.splits}
        parts += [summary.label_table(counts), ""]
    parts += [_views(data), *_sizes(data)]
    return "\n".join(filter(None, parts))


def label_counts(data: Dataset, split: str) -> dict[str, Any]:
    """Counts the labels of a split in its index, as `plan.tally_labels` does."""
    table = data.index(split)
    if not data.labels.is_multilabel:
        counts = Counter(table["label"])
        return {name: counts[name] for name in data.labels.names}
    return {
        name: {
            word: int((table[records.STATE_PREFIX + name] == str(state)).sum())
            for state, word in plan.STATE_NAMES.items()
        }
        for name in data.labels.names
    }


def _views(data: Dataset) -> str:
    counts = {split: Counter(data.index(split, ["view"])["view"]) for split in data.splits}
    if not any(view for counter in counts.values() for view in counter):
        return ""
    views = sorted({view for counter in counts.values() for view in counter})
    rows = [[view or "(unknown)", *(c[view] for c in counts.values())] for view in views]
    return summary.table([["view", *counts], *rows])


def _sizes(data: Dataset) -> Iterator[str]:
    """Yields the sizes of a sample of the images of each split."""
    for split, found in data.splits.items():
        if not found.num_examples:
            continue
        chosen = _sample(found.num_examples, _SAMPLES, seed=0)
        headers = [formats.check(image) for _, image in _read(data, split, chosen)]
        sides = np.array([(h.width, h.height) for h in headers])
        kinds = ", ".join(sorted({h.format for h in headers}))
        low, middle, high = (
            " x ".join(str(round(side)) for side in q)
            for q in (sides.min(axis=0), np.median(sides, axis=0), sides.max(axis=0))
        )
        of = "" if len(chosen) == found.num_examples else f" (of {len(chosen)} looked at)"
        yield f"images of {split}: {kinds}, width x height {low} to {high}, median {middle}{of}"


def _sample(total: int, count: int, seed: int) -> np.ndarray:
    """Returns the sorted numbers of some records, drawn without replacement."""
    drawn = np.random.default_rng(seed).choice(total, min(total, count), replace=False)
    return np.sort(drawn)


def _read(data: Dataset, split: str, numbers: np.ndarray) -> Iterator[tuple[Mapping, bytes]]:
    """Yields the features and the encoded image of some records."""
    for payload in data.reader(split).read(numbers):
        feature = tf_example_pb2.Example.FromString(payload).features.feature
        yield feature, feature["image"].bytes_list.value[0]


def verify(data: Dataset, *, num_workers: int) -> Iterator[str]:
    """Decodes every image and compares every record with its checksums and the index.

    Args:
        data: The dataset.
        num_workers: Processes.

    Yields:
        What is wrong: a line for the first wrong record of each file.
    """
    known = data.path / finish.SHARDS_FILE
    expected = runs.read_json(known) if known.is_file() else {}
    total = sum(split.num_examples for split in data.splits.values())
    with (
        futures.ProcessPoolExecutor(num_workers) as pool,
        tqdm(total=total, unit=" records") as bar,
    ):
        running: deque[tuple[int, futures.Future[str]]] = deque()
        for file, rows in _expected_rows(data):
            crc = expected.get(file.name, {}).get("crc32c", "")
            running.append((len(rows), pool.submit(_wrong, file, rows, data.labels.names, crc)))
            # A few ahead: a large index is never in memory as a whole.
            while running and (len(running) > 4 * num_workers or running[0][1].done()):
                yield from _report(running, bar)
        while running:
            yield from _report(running, bar)


def _report(running: deque[tuple[int, futures.Future[str]]], bar: tqdm) -> Iterator[str]:
    count, task = running.popleft()
    if problem := task.result():
        yield problem
    bar.update(count)


def _expected_rows(data: Dataset) -> Iterator[tuple[Path, list[tuple[str, ...]]]]:
    """Yields every file with (example id, label cells) of its records, as the index has them."""
    if not (data.path / records.INDEX_FILE).is_file():
        for split in data.splits.values():
            for file, count in zip(split.files, split.shard_lengths):
                yield file, [()] * count
        return
    with gzip.open(data.path / records.INDEX_FILE, "rt", encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream)
        header = next(rows)
        labels = [i for i, c in enumerate(header) if c == "label" or c.startswith("label/")]
        columns = [header.index("example_id"), *labels]
        place = header.index("split")
        for name, members in itertools.groupby(rows, key=lambda row: row[place]):
            split = data.split(name)
            cells = (tuple(row[i] for i in columns) for row in members)
            for file, count in zip(split.files, split.shard_lengths):
                yield file, list(itertools.islice(cells, count))


def _wrong(file: Path, rows: list[tuple[str, ...]], names: tuple[str, ...], crc: str) -> str:
    """Returns what is wrong with a file, "" if nothing is."""
    number = 0
    try:
        if crc and writer.checksum(file) != crc:
            return f"{file}: not as written (checksum)"
        starts = records.scan_offsets(file)
        if len(starts) - 1 != len(rows):
            return f"{file}: {len(starts) - 1} records, {len(rows)} expected"
        split = records.Split("", (file,), (len(rows),))
        for number, (payload, row) in enumerate(zip(records.iterate_records(split), rows)):
            feature = tf_example_pb2.Example.FromString(payload).features.feature
            # More than the build does with files that it stores as they are.
            formats.decode(feature["image"].bytes_list.value[0])
            if row and row != _stored_row(feature, names):
                return f"{file}, record {number}: not what the index says of {row[0]!r}"
    except OSError as error:
        return f"{file}: {error.strerror}"
    except UserError as error:
        return str(error) if str(file) in str(error) else f"{file}, record {number}: {error}"
    return ""


def _stored_row(feature: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns id and label cells of a record, as the index writes them."""
    example_id = feature["example_id"].bytes_list.value[0].decode()
    if "label_state" in feature:
        return example_id, *map(str, feature["label_state"].int64_list.value)
    return example_id, names[feature["label"].int64_list.value[0]]


def main(arguments: list[str]) -> None:
    """Prints what is asked for; exits with 2 if --verify finds something wrong."""
    data = Dataset(arguments[0])
    print(describe(data))
    if _SHEET.value:
        split = _SPLIT.value or next(iter(data.splits))
        numbers = _sample(data.split(split).num_examples, _IMAGES.value, _SEED.value)
        pictures = [image for _, image in _read(data, split, numbers)]
        drawn = sheet.draw(pictures, data.index(split).iloc[numbers], data.labels)
        with runs.atomic_write(Path(_SHEET.value), "wb") as stream:
            stream.write(images.encode(drawn, "png"))
        print(f"{_SHEET.value}: {len(numbers)} images of {split}")
    if _VERIFY.value:
        problems = list(verify(data, num_workers=_WORKERS.value or cores()))
        if problems:
            more = f"; and {len(problems) - 20} more files" if len(problems) > 20 else ""
            raise CorruptFileError(f"{'; '.join(problems[:20])}{more}. Build the dataset again.")
        print("every record is intact and as the index says")


if __name__ == "__main__":
    command.run(main, arguments=("DIR",))
