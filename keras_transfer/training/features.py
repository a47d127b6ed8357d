"""Features of whole splits by a frozen network: computed once, stored beside what they are of.

A split's features are ``<folder>/<split>.<fingerprint>.npy``, float32[n, F] in the order of its
examples. The fingerprint is of all that decides them: the weights' bytes, the evaluation string,
the dataset's content, which examples, and the precision. A file of another fingerprint is never
read, and a file appears under its name only when it is whole. So features are used again, or
computed again; never stale.
"""

import collections
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_transfer import models
from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data import pipeline
from keras_transfer.training import bars, cluster
from keras_transfer.training.saving import on_chief
from keras_transfer.training.setup import Setup
from keras_transfer.training.step import Engine, EngineCache

_VERSION = 1  # to be raised when the same weights and images give other features


class Features:
    """The stored features of a run's splits.

    Args:
        setup: Network, data and evaluation string.
        folder: Where the files are.
        engines: Keeps the network.
    """

    def __init__(self, setup: Setup, folder: Path, engines: EngineCache):
        self._setup, self._folder, self._engines = setup, folder, engines
        self.fingerprints = {
            split: _fingerprint(setup, split, _weights_digest(setup.init_file, setup.config.seed))
            for split in splits_of(setup)
        }

    def path(self, split: str) -> Path:
        """Where the features of a split are."""
        return self._folder / f"{split}.{self.fingerprints[split]}.npy"

    @property
    def missing(self) -> list[str]:
        """The splits whose features are not there."""
        return [split for split in self.fingerprints if not self.path(split).is_file()]

    @property
    def total(self) -> Callable[[int], int]:
        """See `Engine.total`; a single worker needs no network for it."""
        return self.engine.total if cluster.team().size > 1 else lambda value: value

    @functools.cached_property
    def engine(self) -> Engine:
        """The network with its weights, built when first asked for."""
        setup = self._setup
        engine = self._engines.get(setup.shape, setup.config.runtime)
        engine.reset(setup.config.seed, setup.config.model.head_init)
        if setup.init_file is not None:
            models.load_npz(engine.model, setup.init_file, head="skip")
        return engine

    def compute(self) -> list[str]:
        """Computes what is missing; all workers must call.

        Returns:
            The splits computed.

        Raises:
            UserError: On all workers, if the chief cannot write; if an image cannot be decoded; if
                features are not finite.
        """
        # What one worker misses, all compute: a shared folder is not seen by all at one time.
        absent = self.missing
        wanted = [s for s in self.fingerprints if self.total(int(s in absent))]
        for split in wanted:
            try:
                self._compute(split)
            except tf.errors.InvalidArgumentError:
                cause = self._setup.examples[split].explain_undecodable()
                if cause:
                    raise cause from None
                raise
        return wanted

    def _compute(self, split: str) -> None:
        examples = self._setup.examples[split]
        batches = self.batches(split)
        if not cluster.team().is_chief:
            collections.deque(batches, maxlen=0)
        on_chief(lambda: self._store(split, batches, len(examples)), self.total)

    def _store(self, split: str, batches: Iterator[np.ndarray], count: int) -> None:
        path = self.path(split)
        try:
            _write(path, batches, count, f"features of {self._setup.target}, {split}")
        except UserError:
            collections.deque(batches, maxlen=0)  # the others would wait for this worker's share
            raise
        for old in path.parent.glob(f"{split}.*.npy"):
            if old != path:
                old.unlink()

    def batches(self, split: str) -> Iterator[np.ndarray]:
        """Computes the features of a split, batch by batch: see `Engine.outputs`."""
        engine, setup, examples = self.engine, self._setup, self._setup.examples[split]
        part = engine.slice(setup.config.train.eval_batch_size, training=False)
        threads = setup.config.runtime.read_threads
        return engine.outputs(
            engine.features,
            lambda: pipeline.eval_dataset(
                examples, setup.eval_pipeline, part, read_threads=threads
            ),
            len(examples),
        )

    def open(self, split: str) -> np.ndarray:
        """Maps the features of a split into memory: float32[n, F].

        Raises:
            CorruptFileError: If the file is not what this class has written.
        """
        path = self.path(split)
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CorruptFileError(
                f"{path}: not a whole file of features: {error}. Delete it."
            ) from None
        if values.ndim != 2 or len(values) != len(self._setup.examples[split]):
            raise CorruptFileError(f"{path}: features of other examples. Delete it.")
        return values


def splits_of(setup: Setup) -> list[str]:
    """Returns the splits of a run, the training split first, none twice."""
    data = setup.config.data
    return [s for s in dict.fromkeys((data.train_split, data.val_split, data.test_split)) if s]


def _fingerprint(setup: Setup, split: str, weights: str) -> str:
    config = setup.config
    facts = {
        "version": _VERSION,
        "weights": weights,
        "network": config.model.name,
        "eval": setup.eval_pipeline.text,
        "data": sorted(setup.fingerprints.values()),
        "split": split,
        "examples": setup.examples[split].example_ids().tolist(),
        "precision": config.runtime.precision,
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=8).hexdigest()


def _weights_digest(file: Path | None, seed: int) -> str:
    if file is None:
        return f"{runs.SCRATCH}, seed {seed}"
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()


def _write(path: Path, batches: Iterator[np.ndarray], count: int, title: str) -> None:
    """Writes one batch after the other: a full disk would kill a process that wrote to a map."""
    with bars.bar(title, count, "image") as bar, runs.atomic_write(path, "wb") as stream:
        for number, values in enumerate(batches):
            if not np.isfinite(values).all():
                raise UserError(f"{title}: NaN or infinite. Are the weights whole?")
            if number == 0:
                shape = count, values.shape[1]
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(values.astype("<f4").tobytes())
            bar.update(len(values))
