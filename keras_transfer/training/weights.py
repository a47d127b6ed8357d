"""Weights with what one must know to use them: ``weights.npz`` and its card ``weights.json``."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_transfer.core import runs
from keras_transfer.core.config import TransferConfig
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.labels import LabelSpace
from keras_transfer.data import augment

# What the released BiT files were trained with (spec/bit.md section 4).
BIT_NORMALISATION = "value_range(-1, 1)"
_BIT_EVAL = f"decode|resize(224)|{BIT_NORMALISATION}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsCard:
    """What travels with a file of weights.

    Attributes:
        arch: Registered model name.
        source: Name of the data they were trained on.
        normalisation: The op that made the input, such as ``value_range(-1, 1)``.
        train: Augmentation string of training; "" where unknown.
        eval: Augmentation string of evaluation; "" where unknown.
        task: Task of the head; "" where unknown.
        labels: Names of the outputs of the head; empty where unknown.
        step: Optimisation steps done; 0 where unknown.
    """

    arch: str
    source: str
    normalisation: str
    train: str = ""
    eval: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()
    step: int = 0

    @property
    def label_space(self) -> LabelSpace:
        """What the outputs of the head mean."""
        return LabelSpace(self.task, tuple(self.labels))

    @property
    def resolution(self) -> tuple[int, int] | None:
        """Height and width of the images they were evaluated on; None where unknown.

        Transfer may take another one, and does: the HyperRule chooses it by the target.
        """
        return augment.compose(self.eval).output_size if self.eval else None


def write_card(run_dir: Path, card: WeightsCard) -> None:
    """Writes ``weights.json``."""
    runs.write_json(run_dir / runs.WEIGHTS_CARD_FILE, dataclasses.asdict(card))


def read_card(run_dir: Path) -> WeightsCard:
    """Reads ``weights.json`` of a run directory."""
    path = run_dir / runs.WEIGHTS_CARD_FILE
    try:
        values = runs.read_json(path)
        return WeightsCard(**{**values, "labels": tuple(values["labels"])})
    except (KeyError, TypeError) as error:
        raise CorruptFileError(f"{path}: not a card of weights ({error}).") from None


def file_of(run_dir: Path) -> Path:
    """Returns the weights of a directory that should hold some.

    Raises:
        UserError: If it does not; of a transfer that kept none, with the command that makes them.
    """
    path = run_dir / runs.WEIGHTS_FILE
    if path.is_file():
        return path
    # The card alone is what a transfer leaves that was told to keep no weights.
    if runs.is_finished(run_dir) and (run_dir / runs.WEIGHTS_CARD_FILE).is_file():
        raise UserError(
            f"{run_dir} has finished, but its {path.name} was not kept (--keep_weights=false) or "
            "is deleted. Repeat the run to have it, equal to the bit on the same machine: "
            f"python -m experiments.{_script(run_dir)} --from_run={run_dir} --workdir=NEW"
        )
    raise UserError(f"{run_dir} holds no {path.name}; has the run finished?")


def _script(run_dir: Path) -> str:
    is_transfer = isinstance(runs.read_config(run_dir), TransferConfig)
    return "finetune" if is_transfer else "pretrain"


def bit_facts(path: Path) -> dict[str, Any]:
    """Returns the fields of the card that the name of a released BiT file tells; none of others."""
    match = re.fullmatch(r"BiT-[SM]-R\d+x\d(-.+)?\.npz", path.name)
    if match is None:
        return {}
    facts = {"source": path.stem, "normalisation": BIT_NORMALISATION}
    return facts if match[1] else facts | {"eval": _BIT_EVAL}  # a suffix: fine-tuned


def find(init: str, arch: str) -> tuple[Path | None, WeightsCard | None]:
    """Resolves ``model.init``: a finished run directory, a BiT ``.npz``, or "" for scratch.

    Args:
        init: What the config says.
        arch: The model that shall take the weights.

    Returns:
        The ``.npz`` and its card; both None from scratch.

    Raises:
        UserError: If there is nothing there, or the weights are of another architecture.
    """
    if not init:
        return None, None
    path = Path(init)
    if path.is_dir():
        try:
            file = file_of(path)
        except UserError as error:
            raise UserError(f"model.init: {error}") from None
        card = read_card(path)
        if card.arch != arch:
            raise UserError(f"model.init: {path} holds {card.arch}, but model.name is {arch}.")
        return file, card
    if path.is_file() and path.suffix == ".npz":
        if (path.parent / runs.WEIGHTS_CARD_FILE).is_file():
            return find(str(path.parent), arch)
        facts = {"source": path.stem, "normalisation": BIT_NORMALISATION} | bit_facts(path)
        return path, WeightsCard(arch=arch, **facts)
    if path.is_file():
        raise UserError(
            f"model.init: {path} must be converted first: python -m experiments.convert_weights "
            f"--in={path} --out=DIR --source=NAME --normalisation=OP; then model.init=DIR."
        )
    raise UserError(f"model.init: {init!r} is neither a run directory nor an existing .npz file.")
