"""Measures speed: of the training step, and of the input pipeline.

    python -m experiments.benchmark train_step --model=bit-r50x1 --batch=8 --size=128
    python -m experiments.benchmark input_pipeline

Machines are noisy, so variants run interleaved, one step each in turn in a process of their own,
and ratios are taken round by round.
"""

import math
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from absl import flags

from experiments import _main
from keras_transfer.core.errors import UserError

_MODEL = flags.DEFINE_string("model", "bit-r50x1", "Architecture.")
_BATCH = flags.DEFINE_integer("batch", 8, "Images per step.", 1)
_SIZE = flags.DEFINE_integer("size", 128, "Image side in pixels.", 32)
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Timed steps of each variant.", 7)
_COMPARE = flags.DEFINE_list("compare", ["stock"], "Variants beside ours: stock, timm.")
_IMAGES = flags.DEFINE_integer("images", 512, "Images of the input benchmark.", 64)

_CLASSES = 1000
_WARM_UP = 2


def _keras_step(model_name: str, batch: int, size: int, stock: bool) -> Callable[[], None]:
    """Returns one optimisation step with SGD and AGC, as training runs it."""
    import tensorflow as tf

    from experiments import stock_bit
    from keras_transfer import models, optim

    build = stock_bit.build if stock else models.build
    model = build(model_name, _CLASSES)
    optimizer = optim.AGC(optim.SGD(1e-3))
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)
    image = tf.constant(rng.uniform(-1, 1, (batch, size, size, 3)), tf.float32)
    label = tf.constant(rng.integers(0, _CLASSES, batch), tf.int32)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=label, logits=model(image, training=True)
            )
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables))

    return step


def _timm_step(model_name: str, batch: int, size: int) -> Callable[[], None]:
    """The same network in PyTorch, with SGD and timm's own AGC."""
    try:
        import timm
        import torch
        from timm.utils.agc import adaptive_clip_grad
    except ImportError:
        raise UserError("--compare=timm: pip install torch timm first.") from None
    torch.set_num_threads(os.cpu_count() or 1)
    name = f"resnetv2_{model_name.removeprefix('bit-r')}_bit"
    model = timm.create_model(name, num_classes=_CLASSES)
    parameters = [p for n, p in model.named_parameters() if not n.startswith("head.fc")]
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((batch, 3, size, size), generator=generator) * 2 - 1
    label = torch.randint(0, _CLASSES, (batch,), generator=generator)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(image), label).backward()
        adaptive_clip_grad(parameters, 0.01)
        optimizer.step()

    return step


_VARIANTS: dict[str, Callable[[str, int, int], Callable[[], None]]] = {
    "ours": lambda model, batch, size: _keras_step(model, batch, size, stock=False),
    "stock": lambda model, batch, size: _keras_step(model, batch, size, stock=True),
    "timm": _timm_step,
}


def _serve(channel: Connection, variant: str, model: str, batch: int, size: int) -> None:
    """A process that makes a step whenever it is asked to, and says how long it took."""
    try:
        step = _VARIANTS[variant](model, batch, size)
        for _ in range(_WARM_UP):
            step()
    except Exception as error:  # of any kind: the parent would wait for ever
        channel.send(UserError(f"The variant {variant!r} does not run here: {error}"))
        return
    channel.send("ready")
    while channel.recv() == "step":
        start = time.perf_counter()
        step()
        channel.send(time.perf_counter() - start)
    channel.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def train_step() -> None:
    """Prints seconds per step, images/s, spread, ratio and peak memory of each variant."""
    names = ["ours", *_COMPARE.value]
    unknown = [name for name in names if name not in _VARIANTS]
    if unknown:
        raise UserError(f"--compare={unknown[0]}: choose from stock, timm.")
    context = multiprocessing.get_context("spawn")
    channels: dict[str, Connection] = {}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # one after another: building contends for memory
        channels[name], there = context.Pipe()
        arguments = (there, name, _MODEL.value, _BATCH.value, _SIZE.value)
        context.Process(target=_serve, args=arguments, daemon=True).start()
        ready = channels[name].recv()
        if isinstance(ready, UserError):
            raise ready
    for _ in range(_ROUNDS.value):
        for name in names:
            channels[name].send("step")
            seconds[name].append(channels[name].recv())
    print(
        f"{_MODEL.value}, batch {_BATCH.value}, {_SIZE.value} px, {os.cpu_count()} CPU(s), "
        f"{_ROUNDS.value} interleaved rounds; median [min - max]"
    )
    print(f"{'variant':<8}{'s/step':>26}{'images/s':>11}{'ours/variant':>24}{'peak MB':>9}")
    for name in names:
        channels[name].send("stop")
        peak = channels[name].recv()
        times = seconds[name]
        ratios = [ours / other for ours, other in zip(seconds["ours"], times)]
        print(
            f"{name:<8}{_spread(times):>26}{_BATCH.value / statistics.median(times):>11.2f}"
            f"{_spread(ratios):>24}{peak:>9.0f}"
        )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} [{min(values):.3f} - {max(values):.3f}]"


def _photographs(folder: Path, count: int) -> list[Path]:
    """Writes colour JPEGs of 500 x 375 with the 1/f spectrum of photographs, in two classes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    height, width = 375, 500
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height)))
    frequency[0, 0] = 1
    paths = []
    for number in range(count):
        spectrum = rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(
            size=(3, *frequency.shape)
        )
        noise = np.fft.irfft2(spectrum / frequency, (height, width)).transpose(1, 2, 0)
        pixels = np.clip(128 + 55 * noise / noise.std(), 0, 255).astype(np.uint8)
        path = folder / ("ab"[number % 2]) / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=92)
        paths.append(path)
    return paths


def _per_core(work: Callable[[], int]) -> float:
    """Images per second of CPU time, over all threads.

    Waits for background threads before and after: what a prefetch buffer held at the start it holds
    again at the end, so the images taken are the images made.
    """
    before = _idle_cpu_seconds()
    images = work()
    return images / (_idle_cpu_seconds() - before)


def _idle_cpu_seconds() -> float:
    """CPU seconds used so far, once nothing uses more."""
    used, last = time.process_time(), -math.inf
    while used - last > 0.01:
        time.sleep(0.2)
        used, last = time.process_time(), used
    return used


def input_pipeline() -> None:
    """Prints images/s per core of the training pipeline, beside a bare decode-and-crop loop."""
    _main.training()  # starts TensorFlow quietly
    import tensorflow as tf

    from keras_transfer import data
    from keras_transfer.data import pipeline
    from tfrecords_builders import stages

    with tempfile.TemporaryDirectory() as scratch:
        files = _photographs(Path(scratch, "images"), _IMAGES.value)
        job = stages.make_job(
            "image_folder",
            input_dir=str(Path(scratch, "images")),
            options=["val_fraction=0,test_fraction=0"],
            encoding="original",
        )
        folder = stages.build(job, Path(scratch, "tfrecords"), stages.Settings()).folder
        examples = pipeline.Examples([data.Dataset(folder)], "train")
        text = "random_resized_crop(224)|random_flip|value_range(-1, 1)"
        part = pipeline.Slice(global_batch_size=64)
        batches = iter(pipeline.train_dataset(examples, data.compose(text), part, seed=0))
        encoded = [file.read_bytes() for file in files]

        def ours() -> int:
            for _ in range(_IMAGES.value // 64):
                next(batches)
            return _IMAGES.value // 64 * 64

        def bare() -> int:
            window = tf.constant([40, 60, 280, 300])
            for image in encoded:
                crop = tf.io.decode_and_crop_jpeg(image, window, channels=3)
                tf.image.resize(crop, (224, 224))
            return len(encoded)

        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        ours(), bare()
        for _ in range(_ROUNDS.value):
            rates["ours"].append(_per_core(ours))
            rates["bare"].append(_per_core(bare))
    size = statistics.mean(map(len, encoded)) / 1024
    print(f"{_IMAGES.value} JPEGs of 500 x 375, {size:.0f} kB; {text}; images/s per core")
    print(f"ours          {_spread(rates['ours'])}")
    print(f"bare loop     {_spread(rates['bare'])}  (decode and crop one window, resize)")
    print(f"ours / bare   {_spread([a / b for a, b in zip(rates['ours'], rates['bare'])])}")


_BENCHMARKS = {"train_step": train_step, "input_pipeline": input_pipeline}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _BENCHMARKS:
        known = " | ".join(_BENCHMARKS)
        print(f"error: usage: python -m experiments.benchmark {known} [--flags]", file=sys.stderr)
        sys.exit(_main.USER_ERROR_EXIT_CODE)
    _main.run(_BENCHMARKS[sys.argv.pop(1)])
