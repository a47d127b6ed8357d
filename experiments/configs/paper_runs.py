"""Every pre-training of the paper and the poster, by name, and the mixtures the poster looks to.

    python -m experiments.pretrain --dry_run \
        --config=experiments/configs/paper_runs.py:chexpert+mimic+nih-r50x1
    python -m experiments.pretrain --workdir=runs/in1k-authors \
        --config=experiments/configs/paper_runs.py:imagenet1k-r50x1:authors,data=data
    python -c "from experiments.configs import paper_runs; print(*paper_runs.names())"

A name is SOURCE-ARCH, the paper's text, or SOURCE-ARCH:VARIANT; see ``pretrain.py``, which holds
the recipes. Cost: a cluster, see there.
"""

from experiments.configs import pretrain
from experiments.configs.common import parse_arg
from experiments.configs.pretrain import AUTHORS, OPTIMIZED, PAPER
from keras_transfer.core.config import PretrainConfig
from keras_transfer.core.errors import UserError, did_you_mean

ARCHS = ("r50x1", "r152x4")

# Source -> variants, for both networks.
_UNIONS: dict[str, tuple[str, ...]] = {
    "imagenet1k": (PAPER, AUTHORS, OPTIMIZED),
    "imagenet21k": (PAPER, AUTHORS),
    "chexpert": (PAPER, AUTHORS),
    "mimic": (PAPER, AUTHORS),
    "nih": (PAPER, AUTHORS),
    "padchest": (PAPER, AUTHORS),
    "chexpert+mimic": (PAPER, AUTHORS),
    "chexpert+mimic+nih": (PAPER, AUTHORS),
    "chexpert+mimic+nih+padchest": (PAPER, AUTHORS),
}
_NOT_PUBLISHED = ("padchest-r50x1:authors",)  # upstream.md, section 1: no such config

# Mixture -> weights: as much of photographs as of X-rays, these by the size of the sets.
_MIXTURES = {
    "imagenet1k+chexpert+mimic+nih+padchest": "8+2+3+1+2",
    "imagenet21k+chexpert+mimic+nih+padchest": "8+2+3+1+2",
}


def _table() -> dict[str, dict[str, str]]:
    """Returns name -> arguments of `pretrain.make`."""
    table = {}
    for arch in ARCHS:
        for source, variants in _UNIONS.items():
            for variant in variants:
                name = f"{source}-{arch}" + (f":{variant}" if variant != PAPER else "")
                if name not in _NOT_PUBLISHED:
                    table[name] = {"source": source, "arch": arch, "variant": variant}
        for source, weights in _MIXTURES.items():
            table[f"{source}-{arch}"] = {"source": source, "arch": arch, "weights": weights}
    return table


def names() -> list[str]:
    """Returns the names of all runs."""
    return list(_table())


def get_config(arg: str | None = None) -> PretrainConfig:
    """Returns the config of a name, such as ``imagenet1k-r50x1:authors,data=DIR,seed=1``."""
    name, _, options = (arg or "").partition(",")
    chosen = parse_arg(options, data="data", seed=0)
    table = _table()
    if name not in table:
        raise UserError(f"Unknown run {name!r}.{did_you_mean(name, table)}")
    return pretrain.make(**table[name], data=chosen.data, seed=chosen.seed)
