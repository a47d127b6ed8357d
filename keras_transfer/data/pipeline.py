"""From dataset folders to batches: a pure function of (seed, step), for any number of workers.

Every record is one random read away (``records.RecordReader``), so the order needs no shuffle
buffer, no iterator state and no file sharding. Position p of a run is example ``order(p)`` with
augmentation seed ``example_seed(seed, p)``; global batch s is the positions
``[s * B, (s + 1) * B)``. A worker reads its slice of each batch: any number of workers, replicas
and micro-batches sees the same global batches, the ids of an epoch are a partition over workers,
and a run resumed at step s starts there at once.

Differs from a shuffle buffer: the permutation of each epoch is uniform over the whole data set; the
price is one read per record instead of a stream, which ``read_threads`` keeps in flight.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import LabelSpace, union
from keras_transfer.core.machine import cores
from keras_transfer.core.sampling import BalancedOrder, EpochOrder, MixtureOrder
from keras_transfer.core.seeds import derive
from keras_transfer.data import augment, augment_ops, views
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.joined_labels import JoinedLabels

_IMAGE = {"image": tf.io.FixedLenFeature([], tf.string)}
_FOREVER = np.iinfo(np.int64).max
_BATCHES_AHEAD = 2


class Examples:
    """The examples of one split of one or several datasets, addressed by one running number.

    Args:
        datasets: Opened folders; their labels are aligned by name.
        split: Name of the split, the same in all.
        labels: The labels wanted; by default what the datasets share (``labels.union``).
        keep_views: Views to keep, see `views.select`; () keeps all.

    Attributes:
        name: Names of the datasets, joined by "+".
        labels: What the labels mean.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        split: str,
        labels: LabelSpace | None = None,
        keep_views: Sequence[str] = (),
    ):
        self.labels = labels or union([dataset.labels for dataset in datasets])
        self.name = "+".join(dataset.name for dataset in datasets)
        self._datasets, self._split = tuple(datasets), split
        self._readers = [dataset.reader(split) for dataset in datasets]
        self._first = np.cumsum([0, *map(len, self._readers)])  # [datasets + 1]
        self._joined = JoinedLabels(
            [d.label_array(split) for d in datasets], [d.labels for d in datasets], self.labels
        )
        self._selection = views.select(datasets, split, keep_views)
        self._recent: deque[int] = deque(maxlen=4096)

    def __len__(self) -> int:
        return len(self._joined) if self._selection is None else len(self._selection)

    def _numbers(self, indices: np.ndarray) -> np.ndarray:
        """Returns which examples of the whole datasets the indices mean."""
        return indices if self._selection is None else self._selection[indices]

    def label_at(self, indices: np.ndarray) -> np.ndarray:
        """Returns the labels at some indices: int32[m], or float32[m, C] with NaN = unknown."""
        return self._joined.at(self._numbers(indices))

    @property
    def label(self) -> np.ndarray:
        """The labels of all examples, as `label_at`; joined classes make this large."""
        return self.label_at(np.arange(len(self)))

    @property
    def source(self) -> np.ndarray:
        """int64[n]: which of the datasets an example is of."""
        return self._joined.source(self._numbers(np.arange(len(self))))

    def positives(self) -> np.ndarray:
        """Returns int64[C]: how many examples are of each class, or have each finding."""
        return self._joined.positives(self._numbers(np.arange(len(self))))

    def subset(self, indices: np.ndarray) -> "Examples":
        """Returns the examples at some indices, in that order; files stay shared."""
        chosen = object.__new__(Examples)
        chosen.__dict__.update(self.__dict__)
        chosen._selection = self._numbers(indices)
        return chosen

    def patients(self) -> np.ndarray:
        """Returns str[n]: patient ids, with the dataset's number in front; "" where unknown."""
        found = []
        for number, dataset in enumerate(self._datasets):
            ids = dataset.index(self._split, ["patient_id"])["patient_id"].to_numpy(dtype=str)
            found.append(np.where(ids == "", "", np.char.add(f"{number}:", ids)))
        joined = np.concatenate(found)
        return joined if self._selection is None else joined[self._selection]

    def example_ids(self) -> np.ndarray:
        """Returns str[n]: ids; those of several datasets carry the dataset's name in front."""
        ids = [
            np.char.add(f"{d.name}:" if len(self._datasets) > 1 else "", d.example_ids(self._split))
            for d in self._datasets
        ]
        joined = np.concatenate(ids)
        return joined if self._selection is None else joined[self._selection]

    def read(self, indices: np.ndarray) -> list[bytes]:
        """Reads the serialised records at some indices."""
        self._recent.extend(indices.tolist())
        numbers = self._numbers(indices)
        source = np.searchsorted(self._first, numbers, side="right") - 1
        return [
            self._readers[s].read([number - self._first[s]])[0]
            for s, number in zip(source, numbers)
        ]

    def image(self, index: int) -> bytes:
        """Reads the encoded image of one example."""
        return tf.io.parse_single_example(self.read(np.array([index]))[0], _IMAGE)["image"].numpy()

    def explain_undecodable(self) -> UserError | None:
        """Finds the image among the last reads that cannot be decoded, after a failed step."""
        for index in list(self._recent):
            try:
                augment_ops.decode(self.image(index))
            except tf.errors.InvalidArgumentError:
                name = str(self.example_ids()[index])
                folders = ", ".join(str(dataset.path) for dataset in self._datasets)
                return CorruptFileError(
                    f"{folders}, split {self._split!r}: the image of example {name!r} cannot be "
                    "decoded. Build the dataset again with --on_error=quarantine."
                )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which part of every global batch a worker makes, and in what pieces.

    Attributes:
        global_batch_size: Examples per step over all workers.
        worker: Index of this worker.
        num_workers: Number of workers.
        pieces: Batches per step on this worker: replicas times micro-batches.
    """

    global_batch_size: int
    worker: int = 0
    num_workers: int = 1
    pieces: int = 1

    def __post_init__(self) -> None:
        if self.global_batch_size % (self.num_workers * self.pieces):
            raise UserError(
                f"A global batch of {self.global_batch_size} cannot be cut evenly into "
                f"{self.num_workers} workers x {self.pieces} replicas and micro-batches."
            )

    @property
    def batch_size(self) -> int:
        """Examples per piece: one replica's micro-batch."""
        return self.global_batch_size // (self.num_workers * self.pieces)

    def first_position(self, number: int) -> int:
        """Returns the position of the first example of this worker's batch ``number``."""
        step, piece = divmod(number, self.pieces)
        return step * self.global_batch_size + (self.worker * self.pieces + piece) * self.batch_size


def train_dataset(
    examples: Examples,
    pipeline: augment.Pipeline,
    part: Slice,
    *,
    seed: int,
    start_step: int = 0,
    mixup: float = 0.0,
    weights: Sequence[float] = (),
    oversample: bool = False,
    read_threads: int = 8,
) -> tf.data.Dataset:
    """Endless training batches of one worker, from a step on.

    Args:
        examples: What to train on; if fewer than a batch, epochs follow each other inside it.
        pipeline: Augmentation of each example.
        part: This worker's share of each global batch.
        seed: The run's seed; order, augmentation and mixup derive from it.
        start_step: First step to deliver.
        mixup: Alpha of mixup; 0 is off.
        weights: How often to draw from each dataset; () takes every example once per epoch.
        oversample: Whether to draw every class equally often, with replacement.
        read_threads: Parallel reads, each of one batch.

    Returns:
        Batches ``image`` float32[B, H, W, 3], ``label`` int32[B] or float32[B, C], ``weight``
        float32[B] or float32[B, C] (0 = unknown label).
    """
    order = _order(examples, seed, weights, oversample)
    if mixup and part.batch_size % 2:
        raise UserError(
            f"mixup pairs neighbours: the batch of a replica must be even, got {part.batch_size}."
        )

    def pick(number: int) -> tuple[np.ndarray, np.ndarray]:
        first = part.first_position(number)
        positions = np.arange(first, first + part.batch_size)
        return order.indices(first, part.batch_size), positions

    numbers = tf.data.Dataset.range(start_step * part.pieces, _FOREVER)
    ds = _decoded(numbers, examples, pick, pipeline, derive(seed, "augment"), read_threads)
    ds = ds.batch(part.batch_size, drop_remainder=True)
    if mixup:
        mixup_seed = derive(seed, "mixup")
        counted = tf.data.Dataset.zip((numbers, ds))

        def mix(number: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            # One coefficient per global batch: all workers and micro-batches draw the same.
            step_seed = augment_ops.example_seed(mixup_seed, number // part.pieces)
            return augment.mixup(batch, mixup, step_seed, num_classes=examples.labels.num_classes)

        ds = counted.map(mix, num_parallel_calls=cores())
    return _finish(ds.map(_drop_bookkeeping))


def _order(
    examples: Examples, seed: int, weights: Sequence[float], oversample: bool
) -> EpochOrder | MixtureOrder | BalancedOrder:
    if oversample:
        if examples.labels.is_multilabel:
            raise UserError(
                "data.oversample: examples with several labels have no class to draw by; leave it "
                "off."
            )
        return BalancedOrder(examples.label, seed)
    if weights:
        return MixtureOrder(examples.source, weights, seed)
    return EpochOrder(len(examples), seed)


def eval_dataset(
    examples: Examples,
    pipeline: augment.Pipeline,
    part: Slice,
    *,
    read_threads: int = 8,
) -> tf.data.Dataset:
    """Batches that hold every example exactly once; the last ones are padded with weight 0.

    All workers get the same number of batches, so each of them enters every collective.

    Returns:
        Batches as ``train_dataset``, with ``index`` int64[B]: the example's number, -1 for padding.
    """
    if pipeline.is_random:
        raise UserError(f"The evaluation string must not be random: {pipeline.text!r}.")
    count = len(examples)
    steps = -(-count // part.global_batch_size)

    def pick(number: int) -> tuple[np.ndarray, np.ndarray]:
        positions = part.first_position(number) + np.arange(part.batch_size)
        # A padded place repeats the last image: any image serves, and it is at hand.
        return np.minimum(positions, count - 1), np.where(positions < count, positions, -1)

    numbers = tf.data.Dataset.range(steps * part.pieces)
    ds = _decoded(numbers, examples, pick, pipeline, 0, read_threads)
    ds = ds.batch(part.batch_size, drop_remainder=True)

    def weigh(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        index = batch.pop("position")
        real = tf.cast(index >= 0, tf.float32)  # [B]
        real = real[:, None] if examples.labels.is_multilabel else real
        return batch | {"index": index, "weight": batch["weight"] * real}

    return _finish(ds.map(weigh))


def _decoded(
    numbers: tf.data.Dataset,
    examples: Examples,
    pick: Callable[[int], tuple[np.ndarray, np.ndarray]],
    pipeline: augment.Pipeline,
    seed: int,
    read_threads: int,
) -> tf.data.Dataset:
    """Turns batch numbers into single examples: image, label, weight and position."""
    multilabel = examples.labels.is_multilabel
    label_type = tf.float32 if multilabel else tf.int32

    def read(number: np.int64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        indices, positions = pick(int(number))
        payloads = np.array(examples.read(indices), dtype=object)
        return payloads, examples.label_at(indices), positions

    def read_in_graph(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        payload, label, position = tf.numpy_function(
            read, [number], (tf.string, label_type, tf.int64), stateful=False
        )
        payload.set_shape([None])
        label.set_shape([None, examples.labels.num_classes] if multilabel else [None])
        position.set_shape([None])
        # All protos of a batch at once: one by one costs more than the parsing itself.
        return tf.io.parse_example(payload, _IMAGE)["image"], label, position

    def decode(image: tf.Tensor, label: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        features = pipeline({"image": image}, augment_ops.example_seed(seed, position))
        known = tf.math.is_finite(label) if multilabel else tf.ones([], tf.bool)
        return features | {
            "label": label,
            "weight": tf.cast(known, tf.float32),
            "position": position,
        }

    ds = numbers.map(read_in_graph, num_parallel_calls=read_threads, deterministic=True)
    return ds.unbatch().map(decode, num_parallel_calls=cores(), deterministic=True)


def _drop_bookkeeping(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {key: batch[key] for key in ("image", "label", "weight")}


def _finish(ds: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    # Images are decoded in parallel; splitting single ops further only costs.
    options.threading.max_intra_op_parallelism = 1
    # The autotuner's thread sleeps ever longer, up to a minute, and the deletion of an iterator may
    # wait for it to wake: a sweep would pay that after each run. All cores decode without it, too.
    options.autotune.enabled = False
    return ds.with_options(options).prefetch(_BATCHES_AHEAD)
