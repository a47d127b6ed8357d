"""A finished run as files that others can use, each compared with the run before it is theirs."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_transfer import models
from keras_transfer.core import runs
from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.data import augment, augment_ops
from keras_transfer.data.dataset import Dataset
from keras_transfer.data.pipeline import Examples
from keras_transfer.models import arrays, resnetv2
from keras_transfer.training import card_facts, card_text, serving, weights
from keras_transfer.training.setup import open_splits

TOLERANCE = 1e-4
NUM_IMAGES = 20
FAILED = ".failed"
CARD_FILE, TEXT_FILE = "card.json", "MODEL_CARD.md"

_STAGING = ".unverified"
_BATCH = 4


@dataclass(frozen=True, slots=True)
class Verification:
    """A written file, loaded again and compared with the run.

    Attributes:
        format: Its format.
        file: Its name in the directory; ends in ``.failed`` if it is not equal.
        way: Which of its functions was called.
        difference: Largest absolute difference of a logit; NaN if there was one.
        num_images: Real images compared.
    """

    format: str
    file: str
    way: str
    difference: float
    num_images: int

    @property
    def passed(self) -> bool:
        """Whether the file may be used."""
        return self.difference <= TOLERANCE


@dataclass(frozen=True)
class _Subject:
    """What is exported."""

    model: keras.Model
    card: weights.WeightsCard
    pipeline: augment.Pipeline


@dataclass(frozen=True)
class _Images:
    """Real images, and the logits that the run's own model has for them."""

    name: str
    encoded: list[bytes]
    prepared: np.ndarray  # float32[n, H, W, 3]
    logits: np.ndarray  # float32[n, C]


def export_run(
    run_dir: Path, out: Path, formats: tuple[str, ...], *, data: str = "", split: str = ""
) -> list[Verification]:
    """Writes the model of a run in some formats, verifies each, and writes its card.

    Args:
        run_dir: A finished run, or a directory of ``convert_weights``.
        out: Directory to create.
        formats: Of ``FORMATS``.
        data: Dataset folder whose images are compared; "" is the run's own data.
        split: Its split; "" is what the run tested on, else what it validated on.

    Returns:
        What was compared. Files that differ by more than ``TOLERANCE`` are called ``*.failed``.

    Raises:
        UserError: If something is missing or in the way; nothing is written then.
    """
    _check(out, formats)
    subject = _subject(run_dir)
    images = _images(subject, run_dir, data, split)
    facts = card_facts.collect(run_dir, subject.model)
    done: list[Verification] = []
    for name in formats:
        done += _write(name, subject, images, out)
    facts["files"] = [
        {"format": v.format, "file": v.file, "way": v.way, "largest_difference": v.difference}
        for v in done
    ]
    facts["verified_on"] = {"data": images.name, "images": len(images.encoded)}
    runs.write_json(out / CARD_FILE, facts)
    with runs.atomic_write(out / TEXT_FILE) as stream:
        stream.write(card_text.markdown(facts))
    if any(v.format == "npz" and v.passed for v in done):
        weights.write_card(out, subject.card)  # so that model.init takes the directory
    return done


def _check(out: Path, formats: tuple[str, ...]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"Unknown format {name!r}.{did_you_mean(name, FORMATS)}")
        for package in FORMATS[name].needs:
            if importlib.util.find_spec(package) is None:
                raise UserError(
                    f"The format {name} needs {package}: pip install 'keras_transfer[{name}]'."
                )
    if not formats or len(set(formats)) < len(formats):
        raise UserError(f"Name each format once: {', '.join(FORMATS)}.")
    runs.check_new(out)


def _subject(run_dir: Path) -> _Subject:
    """Loads the model of a run in float32, whatever it was trained in."""
    file = weights.file_of(run_dir)
    card = weights.read_card(run_dir)
    if not card.eval:
        raise UserError(
            f"{run_dir / runs.WEIGHTS_CARD_FILE} does not say how images are prepared: convert "
            "the weights again, with --resolution."
        )
    with arrays.open_arrays(file) as found:
        arch, num_classes = arrays.recognise(found.shapes, file)
    model = resnetv2.assemble(arch, num_classes)
    models.load_npz(model, file)
    return _Subject(model, card, augment.compose(card.eval))


def _images(subject: _Subject, run_dir: Path, data: str, split: str) -> _Images:
    """Takes images from all over a split."""
    examples, split = _examples(run_dir, data, split)
    chosen = np.unique(np.linspace(0, len(examples) - 1, NUM_IMAGES).astype(int))
    encoded = [examples.image(int(index)) for index in chosen]
    prepared = np.stack([subject.pipeline({"image": image})["image"] for image in encoded])
    logits = _in_batches(lambda batch: subject.model(batch, training=False), prepared)
    return _Images(f"{examples.name}, split {split}", encoded, prepared, logits)


def _examples(run_dir: Path, data: str, split: str) -> tuple[Examples, str]:
    if not data:
        if not (run_dir / runs.CONFIG_FILE).is_file():
            raise UserError(f"{run_dir} is no run, so it names no images: give --data=DIR.")
        config = runs.read_config(run_dir)
        split = split or config.data.test_split or config.data.val_split or config.data.train_split
        datasets = [Dataset(folder, **config.data.policies) for folder in config.data.dirs]
        space = weights.read_card(run_dir).label_space
        return open_splits(config.data, datasets, [split], space)[split], split
    dataset = Dataset(data)
    having = [name for name, found in dataset.splits.items() if found.num_examples]
    split = split or next((s for s in ("test", "val", "validation") if s in having), "train")
    return Examples([dataset], split), split


def _write(name: str, subject: _Subject, images: _Images, out: Path) -> list[Verification]:
    """Writes one format aside, compares it, and moves it to its name or that of a failure."""
    form, staging = FORMATS[name], out / _STAGING
    staging.mkdir(parents=True)
    form.write(subject, staging / form.file)
    worst = {
        way: float(np.abs(logits - images.logits).max())
        for way, logits in form.answers(subject, staging / form.file, images)
    }
    passed = all(difference <= TOLERANCE for difference in worst.values())
    for file in staging.iterdir():
        file.replace(out / (file.name if passed else file.name + FAILED))
    staging.rmdir()
    file_name = form.file if passed else form.file + FAILED
    return [Verification(name, file_name, *item, len(images.encoded)) for item in worst.items()]


def _in_batches(function: Callable[[np.ndarray], Any], images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), _BATCH)
    return np.concatenate([np.asarray(function(images[i : i + _BATCH])) for i in starts])


_Answers = Iterator[tuple[str, np.ndarray]]


def _ask_keras(subject: _Subject, path: Path, images: _Images) -> _Answers:
    model = keras.saving.load_model(path)
    yield "model", _in_batches(lambda batch: model(batch, training=False), images.prepared)


def _write_saved_model(subject: _Subject, path: Path) -> None:
    task, labels = subject.card.task, subject.card.labels
    serving.write_saved_model(subject.model, subject.pipeline, path, task=task, labels=labels)


def _ask_saved_model(subject: _Subject, path: Path, images: _Images) -> _Answers:
    model = tf.saved_model.load(str(path))
    encoded = np.array(images.encoded, object)
    yield "serving_bytes", _in_batches(lambda b: model.serving_bytes(b)["logits"], encoded)
    channels = subject.pipeline.pixel_channels
    # One by one: their sizes differ.
    decoded = (augment_ops.decode(image, channels=channels)[None] for image in images.encoded)
    logits = [model.serving_uint8(pixels)["logits"] for pixels in decoded]
    yield "serving_uint8", np.concatenate(logits)


def _write_onnx(subject: _Subject, path: Path) -> None:
    from keras_transfer.models.onnx_graph import write_onnx  # of an extra

    properties = card_text.onnx_properties(subject.card)
    write_onnx(subject.model, path, task=subject.card.task, properties=properties)


def _ask_onnx(subject: _Subject, path: Path, images: _Images) -> _Answers:
    import onnxruntime  # of an extra

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    yield (
        "logits",
        _in_batches(lambda b: session.run(["logits"], {"images": b})[0], images.prepared),
    )


def _ask_npz(subject: _Subject, path: Path, images: _Images) -> _Answers:
    model = resnetv2.assemble(subject.model.name, subject.model.output_shape[-1])
    models.load_npz(model, path)
    yield "model", _in_batches(lambda batch: model(batch, training=False), images.prepared)


@dataclass(frozen=True)
class _Format:
    """A file to write, how, and how to ask it for the logits of images."""

    file: str
    write: Callable[[_Subject, Path], None]
    answers: Callable[[_Subject, Path, _Images], _Answers]
    needs: tuple[str, ...] = ()


FORMATS = {
    "keras": _Format("model.keras", lambda s, path: s.model.save(path), _ask_keras),
    "savedmodel": _Format("saved_model", _write_saved_model, _ask_saved_model),
    "onnx": _Format("model.onnx", _write_onnx, _ask_onnx, ("onnx", "onnxruntime")),
    "npz": _Format(runs.WEIGHTS_FILE, lambda s, path: models.save_npz(s.model, path), _ask_npz),
}
