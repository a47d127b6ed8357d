"""The verb that measures proximity: every dataset through one fixed network, then all pairs.

Below the folder it writes, ``features/<dataset>/`` keeps the features of the images drawn, which
are used again as those of probes are; ``proximity.csv`` has the numbers (`ProximityRow`), and
``proximity.json`` how they were made.
"""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import tensorflow as tf
from absl import logging

from keras_transfer.core import runs
from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    RuntimeConfig,
    TrainConfig,
    TransferConfig,
)
from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import ALL, COMMON, MULTICLASS, LabelSpace
from keras_transfer.core.seeds import generator
from keras_transfer.evaluation.proximity import estimates
from keras_transfer.evaluation.proximity.estimates import ProximityRow, Sample
from keras_transfer.evaluation.proximity.measures import MEASURES
from keras_transfer.training import cluster
from keras_transfer.training.bars import bar
from keras_transfer.training.features import Features
from keras_transfer.training.proximity_folders import Folders
from keras_transfer.training.proximity_network import Network
from keras_transfer.training.saving import on_chief
from keras_transfer.training.setup import Setup, prepare
from keras_transfer.training.step import EngineCache

CSV_FILE = "proximity.csv"
FACTS_FILE = "proximity.json"

# A covariance of 25 images says little; of fewer, nothing.
FEWEST = 50

_SPLIT = "train"
# Labels are looked at of so many times the images drawn: not of all of ImageNet-21k.
_POOL = 50
# The head is not used: with the same one, all datasets share one network.
_NO_LABELS = LabelSpace(MULTICLASS, ("none",))


def measure_proximity(
    network: Network,
    sources: Sequence[Folders],
    targets: Sequence[Folders],
    out: Path,
    *,
    examples: int = 2000,
    repetitions: int = 50,
    seed: int = 0,
    batch_size: int = 128,
    runtime: RuntimeConfig | None = None,
    engines: EngineCache | None = None,
) -> list[ProximityRow]:
    """Measures how far each source is from each target, on images of their training splits.

    From each dataset the same number of images is drawn: as many as the smallest has, at most
    ``examples``.

    Args:
        network: The fixed network.
        sources: What networks were pre-trained on.
        targets: What they were transferred to.
        out: Folder that is written.
        examples: Images drawn from each dataset.
        repetitions: Pairs of halves behind each number.
        seed: Of drawing and halving.
        batch_size: Images per step; changes no number.
        runtime: Devices and precision.
        engines: Shares the network between calls.

    Returns:
        One row per pair and measure, in the order given; none on workers other than the chief.

    Raises:
        UserError: If anything is wrong with the data or the weights.
    """
    if not sources or not targets:
        raise UserError("Proximity needs at least one source and one target.")
    if examples < FEWEST or repetitions < 2:
        raise UserError(
            f"Proximity needs examples >= {FEWEST} and repetitions >= 2, "
            f"got {examples} and {repetitions}."
        )
    runtime = runtime or RuntimeConfig()
    cluster.start(runtime)
    try:
        setups = _prepare(network, [*sources, *targets], seed, batch_size, runtime)
        count = _common_size(setups, examples)
        setups = {folders: _drawn(setup, count, seed) for folders, setup in setups.items()}
        features = _features(setups, Path(out), engines or EngineCache())
    except tf.errors.OpError as error:
        raise cluster.lost(error) or error from None
    rows: list[ProximityRow] = []

    def finish() -> None:
        samples = {
            setup.target: Sample(
                features[f].open(_SPLIT), setup.train.label, setup.train.patients()
            )
            for f, setup in setups.items()
        }
        named = [
            {setups[f].target: samples[setups[f].target] for f in g} for g in (sources, targets)
        ]
        found = estimates.compare(network.name, *named, repetitions=repetitions, seed=seed)
        total = len(named[0]) * len(named[1]) * len(MEASURES)
        with bar("proximity", total, "value") as shown:
            for row in found:
                rows.append(row)
                shown.update()
        _write(Path(out), rows, network, features, {"repetitions": repetitions, "seed": seed})

    on_chief(finish, next(iter(features.values())).total)
    return rows


def _prepare(
    network: Network,
    data: Sequence[Folders],
    seed: int,
    batch_size: int,
    runtime: RuntimeConfig,
) -> dict[Folders, Setup]:
    """Opens every dataset once, as for a transfer of the network."""
    setups: dict[Folders, Setup] = {}
    for folders in dict.fromkeys(data):
        config = TransferConfig(
            name=folders.name,
            seed=seed,
            data=DataConfig(
                dirs=folders.dirs,
                label_join=ALL if len(folders.dirs) > 1 else COMMON,
                train_split=_SPLIT,
                val_split="",
                train=network.evaluation,
                eval=network.evaluation,
            ),
            model=ModelConfig(name=network.arch, init=network.init),
            train=TrainConfig(eval_batch_size=batch_size),
            runtime=runtime,
        )
        setups[folders] = prepare(config)
    by_name: dict[str, Folders] = {}
    for folders, setup in setups.items():
        other = by_name.setdefault(setup.target, folders)
        if other != folders:
            raise UserError(
                f"{'+'.join(other.dirs)} and {'+'.join(folders.dirs)} are both called "
                f"{setup.target!r}: write NAME=DIR for one of them."
            )
    return setups


def _common_size(setups: dict[Folders, Setup], wanted: int) -> int:
    """Returns how many images every dataset can give."""
    smallest = min(setups, key=lambda folders: len(setups[folders].train))
    count = len(setups[smallest].train)
    if count < FEWEST:
        raise UserError(
            f"{'+'.join(smallest.dirs)}: {count} images in the split {_SPLIT!r}, but proximity "
            f"needs at least {FEWEST}. Leave it out."
        )
    if count < wanted:
        logging.info(
            "%d images are drawn from every dataset, as many as %s has.",
            count,
            "+".join(smallest.dirs),
        )
    return min(count, wanted)


def _drawn(setup: Setup, count: int, seed: int) -> Setup:
    """Returns a setup of only the images that are drawn."""
    whole = setup.train
    pool = np.arange(len(whole))
    if len(pool) > _POOL * count:
        pool = generator(seed, "proximity pool").choice(len(pool), _POOL * count, replace=False)
    chosen = pool[estimates.draw(whole.label_at(pool), count, seed)]
    return dataclasses.replace(
        setup, examples={_SPLIT: whole.subset(np.sort(chosen))}, labels=_NO_LABELS
    )


def _features(
    setups: dict[Folders, Setup], out: Path, engines: EngineCache
) -> dict[Folders, Features]:
    """Computes what is missing of all features; all workers must call."""
    found = {}
    for folders, setup in setups.items():
        folder = out / "features" / quote(setup.target, safe="+")
        found[folders] = Features(setup, folder, engines)
        found[folders].compute()
    return found


def _write(
    out: Path,
    rows: Sequence[ProximityRow],
    network: Network,
    features: dict[Folders, Features],
    settings: dict[str, int],
) -> None:
    facts = {
        "network": dataclasses.asdict(network),
        "features": {str(of_one.path(_SPLIT)): "+".join(f.dirs) for f, of_one in features.items()},
        **settings,
        "code": runs.code_version(),
    }
    runs.write_json(out / FACTS_FILE, facts)
    with runs.atomic_write(out / CSV_FILE) as stream:
        fields = [field.name for field in dataclasses.fields(ProximityRow)]
        writer = csv.DictWriter(stream, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(dataclasses.asdict, rows))
