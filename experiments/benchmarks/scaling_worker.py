"""A worker that `experiments.benchmarks.scaling` starts: trains some steps whenever it is asked to.

    python -m experiments.launch_local --workers=2 -- \
        python -m experiments.benchmarks.scaling_worker --crew=NAME --socket=PATH

It asks the parent what to train, by lines of JSON over a socket, and between two turns waits for
the next line, which costs no CPU. When the socket closes it ends: no parent, no worker.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np
from absl import flags, logging

from experiments import _main
from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainConfig,
)

_CREW = flags.DEFINE_string("crew", None, "Which of the parent's crews this worker belongs to.")
_SOCKET = flags.DEFINE_string("socket", None, "Where the parent listens.")

SYNTHETIC, REAL = "synthetic", "real"
_CLASSES = 1000  # of ImageNet-1k; the labels of the records are among them
_LEAD_IN = 2  # steps before each measurement: what had been prefetched meanwhile is used up


@dataclasses.dataclass(frozen=True)
class Task:
    """What all crews train.

    Attributes:
        model: Architecture.
        batch: Images per step and worker.
        size: Their side in pixels.
        steps: Optimisation steps of a measurement.
        pack_mib: ``runtime.pack_mib``.
        data: Folder of the records.
    """

    model: str
    batch: int
    size: int
    steps: int
    pack_mib: int | None
    data: str

    def config(self, workers: int) -> PretrainConfig:
        """Returns the run: the recipe of the paper for ImageNet, its rate held at 0.

        With a rate of 0 weights stay as they are, and each step is the same work.
        """
        crop = f"random_resized_crop({self.size})|random_flip|value_range(-1, 1)"
        return PretrainConfig(
            data=DataConfig(
                dirs=(self.data,),
                val_split="",
                train=crop,
                eval=f"decode|resize({self.size})|value_range(-1, 1)",
                mixup=0.0,
            ),
            model=ModelConfig(name=self.model, head_init="uniform"),
            optim=OptimConfig(nesterov=True, weight_decay=1e-4),
            schedule=ScheduleConfig(name="constant", duration="1 steps"),
            train=TrainConfig(global_batch_size=self.batch * workers),
            runtime=RuntimeConfig(steps_per_call=self.steps, pack_mib=self.pack_mib),
        )


class _Trainer:
    """The real path of training: cluster, setup, engine, and its batches of two kinds."""

    def __init__(self, task: Task):
        _main.training()
        from keras_transfer.training import cluster, setup, step

        config = task.config(1)
        team = cluster.start(config.runtime)
        config = task.config(team.size)
        ready = setup.prepare(config)
        shape = dataclasses.replace(ready.shape, num_classes=_CLASSES)
        self._engine = step.Engine(shape, config.runtime)
        self._engine.reset(config.seed, config.model.head_init)
        part = self._engine.slice(config.train.global_batch_size, training=True)
        self._iterators: dict[str, Iterator] = {
            SYNTHETIC: self._engine.iterate(lambda: _one_batch(part.batch_size, task.size)),
            REAL: self._engine.iterate(lambda: ready.train_batches(part)),
        }

    def measure(self, kind: str, steps: int) -> dict[str, float]:
        """Trains; returns when it began and ended (system-wide clock), and CPU seconds."""
        self._engine.train(self._iterators[kind], np.zeros(min(steps, _LEAD_IN)))
        start, cpu = time.monotonic(), time.process_time()
        self._engine.train(self._iterators[kind], np.zeros(steps))
        end = time.monotonic()
        return {"start": start, "end": end, "cpu": time.process_time() - cpu}


def _one_batch(batch: int, size: int) -> Any:
    """Returns a dataset of one batch for ever, which stays in memory."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    one = {
        "image": rng.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32),
        "label": rng.integers(0, _CLASSES, batch, dtype=np.int32),
        "weight": np.ones(batch, np.float32),
    }
    return tf.data.Dataset.from_tensors(one).repeat()


def serve(channel: TextIO, crew: str, rank: int) -> None:
    """Answers the parent until it closes the channel; then ends the process."""
    _send(channel, {"crew": crew, "rank": rank})
    first = channel.readline()
    if not first:
        return
    task = Task(**json.loads(first))
    trainer = _Trainer(task)
    # A parent that is gone is no error of the worker's: it goes, too.
    with contextlib.suppress(ConnectionError):
        for kind in (SYNTHETIC, REAL):
            trainer.measure(kind, task.steps)  # traces, and meets every buffer once
        _send(channel, {"ready": True})
        while line := channel.readline():
            _send(channel, trainer.measure(json.loads(line)["input"], task.steps))
    # While the trainer is there: deleting an iterator waits for the thread that tunes its buffers,
    # which often oversleeps the call to end, by up to a minute (TensorFlow 2.21).
    os._exit(0)


def _send(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def main() -> None:
    """Runs the worker."""
    logging.set_verbosity(logging.WARNING)
    with contextlib.suppress(ConnectionError), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(_main.require(_SOCKET)))
        with sock.makefile("rw") as channel:
            serve(channel, str(_main.require(_CREW)), int(os.environ["RANK"]))


if __name__ == "__main__":
    _main.run(main)
