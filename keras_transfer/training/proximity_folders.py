"""Datasets of which proximity is measured, by the names that runs carry; needs no TensorFlow."""

from dataclasses import dataclass
from pathlib import Path

from keras_transfer.core.errors import UserError


@dataclass(frozen=True)
class Folders:
    """A dataset, or a union.

    Attributes:
        dirs: Its folders.
        name: What results call it; "" takes the names of the datasets, as runs do.
    """

    dirs: tuple[str, ...]
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> "Folders":
        """Reads ``DIR``, ``NAME=DIR``, or of a union ``NAME=DIR+DIR``.

        Raises:
            UserError: If a folder is missing.
        """
        if text and Path(text).is_dir():  # whatever signs are in its path
            return cls((text,))
        name, equals, rest = text.partition("=")
        rest = rest if equals else text
        dirs = (rest,) if rest and Path(rest).is_dir() else tuple(rest.split("+"))
        for folder in dirs:
            if not folder or not Path(folder).is_dir():
                raise UserError(
                    f"{folder or repr(text)}: no such dataset folder. Write DIR, NAME=DIR or "
                    "NAME=DIR+DIR, and build what is missing with tfrecords_builders.build."
                )
        return cls(dirs, name if equals else "")
