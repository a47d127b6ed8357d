"""Pre-trains one network on any source of the paper, a union of sources (+) or a mixture.

    python -m experiments.pretrain --dry_run \
        --config=experiments/configs/pretrain.py:source=chexpert+mimic,arch=r50x1,data=data
    python -m experiments.pretrain --workdir=runs/in1k \
        --config=experiments/configs/pretrain.py:source=imagenet1k,arch=r50x1,variant=authors
    python -m experiments.pretrain --dry_run \
        --config=experiments/configs/pretrain.py:source=imagenet1k+chexpert,weights=3+1

Sources: imagenet1k, imagenet21k, chexpert, mimic, nih, padchest. The first command says which
folders are missing below ``data`` and what builds them. Variants: ``paper`` does what the text of
arXiv:2106.00116 says, ``authors`` what the published code does, ``authors_optimized`` its second
recipe for ImageNet-1k. Cost: a cluster. The authors used 64 (X-rays), 128 (R50x1) and 256 (R152x4)
A100, 81 hours for R152x4 on ImageNet-21k; --dry_run says what a step costs here.

Text and code differ, and the text leaves things open. All of it is in this file: "row N" is line N
of the table in the authors' specification (upstream.md, section 1.4).
"""

from dataclasses import dataclass, replace

from experiments.configs import datasets
from experiments.configs.common import parse_arg
from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    PretrainConfig,
    RuntimeConfig,
    ScheduleConfig,
    TrainConfig,
)
from keras_transfer.core.errors import UserError, did_you_mean

PAPER, AUTHORS, OPTIMIZED = VARIANTS = ("paper", "authors", "authors_optimized")

# Torchvision's resizing on Pillow images is antialiased; the authors' DALI loader's is not.
_CROP = "random_resized_crop(224{antialias})|random_flip|{norm}"
_NATURAL_TRAIN = f"decode|{_CROP}".format(antialias="", norm="standardize('imagenet')")
_RANDAUGMENT = "decode|rand_augment(2, 9)|" + _CROP.format(
    antialias=", antialias=True", norm="standardize('imagenet')"
)
_NATURAL_EVAL = "decode|resize_small(256, antialias=True)|central_crop(224)|{norm}"
_XRAY = "decode(channels=1)|central_crop|resize(224, method='area')|"

_FRONTAL = ("PA", "AP")
_PADCHEST_VIEWS = (*_FRONTAL, "AP Supine", "L", "COSTAL")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What pre-trainings differ in; the rest is in `_config`. Defaults: the paper's text."""

    train: str
    eval: str
    base_lr: float
    batch: int = 4096
    clipping: float = 0.01
    nesterov: bool = False  # row 4: the text says momentum 0.9 only
    schedule: str = "step"
    epochs: int = 90
    warmup: str = "5000 steps"
    warmup_start: float = 0.0  # row 6: as BiT
    precision: str = "float32"  # row 5: the scaling figures are in float32
    head_init: str = "zeros"  # as BiT
    val_split: str = "val"  # row 11: never the test set of a transfer
    views: tuple[str, ...] = ()  # row 9: 873K radiographs are all there are


def _paper(names: list[str]) -> Recipe:
    """What the text says."""
    if names == ["imagenet1k"]:
        return Recipe(
            train=_RANDAUGMENT,
            eval=_NATURAL_EVAL.format(norm="standardize('imagenet')"),
            base_lr=0.03,
            schedule="cosine",  # row 1
        )
    if names == ["imagenet21k"]:
        return Recipe(
            train=_NATURAL_TRAIN,
            eval=_NATURAL_EVAL.format(norm="standardize('imagenet')"),
            base_lr=0.01,
            val_split="",  # section 1: no validation; every image is trained on
        )
    return Recipe(
        # Row 7: the shift of its reference [30]. What lies outside is not stated: as the code.
        train=f"{_XRAY}random_affine(shift=0.15)|random_flip|value_range(-1, 1)|to_rgb",
        eval=f"{_XRAY}value_range(-1, 1)|to_rgb",
        base_lr=0.01,
        # Row 2: 5,000 steps of row 3's batch are longer than the first of three stages of the
        # schedule, even than all 90 epochs of CheXpert; only all four sets have room for them.
        warmup="5000 steps" if len(names) == 4 else "15 epochs",
    )


def _authors(names: list[str], arch: str) -> Recipe:
    """What the published configs say (upstream.md, section 1), row by row."""
    paper = _paper(names)
    # Local batches are 32 images for R50x1 and 16 for R152x4, X-rays always 16.
    local = 32 if arch == "r50x1" and datasets.SOURCES[names[0]].natural else 16
    common = replace(
        paper,
        nesterov=True,  # row 4
        precision="mixed_bfloat16",  # row 5: theirs is float16 with loss scaling
        head_init="uniform",  # section 0: PyTorch's default, head included
        warmup="15 epochs",  # row 2
        warmup_start=local / paper.batch,  # row 6: from the rate of one worker
    )
    if names == ["imagenet1k"]:
        # Row 1. Not followed: 10,000 outputs of R152x4, 9,000 of which have no class.
        common = replace(common, train=_NATURAL_TRAIN, schedule="step")
        if arch == "r50x1":
            return replace(common, base_lr=0.1, clipping=0.0, warmup="5 epochs")
        return common
    if names == ["imagenet21k"]:
        return replace(common, warmup="2 epochs")  # row 2
    return replace(
        common,
        batch=1024,  # row 3
        warmup_start=local / 1024,  # row 6
        # Row 7: a shift of 25 %, after normalisation.
        train=f"{_XRAY}value_range(-1, 1)|random_affine(shift=0.25)|random_flip|to_rgb",
        # Row 11: "val" of NIH is the official test list; of PadChest they took the tenth that is
        # also the transfer's test set. In unions PadChest is left out of validation here, which
        # changes no weights: runs end with their last step, not the best.
        val_split="test" if names == ["padchest"] else "val",
        views=_authors_views(names),
    )


def _authors_views(names: list[str]) -> tuple[str, ...]:
    """Row 9: PadChest's views are asked of all sets, and CheXpert has laterals of that name.

    MIMIC's laterals had other names in the code; the builder calls them L, too.
    """
    if "padchest" not in names:
        return _FRONTAL
    if "mimic" not in names:
        return _PADCHEST_VIEWS
    lateral = [datasets.SOURCES[n].builder for n in names if n in ("chexpert", "padchest")]
    return (*(v for v in _PADCHEST_VIEWS if v != "L"), *(f"{name}:L" for name in lateral))


def _optimized(names: list[str], arch: str) -> Recipe:
    """Row 1: imagenet1k_*_optimized, RandAugment and cosine; R50x1 has 120 epochs."""
    if names != ["imagenet1k"]:
        raise UserError(f"variant={OPTIMIZED}: only for source=imagenet1k.")
    return replace(
        _authors(names, arch),
        train=_RANDAUGMENT,
        base_lr=0.03,
        clipping=0.01,
        warmup="15 epochs",
        schedule="cosine",
        epochs=120 if arch == "r50x1" else 90,
    )


def _mixture() -> Recipe:
    """Photographs and X-rays in one run: the poster's outlook, so nothing here is the authors'.

    The recipe of ImageNet-21k, with the range of values that X-ray networks have; every image is
    decoded to three channels and cropped as a photograph.
    """
    return Recipe(
        train=f"decode|{_CROP}".format(antialias="", norm="value_range(-1, 1)"),
        eval=_NATURAL_EVAL.format(norm="value_range(-1, 1)"),
        base_lr=0.01,
    )


def recipe(names: list[str], arch: str, variant: str) -> Recipe:
    """Returns how to pre-train on sources.

    Raises:
        UserError: If there is no such variant, or not for these sources.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant={variant}: unknown.{did_you_mean(variant, VARIANTS)}")
    if is_mixture(names):
        if variant != PAPER:
            raise UserError(f"variant={variant}: the authors trained on no mixture of domains.")
        return _mixture()
    if variant == PAPER:
        return _paper(names)
    return _authors(names, arch) if variant == AUTHORS else _optimized(names, arch)


def is_mixture(names: list[str]) -> bool:
    """Whether the labels of sources are of different kinds."""
    return len(names) > 1 and any(datasets.SOURCES[name].natural for name in names)


def make(
    source: str,
    arch: str,
    variant: str = PAPER,
    weights: str = "",
    data: str = "data",
    seed: int = 0,
) -> PretrainConfig:
    """Returns the config of one pre-training.

    Args:
        source: Names joined by +.
        arch: ``r50x1``, ``r152x4``, or another BiT network.
        variant: One of `VARIANTS`.
        weights: Numbers joined by +, one per source: draws from the sources in these proportions.
        data: Folder below which the datasets were built.
        seed: Seed of the run.
    """
    names = datasets.parse(source)
    chosen = recipe(names, arch, variant)
    if variant != PAPER and names == ["chexpert", "mimic"]:
        names = ["mimic", "chexpert"]  # row 10: this union has its own code, MIMIC first
    folders = [datasets.folder(name, data, authors=variant != PAPER) for name in names]
    config = _config(chosen, arch, seed)
    config.name = source if variant == PAPER else f"{source}:{variant}"
    config.data.dirs = tuple(folders)
    config.data.weights = _numbers(weights)
    config.data.label_join = "all" if is_mixture(names) else "common"
    return config


def _config(chosen: Recipe, arch: str, seed: int) -> PretrainConfig:
    """Writes a recipe out; what is written here is the same in all."""
    return PretrainConfig(
        seed=seed,
        data=DataConfig(
            views=chosen.views,
            val_split=chosen.val_split,
            train=chosen.train,
            eval=chosen.eval,
            mixup=0.0,
        ),
        model=ModelConfig(name=f"bit-{arch}", head_init=chosen.head_init),
        optim=OptimConfig(
            base_lr=chosen.base_lr,
            base_batch_size=256,
            nesterov=chosen.nesterov,
            weight_decay=1e-4,
            decay_mask="all",
            clipping=chosen.clipping,
        ),
        schedule=ScheduleConfig(
            name=chosen.schedule,
            duration=f"{chosen.epochs} epochs",
            warmup=chosen.warmup,
            warmup_start=chosen.warmup_start,
        ),
        train=TrainConfig(
            global_batch_size=chosen.batch,
            eval_batch_size=1024,
            eval_every="1 epochs" if chosen.val_split else "0 steps",
            checkpoint_every="1 epochs",
        ),
        runtime=RuntimeConfig(precision=chosen.precision),
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split("+") if number)
    except ValueError:
        raise UserError(f"weights={text!r}: write numbers joined by +, 3+1.") from None


def get_config(arg: str | None = None) -> PretrainConfig:
    """Returns the config; see `make` for the arguments."""
    chosen = parse_arg(
        arg, source="imagenet1k", arch="r50x1", variant=PAPER, weights="", data="data", seed=0
    )
    return make(**vars(chosen))
