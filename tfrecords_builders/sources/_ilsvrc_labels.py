"""The labels of ImageNet-1k's validation images, in every form in which they are handed out."""

import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from keras_transfer.core.errors import CorruptFileError, UserError
from tfrecords_builders import tables

KAGGLE = "LOC_val_solution.csv"
LISTS = ("imagenet_2012_validation_synset_labels.txt", "imagenet2012_validation_labels.txt")
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
FORMS = f"{DEVKIT} as it is or unpacked, Kaggle's {KAGGLE}, or {LISTS[0]} with a synset per image"
_DEVKIT_FOLDERS = ("ILSVRC2012_devkit_t12/data", "devkit/data")
_TRUTH, _META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_MAX_BYTES = 2**26  # of a file in the devkit: the real ones have less than 1 MB
_SYNSET = re.compile(r"n\d{8}")


def find(folder: Path) -> Path | None:
    """Returns the file or folder that has the labels, None if there is none."""
    names = (DEVKIT, *_DEVKIT_FOLDERS, KAGGLE, *LISTS)
    return next((folder / name for name in names if (folder / name).exists()), None)


def files(path: Path) -> list[Path]:
    """Returns the files that `read` reads."""
    return [path / _TRUTH, path / _META] if path.is_dir() else [path]


def read(path: Path) -> dict[str, str]:
    """Reads the labels.

    Args:
        path: As of `find`.

    Returns:
        File name without suffix -> synset.

    Raises:
        UserError: If something in it is not as published, naming the line.
        CorruptFileError: If it is damaged.
    """
    if path.name == KAGGLE:
        return dict(_kaggle(path))
    if path.name in LISTS:
        return dict(_list(path))
    content = _folder(path) if path.is_dir() else _archive(path)
    return dict(_devkit(content[_TRUTH], content[_META], path))


def _stem(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def _kaggle(path: Path) -> Iterator[tuple[str, str]]:
    """Reads boxes: ``n01751748 111 108 230 173`` or several such, all of one synset."""
    for line, row in tables.read(path, ("ImageId", "PredictionString")):
        synset, *_ = row["PredictionString"].split() or [""]
        yield row["ImageId"], _checked(synset, f"{path}, line {line}: PredictionString")


def _list(path: Path) -> Iterator[tuple[str, str]]:
    for line, synset in tables.lines(path):
        yield _stem(line), _checked(synset, f"{path}, line {line}")


def _checked(synset: str, where: str) -> str:
    if not _SYNSET.fullmatch(synset):
        raise UserError(f"{where} starts with {synset!r}, which is not a synset (n01440764).")
    return synset


def _folder(path: Path) -> dict[str, bytes]:
    missing = [name for name in (_TRUTH, _META) if not (path / name).is_file()]
    if missing:
        raise UserError(f"{path}: no {' and no '.join(missing)}. Unpack {DEVKIT} again.")
    return {name: (path / name).read_bytes() for name in (_TRUTH, _META)}


def _archive(path: Path) -> dict[str, bytes]:
    """Reads the two files out of the devkit."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                stream = archive.extractfile(member) if name in (_TRUTH, _META) else None
                if stream is not None and member.size <= _MAX_BYTES:
                    found[name] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise CorruptFileError(f"{path}: damaged ({error}). Get it again.") from None
    missing = [name for name in (_TRUTH, _META) if name not in found]
    if missing:
        raise UserError(f"{path}: no {' and no '.join(missing)} in it. Get {DEVKIT} again.")
    return found


def _devkit(truth: bytes, meta: bytes, path: Path) -> Iterator[tuple[str, str]]:
    """Maps the ILSVRC ids of the ground truth, which are not in alphabetical order, to synsets."""
    synsets = _read_meta(meta, path)
    lines = truth.decode("ascii", "replace").split()
    for line, text in enumerate(lines, start=1):
        synset = synsets.get(int(text)) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else None
        if synset is None:
            raise UserError(f"{path}: {_TRUTH}, line {line}: {text!r} is no ILSVRC id of {_META}.")
        yield _stem(line), synset


def _read_meta(content: bytes, path: Path) -> dict[int, str]:
    """Returns ILSVRC id -> synset."""
    import scipy.io  # 0.3 s that no worker needs

    try:
        table = scipy.io.loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
        pairs = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table.reshape(-1)}
    except Exception as error:  # a damaged file makes scipy raise many types
        raise CorruptFileError(f"{path}: {_META} is damaged ({error!r}). Get it again.") from None
    return {number: _checked(synset, f"{path}: {_META}") for number, synset in pairs.items()}
