"""What a model card states, collected from what a run left behind; nothing is made up.

Paths and host names stay out: cards are published.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import keras

from keras_transfer.core import config as config_lib
from keras_transfer.core import runs
from keras_transfer.core.config import RunConfig, TransferConfig
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.data.dataset import Dataset
from keras_transfer.training import weights

_MOST_ANCESTORS = 8
_MEDICAL = re.compile(r"x-ray|radiograph|dicom|mammogra|tomograph", re.IGNORECASE)
_DATA_FIELDS = ("description", "licence", "citation", "homepage", "version", "fingerprint")


def collect(run_dir: Path, model: keras.Model) -> dict[str, Any]:
    """Returns the facts of a card, fit for JSON.

    Args:
        run_dir: A finished run, or a directory of ``convert_weights``.
        model: Its model.
    """
    card = weights.read_card(run_dir)
    history = _history(run_dir)
    facts: dict[str, Any] = {
        "arch": model.name,
        "parameters": model.count_params(),
        "outputs": model.output_shape[-1],
        **{k: v for k, v in dataclasses.asdict(card).items() if k != "arch"},
        "history": history,
        "primary_metric": "",
        "results": [],
        "undefined": {},
    }
    if runs.is_finished(run_dir):
        result = runs.read_json(run_dir / runs.RESULT_FILE)
        rows, facts["primary_metric"] = runs.read_result(run_dir)
        intervals = _intervals(run_dir)
        facts["undefined"] = result.get("undefined", {})
        facts["results"] = [
            {
                "target": row.target,
                "split": row.split,
                "metric": row.metric,
                "value": row.value,
                "examples": row.num_examples,
                **intervals.get((row.split, row.metric), {}),
            }
            for row in rows
        ]
    facts["limits"] = _limits(facts)
    return facts


def _history(run_dir: Path) -> list[dict[str, Any]]:
    """Returns the run, then the run whose weights it began with, and so on."""
    found: list[dict[str, Any]] = []
    while len(found) < _MOST_ANCESTORS:
        if not (run_dir / runs.CONFIG_FILE).is_file():
            return [*found, _weights_only(run_dir)]
        config = runs.read_config(run_dir)
        found.append(_generation(run_dir, config))
        if not config.model.init:
            break
        init = Path(config.model.init)
        run_dir = init.parent if init.name == runs.WEIGHTS_FILE else init
    return found


def _weights_only(path: Path) -> dict[str, Any]:
    """Describes weights that no run here has made."""
    try:
        card = weights.read_card(path if path.is_dir() else path.parent)
    except (UserError, CorruptFileError):
        return {"weights": path.name, "source": weights.bit_facts(path).get("source", "")}
    return {"weights": path.name, "source": card.source}


def _generation(run_dir: Path, config: RunConfig) -> dict[str, Any]:
    manifest = runs.read_json(run_dir / runs.MANIFEST_FILE)
    last = manifest["starts"][-1]
    return {
        "run_id": manifest["digest"],
        "started": last["time"],
        "commit": last["code"].get("commit", ""),
        "uncommitted_changes": bool(last["code"].get("diff")),
        "packages": last["packages"],
        "train_examples": last.get("num_train_examples"),
        "init": Path(config.model.init).name,
        "kind": "transfer" if isinstance(config, TransferConfig) else "pre-training",
        "config": _public(config),
        "data": [_data(folder) for folder in config.data.dirs],
    }


def _public(config: RunConfig) -> dict[str, Any]:
    """Returns a config with names of folders instead of their paths."""
    values = config_lib.to_dict(config)
    values["data"]["dirs"] = [Path(folder).name for folder in config.data.dirs]
    values["model"]["init"] = Path(config.model.init).name
    return values


def _data(folder: str) -> dict[str, Any]:
    """Describes a dataset; a folder that is not here any more has its name only."""
    try:
        dataset = Dataset(folder)
    except UserError:
        return {"name": Path(folder).name, "missing": True}
    known = {name: dataset.card[name] for name in _DATA_FIELDS if dataset.card.get(name)}
    leaks = dataset.card.get("leaks", {}).get("declared", "")
    splits = {name: split.num_examples for name, split in dataset.splits.items()}
    return {"name": dataset.name, "splits": splits, "shared_between_splits": leaks, **known}


def _intervals(run_dir: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns (split, metric) -> interval, of what `experiments.measure` left in the run."""
    path = run_dir / runs.MEASURES_FILE
    if not path.is_file():
        return {}
    content = runs.read_json(path)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in content["measures"]:
        as_it_is = (row["kind"], row["group"], row["temperature"]) == ("value", "all", 1.0)
        if as_it_is and row["low"] is not None:
            found.setdefault(
                (content["split"], row["metric"]),
                {k: row[k] for k in ("low", "high", "method", "n", "clusters")}
                | {"level": content["level"]},
            )
    return found


def _limits(facts: dict[str, Any]) -> list[str]:
    """Returns sentences that follow from the facts."""
    told: list[str] = []
    data = [entry for generation in facts["history"] for entry in generation.get("data", [])]
    if facts["results"]:
        told.append("The results hold for the data and splits named there; others were not tried.")
        if not any("low" in row for row in facts["results"]):
            told.append(
                "They are of one run with one seed, and no intervals were computed "
                "(experiments.measure does)."
            )
        config = facts["history"][0].get("config")
        if config and config["train"]["select"] == "best":
            told.append(
                f"The step was chosen on the split {config['data']['val_split']}: its results are "
                "too good."
            )
    else:
        told.append("No results are known for these weights.")
    told += [
        f"{metric} is not defined for {', '.join(labels)}: one value only among the labels."
        for metric, labels in facts["undefined"].items()
    ]
    told.append("Any image gets an answer, those of other kinds than the training data too.")
    told += [
        f"{entry['name']}: splits may share patients or images: {entry['shared_between_splits']}."
        for entry in data
        if entry.get("shared_between_splits")
    ]
    if any(_MEDICAL.search(str(entry.get("description", ""))) for entry in data):
        told.append(
            "Made from medical images or drawings of them for research: not a medical device, and "
            "not examined for clinical use."
        )
    unknown = [entry["name"] for entry in data if "licence" not in entry]
    unknown += [g["source"] or g["weights"] for g in facts["history"] if "weights" in g]
    if unknown:
        told.append(f"The licence of these is not known here: {', '.join(unknown)}.")
    if any(generation.get("uncommitted_changes") for generation in facts["history"]):
        told.append(
            "The code had changes that are not in the commit named; manifest.json has them."
        )
    return told
