"""Everything a run needs before it may start, checked: data, strings, schedule, weights, names.

All that can be wrong with a run and be known without a training step is found here.
"""

import copy
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from keras_transfer import models
from keras_transfer.core import duration
from keras_transfer.core.config import (
    HYPERRULE,
    INTERVALS,
    DataConfig,
    RunConfig,
    TransferConfig,
)
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL, LabelSpace, union
from keras_transfer.core.runs import SCRATCH
from keras_transfer.core.sampling import few_shot, grouped_split
from keras_transfer.data import augment
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.pipeline import Examples, Slice, train_dataset
from keras_transfer.evaluation import metrics
from keras_transfer.optim import hyperrule, schedules
from keras_transfer.training import weights
from keras_transfer.training.step import Shape

# The metric that tables show, unless a config names another.
PRIMARY_METRIC = {MULTICLASS: "accuracy", MULTILABEL: "mean_auc"}

_AS_WEIGHTS = "as_weights"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A run that is ready to start.

    Attributes:
        config: The resolved config: durations in steps, strings written out.
        labels: What the outputs of the head mean.
        examples: Split name -> examples; the training split after few-shot selection.
        train_pipeline: Augmentation of training.
        eval_pipeline: Augmentation of evaluation.
        total_steps: Optimisation steps of the run.
        learning_rate: int64[n] steps -> float64[n] rates.
        init_file: Weights to start from, or None.
        source: Name of the pre-training data in results, or ``scratch``.
        target: Name of the data that is evaluated in results.
        fingerprints: Dataset folder -> fingerprint of its content.
    """

    config: RunConfig
    labels: LabelSpace
    examples: dict[str, Examples]
    train_pipeline: augment.Pipeline
    eval_pipeline: augment.Pipeline
    total_steps: int
    learning_rate: Callable[[np.ndarray], np.ndarray]
    init_file: Path | None
    source: str
    target: str
    fingerprints: dict[str, str]

    @property
    def train(self) -> Examples:
        """The training examples."""
        return self.examples[self.config.data.train_split]

    @property
    def shape(self) -> Shape:
        """What the compiled step depends on."""
        return Shape.of(self.config, self.labels)

    @property
    def lineage(self) -> str:
        """What the finished weights were trained on: ``source``, or ``source>target``."""
        is_transfer = isinstance(self.config, TransferConfig)
        return f"{self.source}>{self.target}" if is_transfer else self.source

    @property
    def title(self) -> str:
        """The run in a few words, for progress bars."""
        if not isinstance(self.config, TransferConfig):
            return f"pre-train {self.arch} on {self.source}"
        shots = self.config.shots if self.config.num_shots is None else f"{self.config.shots}-shot"
        return f"{self.source} > {self.target}, {shots}, seed {self.config.seed}"

    @property
    def arch(self) -> str:
        """Architecture as results name it, such as ``r50x1``."""
        return self.config.model.name.removeprefix("bit-")

    @property
    def _is_few_shot(self) -> bool:
        return isinstance(self.config, TransferConfig) and self.config.num_shots is not None

    def train_batches(self, part: Slice, start_step: int = 0) -> tf.data.Dataset:
        """Returns the batches of the run from a step on; see `pipeline.train_dataset`."""
        return train_dataset(
            self.train,
            self.train_pipeline,
            part,
            seed=self.config.seed,
            start_step=start_step,
            mixup=self.config.data.mixup or 0.0,
            weights=self.config.data.weights,
            oversample=self.config.data.oversample and not self._is_few_shot,
            read_threads=self.config.runtime.read_threads,
        )

    def interval(self, name: str) -> int:
        """Returns an interval of ``config.train`` in steps."""
        return _steps(
            f"train.{name}",
            getattr(self.config.train, name),
            self.config,
            self.train,
            self.total_steps,
        )


def prepare(config: RunConfig) -> Setup:
    """Checks a config against data, registries and weights, and resolves what it leaves open.

    Raises:
        UserError: Naming the first thing that is wrong and what to do.
    """
    config = copy.deepcopy(config)
    config.validate()
    models.check_name(config.model.name)
    init_file, card = weights.find(config.model.init, config.model.name)
    data = config.data
    datasets = [Dataset(folder, **data.policies) for folder in data.dirs]
    labels = union([dataset.labels for dataset in datasets], data.label_join)
    if data.val_fraction and not data.val_split:
        data.val_split = "val"
    config.metric = _metric(config, labels)
    splits = [s for s in (data.train_split, data.val_split, data.test_split) if s]
    examples = open_splits(data, datasets, splits, labels)
    train = examples[data.train_split]
    target = config.name or "+".join(dataset.name for dataset in datasets)
    if isinstance(config, TransferConfig) and config.num_shots is not None:
        chosen = few_shot(train.label, config.num_shots, config.seed, train.labels.names)
        train = examples[data.train_split] = train.subset(chosen)
    train_pipeline, eval_pipeline = _pipelines(config, train, card)
    total_steps, learning_rate = _schedule(config, train)
    setup = Setup(
        config=config,
        labels=train.labels,
        examples=examples,
        train_pipeline=train_pipeline,
        eval_pipeline=eval_pipeline,
        total_steps=total_steps,
        learning_rate=learning_rate,
        init_file=init_file,
        source=_source(config, card, target),
        target=target,
        fingerprints={str(dataset.path): dataset.fingerprint for dataset in datasets},
    )
    for name in INTERVALS:
        setup.interval(name)  # raises now, not in the middle of the run
    return setup


def _metric(config: RunConfig, labels: LabelSpace) -> str:
    """Returns the name of the metric that counts, checked with what it is needed for."""
    name = config.metric or PRIMARY_METRIC[labels.task]
    try:
        metric = metrics.find(name)
    except UserError as error:
        raise UserError(f"metric: {error}") from None
    if labels.task not in metric.tasks or "/" in name:
        raise UserError(f"metric: {name} is not one number for {labels.task} labels.")
    if config.train.select == "best":
        if not config.data.val_split:
            raise UserError(
                "train.select=best chooses on a validation split: give data.val_split, or "
                "data.val_fraction=0.1 to take a part of the training split for it."
            )
        if config.train.eval_every.startswith("0 "):
            raise UserError("train.select=best needs evaluations: give train.eval_every.")
    return name


def open_splits(
    data: DataConfig, datasets: list[Dataset], splits: Sequence[str], labels: LabelSpace
) -> dict[str, Examples]:
    """Opens splits as the config wants them; see `open_split`.

    With ``val_fraction``, training and validation are the two parts of the training split.
    """
    parted: dict[str, Examples] = {}
    if data.val_fraction and not {data.train_split, data.val_split}.isdisjoint(splits):
        if any(data.val_split in dataset.splits for dataset in datasets):
            raise UserError(
                f"data.val_fraction: the data have a split {data.val_split!r}. Use it, without "
                "data.val_fraction, or give data.val_split another name."
            )
        parted = _part(open_split(data, datasets, data.train_split, labels), data)
    return {s: parted.get(s) or open_split(data, datasets, s, labels) for s in splits}


def _part(whole: Examples, data: DataConfig) -> dict[str, Examples]:
    """Takes validation out of the training split."""
    shares = {data.train_split: 1 - data.val_fraction, data.val_split: data.val_fraction}
    # One seed for all runs: what one seed is chosen on must not train another.
    part_of = grouped_split(whole.patients().tolist(), shares, seed=0)
    parts = {split: whole.subset(np.flatnonzero(part_of == split)) for split in shares}
    for split, part in parts.items():
        if not len(part):
            raise UserError(
                f"data.val_fraction={data.val_fraction:g} leaves no example of {len(whole)} in the "
                f"split {split!r}."
            )
    return parts


def open_split(
    data: DataConfig, datasets: list[Dataset], split: str, labels: LabelSpace
) -> Examples:
    """Returns the examples of a split as the config wants them: views kept, labels joined.

    Training reads every dataset; validation and test those that have the split.
    """
    having = [d for d in datasets if split in d.splits and d.splits[split].num_examples]
    if split == data.train_split or not having:
        having = datasets  # complains if one lacks it
    for dataset in datasets:
        if dataset not in having:
            logging.info("%s has no split %s: it is evaluated without.", dataset.path, split)
    return Examples(having, split, labels, data.views)


def _source(config: RunConfig, card: weights.WeightsCard | None, target: str) -> str:
    """The data that pre-trained the weights; a pre-training run is its own source."""
    if isinstance(config, TransferConfig):
        return card.source if card else SCRATCH
    return target


def _pipelines(
    config: RunConfig, train: Examples, card: weights.WeightsCard | None
) -> tuple[augment.Pipeline, augment.Pipeline]:
    """Compiles both strings, and writes what the HyperRule chose back into the config."""
    data = config.data
    normalisation = card.normalisation if card else weights.BIT_NORMALISATION
    if HYPERRULE in (data.train, data.eval):
        resize, crop = hyperrule.resolution(*_image_size(train))
        if data.train == HYPERRULE:
            data.train = f"decode|resize({resize})|random_crop({crop})|random_flip|{normalisation}"
        if data.eval == HYPERRULE:
            data.eval = f"decode|resize({crop})|{normalisation}"
    data.train, data.eval = (
        "|".join(normalisation if op.strip() == _AS_WEIGHTS else op for op in text.split("|"))
        for text in (data.train, data.eval)
    )
    pipelines = augment.compose(data.train), augment.compose(data.eval)
    for name, pipeline in zip(("data.train", "data.eval"), pipelines):
        if pipeline.output_size is None:
            raise UserError(f"{name}: {pipeline.text!r} gives images of no fixed size: crop them.")
        if card and pipeline.normalisation != card.normalisation:
            raise UserError(
                f"{name} ends with {pipeline.normalisation!r}, but the weights of "
                f"{config.model.init} were trained with {card.normalisation!r}: use theirs."
            )
    if pipelines[1].is_random:
        raise UserError(f"data.eval must not be random: {data.eval!r}.")
    return pipelines


def _image_size(examples: Examples) -> tuple[int, int]:
    """Height and width of the first image, from its header."""
    try:
        width, height = Image.open(io.BytesIO(examples.image(0))).size
    except OSError as error:
        name = str(examples.example_ids()[0])
        raise CorruptFileError(f"The image of example {name!r} is unreadable: {error}.") from None
    return height, width


def _schedule(config: RunConfig, train: Examples) -> tuple[int, Callable[[np.ndarray], np.ndarray]]:
    """Returns the length of the run and its learning rates; fills in mixup of the HyperRule."""
    count, batch, plan = len(train), config.train.global_batch_size, config.schedule
    if config.data.mixup is None:
        config.data.mixup = hyperrule.mixup_alpha(count)
    if plan.duration == HYPERRULE:
        plan.duration = f"{hyperrule.total_steps(count)} steps"
    total = _steps("schedule.duration", plan.duration, config, train)
    if total < 1:
        raise UserError(f"schedule.duration: {plan.duration!r} is no step at all.")
    optim = config.optim
    peak = schedules.scale_linearly(optim.base_lr, batch, optim.base_batch_size)
    return total, schedules.make_schedule(
        plan.name,
        peak_lr=peak,
        total_steps=total,
        warmup_steps=_steps("schedule.warmup", plan.warmup, config, train, total),
        warmup_start=plan.warmup_start,
        num_examples=count,
    )


def _steps(
    name: str, text: str, config: RunConfig, train: Examples, total_steps: int | None = None
) -> int:
    try:
        return duration.to_steps(
            text,
            global_batch_size=config.train.global_batch_size,
            num_examples=len(train),
            total_steps=total_steps,
        )
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
