"""The memory of a run, estimated before anything of it is built."""

import dataclasses
import os
from collections.abc import Iterator

import tensorflow as tf

from keras_transfer import models
from keras_transfer.core.config import RunConfig

_GIB = 1024**3
_FLOAT32 = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes that a training step holds on one replica.

    Attributes:
        items: What for -> bytes.
        batch: Images of a micro-batch.
        settings: What the estimate is for, in words.
    """

    items: dict[str, int]
    batch: int
    settings: str

    @property
    def total(self) -> int:
        """All items at once; not all of them are at their largest at the same time."""
        return sum(self.items.values())

    def lines(self) -> Iterator[str]:
        """Yields a line per item, and the sum."""
        yield f"memory per replica, estimated for {self.settings}:"
        for name, size in {**self.items, "together": self.total}.items():
            yield f"  {name:<45}{size / _GIB:>8.2f} GiB"


def estimate(
    config: RunConfig, num_classes: int, size: tuple[int, int], replicas: int = 1
) -> Estimate:
    """Estimates the memory of a step from the structure of the network; see `models.footprint`.

    Args:
        config: Network, batch, accumulation, optimiser and precision are looked at.
        num_classes: Outputs of the head.
        size: Height and width of the images.
        replicas: Replicas of all workers, which share the batch.
    """
    runtime, pieces = config.runtime, replicas * config.train.accumulation
    batch = -(-config.train.global_batch_size // pieces)
    cost = models.footprint(
        config.model.name,
        num_classes,
        size,
        precision=runtime.precision,
        recompute=runtime.recompute,
        freeze_until=config.model.freeze_until,
    )
    trained = cost.trained * _FLOAT32
    items = {"weights": cost.parameters * _FLOAT32}
    if config.optim.momentum:
        items["momentum"] = trained
    items["gradients"] = trained
    if config.train.accumulation > 1:
        items["gradients of the next micro-batch"] = trained
    if replicas > 1:
        items["buffers to sum gradients over replicas"] = trained
    items |= {
        "standardised kernels": cost.kernels,
        "activations kept for the backward pass": cost.activations * batch,
        "largest part at work": cost.workspace * batch,
        "images": config.train.accumulation * batch * size[0] * size[1] * 3 * _FLOAT32,
    }
    recomputed = ", recomputed" if runtime.recompute else ""
    shape = f"{batch} images of {size[0]} x {size[1]} pixels"
    return Estimate(items, batch, f"{shape}, {runtime.precision}{recomputed}")


def capacity(strategy: tf.distribute.Strategy) -> int | None:
    """Returns the bytes of memory that each replica has; None where nobody says.

    That of the GPU as TensorFlow may use it, or an equal share of the main memory.
    """
    device = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0])
    if device.device_type == "GPU":
        # The only place where TensorFlow tells; `get_device_details` does not.
        from tensorflow.python.client import device_lib

        limits = {d.name: d.memory_limit for d in device_lib.list_local_devices()}
        return limits.get(f"/device:GPU:{device.device_index}")
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
    return installed // len(strategy.extended.worker_devices)


def advice(
    config: RunConfig, num_classes: int, size: tuple[int, int], replicas: int, available: int
) -> str | None:
    """Returns what to change for a step to fit, in one line; None if it fits as it is.

    Recomputation comes first, then micro-batches of half the size, again and again.
    """
    needed = estimate(config, num_classes, size, replicas).total
    if needed <= available:
        return None
    problem = (
        f"does not fit: about {needed / _GIB:.1f} GiB of {available / _GIB:.1f} GiB per replica"
    )
    train = config.train
    smallest = train.global_batch_size // replicas
    accumulation = train.accumulation
    while accumulation <= smallest:
        runtime = dataclasses.replace(config.runtime, recompute=True)
        split = dataclasses.replace(train, accumulation=accumulation)
        changed = dataclasses.replace(config, runtime=runtime, train=split)
        less = estimate(changed, num_classes, size, replicas).total
        if less <= available and train.global_batch_size % (replicas * accumulation) == 0:
            flags = [] if config.runtime.recompute else ["--config.runtime.recompute=True"]
            if accumulation > train.accumulation:
                flags.append(f"--config.train.accumulation={accumulation}")
            return f"{problem}; {' '.join(flags)} would take {less / _GIB:.1f} GiB"
        accumulation *= 2
    return f"{problem}, and no smaller micro-batch would: take more workers, or a smaller network"
