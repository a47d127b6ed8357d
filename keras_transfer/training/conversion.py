"""Weights of others turned into a directory that ``model.init`` takes, and the proof of it."""

import dataclasses
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer import models
from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.data import augment
from keras_transfer.models import arrays, resnetv2
from keras_transfer.training import weights

_SIDE = 64  # of the image that `_logits` is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file of weights does not say; "" and 0 where it is not given.

    Attributes:
        arch: Architecture, to be compared with that of the file.
        source: Name of the data they were trained on.
        normalisation: The op that made the input, such as ``value_range(-1, 1)``.
        train: Augmentation string of training.
        eval: Augmentation string of evaluation: with it, ``normalisation`` need not be given.
        resolution: Side in pixels of the images of training, where ``eval`` is not given.
        task: Task of the head.
        labels: Names of the outputs of the head.
    """

    arch: str = ""
    source: str = ""
    normalisation: str = ""
    train: str = ""
    eval: str = ""
    resolution: int = 0
    task: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was done.

    Attributes:
        card: The card beside the weights.
        num_arrays: Number of arrays.
        num_classes: Outputs of the head.
        dtypes: Types of the arrays in the file; the new file has float32.
        logits: float32[1, num_classes] of a fixed image, if verified; else None.
    """

    card: weights.WeightsCard
    num_arrays: int
    num_classes: int
    dtypes: tuple[str, ...]
    logits: np.ndarray | None

    @property
    def checksum(self) -> str:
        """CRC-32 of the logits: equal for equal networks on one machine."""
        assert self.logits is not None
        return f"{zlib.crc32(self.logits.tobytes()):08x}"


def convert(source: Path, out: Path, facts: Facts, *, verify: bool = False) -> Conversion:
    """Writes ``weights.npz`` and ``weights.json`` of any file that is understood.

    The directory appears when it is complete, and verified if that is asked for. One array at a
    time is in memory, except to verify.

    Args:
        source: A BiT ``.npz``, a checkpoint of ``torch.save``, or a finished run.
        out: Directory to create.
        facts: What the source does not say itself.
        verify: Whether to build the network from what was written, to compare every array bit for
            bit with the source, and to show it an image.

    Raises:
        UserError: If something is missing, contradictory, or exists already.
        CorruptFileError: If the source is damaged.
    """
    path, card = _find(source)
    with arrays.open_arrays(path) as found:
        arch, num_classes = arrays.recognise(found.shapes, path)
        card = _card(path, card, facts, arch, num_classes)
        logits = None
        with _new_directory(out) as folder:
            new = folder / runs.WEIGHTS_FILE
            models.write_arrays(new, ((k, _read(found, k, path)) for k in found.shapes))
            weights.write_card(folder, card)
            if verify:
                logits = _verify(new, found, path, arch, num_classes)
        dtypes = tuple(sorted({str(found.dtype(key)) for key in found.shapes}))
        return Conversion(card, len(found.shapes), num_classes, dtypes, logits)


def _find(source: Path) -> tuple[Path, weights.WeightsCard | None]:
    """Returns the file, and its card if it has one."""
    if source.is_dir():
        if not (source / runs.WEIGHTS_FILE).is_file():
            raise UserError(f"{source} holds no {runs.WEIGHTS_FILE}: name the file itself.")
        return source / runs.WEIGHTS_FILE, weights.read_card(source)
    if source.name == runs.WEIGHTS_FILE and (source.parent / runs.WEIGHTS_CARD_FILE).is_file():
        return source, weights.read_card(source.parent)
    return source, None


def _read(found: arrays.Arrays, key: str, path: Path) -> np.ndarray:
    return arrays.as_float32(found.read(key), f"{path}: {key}")


def _card(
    path: Path, card: weights.WeightsCard | None, facts: Facts, arch: str, num_classes: int
) -> weights.WeightsCard:
    """Joins what the file says, what its card says and what was given."""
    for known, who in ((facts.arch, "was given"), (card.arch if card else "", "is on its card")):
        if known and known != arch:
            raise UserError(f"{path} holds {arch}, but {known} {who}.")
    given = _preprocessing(facts)
    if facts.labels:
        given |= {"labels": facts.labels, "task": facts.task}
    if facts.source:
        given["source"] = facts.source
    if card is None:
        given = weights.bit_facts(path) | given
        for name in ("source", "normalisation"):
            if name not in given:
                raise UserError(f"{path} does not say its {name}: give --{name}.")
        card = weights.WeightsCard(arch=arch, **given)
    else:
        _check_same(path, card.normalisation, given.get("normalisation", card.normalisation))
        if "eval" in given:
            raise UserError(f"{path} has a card, which says its preprocessing: give none.")
        card = dataclasses.replace(card, **given)
    if card.labels and card.label_space.num_classes != num_classes:
        raise UserError(
            f"{path}: its head has {num_classes} outputs, but there are {len(card.labels)} labels."
        )
    return card


def _preprocessing(facts: Facts) -> dict[str, Any]:
    """Returns fields of the card, in canonical form, from the strings that were given."""
    given: dict[str, Any] = {}
    if facts.resolution and not facts.normalisation:
        raise UserError("A resolution is of use only with the normalisation: give --normalisation.")
    if facts.normalisation:
        side = facts.resolution or _SIDE
        pipeline = augment.compose(f"decode|resize({side})|{facts.normalisation}")
        given["normalisation"] = pipeline.normalisation
        if facts.resolution:
            given["eval"] = pipeline.text
    for name, text in (("train", facts.train), ("eval", facts.eval)):
        if text:
            pipeline = augment.compose(text)
            normalisation = pipeline.normalisation
            _check_same(facts.source, normalisation, given.get("normalisation", normalisation))
            given |= {name: pipeline.text, "normalisation": normalisation}
    return given


def _check_same(where: Path | str, known: str, given: str) -> None:
    if given != known:
        raise UserError(f"{where}: the weights were trained with {known!r}, not with {given!r}.")


@contextmanager
def _new_directory(out: Path) -> Iterator[Path]:
    """Gives a directory that gets its name when it is complete."""
    runs.check_new(out)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _verify(new: Path, found: arrays.Arrays, path: Path, arch: str, num_classes: int) -> np.ndarray:
    """Returns the logits of the network in a new file, which must hold the arrays of the old."""
    model = resnetv2.assemble(arch, num_classes)
    models.load_npz(model, new)
    for variable in model.weights:
        key = models.npz_key(variable.path)
        old, now = _read(found, key, path), variable.value.numpy()
        if old.tobytes() != now.tobytes():
            raise UserError(f"{new}: {key} differs from {path}: is a disk failing?")
    return _logits(model)


def _logits(model: keras.Model) -> np.ndarray:
    image = np.random.default_rng(0).uniform(-1, 1, (1, _SIDE, _SIDE, 3)).astype(np.float32)
    return model(image, training=False).numpy()
