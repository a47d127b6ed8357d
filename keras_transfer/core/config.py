"""The typed tree behind ``--config``: what a run is, in words and numbers a person can read.

Plain, mutable dataclasses because ``ml_collections.config_flags`` overrides their fields one by one
(frozen classes and ``Literal`` types break it, measured with 1.1.0); ``validate`` runs afterwards.
Names that other layers register (models, ops, schedules) are checked where the registries are.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from keras_transfer.core import duration
from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.labels import LABEL_JOINS

HYPERRULE = "hyperrule"
FULL = "full"

# Of a network, from the images to the features below the head.
PARTS = ("root", "stage1", "stage2", "stage3", "stage4")
PRECISIONS = ("float32", "mixed_bfloat16")


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """What is read and how it is presented to the network.

    Attributes:
        dirs: Dataset folders; several are concatenated, their labels aligned by name.
        weights: How often to draw from each folder, in any unit: ``(3, 1)`` takes three of four
            examples from the first. () takes every example once per epoch. With weights an epoch,
            as a unit of time, still is as many examples as all folders have together.
        views: Views to keep, such as ``("PA", "AP")``; () keeps all. ``name:VIEW`` concerns the
            dataset of that name only. Where views are chosen, images of unknown view are left out;
            a dataset that no entry concerns is kept whole.
        label_join: Labels of several folders: ``common`` takes the names that all of them have;
            ``all`` takes every name, unknown (masked) in images of folders that do not have it, and
            one output per class of multi-class folders, 0 for the other classes of their own. The
            loss is the mean over known labels: an image with more of them counts more.
        train_split: Split to train on.
        val_fraction: Share of the training split, whole patients, that is the validation split
            instead: for data that have none. The same examples for all seeds and shots.
        oversample: Whether every class is drawn equally often, with replacement; for multi-class
            data in full shot, as few-shot selections are balanced.
        val_split: Split evaluated during and after training, of those folders that have it; ""
            for none.
        test_split: Split evaluated once, at the end; "" for none.
        train: Augmentation string of training, or "hyperrule" for the resolution that the
            BiT-HyperRule gives for the size of the first image. In a string, ``as_weights`` stands
            for the normalisation that the weights were trained with.
        eval: Augmentation string of evaluation, or "hyperrule".
        uncertain: Label of findings that are uncertain: ``nan`` (unknown), ``zero`` or ``one``.
        not_mentioned: Likewise of findings that a report does not mention.
        mixup: Alpha of mixup; 0 is off, None is what the BiT-HyperRule gives for the data size.
    """

    dirs: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    views: tuple[str, ...] = ()
    label_join: str = "common"
    train_split: str = "train"
    val_fraction: float = 0.0
    oversample: bool = False
    val_split: str = "val"
    test_split: str = ""
    train: str = HYPERRULE
    eval: str = HYPERRULE
    uncertain: str = "nan"
    not_mentioned: str = "nan"
    mixup: float | None = None

    @property
    def policies(self) -> dict[str, str]:
        """What becomes of labels that nobody knows: arguments of `data.dataset.Dataset`."""
        return {"uncertain": self.uncertain, "not_mentioned": self.not_mentioned}


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    """The network.

    Attributes:
        name: Registered architecture, such as ``bit-r50x1``.
        init: Where weights come from: a finished run or converted weights (a directory), or a BiT
            ``.npz``; "" is scratch.
        head_init: ``"zeros"`` (BiT) or ``"uniform"`` (the authors' code).
        freeze_until: Last part that stays as it was initialised, with all before it: ``root``,
            ``stage1`` to ``stage4``; after ``stage4`` only the head is trained. "" trains all.
    """

    name: str = "bit-r50x1"
    init: str = ""
    head_init: str = "zeros"
    freeze_until: str = ""


@dataclass(slots=True, kw_only=True)
class OptimConfig:
    """SGD with adaptive gradient clipping.

    Attributes:
        base_lr: Learning rate at ``base_batch_size`` examples per step.
        base_batch_size: The peak is ``base_lr * global_batch_size / base_batch_size``; 0 switches
            the linear scaling rule off, as in the BiT-HyperRule.
        momentum: Momentum, with the learning rate outside the buffer.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: Coupled L2, added to the clipped gradient.
        decay_mask: ``"kernels"`` or ``"all"`` variables (the authors' code).
        clipping: AGC's largest ratio of gradient to parameter norm; 0 switches AGC off.
        non_finite: What a loss or gradient that is NaN or infinite does, on whichever worker it
            appears: ``stop`` ends the run on all of them, ``skip`` leaves the step out on all of
            them (and ends the run after 10 in a row).
    """

    base_lr: float = 0.001
    base_batch_size: int = 0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_mask: str = "kernels"
    clipping: float = 0.01
    non_finite: str = "stop"


@dataclass(slots=True, kw_only=True)
class ScheduleConfig:
    """How long to train and how the learning rate moves.

    Attributes:
        name: Registered schedule, ``bit``, ``step``, ``cosine`` or ``constant``, with options in
            parentheses: ``step(milestones=(0.5, 0.75))``.
        duration: Length of the run, such as "90 epochs", "500 steps" or "hyperrule".
        warmup: Linear warm-up of the schedules that leave it open, such as "5000 steps".
        warmup_start: Share of the peak rate that the warm-up starts from.
    """

    name: str = "bit"
    duration: str = HYPERRULE
    warmup: str = "0 steps"
    warmup_start: float = 0.0


@dataclass(slots=True, kw_only=True)
class TrainConfig:
    """The loop and what happens around it.

    Attributes:
        global_batch_size: Examples per optimisation step, over all replicas.
        accumulation: Micro-batches that each replica adds up before one update.
        eval_batch_size: Examples per evaluation step, over all replicas; changes no number.
        select: Weights that are tested and kept: those of the ``last`` step, or of the ``best``
            evaluation on the validation split (``eval_every``).
        log_every: Interval of metrics.jsonl and TensorBoard.
        eval_every: Interval of evaluation on the validation split; "0 steps": at the end only.
        checkpoint_every: Interval of checkpoints.
        keep: Newest checkpoints to keep.
        keep_every: Interval of checkpoints that are kept for good; "0 steps" for none.
    """

    global_batch_size: int = 128
    accumulation: int = 1
    eval_batch_size: int = 128
    select: str = "last"
    log_every: str = "50 steps"
    eval_every: str = "0 steps"
    checkpoint_every: str = "1000 steps"
    keep: int = 2
    keep_every: str = "0 steps"


@dataclass(slots=True, kw_only=True)
class RuntimeConfig:
    """Where and how fast it runs; changes results only by rounding, so no part of the digest.

    Attributes:
        precision: ``float32`` or ``mixed_bfloat16``.
        xla: Compile forward and backward pass with XLA (slower on CPU, measured).
        recompute: Keep only the inputs of the network's units for the backward pass and compute
            the rest again: a third of the memory of activations, about a third more time.
        replicas: Local devices to use; 0 is all GPUs, or one CPU device.
        steps_per_call: Most optimisation steps run between two looks of the actions.
        deterministic: Same bits in every run on the same machine; may be slower on GPU.
        read_threads: Parallel reads of records.
        collective: How gradients travel between workers: ``nccl``, ``ring`` (gRPC), or ``auto``,
            NCCL where there are GPUs.
        pack_mib: Gradients are sent in packs of about so many MiB while the backward pass goes on;
            0 sends all at its end; None takes 32 for NCCL and 4 for the ring, where workers wait
            for each other's large packs (measured: README, Scaling).
    """

    precision: str = "float32"
    xla: bool = False
    recompute: bool = False
    replicas: int = 0
    steps_per_call: int = 50
    deterministic: bool = False
    read_threads: int = 8
    collective: str = "auto"
    pack_mib: int | None = None


@dataclass(slots=True, kw_only=True)
class RunConfig:
    """Everything that defines a run.

    Attributes:
        name: The name that results carry for the data; "" takes the dataset's own.
        metric: The metric that tables show and ``train.select`` compares; "" is accuracy, or
            mean_auc where labels are several.
        seed: Initialisation, order, augmentation and few-shot selection derive from it.
        data: What is read.
        model: The network.
        optim: The optimiser.
        schedule: Length and learning rate.
        train: The loop.
        runtime: Devices and precision.
    """

    name: str = ""
    metric: str = ""
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def validate(self) -> None:
        """Checks every field that can be checked without data or devices.

        Raises:
            UserError: Naming the first wrong field and what it may be.
        """
        # A command line gives a tuple as one text: --config.data.dirs=a,b
        self.data.dirs = _words(self.data.dirs)
        self.data.views = _words(self.data.views)
        if not self.data.dirs:
            raise UserError("data.dirs is empty: name a dataset folder, --config.data.dirs=DIR.")
        _check_weights(self.data)
        _one_of("data.label_join", self.data.label_join, LABEL_JOINS)
        for name in ("global_batch_size", "accumulation", "eval_batch_size", "keep"):
            _positive(f"train.{name}", getattr(self.train, name))
        _positive("runtime.steps_per_call", self.runtime.steps_per_call)
        _positive("runtime.read_threads", self.runtime.read_threads)
        _one_of("runtime.precision", self.runtime.precision, PRECISIONS)
        for name in ("uncertain", "not_mentioned"):
            _one_of(f"data.{name}", getattr(self.data, name), ("nan", "zero", "one"))
        _one_of("runtime.collective", self.runtime.collective, ("auto", "nccl", "ring"))
        if self.runtime.pack_mib is not None and self.runtime.pack_mib < 0:
            raise UserError("runtime.pack_mib must not be negative.")
        _one_of("model.head_init", self.model.head_init, ("zeros", "uniform"))
        _one_of("model.freeze_until", self.model.freeze_until, ("", *PARTS))
        _one_of("train.select", self.train.select, ("last", "best"))
        if not 0 <= self.data.val_fraction < 1:
            raise UserError(f"data.val_fraction must be in [0, 1), got {self.data.val_fraction}.")
        if self.data.oversample and self.data.weights:
            raise UserError("data.oversample and data.weights exclude each other.")
        _one_of("optim.non_finite", self.optim.non_finite, ("stop", "skip"))
        _one_of("optim.decay_mask", self.optim.decay_mask, ("kernels", "all"))
        for name in ("base_lr", "momentum", "weight_decay", "clipping", "base_batch_size"):
            if not getattr(self.optim, name) >= 0:
                raise UserError(f"optim.{name} must not be negative.")
        if self.data.mixup is not None and not self.data.mixup >= 0:
            raise UserError("data.mixup must not be negative; 0 is off.")
        durations = {
            "schedule.warmup": self.schedule.warmup,
            **{f"train.{n}": getattr(self.train, n) for n in INTERVALS},
        }
        if self.schedule.duration != HYPERRULE:
            durations["schedule.duration"] = self.schedule.duration
        for name, text in durations.items():
            try:
                duration.to_steps(text, global_batch_size=1, num_examples=1, total_steps=1)
            except UserError as error:
                raise UserError(f"{name}: {error}") from None


INTERVALS = ("log_every", "eval_every", "checkpoint_every", "keep_every")


@dataclass(slots=True, kw_only=True)
class PretrainConfig(RunConfig):
    """A pre-training run: leaves ``weights.npz`` and ``weights.json`` in its directory."""


@dataclass(slots=True, kw_only=True)
class TransferConfig(RunConfig):
    """A transfer run: one target, one number of shots, one seed.

    Attributes:
        shots: Training examples per class, as text, or "full".
    """

    shots: str = FULL

    @property
    def num_shots(self) -> int | None:
        """Training examples per class; None for the whole training split."""
        return None if self.shots == FULL else int(self.shots)

    def validate(self) -> None:
        """See RunConfig.validate."""
        # slots=True replaces the class, which breaks the zero-argument form of super().
        RunConfig.validate(self)
        if self.shots != FULL and not (self.shots.isdigit() and int(self.shots) > 0):
            raise UserError(f"shots must be a positive number or {FULL!r}, got {self.shots!r}.")


def _words(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.strip() for text in texts for word in text.split(",") if word.strip())


def _check_weights(data: DataConfig) -> None:
    """Raises a UserError unless there is no weight, or a positive one per folder."""
    try:
        data.weights = tuple(float(weight) for weight in data.weights)
    except ValueError:
        raise UserError(f"data.weights must be numbers, got {data.weights}.") from None
    if data.weights and len(data.weights) != len(data.dirs):
        raise UserError(
            f"data.weights has {len(data.weights)} numbers for {len(data.dirs)} folders of "
            "data.dirs: give one per folder, or none."
        )
    if not all(math.isfinite(weight) and weight > 0 for weight in data.weights):
        raise UserError(f"data.weights must be positive, got {data.weights}.")


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{name} must be at least 1, got {value}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{name}: unknown value {value!r}.{did_you_mean(value, known)}")


PRETRAIN, TRANSFER = "pretrain", "transfer"
_KINDS: dict[str, type[RunConfig]] = {PRETRAIN: PretrainConfig, TRANSFER: TransferConfig}


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Returns the config as nested plain values, with its kind."""
    kind = next(name for name, cls in _KINDS.items() if type(config) is cls)
    return {"kind": kind, **dataclasses.asdict(config)}


def from_dict(values: dict[str, Any]) -> RunConfig:
    """Rebuilds a config from ``to_dict``; an unknown field is an error that names it."""
    values = dict(values)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise UserError(f"Unknown kind of config {kind!r}.{did_you_mean(str(kind), _KINDS)}")
    return _build(_KINDS[kind], values, "")


def _build(cls: type, values: dict[str, Any], prefix: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    arguments = {}
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"Unknown config field {prefix + name!r}.{did_you_mean(name, fields)}")
        kind = fields[name].type
        if dataclasses.is_dataclass(kind):
            value = _build(kind, value, f"{prefix}{name}.")  # type: ignore[arg-type]
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return cls(**arguments)


def digest(config: RunConfig) -> str:
    """Returns 12 hexadecimal digits that identify the science of a run: all but ``runtime``."""
    values = to_dict(config)
    del values["runtime"]
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
