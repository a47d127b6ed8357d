"""From written shards to a dataset: leak checks, index, metadata, card; then it becomes visible.

Everything is made in ``<version>.building`` and renamed at the end: a folder under its final name
is complete.
"""

import csv
import gzip
import io
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.data import records
from tfrecords_builders import checks, plan, writer
from tfrecords_builders.plan import Job, Plan, Shard
from tfrecords_builders.privacy import Pseudonyms
from tfrecords_builders.sources import Item

SHARDS_FILE = "shards.json"
QUARANTINE_FILE = "quarantine.csv"
REPLACED = ".replaced"


def collect_records(folder: Path, made: Plan) -> dict[str, dict[str, Any]]:
    """Returns file name -> completion record of every shard of a plan.

    Raises:
        UserError: If shards are not finished.
    """
    found = {shard.file: writer.read_record(folder, shard) for shard in made.shards}
    missing = [file for file, record in found.items() if record is None]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(found)} shards are not finished, such as "
            f"{missing[0]}: run the same command with --stage=write or all."
        )
    return {file: record for file, record in found.items() if record}


def forget(folder: Path, made: Plan, files: list[str]) -> None:
    """Deletes the completion records of damaged shards, so that they are written anew."""
    for shard in made.shards:
        if shard.file in files:
            writer.record_path(folder, shard).unlink(missing_ok=True)


def finalize(
    folder: Path, target: Path, job: Job, made: Plan, tolerance: checks.Tolerance
) -> dict[str, Any]:
    """Completes a dataset whose shards are all written.

    Args:
        folder: The build folder.
        target: The dataset's folder; one that is there is replaced.
        job: What was built.
        made: Its plan.
        tolerance: As in `writer.write`.

    Returns:
        The card.

    Raises:
        UserError: If shards are missing, too much was put aside, or splits leak.
    """
    done = collect_records(folder, made)
    bad = [("", *defect) for defect in made.defects]
    bad += [(key, path, why) for record in done.values() for key, path, why in record["bad"]]
    tolerance.refuse([(path, why) for _, path, why in bad], made.rows_in)
    source = job.open_source()
    shared = _shared_images(folder, made)
    if len(shared) and not source.leaky:
        found = _find_images(folder, made, done, shared[: checks.NAMED])
        checks.refuse_leak("images with equal pixels", len(shared), found, source.leaky)

    _write_aside(folder, made, [(key, job.pseudonyms(path), why) for key, path, why in bad])
    counts, patients = _write_index(folder, made, done, job.pseudonyms)
    _write_offsets(folder, made)
    splits = {
        split: {
            "examples": sum(done[shard.file]["count"] for shard in made.shards_of(split)),
            "bytes": sum(done[shard.file]["bytes"] for shard in made.shards_of(split)),
            "shards": len(made.shards_of(split)),
            "patients": patients[split],
            "labels": counts.get(split, {}),
        }
        for split in made.sizes
    }
    _write_metadata(folder, target, job, made, done)
    card = _card(target, job, made, splits, bad, len(shared))
    runs.write_json(folder / records.CARD_FILE, card)
    hashes = {
        file: {key: record[key] for key in ("count", "bytes", "crc32c")}
        for file, record in done.items()
    }
    runs.write_json(folder / SHARDS_FILE, hashes)
    _remove_strangers(folder, made)
    _publish(folder, target)
    return card


def _stored_items(folder: Path, shard: Shard, record: dict[str, Any]) -> Iterator[Item]:
    """Yields the items of a shard that are in its file, in record order."""
    bad = {entry[0] for entry in record["bad"]}
    return (item for item in plan.read_items(folder, shard) if item.example_id not in bad)


def _shared_images(folder: Path, made: Plan) -> np.ndarray:
    """Returns the hashes of the images, as stored, that are in several splits."""
    values = {
        split: np.concatenate(
            [np.load(writer.table_path(folder, s))["pixels"] for s in made.shards_of(split)]
        )
        for split in made.sizes
    }
    return checks.shared_across_splits(values)


def _find_images(
    folder: Path, made: Plan, done: dict[str, dict[str, Any]], hashes: np.ndarray
) -> list[str]:
    """Returns the examples that have one of the hashes, for a message, equal ones together."""
    found = []
    for shard in made.shards:
        pixels = np.load(writer.table_path(folder, shard))["pixels"]
        for item, value in zip(_stored_items(folder, shard, done[shard.file]), pixels):
            if value in hashes:
                found.append((int(value), f"{item.example_id} ({item.split})"))
    return [text for _, text in sorted(found)]


def _write_aside(folder: Path, made: Plan, bad: list[tuple[str, str, str]]) -> None:
    """Lists what is not in the dataset: with something wrong, and left out by rule."""
    for name in (QUARANTINE_FILE, plan.LEFT_OUT_FILE):
        (folder / name).unlink(missing_ok=True)
    if bad:
        with runs.atomic_write(folder / QUARANTINE_FILE) as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerows([("example_id", "source", "reason"), *bad])
    if set(made.left_out) - {plan.BEYOND_LIMIT}:
        shutil.copyfile(folder / plan.PLAN_DIR / plan.LEFT_OUT_FILE, folder / plan.LEFT_OUT_FILE)


def _write_index(
    folder: Path, made: Plan, done: dict[str, dict[str, Any]], pseudonyms: Pseudonyms
) -> tuple[dict[str, dict[str, Any]], dict[str, int]]:
    """Writes one row per record, in record order; returns label counts and patients per split."""
    labels, counts = made.labels, Counter[tuple[str, Any]]()
    patients: dict[str, set[str]] = {split: set() for split in made.sizes}
    columns = (
        [records.STATE_PREFIX + n for n in labels.names] if labels.is_multilabel else ["label"]
    )
    with (
        runs.atomic_write(folder / records.INDEX_FILE, "wb") as raw,
        # Without name and time, so that equal content gives equal bytes.
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([*records.INDEX_COLUMNS, *columns])
        for shard in made.shards:
            for item in _stored_items(folder, shard, done[shard.file]):
                label = item.label
                item = item._replace(source=pseudonyms(item.source))
                cells = label if isinstance(label, tuple) else (labels.names[label],)
                rows.writerow([*(getattr(item, c) for c in records.INDEX_COLUMNS), *cells])
                counts[item.split, item.label] += 1
                if item.patient_id:
                    patients[item.split].add(item.patient_id)
    return plan.tally_labels(labels, counts), {s: len(ids) for s, ids in patients.items()}


def _write_offsets(folder: Path, made: Plan) -> None:
    for split in made.sizes:
        tables = [np.load(writer.table_path(folder, s)) for s in made.shards_of(split)]
        path = folder / records.OFFSETS_FILE.format(split=split)
        with runs.atomic_write(path, "wb") as stream:
            starts = np.concatenate([table["offset"] for table in tables]).astype(np.int64)
            np.save(stream, starts, allow_pickle=False)


def _write_metadata(
    folder: Path, target: Path, job: Job, made: Plan, done: dict[str, dict[str, Any]]
) -> None:
    """Writes ``dataset_info.json``, ``features.json`` and the class names, as TFDS does."""
    source, rendering = job.open_source(), job.rendering
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=made.name,
            version=tfds.core.Version(target.name),
            data_dir=str(folder),
            module_name="tfrecords_builders",
            config_name=target.parent.name,
        ),
        description=source.description,
        features=records.features(
            made.labels, channels=rendering.channels, encoding=rendering.stored_format
        ),
        citation=source.citation,
        homepage=source.homepage,
        license=source.licence,
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name=made.name, filetype_suffix="tfrecord"
    )
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[done[shard.file]["count"] for shard in made.shards_of(split)],
            num_bytes=sum(done[shard.file]["bytes"] for shard in made.shards_of(split)),
            filename_template=template,
        )
        for split in made.sizes
    ]
    info.set_file_format(tfds.core.FileFormat.TFRECORD)
    info.set_splits(tfds.core.SplitDict(splits))
    info.write_to_directory(folder)


def _card(
    target: Path,
    job: Job,
    made: Plan,
    splits: dict[str, Any],
    bad: list[tuple[str, str, str]],
    shared: int,
) -> dict[str, Any]:
    """Returns what a reader of the dataset should know, without place or time of the build."""
    source = job.open_source()
    quarantined = Counter(reason for _, _, reason in bad)
    rows = {
        "in": made.rows_in,
        "stored": sum(split["examples"] for split in splits.values()),
        "quarantined": quarantined.total(),
        "left_out": sum(made.left_out.values()),
    }
    if rows["in"] != rows["stored"] + rows["quarantined"] + rows["left_out"]:
        raise RuntimeError(f"{target}: rows do not add up: {rows}")
    return {
        "name": made.name,
        "config": target.parent.name,
        "version": target.name,
        "description": source.description,
        "citation": source.citation,
        "licence": source.licence,
        "homepage": source.homepage,
        "fingerprint": made.fingerprint,
        "task": made.labels.task,
        "labels": list(made.labels.names),
        "splits": splits,
        "published": dict(source.published),
        "facts": made.facts,
        "rows": rows,
        "quarantined": dict(sorted(quarantined.items())),
        "left_out": made.left_out,
        "leaks": {
            "declared": source.leaky,
            "patients": made.shared_patients,
            "images_with_equal_pixels": shared,
        },
        "request": made.request,
        "checksums": made.checksums,
        "codecs": plan.codecs(),
    }


def _remove_strangers(folder: Path, made: Plan) -> None:
    """Deletes shards of an earlier plan and what killed processes left."""
    writer.sweep(folder, everything=True)
    known = {shard.file for shard in made.shards}
    for path in folder.glob("*.tfrecord-*"):
        if path.name not in known:
            path.unlink()


def _publish(folder: Path, target: Path) -> None:
    """Gives the dataset its final name, in the place of the one that is there, if any."""
    replaced = target.with_name(target.name + REPLACED)
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    folder.rename(target)
    tidy(target)


def tidy(target: Path) -> None:
    """Deletes what is of no use beside a complete dataset."""
    shutil.rmtree(target.with_name(target.name + REPLACED), ignore_errors=True)
    for name in (plan.PLAN_DIR, writer.SHARDS_DIR):
        shutil.rmtree(target / name, ignore_errors=True)
