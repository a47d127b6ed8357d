"""Making the plan: which examples, in which order, in which shard.

Order is decided on the list of items, by a hash of (seed, example id): shards can then be written
by any process in any order, and no second pass over the pixels is needed to shuffle. Rows stay on
disk; memory holds 25 bytes per item, so that the 14 million of ImageNet-21k are no trouble.
"""

import csv
import hashlib
import itertools
import json
import math
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import LabelSpace
from tfrecords_builders import checks, plan
from tfrecords_builders.plan import Job, Plan, Shard
from tfrecords_builders.privacy import Pseudonyms
from tfrecords_builders.sources import Item, Source
from tfrecords_builders.spool import Spool

_SHARD_BYTES = 128 * 2**20
_MIN_SHARDS, _MIN_SHARD_EXAMPLES = 16, 64
_SAMPLES = 16


def make(job: Job, folder: Path, tolerance: checks.Tolerance, *, num_shards: int = 0) -> Plan:
    """Lists the items of a source and writes the plan to ``plan/`` below a folder.

    Args:
        job: What to build.
        folder: Where.
        tolerance: For rows with something wrong.
        num_shards: Shards of the largest split, the others get shards of like size; 0 chooses
            128 MB or less, at least 16 shards where a split has 1,024 examples.

    Raises:
        UserError: If rows are wrong, an id is not unique, labels do not fit, patients are in
            several splits without the source saying so, or nothing is left.
    """
    source = job.open_source()
    target = folder / plan.PLAN_DIR
    target.mkdir(parents=True, exist_ok=True)
    # Without a name: nothing is left behind whatever happens.
    with tempfile.TemporaryFile(dir=target) as stream:
        spool = Spool(stream, job.seed)
        left_out, defects = _collect(source, spool, target, job.pseudonyms)
        total = len(spool) + len(defects) + left_out.total()
        tolerance.refuse(defects, total)
        if not len(spool):
            raise UserError(f"{job.input_dir or job.source}: no example found.")
        labels = source.labels
        checks.check_names(spool.splits, labels, spool.labels)
        spool.finish()
        order = spool.order(job.limit)
        if len(order) < len(spool):
            left_out[plan.BEYOND_LIMIT] = len(spool) - len(order)
        members = _by_split(spool, order)
        patients, shared = _count_patients(spool, members)
        checks.refuse_leak("patients", len(shared), shared[:5], source.leaky)
        size, seconds = _sample(source, job, spool, order)
        shards, fingerprint = _write_rows(
            job, source.name, labels, spool, members, target, _choose(members, num_shards, size)
        )
        result = Plan(
            name=source.name,
            labels=labels,
            fingerprint=fingerprint,
            request=job.request(),
            rows_in=total,
            left_out=dict(sorted(left_out.items())),
            defects=tuple(defects),
            counts=_count_labels(spool, members, labels),
            patients=patients,
            shared_patients=len(shared),
            checksums=source.checksums(),
            facts=source.facts(),
            shards=shards,
            bytes_per_example=size,
            seconds_per_example=seconds,
        )
    result.save(folder)
    return result


def _collect(
    source: Source, spool: Spool, target: Path, pseudonyms: Pseudonyms
) -> tuple[Counter[str], list[tuple[str, str]]]:
    """Reads all items.

    Returns:
        Reason -> count of the rows left out by rule, and (row, reason) of those with defects.
    """
    left_out: Counter[str] = Counter()
    defects: list[tuple[str, str]] = []
    with runs.atomic_write(target / plan.LEFT_OUT_FILE) as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("source", "reason"))
        for entry in source.items():
            try:
                if isinstance(entry, Item):
                    patient, key = pseudonyms(entry.patient_id), pseudonyms(entry.example_id)
                    spool.add(entry._replace(example_id=key, patient_id=patient))
                elif entry.defect:
                    defects.append((entry.source, entry.reason))
                else:
                    rows.writerow((pseudonyms(entry.source), entry.reason))
                    left_out[entry.reason] += 1
            except UnicodeEncodeError:
                name = ascii(entry.source)
                raise UserError(f"{name}: a name that is not UTF-8: rename it.") from None
    return left_out, defects


def _sample(source: Source, job: Job, spool: Spool, order: np.ndarray) -> tuple[float, float]:
    """Renders a few items; returns the mean of their bytes and seconds, zeros if none is readable.

    Unreadable ones are not reported here: the writer meets them again.
    """
    sizes, start = [], time.process_time()
    for number in order[np.linspace(0, len(order) - 1, min(_SAMPLES, len(order))).astype(int)]:
        try:
            sizes.append(len(job.rendering.render(source.load(spool.item(number)))))
        except (CorruptFileError, OSError):
            continue
    seconds = time.process_time() - start
    return (sum(sizes) / len(sizes), seconds / len(sizes)) if sizes else (0.0, 0.0)


def _by_split(spool: Spool, order: np.ndarray) -> dict[str, np.ndarray]:
    """Returns split -> int64[n], its items in record order."""
    codes = spool.split_codes[order]
    names = list(spool.splits)
    return {names[code]: order[codes == code] for code in dict.fromkeys(codes.tolist())}


def _choose(members: dict[str, np.ndarray], num_shards: int, size: float) -> dict[str, int]:
    """Returns split -> number of shards.

    Args:
        members: As of `_by_split`.
        num_shards: Shards that the user wants for the largest split; 0 if there is no wish.
        size: Mean bytes of an example.
    """
    largest = max(map(len, members.values()))
    if num_shards > largest:
        raise UserError(f"--num_shards={num_shards}: the largest split has {largest} examples.")
    chosen = {}
    for split, numbers in members.items():
        count = len(numbers)
        by_size = math.ceil(count * size / _SHARD_BYTES)
        if num_shards:
            chosen[split] = max(1, round(num_shards * count / largest))
        elif by_size > _MIN_SHARDS:
            chosen[split] = 2 ** math.ceil(math.log2(by_size))  # divides well over workers
        else:
            # Shards are what is written in parallel: several of them for a small set, too.
            chosen[split] = max(1, by_size, min(_MIN_SHARDS, count // _MIN_SHARD_EXAMPLES))
    return chosen


def _write_rows(
    job: Job,
    name: str,
    labels: LabelSpace,
    spool: Spool,
    members: dict[str, np.ndarray],
    target: Path,
    num_shards: dict[str, int],
) -> tuple[tuple[Shard, ...], str]:
    """Writes the rows in record order; returns the shards and the fingerprint of the content."""
    static = json.dumps([job.request(), name, labels.task, labels.names], sort_keys=True).encode()
    # Whatever the bytes of a shard depend on, beside its rows.
    renderer = json.dumps([job.image_request(), plan.codecs()], sort_keys=True).encode()
    content, shards, start = hashlib.blake2b(static, digest_size=16), [], 0
    with runs.atomic_write(target / plan.ITEMS_FILE, "wb") as stream:
        for split, numbers in members.items():
            content.update(f"{split} {len(numbers)}\n".encode())
            of = num_shards[split]
            # TFDS's own rule: lengths differ by one at most.
            bounds = [round(len(numbers) * i / of) for i in range(of + 1)]
            for index, (first, last) in enumerate(itertools.pairwise(bounds)):
                rows = b"".join(map(spool.row, numbers[first:last].tolist()))
                content.update(rows)
                digest = hashlib.blake2b(renderer + rows, digest_size=16).hexdigest()
                end = start + len(rows)
                file = f"{name}-{split}.tfrecord-{index:05d}-of-{of:05d}"
                shards.append(Shard(file, split, last - first, start, end, digest))
                stream.write(rows)
                start = end
    return tuple(shards), content.hexdigest()


def _count_labels(
    spool: Spool, members: dict[str, np.ndarray], labels: LabelSpace
) -> dict[str, dict[str, Any]]:
    values = list(spool.labels)
    counts: dict[tuple[str, Any], int] = {}
    for split, numbers in members.items():
        distinct, sizes = np.unique(spool.label_codes[numbers], return_counts=True)
        counts |= {(split, values[code]): int(size) for code, size in zip(distinct, sizes)}
    return plan.tally_labels(labels, counts)


def _count_patients(
    spool: Spool, members: dict[str, np.ndarray]
) -> tuple[dict[str, int], list[str]]:
    """Returns split -> number of known patients, and the patients that are in several splits."""
    names, unknown = list(spool.patients), spool.patients.get("", -1)
    of_split = {}
    for split, numbers in members.items():
        codes = np.unique(spool.patient_codes[numbers])
        of_split[split] = codes[codes != unknown]
    shared = checks.shared_across_splits(of_split)
    return {s: len(p) for s, p in of_split.items()}, [names[code] for code in shared]
