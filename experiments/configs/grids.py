"""Grids for ``experiments.sweep``: the paper's, the published numbers', the poster's.

    python -m experiments.sweep --grid=paper --workdir=runs/paper --pretrained=runs --list
    python -m experiments.sweep --grid=published:variant=authors --workdir=runs/authors

* ``paper``: 15 sources x 7 targets x the target's shots x 5 seeds = 2,700 cells. The sources are
  all whose transfers were published as csv files: ImageNet-1k, ImageNet-21k, CheXpert, +MIMIC,
  +NIH, +PadChest as R50x1 and R152x4 (12), and MIMIC, NIH, PadChest alone as R152x4.
* ``published``: the 1,445 of these that have a number in the csv files.
* ``poster``: the 88 cells of its table, full shot, 5 seeds = 440; it has the targets with several
  findings per image, mimic, chexpert, padchest and nih.

All three name their cells alike: those of one variant can share a --workdir.

Weights are looked for below --pretrained as SOURCE-ARCH, the names of ``paper_runs.py``: a run
directory, converted weights, or ``SOURCE-ARCH.npz``. Variants are those of ``finetune.py``.

The weights of all cells of ``paper`` take 6.1 TB (1,080 R50x1 of 94 MB, 1,620 R152x4 of 3.7 GB):
--keep_weights=false keeps none of them.

A grid of your own is a file with ``get_grid``; --grid=FILE.py:TEXT passes it TEXT, else None:

```
from experiments.configs import finetune
from experiments.configs.grids import Cell


def get_grid(arg=None):
    cells = []
    for shots in ("1", "5", "full"):
        for seed in range(5):
            config = finetune.make(data="data/photos", init=arg or "", shots=shots, seed=seed)
            cells.append(Cell(f"photos/shots_{shots}.seed_{seed}", config))
    return cells
```
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.configs import finetune
from experiments.configs.common import parse_arg
from experiments.configs.paper_runs import ARCHS
from keras_transfer.core.config import FULL, TransferConfig
from keras_transfer.core.errors import UserError, did_you_mean
from keras_transfer.core.runs import SCRATCH

SEEDS = range(5)


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        name: Its directory below --workdir; several levels are allowed.
        config: What is run.
    """

    name: str
    config: TransferConfig

    @property
    def source(self) -> str:
        """Name of the weights it starts from."""
        return Path(self.config.model.init).name.removesuffix(".npz") or SCRATCH

    @property
    def target(self) -> str:
        """Name of the data it is transferred to."""
        return self.config.name or "+".join(self.config.data.dirs)


def _both(*sources: str) -> tuple[str, ...]:
    return tuple(f"{source}-{arch}" for arch in ARCHS for source in sources)


_NATURAL = _both("imagenet1k", "imagenet21k")
_THREE = _both("chexpert", "chexpert+mimic", "chexpert+mimic+nih")
_FOUR = (*_THREE, *_both("chexpert+mimic+nih+padchest"))
_POSTER = (*_NATURAL, *_both("chexpert", "chexpert+mimic+nih+padchest"))

_FEW = ("1", "5", "10", FULL)
_MORE = ("1", "5", "10", "100", FULL)
_MOST = ("1", "5", "10", "100", "500", FULL)

# Target -> shots and sources of the csv files (spec: upstream.md, section 5).
_PUBLISHED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cifar10": (_MOST, _NATURAL),
    "cifar100": (_MOST, _NATURAL),
    "flowers102": (_FEW, _NATURAL),
    "pets": (_FEW, _NATURAL),
    "covidx": (_MOST, (*_NATURAL, *_FOUR, "mimic-r152x4", "padchest-r152x4")),
    "tuberculosis": (
        _MORE,
        (*_NATURAL, *_FOUR, "mimic-r152x4", "padchest-r152x4", "nih-r152x4"),
    ),
    "padchest_cl": (_MORE, (*_NATURAL, *_THREE)),
}
SOURCES = tuple(dict.fromkeys(name for _, names in _PUBLISHED.values() for name in names))

# Target, source, shots.
Triple = tuple[str, str, str]


def _published() -> Iterator[Triple]:
    for target, (all_shots, sources) in _PUBLISHED.items():
        yield from ((target, source, shots) for source in sources for shots in all_shots)


def _paper() -> Iterator[Triple]:
    for target, (all_shots, _) in _PUBLISHED.items():
        yield from ((target, source, shots) for source in SOURCES for shots in all_shots)


def _poster() -> Iterator[Triple]:
    for target in finetune.TARGETS:
        for source in _POSTER:
            if target == "padchest_cl":  # its large set of X-rays leaves PadChest out
                source = source.replace("+padchest", "")
            yield target, source, FULL


GRIDS = {"paper": _paper, "published": _published, "poster": _poster}


def make(
    name: str, variant: str = finetune.PAPER, data: str = "data", pretrained: str = "runs"
) -> list[Cell]:
    """Returns the cells of a grid.

    Args:
        name: A key of `GRIDS`.
        variant: ``paper`` or ``authors``, see ``finetune.py``.
        data: Folder below which the datasets were built.
        pretrained: Folder below which the weights are.

    Raises:
        UserError: If there is no such grid or variant.
    """
    if name not in GRIDS:
        raise UserError(
            f"--grid={name}: unknown; give a name or a FILE.py.{did_you_mean(name, GRIDS)}"
        )
    return [
        Cell(
            f"{target}/{source}/shots_{shots}.seed_{seed}",
            finetune.make(
                target=target,
                data=data,
                init=find_weights(pretrained, source),
                model=f"bit-{source.rpartition('-')[2]}",
                variant=variant,
                shots=shots,
                seed=seed,
            ),
        )
        for target, source, shots in GRIDS[name]()
        for seed in SEEDS
    ]


def find_weights(pretrained: str, name: str) -> str:
    """Returns where the weights of a name are, or should be."""
    folder = Path(pretrained) / name
    file = folder.with_name(f"{name}.npz")
    return str(file if file.is_file() and not folder.is_dir() else folder)


def named(text: str, data: str, pretrained: str) -> list[Cell]:
    """Returns the cells of ``NAME`` or ``NAME:variant=VARIANT``; see `make`."""
    name, _, options = text.partition(":")
    chosen = parse_arg(options, variant=finetune.PAPER)
    return make(name, chosen.variant, data, pretrained)
