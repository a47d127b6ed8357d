"""The optimisation step: ours beside the same network of stock layers, and beside timm."""

import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import numpy as np

from experiments.benchmarks import timing
from keras_transfer.core.errors import UserError

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


def train_step(model: str, batch: int, size: int, rounds: int, compare: Sequence[str]) -> None:
    """Prints seconds per step, images/s, spread, ratio and peak memory of each variant.

    Args:
        model: Architecture.
        batch: Images per step.
        size: Their side in pixels.
        rounds: Timed steps of each variant.
        compare: Variants beside ours: ``stock``, ``timm``.
    """
    names = ["ours", *compare]
    unknown = [name for name in names if name not in _VARIANTS]
    if unknown:
        raise UserError(f"--compare={unknown[0]}: choose from stock, timm.")
    context = multiprocessing.get_context("spawn")
    channels: dict[str, Connection] = {}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # one after another: building contends for memory
        channels[name], there = context.Pipe()
        arguments = (there, name, model, batch, size)
        context.Process(target=_serve, args=arguments, daemon=True).start()
        ready = channels[name].recv()
        if isinstance(ready, UserError):
            raise ready
    for _ in range(rounds):
        for name in names:
            channels[name].send("step")
            seconds[name].append(channels[name].recv())
    print(
        f"{model}, batch {batch}, {size} px, {os.cpu_count()} CPU(s), "
        f"{rounds} interleaved rounds; median [min - max]"
    )
    print(f"{'variant':<8}{'s/step':>26}{'images/s':>11}{'ours/variant':>24}{'peak MB':>9}")
    for name in names:
        channels[name].send("stop")
        peak = channels[name].recv()
        times = seconds[name]
        print(
            f"{name:<8}{timing.spread(times):>26}{batch / statistics.median(times):>11.2f}"
            f"{timing.ratios(seconds['ours'], times):>24}{peak:>9.0f}"
        )
