"""Adaptive gradient clipping as a wrapper around any optimiser."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_transfer.core.errors import UserError
from keras_transfer.optim.unitwise import clip_factor, unitwise_norm

# The classifier: a layer called "head", wherever it stands in the model.
HEAD = r"(^|/)head/"

# What Keras does in apply(), which is never called on the inner optimiser.
_WITHOUT_EFFECT = (
    "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "gradient_accumulation_steps"
)  # fmt: skip


@keras.saving.register_keras_serializable("keras_transfer")
class AGC(keras.optimizers.Optimizer):
    """Clips gradients unit by unit, then lets another optimiser use them.

    Keras clips before it sums gradients over replicas; AGC clips inside ``update_step``, where the
    summed gradient is. So it acts once per step on the gradient of the global batch, whatever the
    number of replicas, after the loss scale is divided out and before the inner optimiser's L2 and
    momentum. The loss must be divided by the global batch, for the sum to be the mean gradient.

    The inner optimiser gives the learning rate, ``iterations`` and decoupled weight decay; its
    variables are among ``variables``. So are the statistics, four numbers per variable.

    Example:
        >>> optimizer = AGC(SGD(0.01, nesterov=True), clipping=0.01)
        >>> optimizer.build(model.trainable_variables)
        >>> optimizer.apply(gradients)
        >>> optimizer.statistics()["clipped_share"]

    Reference: Brock et al. 2021, section 4.1.
    Differs from the authors' optim/sgd_agc.py: the head is excluded by its path, bias included,
    where they skip any kernel with as many outputs as there are classes and clip the head's bias.

    Args:
        inner: The optimiser that updates the variables. Wrap AGC in a loss-scaling optimiser, not
            the other way round.
        clipping: Largest ratio of gradient norm to parameter norm; None clips nothing, and AGC
            only measures.
        eps: Least parameter norm, in the units of the weights.
        exclude: Regular expressions searched in the paths of the variables; a variable with a
            match is not clipped. Each must match something, so that a head of another name is not
            clipped unnoticed; () clips every variable.
        skip_non_finite: Whether a step whose summed gradient is NaN or infinite anywhere changes
            nothing, on any replica; its statistics are NaN. It still counts among ``iterations``.
            All gradients are summed before the first variable is updated, then.
        name: Prefix of the paths of the statistics.
    """

    def __init__(
        self,
        inner: keras.optimizers.Optimizer,
        *,
        clipping: float | None = 0.01,
        eps: float = 1e-3,
        exclude: str | Sequence[str] = HEAD,
        skip_non_finite: bool = False,
        name: str = "agc",
    ):
        _check_inner(inner)
        if clipping is not None and not clipping > 0:
            raise UserError(f"AGC: clipping must be above 0, or None for no clipping: {clipping}.")
        if not eps > 0:
            raise UserError(f"AGC: eps must be above 0, got {eps}.")
        # A callable instead of a number: the wrapper makes no learning rate variable of its own.
        super().__init__(lambda: inner.learning_rate, name=name)
        self.inner = inner
        self.clipping = clipping
        self.eps = eps
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.skip_non_finite = skip_non_finite
        # The gradients that arrive are scaled by whoever scaled the loss: Keras divides in apply().
        self.loss_scale_factor = inner.loss_scale_factor

    def build(self, variables: list[keras.Variable]) -> None:
        """Builds the inner optimiser and decides which variables are clipped."""
        if self.built:
            return
        super().build(variables)
        self.inner.build(variables)
        # Per variable: the largest ratio, or None where nothing is clipped.
        self._ratios: list[float | None] = [None] * len(variables)
        if self.clipping is not None:
            excluded = _excluded([getattr(v, "path", v.name) for v in variables], self.exclude)
            self._ratios = [None if skip else self.clipping for skip in excluded]
        units = [v.shape[-1] if len(v.shape) > 1 else 1 for v in variables]
        self._num_units = sum(n for n, ratio in zip(units, self._ratios) if ratio is not None)
        # Per variable: sums of squares of gradient, weights and update, and clipped units.
        self._statistics = [
            self.add_variable((4,), dtype="float32", name=f"statistics_{i}")
            for i in range(len(variables))
        ]

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Clips the summed gradient of one variable and hands it to the inner optimiser."""
        index = self._get_variable_index(variable)
        before = tf.convert_to_tensor(variable)
        gradient = tf.cast(tf.convert_to_tensor(gradient), before.dtype)
        ratio = self._ratios[index]
        if ratio is None:
            squares = [_sum_of_squares(gradient), _sum_of_squares(before)]
            clipped = tf.zeros([], tf.float32)
        else:
            norm, parameter_norm = unitwise_norm(gradient), unitwise_norm(before)
            squares = [_sum_of_squares(norm), _sum_of_squares(parameter_norm)]
            factor = clip_factor(norm, parameter_norm, clipping=ratio, eps=self.eps)
            clipped = tf.reduce_sum(tf.cast(factor < 1, tf.float32))
            gradient *= factor
        self.inner.update_step(gradient, variable, learning_rate)
        squares.append(_sum_of_squares(tf.convert_to_tensor(variable) - before))
        self.assign(self._statistics[index], tf.stack([*squares, clipped]))

    def statistics(self) -> dict[str, tf.Tensor]:
        """Returns what the last step did; may be called wherever variables can be read.

        Returns:
            float32 scalars: ``grad_norm`` of the summed gradient before clipping; ``param_norm``
            before the step; ``update_norm``, of what the step added to the weights, decoupled
            weight decay left out; ``clipped_share``, clipped units among those that may be clipped.
        """
        if not self.built:
            raise UserError("AGC: build() comes before statistics().")
        rows = tf.stack([tf.convert_to_tensor(row) for row in self._statistics])
        gradient, parameter, update, clipped = tf.unstack(tf.reduce_sum(rows, axis=0))
        return {
            "grad_norm": tf.sqrt(gradient),
            "param_norm": tf.sqrt(parameter),
            "update_norm": tf.sqrt(update),
            "clipped_share": clipped / max(self._num_units, 1),
        }

    def apply(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Sums the gradients over replicas and updates the variables."""
        super().apply(grads, trainable_variables)
        # The base class counts its own iterations; Adam and schedules read the inner optimiser's.
        self.inner.iterations.assign_add(1)

    def _backend_update_step(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable],
        learning_rate: tf.Tensor,
    ) -> None:
        if not self.skip_non_finite:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        values = [getattr(variable, "value", variable) for variable in trainable_variables]
        pairs = self._all_reduce_sum_gradients(list(zip(grads, values, strict=True)))
        # The sum is the vote: what one replica cannot count is NaN or infinite in the sum of all,
        # which every replica has with the same bits.
        finite = tf.math.is_finite(tf.add_n([_sum_of_squares(g) for g, _ in pairs]))
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._update_or_skip, self._distribution_strategy, pairs, learning_rate, finite
        )

    def _update_or_skip(
        self,
        distribution: tf.distribute.Strategy,
        pairs: list[tuple[Any, Any]],
        learning_rate: tf.Tensor,
        finite: Any,
    ) -> None:
        def update() -> None:
            self._distributed_tf_update_step(distribution, pairs, learning_rate)

        def skip() -> None:
            unknown = tf.fill([4], float("nan"))
            row = self._statistics[0].value
            distribution.extended.update(row, lambda r: r.assign(unknown), group=False)

        tf.cond(distribution.experimental_local_results(finite)[0], update, skip)

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        self.inner._apply_weight_decay(variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything to checkpoint: own variables, then the inner optimiser's."""
        return super().variables + self.inner.variables

    @property
    def iterations(self) -> keras.Variable:
        """Steps done, as the inner optimiser counts them."""
        return self.inner.iterations

    @property
    def learning_rate(self) -> Any:
        """The inner optimiser's learning rate; the only one there is."""
        return self.inner.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner.learning_rate = value

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimiser."""
        return {
            "inner": keras.saving.serialize_keras_object(self.inner),
            "clipping": self.clipping,
            "eps": self.eps,
            "exclude": list(self.exclude),
            "skip_non_finite": self.skip_non_finite,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "AGC":
        """Makes an optimiser from ``get_config``."""
        inner = keras.saving.deserialize_keras_object(
            config["inner"], custom_objects=custom_objects
        )
        return cls(inner, **{k: v for k, v in config.items() if k != "inner"})


def _sum_of_squares(x: tf.Tensor) -> tf.Tensor:
    # l2_loss is one pass without a temporary; reduce_sum(square(x)) would write the squares.
    return 2.0 * tf.nn.l2_loss(tf.cast(x, tf.float32))


def _excluded(paths: list[str], patterns: tuple[str, ...]) -> list[bool]:
    """Returns which paths match a pattern; refuses a pattern without a match."""
    for pattern in patterns:
        if not any(re.search(pattern, path) for path in paths):
            raise UserError(
                f"AGC: exclude={pattern!r} matches none of the {len(paths)} variables ({paths[0]}, "
                f"..., {paths[-1]}): give a pattern of the head's path, or () to clip everything."
            )
    return [any(re.search(pattern, path) for pattern in patterns) for path in paths]


def _check_inner(inner: keras.optimizers.Optimizer) -> None:
    """Refuses an optimiser that would silently lose a part of what it does."""
    kind, base = type(inner), keras.optimizers.Optimizer
    if kind.apply is not base.apply:
        raise UserError(f"AGC cannot wrap {kind.__name__}: wrap AGC in it instead.")
    if kind._backend_update_step is not base._backend_update_step:
        raise UserError(f"AGC cannot wrap {kind.__name__}: it does more than update_step.")
    for name in _WITHOUT_EFFECT:
        if getattr(inner, name):
            raise UserError(
                f"AGC: {name} of {kind.__name__} has no effect inside AGC; leave it out."
            )
