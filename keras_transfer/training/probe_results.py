"""Results of probes: from stored features to run directories that reports can read."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from keras_transfer.core import runs
from keras_transfer.core.config import TransferConfig
from keras_transfer.evaluation import probe as probes
from keras_transfer.evaluation.embedded import Embedded
from keras_transfer.training import bars, results
from keras_transfer.training.features import Features, splits_of
from keras_transfer.training.setup import Setup

CHOICE_FILE = "choice.json"

# What results call a network that was probed.
TITLES = {"linear": "linear probe", "knn": "k-NN"}


@dataclass(frozen=True)
class Job:
    """One result to compute.

    Attributes:
        config: What its directory says of it.
        method: A key of `evaluation.probe.PROBES`.
        directory: Where it goes.
        chosen: int64[n], the training examples.
    """

    config: TransferConfig
    method: str
    directory: Path
    chosen: np.ndarray


class Solver:
    """Fits and evaluates on stored features; the chief's part."""

    def __init__(self, setup: Setup, features: Features):
        self._setup, self._fingerprints = setup, features.fingerprints
        self._splits = {split: self._embed(split, features) for split in splits_of(setup)}
        self._patients = setup.train.patients()

    def _embed(self, split: str, features: Features) -> Embedded:
        examples = self._setup.examples[split]
        rows = np.arange(len(examples))
        classes = self._setup.labels.num_classes
        return Embedded(features.open(split), rows, examples.label, classes)

    def solve(self, jobs: list[Job]) -> None:
        """Computes what is not finished, or finished with other features."""
        todo = [job for job in jobs if not self._is_current(job)]
        with bars.bar(f"probes of {self._setup.target}", len(todo), "probe") as bar:
            # Full shot is the same for all seeds: fitted once.
            for same in _by_examples(todo):
                chosen = same[0].chosen
                train = self._splits[self._setup.config.data.train_split].take(chosen)
                kind = probes.PROBES[same[0].method](train)
                logits = _Remembered(kind, self._splits)
                for job in same:
                    patients = self._patients[chosen]
                    choice = probes.choose(kind, train, patients, job.config.seed)
                    self._write(job, choice, functools.partial(logits, choice.setting))
                    bar.update()

    def _is_current(self, job: Job) -> bool:
        if not runs.is_finished(job.directory):
            return False
        last = runs.read_json(job.directory / runs.MANIFEST_FILE)["starts"][-1]
        if last.get("features") == self._fingerprints:
            return True
        logging.info("%s: weights or data have changed: computed again.", job.directory)
        return False

    def _write(self, job: Job, choice: probes.Choice, logits: Callable[[str], np.ndarray]) -> None:
        """Writes a run directory; ``result.json`` last."""
        setup, directory = self._setup, job.directory
        (directory / runs.RESULT_FILE).unlink(missing_ok=True)
        facts = {
            "initialised_from": str(setup.init_file or f"scratch, seed {setup.config.seed}"),
            "data": setup.fingerprints,
            "features": self._fingerprints,
            "num_train_examples": len(job.chosen),
        }
        runs.start(directory, job.config, facts)
        if job.config.num_shots is not None:
            chosen = setup.train.example_ids()[job.chosen].tolist()
            runs.write_json(directory / runs.FEWSHOT_FILE, chosen)
        runs.write_json(directory / CHOICE_FILE, _as_json(choice))
        found = {
            split: results.predictions_of(setup.examples[split], logits(split))
            for split in splits_of(setup)[1:]
        }
        arch = f"{setup.arch} {TITLES[job.method]}"
        results.write(directory, setup, job.config, found, arch=arch, step=0)


def _by_examples(jobs: list[Job]) -> Iterable[list[Job]]:
    """Groups jobs of one method on equal training examples."""
    groups: dict[tuple[str, bytes], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.method, job.chosen.tobytes()), []).append(job)
    return groups.values()


class _Remembered:
    """Logits of whole splits, computed once per setting: seeds often choose the same."""

    def __init__(self, kind: probes.Probe, splits: dict[str, Embedded]):
        self._kind, self._splits = kind, splits
        self._known: dict[tuple[float, str], np.ndarray] = {}

    def __call__(self, setting: float, split: str) -> np.ndarray:
        if (setting, split) not in self._known:
            self._known[setting, split] = self._kind.logits(setting, self._splits[split])
        return self._known[setting, split]


def _as_json(choice: probes.Choice) -> dict[str, Any]:
    columns = ("setting", "quality", "squared_error")
    return {
        "setting": choice.setting,
        "num_held_out": choice.num_held_out,
        "tried": [dict(zip(columns, trial)) for trial in choice.tried],
    }
