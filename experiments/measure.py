"""Intervals, comparisons and calibration from the stored predictions of a finished run.

python -m experiments.measure --run=runs/a --split=test --against=runs/b --groups=sex,age
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from absl import flags

from experiments import _main
from keras_transfer import evaluation
from keras_transfer.core import runs
from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import LabelSpace
from keras_transfer.evaluation import calibration, intervals, measures, pairing, subgroups
from keras_transfer.evaluation.rows import DELONG, DIFFERENCE, VALUE, Row

PATIENT, NONE = "patient", "none"
SOURCE = "source"

_RUN = flags.DEFINE_string("run", None, "Finished run directory.")
_SPLIT = flags.DEFINE_string("split", "test", "Predictions to measure: predictions/<split>.npz.")
_AGAINST = flags.DEFINE_string("against", "", "Run to compare with, on the same examples.")
_GROUPS = flags.DEFINE_list("groups", [], "Sub-groups by view, sex, age, source (the dataset).")
_AGES = flags.DEFINE_list("ages", ["20", "40", "60", "80"], "Years at which an age band begins.")
_METRICS = flags.DEFINE_list("metrics", [], "Metrics to compute, such as auc,ece; all by default.")
_RESAMPLES = flags.DEFINE_integer("resamples", 2000, "Bootstrap resamples, and permutations.", 1)
_LEVEL = flags.DEFINE_float("level", 0.95, "Level of the intervals.")
_INTERVAL = flags.DEFINE_enum("interval", intervals.BCA, intervals.METHODS, "Kind of interval.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of resamples and permutations.")
_CLUSTER = flags.DEFINE_enum(
    "cluster", PATIENT, [PATIENT, NONE], "Resample whole patients, or examples one by one."
)
_CALIBRATE = flags.DEFINE_string("calibrate_on", "", "Split to fit a temperature on, such as val.")
_PER_LABEL = flags.DEFINE_bool("temperature_per_label", False, "One temperature per label.")
_DATA = flags.DEFINE_list("data", [], "Dataset folders, if not where the run's config has them.")
_OUT = flags.DEFINE_string("out", "", "Folder of measures.csv and .json; by default the run.")

_PRINTED_LABELS = 20  # more of them are in the file only


def main() -> None:
    """Runs what the flags say."""
    run = _main.require(_RUN)
    options = measures.Options(
        resamples=_RESAMPLES.value,
        level=_LEVEL.value,
        method=_INTERVAL.value,
        seed=_SEED.value,
        metrics=tuple(_METRICS.value),
    )
    predictions, labels = _load(run, _SPLIT.value)
    options.chosen(labels)  # names are checked before anything takes time
    other = _other(predictions, labels) if _AGAINST.value else None
    temperature = _temperature(run, predictions, labels) if _CALIBRATE.value else None
    table = _table(run, predictions.example_id)
    unit = _units(table, len(predictions))

    rows = measures.values(predictions, labels, unit, options)
    if temperature is not None:
        rows += _calibrated(temperature.apply(predictions), labels, unit, options, temperature)
    for column in _GROUPS.value:
        assert table is not None
        for name, members in subgroups.groups(table, column, _years()).items():
            part = measures.values(predictions.select(members), labels, unit[members], options)
            rows += [dataclasses.replace(row, group=f"{column}={name}") for row in part]
    if other is not None:
        rows += measures.differences(*other, labels, unit, options)
    _show(rows, labels)
    _write(rows, Path(_OUT.value or run), temperature)


def _load(run: Path, split: str) -> tuple[evaluation.Predictions, LabelSpace]:
    folder = run / runs.PREDICTIONS_DIR
    path = folder / f"{split}.npz"
    if not path.is_file():
        found = ", ".join(sorted(p.stem for p in folder.glob("*.npz"))) or "none"
        raise UserError(
            f"{run}: no predictions of the split {split!r} (there are: {found}); "
            f"python -m experiments.evaluate --run={run} --split=... writes them."
        )
    predictions, labels = evaluation.load_predictions(path)
    if not predictions.known.any():
        raise UserError(f"{path}: no label is known among the predictions: nothing to measure.")
    return predictions.select(predictions.counts), labels


def _other(
    predictions: evaluation.Predictions, labels: LabelSpace
) -> tuple[evaluation.Predictions, evaluation.Predictions]:
    second, second_labels = _load(Path(_AGAINST.value), _SPLIT.value)
    try:
        pairing.same_labels(labels, second_labels)
        return pairing.pair(predictions, second)
    except UserError as error:
        raise UserError(f"--against={_AGAINST.value}: {error}") from None


def _temperature(
    run: Path, predictions: evaluation.Predictions, labels: LabelSpace
) -> calibration.Temperature:
    held_out, _ = _load(run, _CALIBRATE.value)
    both = np.intersect1d(held_out.example_id, predictions.example_id)
    if len(both):
        raise UserError(
            f"--calibrate_on={_CALIBRATE.value}: {len(both)} of its examples are measured in "
            f"{_SPLIT.value!r} as well, such as {str(both[0])!r}: fit on other examples."
        )
    found = calibration.fit_temperature(held_out, per_label=_PER_LABEL.value)
    shown = ", ".join(f"{value:.3f}" for value in found.value)
    print(f"temperature from {_CALIBRATE.value} ({len(held_out)} examples): {shown}")
    if len(found.pooled):
        named = ", ".join(labels.names[c] for c in found.pooled)
        print(f"temperature of all labels taken, as there is one value only: {named}")
    if found.at_limit.any():
        print("a temperature is at the limit of [0.01, 100]: the split does not determine it")
    return found


def _calibrated(
    predictions: evaluation.Predictions,
    labels: LabelSpace,
    unit: np.ndarray,
    options: measures.Options,
    temperature: calibration.Temperature,
) -> list[Row]:
    """Measures again what a temperature changes; ranks and most likely classes it does not."""
    changed = {"loss", *calibration.metrics(labels.task)}
    names = tuple(name for name in options.chosen(labels) if name in changed)
    if not names:
        return []
    value = float(temperature.value[0]) if len(temperature.value) == 1 else float("nan")
    rows = measures.values(predictions, labels, unit, dataclasses.replace(options, metrics=names))
    return [dataclasses.replace(row, temperature=value) for row in rows]


def _table(run: Path, example_id: np.ndarray) -> pd.DataFrame | None:
    """Returns patients and groups of the examples; None if neither is asked for."""
    if _CLUSTER.value == NONE and not _GROUPS.value:
        return None
    from keras_transfer.data.dataset import Dataset  # slow to import

    folders = _DATA.value or runs.read_config(run).data.dirs
    try:
        datasets = [Dataset(folder) for folder in folders]
    except UserError as error:
        need = "groups" if _GROUPS.value else "patients, or resample images with --cluster=none"
        raise UserError(
            f"{error} --data=DIR says where the dataset is; it has the {need}."
        ) from None
    if not datasets:
        raise UserError(f"{run}: its config names no dataset folder: give --data=DIR.")
    wanted = {"example_id", "patient_id", *_GROUPS.value} - {SOURCE}
    where = ", ".join(str(dataset.path) for dataset in datasets)
    return subgroups.join(example_id, _index(datasets, sorted(wanted), example_id), where)


def _index(datasets: list, columns: list[str], example_id: np.ndarray) -> pd.DataFrame:
    """Reads splits until every example is found; ids are made as `pipeline.Examples` makes them."""
    splits = sorted({name for dataset in datasets for name in dataset.splits})
    named = _SPLIT.value.rsplit(".", 1)[-1]
    parts: list[pd.DataFrame] = []
    missing = set(example_id.tolist())
    for split in sorted(splits, key=lambda name: name != named):
        having = [d for d in datasets if split in d.splits and d.splits[split].num_examples]
        for dataset in having:
            try:
                part = dataset.index(split, columns)
            except (KeyError, ValueError) as error:
                if isinstance(error, UserError):
                    raise
                raise UserError(
                    f"{dataset.path}: its index lacks one of {', '.join(columns)}."
                ) from None
            prefix = f"{dataset.name}:" if len(having) > 1 else ""
            patient = part["patient_id"]
            part = part.assign(
                example_id=prefix + part["example_id"],
                patient_id=patient.where(patient == "", f"{dataset.name}:" + patient),
            )
            part[SOURCE] = dataset.name
            part = part[part["example_id"].isin(missing)]
            parts.append(part)
            missing -= set(part["example_id"])
        if not missing:
            break
    return pd.concat(parts, ignore_index=True)


def _units(table: pd.DataFrame | None, count: int) -> np.ndarray:
    if table is None or _CLUSTER.value == NONE:
        print("resampled: examples one by one; intervals are too narrow if patients repeat")
        return np.arange(count)
    patient = table["patient_id"].to_numpy(dtype=str)
    unit = evaluation.units_of(patient)
    unknown = int((patient == "").sum())
    aside = f"; {unknown} of unknown patient count as one each" if unknown else ""
    print(f"resampled: {unit.max() + 1} patients with {count} examples{aside}")
    return unit


def _years() -> list[float]:
    try:
        return [float(year) for year in _AGES.value]
    except ValueError:
        raise UserError(f"--ages={','.join(_AGES.value)}: give years, such as 20,40.") from None


def _show(rows: list[Row], labels: LabelSpace) -> None:
    """Prints values of all labels together, and areas of each label if they are few."""
    shown = [
        row
        for row in rows
        if "/" not in row.metric
        or (
            row.metric.startswith("auc/")
            and row.method != DELONG
            and labels.num_classes <= _PRINTED_LABELS
        )
    ]
    columns = ["group", "metric", "value", "low", "high", "n", "positives", "clusters", "undefined"]
    for kind in (VALUE, DIFFERENCE):
        table = pd.DataFrame([dataclasses.asdict(row) for row in shown if row.kind == kind])
        if table.empty:
            continue
        if kind == DIFFERENCE:
            print(f"\ndifference to {_AGAINST.value} (above 0: higher here)")
        extra = ["temperature"] if (table["temperature"] != 1).any() else []
        extra += ["p", "p_holm"] if kind == DIFFERENCE else []
        counts = table["positives"].astype(float)
        table["positives"] = [f"{count:.0f}" if count == count else "" for count in counts]
        table["note"] = table["note"].str.ljust(table["note"].str.len().max())
        text = table[columns + extra + ["note"]].to_string(
            index=False, float_format="{:.4f}".format, na_rep=""
        )
        print("\n".join(line.rstrip() for line in text.splitlines()))


def _write(rows: list[Row], folder: Path, temperature: calibration.Temperature | None) -> None:
    facts = {
        "run": _RUN.value,
        "split": _SPLIT.value,
        "against": _AGAINST.value,
        "cluster": _CLUSTER.value,
        "level": _LEVEL.value,
        "resamples": _RESAMPLES.value,
        "interval": _INTERVAL.value,
        "seed": _SEED.value,
        "calibrate_on": _CALIBRATE.value,
        "temperature": [] if temperature is None else temperature.value.tolist(),
    }
    content = [dataclasses.asdict(row) for row in rows]
    path = folder / runs.MEASURES_FILE
    with runs.atomic_write(path.with_suffix(".csv")) as stream:
        pd.DataFrame(content).astype({"positives": "Int64"}).to_csv(stream, index=False)
    runs.write_json(path, {**facts, "measures": content})
    print(f"\n{len(rows)} measures: {path.with_suffix('.csv')}, {path}")


if __name__ == "__main__":
    _main.run(main, tensorflow=False)
