"""The inner loop: windows of optimisation steps and prediction, compiled once per shape."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transfer import models, optim
from keras_transfer.core.config import RunConfig, RuntimeConfig
from keras_transfer.core.labels import MULTILABEL, LabelSpace
from keras_transfer.data.pipeline import Slice
from keras_transfer.optim import losses
from keras_transfer.training import cluster

# What one optimisation step reports, in the order of the columns of a window's result.
# The last two find who spoiled a step: the number of replicas whose own loss or gradients are NaN
# or infinite, and the sum of their workers' ranks.
COLUMNS = (
    "loss",
    "accuracy",
    "grad_norm",
    "param_norm",
    "update_norm",
    "clipped_share",
    "bad_replicas",
    "bad_ranks",
)

Batch = dict[str, tf.Tensor]
# A batch -> index int64[B] (negative: padding) and outputs float32[B, F], of all replicas.
Forward = Callable[[Batch], tuple[tf.Tensor, tf.Tensor]]


@dataclass(frozen=True)
class Shape:
    """What a compiled step depends on: runs with equal shapes share one engine.

    Attributes:
        arch: Registered model name.
        freeze_until: Last part of the network that is not trained.
        task: ``multiclass`` or ``multilabel``.
        num_classes: Outputs of the head.
        global_batch_size: Examples per step.
        accumulation: Micro-batches per replica and step.
        optim: Optimiser settings, without the learning rate.
        runtime: Precision, XLA, recomputation and devices.
    """

    arch: str
    freeze_until: str
    task: str
    num_classes: int
    global_batch_size: int
    accumulation: int
    optim: tuple
    runtime: tuple

    @classmethod
    def of(cls, config: RunConfig, labels: LabelSpace) -> "Shape":
        """Collects the shape of a run."""
        o, r = config.optim, config.runtime
        return cls(
            arch=config.model.name,
            freeze_until=config.model.freeze_until,
            task=labels.task,
            num_classes=labels.num_classes,
            global_batch_size=config.train.global_batch_size,
            accumulation=config.train.accumulation,
            optim=(o.momentum, o.nesterov, o.weight_decay, o.decay_mask, o.clipping, o.non_finite),
            runtime=(r.precision, r.xla, r.recompute, r.replicas, r.deterministic),
        )


class Engine:
    """Model, optimiser and the compiled functions over them, for runs of one shape.

    The learning rates of a window are an argument of the compiled function, and weights are
    assigned in place: another run, schedule or data set of the same shape traces nothing again.

    Attributes:
        model: The network.
        optimizer: ``AGC`` around ``SGD``.
        strategy: Where it runs.
    """

    def __init__(self, shape: Shape, runtime: RuntimeConfig):
        cluster.configure(runtime)
        self.shape = shape
        self.strategy = cluster.strategy(runtime)
        self._loss = losses.for_task(shape.task)
        self._longest = runtime.steps_per_call
        momentum, nesterov, weight_decay, decay_mask, clipping, non_finite = shape.optim
        with self.strategy.scope():
            self.model = models.build(shape.arch, shape.num_classes, recompute=runtime.recompute)
            models.freeze(self.model, shape.freeze_until)
            self.optimizer = optim.AGC(
                optim.SGD(
                    0.0,
                    momentum=momentum,
                    nesterov=nesterov,
                    weight_decay=weight_decay,
                    decay_mask=decay_mask,
                ),
                clipping=clipping or None,
                skip_non_finite=non_finite == "skip",
            )
            self.optimizer.build(self.model.trainable_variables)
        # Only the loop over steps is AutoGraph's; what it calls is graph code as it stands.
        self._replica_step = tf.autograph.experimental.do_not_convert(self._one_step)
        self._gradients: Callable = self._micro_gradients
        if runtime.xla:
            self._gradients = tf.function(self._micro_gradients, jit_compile=True, autograph=False)
        self._window = tf.function(self._window_in_graph, reduce_retracing=True)
        self._total = tf.function(self._total_in_graph, autograph=False)
        self._predict = self.forward(self.model)

    def slice(self, global_batch_size: int, *, training: bool) -> Slice:
        """Returns this worker's share of a global batch."""
        team = cluster.team()
        replicas = self.strategy.num_replicas_in_sync // team.size
        return Slice(
            global_batch_size=global_batch_size,
            worker=team.rank,
            num_workers=team.size,
            pieces=replicas * (self.shape.accumulation if training else 1),
        )

    def total(self, value: int) -> int:
        """Returns the sum over all workers of a number that each has; all of them must call."""
        if cluster.team().size == 1:
            return value
        replicas = self.strategy.num_replicas_in_sync // cluster.team().size
        return int(self._total(tf.constant(value, tf.int64))) // replicas

    def reset(self, seed: int, head_init: str) -> None:
        """Gives model and optimiser the state of a fresh run, in place."""
        models.reinitialize(self.model, seed, head_init=head_init)
        for variable in self.optimizer.variables:
            variable.assign(tf.zeros_like(variable))

    def variables(self) -> dict[str, Any]:
        """Returns everything a checkpoint holds: name -> variable of model and optimiser."""
        named = [(f"model/{v.path}", v) for v in self.model.variables]
        named += [(f"optimizer/{v.path}", v) for v in self.optimizer.variables]
        found = dict(named)
        if len(found) != len(named):
            raise RuntimeError("Two variables share a path: a checkpoint would lose one of them.")
        return found

    def iterate(self, make: Callable[[], tf.data.Dataset]) -> Iterator:
        """Returns an iterator that hands each replica its next batch."""
        return iter(self._distributed(make))

    def _distributed(self, make: Callable[[], tf.data.Dataset]) -> tf.data.Dataset:
        """Hands each replica its batches; one CPU takes them as they come."""
        devices = self.strategy.extended.worker_devices
        if len(devices) == 1 and cluster.team().size == 1 and "CPU" in devices[0]:
            # The distributed iterator only adds seconds of waiting when it is deleted (measured).
            return make()
        return self.strategy.distribute_datasets_from_function(lambda _: make())

    def train(self, iterator: Iterator, learning_rates: np.ndarray) -> dict[str, np.ndarray]:
        """Runs one window: as many optimisation steps as there are learning rates.

        Args:
            iterator: From ``iterate``.
            learning_rates: float[n], one per step.

        Returns:
            ``COLUMNS`` name -> float32[n].
        """
        # One length for all windows: another would be traced again.
        steps = len(learning_rates)
        rates = np.zeros(max(steps, self._longest), np.float32)
        rates[:steps] = learning_rates
        rows = self._window(iterator, tf.constant(rates), tf.constant(steps)).numpy()
        return dict(zip(COLUMNS, rows.T))

    def _window_in_graph(
        self, iterator: Iterator, learning_rates: tf.Tensor, steps: tf.Tensor
    ) -> tf.Tensor:
        rows = tf.TensorArray(tf.float32, size=steps, element_shape=[len(COLUMNS)])
        for step in tf.range(steps):
            self.optimizer.learning_rate.assign(learning_rates[step])
            batches = [next(iterator) for _ in range(self.shape.accumulation)]
            sums = self.strategy.run(self._replica_step, args=(batches,))
            sums = self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
            loss, accuracy, bad_replicas, bad_ranks = tf.unstack(sums)
            norms = self.optimizer.statistics()
            row = {"loss": loss, "accuracy": accuracy, **norms}
            row |= {"bad_replicas": bad_replicas, "bad_ranks": bad_ranks}
            rows = rows.write(step, tf.stack([row[name] for name in COLUMNS]))
        return rows.stack()

    def _one_step(self, batches: list[Batch]) -> tf.Tensor:
        """One step of one replica: its share of [loss, accuracy, bad_replicas, bad_ranks]."""
        known = tf.add_n([tf.reduce_sum(batch["weight"]) for batch in batches])
        if self.shape.task == MULTILABEL:
            # The mean is over the known labels of the global batch, which no replica sees alone.
            context = tf.distribute.get_replica_context()
            total = tf.maximum(context.all_reduce(tf.distribute.ReduceOp.SUM, known), 1.0)
        else:
            total = tf.constant(float(self.shape.global_batch_size))
        if len(batches) == 1:
            gradients, sums = self._gradients(batches[0], total)
        else:
            gradients, sums = self._summed_gradients(batches, total)
        bad = _is_bad(sums[0], gradients)
        if self.optimizer.skip_non_finite:
            # The optimiser sees gradients only: 0 times what is not finite is NaN.
            gradients = [gradients[0] + 0.0 * sums[0], *gradients[1:]]
        # Keras adds the replicas' gradients up; each is already divided by the global count.
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return tf.concat([sums, tf.stack([bad, bad * cluster.team().rank])], axis=0)

    def _summed_gradients(
        self, batches: list[Batch], total: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Adds up the gradients of micro-batches, one after the other.

        A loop in the graph, for the executor would start all of an unrolled one at once and hold
        the activations of all of them.
        """
        stacked = {name: tf.stack([batch[name] for batch in batches]) for name in batches[0]}

        def add(number: tf.Tensor, gradients: list[tf.Tensor], sums: tf.Tensor) -> tuple:
            batch = {name: values[number] for name, values in stacked.items()}
            more, more_sums = self._gradients(batch, total)
            added = [a + b for a, b in zip(gradients, more, strict=True)]
            return number + 1, added, sums + more_sums

        zeros = [tf.zeros(variable.shape) for variable in self.model.trainable_variables]
        _, gradients, sums = tf.while_loop(
            lambda number, *_: number < len(batches),
            add,
            (tf.constant(0), zeros, tf.zeros([2])),
            parallel_iterations=1,
        )
        return gradients, sums

    def _micro_gradients(self, batch: Batch, total: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = self.model(batch["image"], training=True)
            loss_sum, _ = self._loss(batch["label"], logits, batch["weight"])
            loss = loss_sum / total
        gradients = tape.gradient(loss, self.model.trainable_variables)
        return gradients, tf.stack([loss, _agreement(batch, logits) / total])

    def forward(self, network: keras.Model) -> Forward:
        """Compiles the evaluation of a network that shares this engine's weights, for `outputs`."""

        @functools.partial(tf.function, reduce_retracing=True, autograph=False)
        def forward(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
            values = self.strategy.run(
                lambda b: tf.cast(network(b["image"], training=False), tf.float32), args=(batch,)
            )
            gather = self.strategy.gather
            return gather(batch["index"], axis=0), gather(values, axis=0)

        return forward

    @functools.cached_property
    def features(self) -> Forward:
        """`forward` of the features before the head: compiled once for all data."""
        return self.forward(models.feature_extractor(self.model))

    def outputs(
        self, forward: Forward, make: Callable[[], tf.data.Dataset], count: int
    ) -> Iterator[np.ndarray]:
        """Yields what a network gives for all examples, each exactly once, in their order.

        Args:
            forward: From `forward`.
            make: Builds ``pipeline.eval_dataset`` over the examples.
            count: How many they are.

        Yields:
            float32[b, F] of the next b examples.
        """
        done = 0
        for batch in self._distributed(make):
            index, values = (t.numpy() for t in forward(batch))
            order = np.argsort(index)
            order = order[index[order] >= 0]
            if not np.array_equal(index[order], np.arange(done, done + len(order))):
                raise RuntimeError(f"Examples from {done} on did not come exactly once, in order.")
            done += len(order)
            yield values[order]
        if done != count:
            raise RuntimeError(f"{done} of {count} examples came.")

    def predict(self, make: Callable[[], tf.data.Dataset], count: int) -> np.ndarray:
        """Computes the logits of all examples, float32[count, C], as `outputs` gives them."""
        logits = np.empty((count, self.shape.num_classes), np.float32)
        done = 0
        for values in self.outputs(self._predict, make, count):
            logits[done : done + len(values)] = values
            done += len(values)
        return logits

    def _total_in_graph(self, value: tf.Tensor) -> tf.Tensor:
        each = self.strategy.run(lambda: value)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, each, axis=None)


def _is_bad(loss: tf.Tensor, gradients: list[tf.Tensor]) -> tf.Tensor:
    """Returns 1.0 if a loss or a gradient is NaN or infinite, else 0.0."""
    # One pass per gradient, without a temporary; overflows only where squares do in AGC, too.
    squares = tf.add_n([tf.nn.l2_loss(tf.cast(g, tf.float32)) for g in gradients])
    return tf.cast(~tf.math.is_finite(squares + loss), tf.float32)


def _agreement(batch: Batch, logits: tf.Tensor) -> tf.Tensor:
    """Sums the weights of right answers: top-1, or each known label at probability 0.5."""
    label = batch["label"]
    if label.shape.rank == 2 and batch["weight"].shape.rank == 2:
        right = (logits > 0) == (label > 0.5)  # [B, C]
    else:
        truth = label if label.shape.rank == 1 else tf.argmax(label, axis=-1, output_type=tf.int32)
        right = tf.argmax(logits, axis=-1, output_type=tf.int32) == truth  # [B]
    return tf.reduce_sum(tf.where(right, batch["weight"], 0.0))


class EngineCache:
    """Keeps the engine of the last shape, so that runs of one shape are traced once."""

    def __init__(self) -> None:
        self._engine: Engine | None = None

    def get(self, shape: Shape, runtime: RuntimeConfig) -> Engine:
        """Returns an engine for a shape; the one before is let go if its shape differs."""
        if self._engine is None or self._engine.shape != shape:
            self._engine = None
            keras.backend.clear_session()
            self._engine = Engine(shape, runtime)
        return self._engine
