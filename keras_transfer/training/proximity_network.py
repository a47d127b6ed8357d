"""The fixed network of proximity: weights, and the one string that makes its input."""

import re
from dataclasses import dataclass
from pathlib import Path

from keras_transfer import models
from keras_transfer.core import runs
from keras_transfer.core.config import HYPERRULE
from keras_transfer.core.errors import UserError
from keras_transfer.data import augment
from keras_transfer.training import weights


@dataclass(frozen=True, kw_only=True)
class Network:
    """The fixed network.

    Attributes:
        arch: Registered model name, such as ``bit-r50x1``.
        init: Finished run or converted weights (a directory), or a BiT ``.npz``.
        evaluation: The string that makes its input, the same for all datasets.
        source: Name of the data it was trained on.
    """

    arch: str
    init: str
    evaluation: str
    source: str

    @property
    def name(self) -> str:
        """Such as ``bit-r50x1.imagenet21k``."""
        return f"{self.arch}.{self.source}"


def open_network(init: str, arch: str = "", evaluation: str = "") -> Network:
    """Finds out what weights are and how images must be presented to them.

    Args:
        init: See `Network`.
        arch: Model name; "" takes that of the weights' card or of a released BiT file.
        evaluation: Evaluation string; "" takes the card's.

    Raises:
        UserError: If something is missing or does not fit the weights.
    """
    if not init:
        raise UserError("--init=WEIGHTS is missing: distances need a fixed, trained network.")
    path = Path(init)
    place = path if path.is_dir() else path.parent
    if not arch and (place / runs.WEIGHTS_CARD_FILE).is_file():
        arch = weights.read_card(place).arch
    released = re.match(r"BiT-[SM]-(R\d+x\d)", path.name)
    arch = arch or (f"bit-{released[1].lower()}" if released else "")
    if path.exists() and not arch:
        raise UserError(f"--init={init}: give --model=NAME, for this file does not say what it is.")
    if arch:
        models.check_name(arch)
    try:
        _, card = weights.find(init, arch)
    except UserError as error:
        raise UserError(str(error).replace("model.init", "--init")) from None
    assert card is not None
    evaluation = evaluation or card.eval
    if not evaluation or evaluation == HYPERRULE:
        raise UserError(
            "--eval: write one string for all datasets, such as "
            f"'decode|resize(224)|{card.normalisation}'; what differed between datasets would be "
            "part of their distance."
        )
    found = augment.compose(evaluation).normalisation
    if found != card.normalisation:
        raise UserError(
            f"--eval has {found!r}, but the weights of {init} were trained with "
            f"{card.normalisation!r}: use theirs."
        )
    return Network(arch=arch, init=init, evaluation=evaluation, source=card.source)
