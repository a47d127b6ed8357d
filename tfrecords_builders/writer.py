"""Writing shards: a pure function of job and plan, in any process, in any order, many times over.

A shard is written under another name, flushed to disk and renamed; then its completion record
``.shards/<file>.json`` is written, with hash, size and whatever could not be stored. A shard whose
record fits the plan is done, so a build that was killed goes on where it stood. Where records start
and what their pixels hash to is kept beside the record, in ``.shards/<file>.npy``.
"""

import functools
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import process
from multiprocessing import connection
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from tensorflow_datasets.proto import tf_example_pb2

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data import records
from tfrecords_builders import checks, plan
from tfrecords_builders.images import Rendering
from tfrecords_builders.plan import Job, Plan, Shard
from tfrecords_builders.sources import Item, Source

SHARDS_DIR = ".shards"
_CHUNK = 2**20
TABLE = np.dtype([("offset", "<i8"), ("pixels", "<u8")])


def frame(item: Item, image: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns the record of an item: what stands before the image, the image, what is behind it."""
    before, image, after = serialise(item, image)
    header, footer = records.envelope(before, image, after)
    return header + before, image, after + footer


def serialise(item: Item, image: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns the ``tf.train.Example`` of an item, with the features of `records.features`.

    Equal to what TFDS's serialiser writes (a test compares), in a tenth of its time and with a
    fixed order of the features, which TFDS leaves to chance.

    Args:
        item: Texts and label.
        image: The encoded image.

    Returns:
        What stands before the image, the image, and what stands behind it.
    """
    # In the order of their names, "image" stands between "example_id" and the others. Protobuf
    # would copy the image at each level of nesting; spelled out, it is not copied at all.
    value = _nested(1, _nested(1, b"", len(image)), len(image))
    entry = _nested(1, _nested(1, b"image") + _nested(2, value, len(image)), len(image))
    before = _text_entry("example_id", item.example_id) + entry
    after = _entries_behind(item.label, item.patient_id, item.view)
    return _nested(1, before, len(image) + len(after)), image, after


@functools.lru_cache(maxsize=2**16)
def _entries_behind(label: int | tuple[int, ...], patient_id: str, view: str) -> bytes:
    """Returns the features whose names come after "image"; many images share all of them."""
    example = tf_example_pb2.Example()
    feature = example.features.feature
    if isinstance(label, tuple):
        states = np.array(label, np.int8)
        feature["label"].float_list.value.extend(records.label_from_states(states).tolist())
        feature["label_state"].int64_list.value.extend(states.tolist())
    else:
        feature["label"].int64_list.value.append(label)
    feature["patient_id"].bytes_list.value.append(patient_id.encode())
    feature["view"].bytes_list.value.append(view.encode())
    return example.features.SerializeToString(deterministic=True)


def _text_entry(name: str, text: str) -> bytes:
    """Returns an entry of ``Features.feature``: a name and a list of one text."""
    feature = _nested(2, _nested(1, _nested(1, text.encode())))
    return _nested(1, _nested(1, name.encode()) + feature)


def _nested(field: int, content: bytes, more: int = 0) -> bytes:
    """Returns a length-delimited protobuf field whose last ``more`` bytes are still to come."""
    size = len(content) + more
    if size < 128:
        return bytes((field << 3 | 2, size)) + content
    length = bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes((field << 3 | 2,)) + length + content


def pixel_hash(image: bytes) -> int:
    """Returns 64 bits that tell encoded images apart: the CRC-32C of all and of every 64th byte.

    A tenth of the time of a cryptographic hash, which would be most of the work of a shard whose
    images pass through untouched.
    """
    return google_crc32c.value(image) << 32 | google_crc32c.value(image[::64])


def checksum(path: Path) -> str:
    """Returns the CRC-32C of a file, as completion records have it."""
    value = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            value = google_crc32c.extend(value, chunk)
    return f"{value:08x}"


def record_path(folder: Path, shard: Shard) -> Path:
    """Returns the path of a shard's completion record."""
    return folder / SHARDS_DIR / f"{shard.file}.json"


def table_path(folder: Path, shard: Shard) -> Path:
    """Returns the path of a shard's `TABLE`, one row per record."""
    return folder / SHARDS_DIR / f"{shard.file}.npy"


def read_record(folder: Path, shard: Shard) -> dict[str, Any] | None:
    """Returns the completion record of a finished shard, None if the shard has to be written.

    The record must belong to the plan and the file must have its size; `verify` compares hashes.
    """
    try:
        record = runs.read_json(record_path(folder, shard))
        size = (folder / shard.file).stat().st_size
    except (UserError, OSError):
        return None
    fits = record.get("fingerprint") == shard.fingerprint and record.get("bytes") == size
    return record if fits and table_path(folder, shard).is_file() else None


def write_shard(folder: Path, job: Job, shard: Shard) -> dict[str, Any]:
    """Writes one shard, unless it is finished already.

    Returns:
        Its completion record: fingerprint, count, bytes, crc32c, and bad, a list of [example id,
        source, reason] of the items that could not be stored.
    """
    found = read_record(folder, shard)
    if found and not _mended(folder, job, shard, found["bad"]):
        return found
    source, crc, table, bad, position = _open_source(job), 0, [], [], 0
    (folder / SHARDS_DIR).mkdir(exist_ok=True)
    with runs.atomic_write(folder / shard.file, "wb") as stream:
        for item in plan.read_items(folder, shard):
            image = _render(job.rendering, source, item)
            if isinstance(image, str):
                bad.append([item.example_id, item.source, image])
                continue
            table.append((position, pixel_hash(image)))
            for part in frame(item, image):
                stream.write(part)
                crc = google_crc32c.extend(crc, part)
                position += len(part)
    with runs.atomic_write(table_path(folder, shard), "wb") as stream:
        np.save(stream, np.array(table, TABLE), allow_pickle=False)
    record = {
        "fingerprint": shard.fingerprint,
        "count": len(table),
        "bytes": position,
        "crc32c": f"{crc:08x}",
        "bad": bad,
    }
    runs.write_json(record_path(folder, shard), record)
    return record


def _render(rendering: Rendering, source: Source, item: Item) -> bytes | str:
    """Returns the image to store, or the reason why there is none."""
    try:
        return rendering.render(source.load(item))
    except OSError as error:
        return (error.strerror or type(error).__name__).lower()
    except CorruptFileError as error:
        return str(error)


def _mended(folder: Path, job: Job, shard: Shard, bad: Sequence[Sequence[str]]) -> bool:
    """Whether an image that could not be read when the shard was written can be read now."""
    ids = {example_id for example_id, _, _ in bad}
    items = (item for item in plan.read_items(folder, shard) if item.example_id in ids)
    if not ids:
        return False
    source = _open_source(job)
    return any(isinstance(_render(job.rendering, source, item), bytes) for item in items)


@functools.lru_cache(maxsize=1)
def _open_source(job: Job) -> Source:
    return job.open_source()


def write(
    folder: Path,
    job: Job,
    made: Plan,
    shards: Sequence[Shard],
    *,
    tolerance: checks.Tolerance,
    num_workers: int,
    progress: Callable[[int], object],
) -> None:
    """Writes shards on several processes.

    Args:
        folder: The build folder with the plan.
        job: What to build.
        made: Its plan.
        shards: Those of the plan to write; the others are other processes' task.
        tolerance: For images that cannot be read.
        num_workers: Processes; 1 writes in this one.
        progress: Called with the number of items of each finished shard.

    Raises:
        UserError: If images cannot be read and may not be put aside, or a worker was killed.
        OSError: If the disk is full. Finished shards stay in any case.
    """
    sweep(folder)
    bad = list(made.defects)
    try:
        for shard, record in _run(folder, job, shards, num_workers):
            bad += [(source, reason) for _, source, reason in record["bad"]]
            progress(shard.count)
            if tolerance.enough(len(bad), made.rows_in):
                break
    except process.BrokenProcessPool:
        raise UserError(
            "A worker process is gone: killed for want of memory, or a decoder crashed. Finished "
            "shards are kept: run the same command again, with fewer --num_workers."
        ) from None
    tolerance.refuse(bad, made.rows_in)


def _run(
    folder: Path, job: Job, shards: Sequence[Shard], num_workers: int
) -> Iterator[tuple[Shard, dict[str, Any]]]:
    """Yields finished shards as they come."""
    if min(num_workers, len(shards)) <= 1:
        for shard in shards:
            yield shard, write_shard(folder, job, shard)
        return
    # A server process forks the workers: they inherit no thread and no lock of this one.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = futures.ProcessPoolExecutor(
        min(num_workers, len(shards)), mp_context=context, initializer=_start_worker
    )
    try:
        running = {pool.submit(write_shard, folder, job, shard): shard for shard in shards}
        for future in futures.as_completed(running):
            yield running[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Lets a worker die with its parent, and leaves Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def verify(
    folder: Path,
    expected: dict[str, dict[str, Any]],
    *,
    num_workers: int,
    progress: Callable[[int], object],
) -> list[str]:
    """Reads shards again and compares size and CRC-32C with what was recorded.

    Args:
        folder: Where the shards are.
        expected: File name -> completion record.
        num_workers: Threads; hashing does not hold the interpreter.
        progress: Called with the number of records of each shard.

    Returns:
        The files that are missing or differ, in order.
    """

    def intact(file: str) -> bool:
        path = folder / file
        if not path.is_file() or path.stat().st_size != expected[file]["bytes"]:
            return False
        same = checksum(path) == expected[file]["crc32c"]
        progress(expected[file]["count"])
        return same

    with futures.ThreadPoolExecutor(num_workers) as pool:
        return [file for file, good in zip(expected, pool.map(intact, expected)) if not good]


def sweep(folder: Path, *, everything: bool = False) -> None:
    """Deletes temporary files that killed processes of this host left, or all of them."""
    for path in folder.glob("**/.*.tmp"):
        host, _, pid = path.name.removesuffix(".tmp").rpartition(".")
        if everything or (host.endswith(f".{socket.gethostname()}") and not _alive(pid)):
            path.unlink(missing_ok=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        return True
    return True
