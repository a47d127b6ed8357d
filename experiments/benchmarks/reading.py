"""The input pipeline: ours beside a bare decode-and-crop loop, and beside Pillow in processes."""

import io
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing import pool, shared_memory
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.benchmarks import pictures, timing

_SIDE, _BATCH = 224, 64
# By the channels stored: grey stays one channel as long as it can, in all that is compared.
_TRAIN = {
    3: f"random_resized_crop({_SIDE})|random_flip|value_range(-1, 1)",
    1: f"random_resized_crop({_SIDE}, channels=1)|random_flip|value_range(-1, 1)|to_rgb",
}

# What is stored (spec of the records: section 3): options of the builder.
STORED: dict[str, dict[str, Any]] = {
    "500 px colour": {"encoding": "original"},
    "256 px colour": {"image_size": 256},
    "512 px grey": {"image_size": 512, "options": ["channels=1"]},
    "256 px grey": {"image_size": 256, "options": ["channels=1"]},
}


def read(images: int, rounds: int, kinds: tuple[str, ...] = tuple(STORED)) -> None:
    """Prints images/s per core of the training pipeline, and of others on the same images.

    Args:
        images: How many different ones.
        rounds: Measurements of each, interleaved.
        kinds: Of `STORED`.
    """
    print(f"images/s per core; {rounds} interleaved rounds; median [min - max]")
    print("\n".join(_TRAIN[channels] for channels in sorted({_channels(kind) for kind in kinds})))
    with tempfile.TemporaryDirectory() as scratch:
        pictures.photographs(Path(scratch, "colour"), images)
        pictures.films(Path(scratch, "grey"), images)
        for kind in kinds:
            _read_one(kind, Path(scratch), rounds)


def _channels(kind: str) -> int:
    return 1 if kind.endswith("grey") else 3


def _read_one(kind: str, scratch: Path, rounds: int) -> None:
    from keras_transfer import data
    from keras_transfer.data import pipeline
    from tfrecords_builders import stages

    request = {"options": [], **STORED[kind]}
    request["options"] = [*request["options"], "val_fraction=0,test_fraction=0"]
    job = stages.make_job("image_folder", input_dir=str(scratch / kind.split()[-1]), **request)
    folder = stages.build(job, scratch / kind.replace(" ", "_"), stages.Settings()).folder
    examples = pipeline.Examples([data.Dataset(folder)], "train")
    files = []
    for number in range(len(examples)):
        files.append(folder / f"{number}.jpg")
        files[-1].write_bytes(examples.image(number))
    part, channels = pipeline.Slice(global_batch_size=_BATCH), _channels(kind)
    train = data.compose(_TRAIN[channels])
    batches = iter(pipeline.train_dataset(examples, train, part, seed=0))

    def ours() -> int:
        count = max(1, len(files) // _BATCH)
        for _ in range(count):
            next(batches)
        return count * _BATCH

    with multiprocessing.get_context("spawn").Pool(2) as workers:
        rates = timing.interleave(
            {
                "ours": lambda: timing.per_core(ours),
                "bare": lambda: timing.per_core(lambda: _bare(files, channels)),
                "bare rgb": lambda: timing.per_core(lambda: _bare(files, 3)),
                "pillow": lambda: _pillow(workers, files, channels),
            },
            rounds,
        )
    size = statistics.mean(file.stat().st_size for file in files) / 1024
    print(f"{kind}, {size:.0f} kB")
    print(f"  ours                  {timing.spread(rates['ours'])}")
    print(
        f"  bare loop             {timing.spread(rates['bare'])}  (read, decode and crop, resize)"
    )
    print(f"  bare, decoded to RGB  {timing.spread(rates['bare rgb'])}  (the same, if colour)")
    print(f"  Pillow, 2 processes   {timing.spread(rates['pillow'])}")
    print(f"  ours / bare           {timing.ratios(rates['ours'], rates['bare'])}")
    print(f"  ours / bare RGB       {timing.ratios(rates['ours'], rates['bare rgb'])}")
    print(f"  ours / Pillow         {timing.ratios(rates['ours'], rates['pillow'])}")


def _windows(sizes: list[tuple[int, int]], seed: int) -> list[tuple[int, int, int, int]]:
    """Draws a window (top, left, height, width) of 8 to 100 % of each image, as training does."""
    rng, windows = np.random.default_rng(seed), []
    for height, width in sizes:
        area, ratio = rng.uniform(0.08, 1) * height * width, np.exp(rng.uniform(-0.29, 0.29))
        h = int(np.clip(np.sqrt(area / ratio), 1, height))
        w = int(np.clip(np.sqrt(area * ratio), 1, width))
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        windows.append((int(top), int(left), h, w))
    return windows


def _bare(files: list[Path], channels: int) -> int:
    import tensorflow as tf

    encoded = [file.read_bytes() for file in files]
    sizes = [Image.open(io.BytesIO(data)).size[::-1] for data in encoded[:1]] * len(files)
    for data, window in zip(encoded, _windows(sizes, seed=1)):
        crop = tf.io.decode_and_crop_jpeg(data, tf.constant(window, tf.int32), channels=channels)
        image = tf.image.resize(crop, (_SIDE, _SIDE))
        if channels == 1:
            np.repeat(image.numpy(), 3, axis=-1)  # eager tf.repeat takes ten times as long
    return len(files)


def _pillow(workers: pool.Pool, files: list[Path], channels: int) -> float:
    """Images per CPU second of two processes that fill shared batches, as PyTorch's loaders do.

    The batches are what training takes, as ours: float32 in [-1, 1], three channels.
    """
    batches = [tuple(files[i : i + _BATCH]) for i in range(0, len(files), _BATCH)]
    memory = shared_memory.SharedMemory(create=True, size=_BATCH * _SIDE * _SIDE * 3 * 4 * 2)
    try:
        tasks = [(batch, memory.name, i % 2, channels) for i, batch in enumerate(batches)]
        return len(files) / sum(workers.starmap(_pillow_batch, tasks))
    finally:
        memory.close()
        memory.unlink()


def _pillow_batch(files: tuple[Path, ...], memory: str, half: int, channels: int) -> float:
    """Makes one batch; returns the CPU seconds it took."""
    start = time.process_time()
    shared = shared_memory.SharedMemory(memory)
    shape = (2, _BATCH, _SIDE, _SIDE, 3)
    batch = np.ndarray(shape, np.float32, shared.buf)[half]
    for number, file in enumerate(files):
        image: Image.Image = Image.open(file)
        ((top, left, height, width),) = _windows([image.size[::-1]], seed=number)
        image = image.convert("L" if channels == 1 else "RGB").crop(
            (left, top, left + width, top + height)
        )
        image = image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
        if number % 2:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.asarray(image, np.float32)
        pixels *= 2 / 255
        pixels -= 1
        if channels == 3:
            batch[number] = pixels
        else:  # plane by plane, the fastest: broadcasting takes six times as long
            for plane in range(3):
                batch[number, ..., plane] = pixels
    del batch
    shared.close()
    return time.process_time() - start
