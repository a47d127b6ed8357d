"""Where images and labels come from: one module per dataset, and the contract they share.

A module of this package whose name does not start with ``_`` is a source: it defines ``SOURCE``, a
subclass of `Source`, and its name is the value of ``--source``. Nothing has to be registered.
"""

import abc
import functools
import importlib
import os
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.labels import LabelSpace


class Item(NamedTuple):
    """One image to be stored, without its pixels.

    A tuple, because ImageNet-21k makes 14 million of them.

    Attributes:
        example_id: The source's own key, unique in the dataset.
        split: ``train``, ``val``, ``test`` or another lower-case name.
        source: What `Source.load` needs to find the image: a path below the input folder, a member
            of a tar with its offset, or any other key.
        label: Class number, or the raw state of every finding in the order of the label names
            (`keras_transfer.data.records.POSITIVE`, ...).
        patient_id: "" where unknown.
        view: ``PA``, ``AP``, ``L``, ...; "" where unknown.
        sex: As the source says; "" where unknown.
        age: In years, as text; "" where unknown.
    """

    example_id: str
    split: str
    source: str
    label: int | tuple[int, ...]
    patient_id: str = ""
    view: str = ""
    sex: str = ""
    age: str = ""


class Dropped(NamedTuple):
    """One row or file of the source that does not become an example.

    Attributes:
        source: Path, or file and row.
        reason: Short and the same for all of its kind: reasons are counted.
        defect: Whether something is wrong (a missing file), so that ``--on_error`` decides; rows
            left out by rule (another view, not an image) are not defects.
    """

    source: str
    reason: str
    defect: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """A setting of a source, given as ``--options=name=value``.

    Attributes:
        name: As typed.
        default: Value where it is not given; already parsed.
        help: One line.
        parse: Turns text into the value; raises ValueError with the reason.
        named: Whether the value is part of the name of the dataset's folder: "always",
            "changed" (only where it differs from the default) or "never".
        images: Whether it changes what images look like; otherwise it only decides which examples
            there are and how they are labelled.
        show: Turns the value back into text, for names and messages.
    """

    name: str
    default: Any
    help: str
    parse: Callable[[str], Any] = str
    named: str = "changed"
    images: bool = True
    show: Callable[[Any], str] = str


class Source(abc.ABC):
    """A dataset that can be built.

    Objects are cheap to make and hold no pixels: every worker makes its own. Work on the input
    (reading csv files, listing folders) belongs in `items`, which runs once, in the main process.

    Attributes:
        name: Name of the dataset: the first level of its folder.
        version: Changes when the same input would give other records.
        description: What the images and labels are.
        citation: BibTeX, or "".
        licence: Under which terms the data may be used.
        homepage: Where to get the data.
        options: What can be set.
        needs_input_dir: Whether there is something to read.
        encoding: ``jpeg`` or ``png`` unless the user chooses.
        leaky: Why examples of one patient or with equal pixels may be in two splits; "" means
            that they may not, and a build that finds some fails.
        published: Split name -> number of examples that the dataset's authors state; {} if unknown.
    """

    name: str
    version: ClassVar[str] = "1.0.0"
    description: ClassVar[str]
    citation: ClassVar[str] = ""
    licence: ClassVar[str]
    homepage: ClassVar[str] = ""
    options: ClassVar[tuple[Option, ...]] = ()
    needs_input_dir: ClassVar[bool] = True
    encoding: ClassVar[str] = "jpeg"
    leaky: str = ""
    published: Mapping[str, int] = {}

    def __init__(self, options: Mapping[str, Any], input_dir: Path | None, seed: int):
        self.settings = dict(options)
        self.input_dir = input_dir
        self.seed = seed

    @property
    def channels(self) -> int:
        """Channels of the stored images: 1 or 3."""
        return 1

    @property
    def bits(self) -> int:
        """Bits that 16-bit images use, which become the range 0..255; 0 takes each image's own."""
        return 0

    @property
    def render(self) -> str:
        """How DICOM images become grey values: ``dicom`` or ``mimic_jpg``; see `dicom`."""
        return self.settings.get("render", "dicom")

    @property
    @abc.abstractmethod
    def labels(self) -> LabelSpace:
        """Task and names of the labels; asked for after `items` has been read."""

    @abc.abstractmethod
    def items(self) -> Iterator[Item | Dropped]:
        """Yields every image and everything left out, in any order, without reading pixels."""

    @abc.abstractmethod
    def load(self, item: Item) -> bytes | np.ndarray:
        """Returns an image: the bytes of a JPEG, PNG or DICOM file, or its pixels.

        Pixels are uint8/uint16 [H, W] or [H, W, 3] (RGB). Bytes are told apart by what they are.

        Runs in a worker process and depends on the item and the constructor's arguments only.

        Raises:
            CorruptFileError: If the image cannot be what it claims to be.
            OSError: If it cannot be read.
        """

    def checksums(self) -> dict[str, str]:
        """Returns file name -> SHA-256 of the label files that were read, for the card."""
        return {}

    def facts(self) -> dict[str, Any]:
        """Returns what `items` found out about the input, for people and the card.

        Words or whole numbers by name: the layout, how many rows were of which kind, ...
        """
        return {}


def names() -> list[str]:
    """Returns the names of all sources, in alphabetical order."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in modules if not name.startswith("_"))


def get(name: str) -> type[Source]:
    """Returns the source of a name, or raises a UserError that lists the known ones."""
    if name not in names():
        raise UserError(f"Unknown source {name!r}.{did_you_mean(name, names())}")
    return importlib.import_module(f"{__name__}.{name}").SOURCE


def parse_options(source: type[Source], texts: Sequence[str]) -> dict[str, Any]:
    """Parses ``key=value,key=value``; a value may hold commas (``classes=0,1,5,limit=3``).

    Args:
        source: Whose options they are.
        texts: One entry per ``--options`` flag.

    Returns:
        Every option of the source, defaults filled in.

    Raises:
        UserError: If an option is unknown, given twice or cannot be parsed.
    """
    known = {option.name: option for option in source.options}
    values: dict[str, Any] = {}
    for part in (part for text in texts for part in re.split(r",(?=\w+=)", text) if part):
        key, equals, text = part.partition("=")
        if not equals:
            raise UserError(f"--options: cannot read {part!r}: write key=value,key=value.")
        if key not in known:
            raise UserError(
                f"--options: {source.name} has no option {key!r}.{did_you_mean(key, known)}"
            )
        if key in values:
            raise UserError(f"--options: {key!r} is given twice.")
        try:
            values[key] = known[key].parse(text)
        except ValueError as error:
            raise UserError(
                f"--options: {key}={text!r}: {error} ({key}: {known[key].help})"
            ) from None
    return {name: values.get(name, option.default) for name, option in known.items()}


def config_name(source: type[Source], options: Mapping[str, Any]) -> str:
    """Returns the part of a dataset's folder name that tells its options, "" if there is none."""
    parts = []
    for option in source.options:
        value = options[option.name]
        changed = option.named == "changed" and value != option.default
        if option.named == "always" or changed:
            text = re.sub(r"[^A-Za-z0-9.+-]+", "-", option.show(value))
            parts.append(f"{option.name}_{text}")
    return "_".join(parts)


def inside(folder: Path, path: str, where: str) -> Path:
    """Joins a path that comes from a file; whatever it says, the result is below the folder.

    Args:
        folder: The input folder.
        path: Relative, with ``/``.
        where: File and row, for the message.

    Raises:
        UserError: If the path is absolute or leaves the folder by ``..`` or by a link.
    """
    joined = folder / path
    # Most files share their folder: resolving it once saves several calls per file.
    real = _real_folder(str(joined.parent))
    if joined.name == ".." or joined.is_symlink():
        real = str(joined.resolve().parent)
    root = _real_folder(str(folder))
    if Path(path).is_absolute() or not f"{real}/".startswith(f"{root}/"):
        written = os.path.normpath(f"{root}/{path}")
        if not Path(path).is_absolute() and written.startswith(f"{root}/"):
            raise UserError(
                f"{where}: {path!r} is a link out of the input folder: copy the files, or give "
                "their real folder as --input_dir."
            )
        raise UserError(f"{where}: the path {path!r} is not below {folder}: write a relative one.")
    return joined


@functools.lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def boolean(text: str) -> bool:
    """Parses true or false."""
    if text.lower() not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text.lower() == "true"


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Returns a parser of whole numbers in [low, high]."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text):
            raise ValueError("not a whole number")
        if int(text) < low or (high is not None and int(text) > high):
            raise ValueError(f"not in {low}..{'' if high is None else high}")
        return int(text)

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Returns a parser of numbers in [low, high]."""

    def parse(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise ValueError(f"not in {low:g}..{high:g}")
        return value

    return parse


def choice(*known: str) -> Callable[[str], str]:
    """Returns a parser that accepts the given words only."""

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"unknown.{did_you_mean(text, known)}")
        return text

    return parse


def one_of(*known: int) -> Callable[[str], int]:
    """Returns a parser that accepts the given whole numbers only."""
    return lambda text: int(choice(*map(str, known))(text))


def words(text: str) -> tuple[str, ...]:
    """Parses a list of words separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def show_words(value: Sequence[Any]) -> str:
    """Writes a list for names of folders."""
    return "+".join(map(str, value))
