"""The builders: ours beside the least that the same work can cost, and beside a TFDS builder."""

import contextlib
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import cv2
import google_crc32c
import numpy as np
import tensorflow_datasets as tfds

from experiments.benchmarks import pictures, timing
from tfrecords_builders import checks, planner, stages, writer

_SIZE = 256
_COPIES = 4
_MANY, _FEW = 64, 2  # shards: enough to share among workers; as large as those of a large set


def build(images: int, rounds: int) -> None:
    """Prints CPU milliseconds per image of building, per core, and the gain of a second worker.

    Args:
        images: Different photographs; each has four names.
        rounds: Measurements of each variant, interleaved.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "photographs")
        files = pictures.photographs(folder, images)
        for copy in range(1, _COPIES):
            for file in files[:images]:
                linked = file.with_name(f"{copy}_{file.name}")
                linked.hardlink_to(file)
                files.append(linked)
        size = sum(file.stat().st_size for file in files) / len(files) / 1024
        print(
            f"{len(files)} JPEGs of 500 x 375, {size:.0f} kB; CPU ms per image on one core; "
            f"{rounds} interleaved rounds; median [min - max]"
        )
        _reencode(files, folder, Path(scratch), rounds)
        _pass_through(files, folder, Path(scratch), rounds)


def _reencode(files: list[Path], folder: Path, scratch: Path, rounds: int) -> None:
    ours = _Build(folder, scratch / "small", _MANY, {"image_size": _SIZE})
    cpu = timing.interleave(
        {"ours": lambda: ours.cpu() / len(files), "bare": lambda: _cpu(_resize_all, files)}, rounds
    )
    rates = timing.interleave({"1": lambda: ours.rate(1), "2": lambda: ours.rate(2)}, rounds)
    print(f"decode, {_SIZE} px, encode:")
    print(f"  ours                       {timing.spread([1e3 * s for s in cpu['ours']])}")
    print(f"  bare loop                  {timing.spread([1e3 * s for s in cpu['bare']])}")
    print(f"  speed per core / bare      {timing.ratios(cpu['bare'], cpu['ours'])}")
    print(f"  images/s, 2 workers / 1    {timing.ratios(rates['2'], rates['1'])}")


def _pass_through(files: list[Path], folder: Path, scratch: Path, rounds: int) -> None:
    ours = _Build(folder, scratch / "same", _FEW, {"encoding": "original"})
    cpu = timing.interleave(
        {
            "ours": lambda: ours.cpu() / len(files),
            "bare": lambda: _cpu(lambda chosen: _copy_all(chosen, scratch / "copy"), files),
            "tfds": lambda: _cpu(lambda chosen: _tfds(chosen, scratch / "tfds"), files),
        },
        rounds,
    )
    print("files as they are:")
    for name, text in (
        ("ours", "ours"),
        ("bare", "read, CRC, write to disk"),
        ("tfds", "TFDS generator"),
    ):
        print(f"  {text:<27}{timing.spread([1e3 * s for s in cpu[name]])}")
    print(f"  ours / bare                {timing.ratios(cpu['ours'], cpu['bare'])}")
    print(f"  ours / TFDS                {timing.ratios(cpu['ours'], cpu['tfds'])}")


class _Build:
    """A planned build, whose shards are written again and again."""

    def __init__(self, input_dir: Path, folder: Path, shards: int, request: dict[str, Any]):
        options = ["val_fraction=0,test_fraction=0"]
        self._job = stages.make_job(
            "image_folder", input_dir=str(input_dir), options=options, **request
        )
        self._folder = folder
        self._plan = planner.make(self._job, folder, checks.Tolerance(), num_shards=shards)

    def _clear(self) -> None:
        for path in (*self._folder.glob(f"{writer.SHARDS_DIR}/*"), *self._folder.glob("*.tf*")):
            path.unlink()

    def _write(self, workers: int, progress: Callable[[int], object]) -> None:
        writer.write(
            self._folder,
            self._job,
            self._plan,
            self._plan.shards,
            tolerance=checks.Tolerance(),
            num_workers=workers,
            progress=progress,
        )

    def cpu(self) -> float:
        """Returns CPU seconds of writing everything in this process."""
        self._clear()
        start = time.process_time()
        self._write(1, lambda count: None)
        return time.process_time() - start

    def rate(self, workers: int) -> float:
        """Returns images per second once the processes run: from the first shard to the last."""
        self._clear()
        ends: list[tuple[float, int]] = []
        self._write(workers, lambda count: ends.append((time.perf_counter(), count)))
        return sum(count for _, count in ends[1:]) / (ends[-1][0] - ends[0][0])


def _cpu(work: Callable[[list[Path]], None], files: list[Path]) -> float:
    start = time.process_time()
    work(files)
    return (time.process_time() - start) / len(files)


def _resize_all(files: list[Path]) -> None:
    for file in files:
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_UNCHANGED)
        assert image is not None
        scale = _SIZE / min(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imencode(".jpeg", small, [cv2.IMWRITE_JPEG_QUALITY, 95])


def _copy_all(files: list[Path], target: Path) -> None:
    target.unlink(missing_ok=True)
    with target.open("wb") as stream:
        for file in files:
            data = file.read_bytes()
            stream.write(data)
            stream.write(google_crc32c.value(data).to_bytes(4, "little"))
        stream.flush()
        os.fsync(stream.fileno())


def _tfds(files: list[Path], target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    Plain.files = files
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(num_shards=_FEW)
    with contextlib.redirect_stdout(io.StringIO()):
        Plain(data_dir=str(target)).download_and_prepare(download_config=config)


class Plain(tfds.core.GeneratorBasedBuilder):
    """What TFDS's own way of writing the same files looks like."""

    VERSION = tfds.core.Version("1.0.0")
    files: ClassVar[list[Path]] = []

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=["a", "b"]),
                    "example_id": tfds.features.Text(),
                }
            )
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Any:
        for file in self.files:
            key = f"{file.parent.name}/{file.name}"
            yield key, {"image": str(file), "label": file.parent.name, "example_id": key}
