"""What the weights of the cells to do will take on disk."""

import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from experiments.configs.grids import Cell
from experiments.sweeps.state import TO_DO
from keras_transfer.core import runs

_HEAD = "resnet/head/"


def describe(
    cells: Sequence[Cell], states: Mapping[str, str], workdir: Path, keep_weights: bool
) -> Iterator[str]:
    """Yields a line on the weights that the cells to do will leave, and on the space for them.

    Args:
        cells: All cells of the grid, also those that ``--only`` leaves out: they measure.
        states: Name -> status of the cells that are chosen.
        workdir: The folder of the cells.
        keep_weights: Whether finished cells keep their weights.
    """
    to_do = Counter(c.config.model.name for c in cells if states.get(c.name) == TO_DO)
    if not to_do:
        return
    start = "disk for the weights of what is to do:"
    if not keep_weights:
        yield f"{start} none, --keep_weights=false"
        return
    sizes = {n: _size([c for c in cells if c.config.model.name == n], workdir) for n in to_do}
    known = {name: size for name, size in sizes.items() if size is not None}
    parts = [f"{to_do[name]} x {name} of {_text(size)}" for name, size in known.items()]
    if len(known) < len(sizes):
        parts.append(f"{sum(to_do[n] for n in sizes if n not in known)} cells of unknown size")
    total = _text(sum(to_do[name] * size for name, size in known.items()))
    needed = f"{total} ({', '.join(parts)})" if known else parts[0]
    yield f"{start} {needed}; {_text(_free(workdir))} are free; --keep_weights=false keeps none"


def _size(cells: Sequence[Cell], workdir: Path) -> int | None:
    """Returns the bytes of the weights of a network, None if there are none to go by.

    Those of a finished cell, else those that one starts from, without their head.
    """
    finished = (workdir / cell.name / runs.WEIGHTS_FILE for cell in cells)
    file = next((path for path in finished if path.is_file()), None)
    if file is not None:
        return file.stat().st_size
    for init in dict.fromkeys(cell.config.model.init for cell in cells if cell.config.model.init):
        file = Path(init) / runs.WEIGHTS_FILE if Path(init).is_dir() else Path(init)
        if file.is_file() and zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
            return sum(e.file_size for e in entries if not e.filename.startswith(_HEAD))
    return None


def _free(workdir: Path) -> int:
    existing = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _text(size: float) -> str:
    unit = "MB"
    size /= 1e6
    for larger in ("GB", "TB"):
        if size < 1000:
            break
        unit, size = larger, size / 1000
    return f"{size:.3g} {unit}"
