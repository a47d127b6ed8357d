"""What the cells to do will cost, by the runs of the same shape that have finished here."""

import datetime
import functools
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.configs.grids import Cell
from experiments.sweeps import cells as cells_lib
from experiments.sweeps.state import TO_DO
from keras_transfer.core import duration, runs
from keras_transfer.core.config import HYPERRULE
from keras_transfer.optim import hyperrule

_DEVICES = re.compile(r"(\d+) replica\(s\) on (\w+)")


@dataclass(frozen=True)
class Speed:
    """What finished runs of one shape took.

    Attributes:
        runs: How many were measured.
        device: ``CPU`` or ``GPU``.
        replicas: Devices of one run.
        step_seconds: Median of their seconds per optimisation step.
        run_seconds: Median of what a run takes beside its steps: evaluation, files.
    """

    runs: int
    device: str
    replicas: int
    step_seconds: float
    run_seconds: float

    def hours(self, steps: Sequence[int]) -> float:
        """Returns the device hours of runs of so many steps."""
        seconds = sum(steps) * self.step_seconds + len(steps) * self.run_seconds
        return self.replicas * seconds / 3600


def training_seconds(run_dir: Path, batch: int) -> tuple[int, float]:
    """Returns the steps of a run and the seconds they took, from its ``metrics.jsonl``."""
    step, seconds = 0, 0.0
    for line in (run_dir / runs.METRICS_FILE).read_text().splitlines():
        row = json.loads(line)
        if "images_per_second" in row:
            seconds += (row["step"] - step) * batch / row["images_per_second"]
            step = row["step"]
    return step, seconds


def measure(directories: Sequence[Path]) -> Speed | None:
    """Returns the speed of finished runs of one shape, None if there are none to go by."""
    steps, rest, devices = [], [], []
    for directory in directories:
        starts = runs.read_json(directory / runs.MANIFEST_FILE)["starts"]
        batch = runs.read_config(directory).train.global_batch_size
        count, seconds = training_seconds(directory, batch)
        if not count:
            continue
        steps.append(seconds / count)
        devices.append(starts[-1]["devices"])
        if len(starts) == 1:  # else the time between the starts is unknown
            begun = datetime.datetime.fromisoformat(starts[0]["time"]).timestamp()
            ended = (directory / runs.RESULT_FILE).stat().st_mtime
            rest.append(max(0.0, ended - begun - seconds))
    match = _DEVICES.match(devices[-1]) if devices else None
    if match is None:
        return None
    return Speed(
        runs=len(steps),
        device=match[2],
        replicas=int(match[1]),
        step_seconds=statistics.median(steps),
        run_seconds=statistics.median(rest) if rest else 0.0,
    )


def steps_of(cell: Cell) -> int | None:
    """Returns the optimisation steps of a cell, None if that takes data that are not there.

    Views and joined labels are not counted out: where they matter, it is the most it can be.
    """
    config = cell.config
    text, batch = config.schedule.duration, config.train.global_batch_size
    if text != HYPERRULE and "step" in text:
        return duration.to_steps(text, global_batch_size=batch)
    size = _size(config.data.dirs, config.data.train_split)
    if size is None:
        return None
    examples = round(size[0] * (1 - config.data.val_fraction))
    if config.num_shots is not None:
        examples = min(examples, config.num_shots * size[1])
    if text == HYPERRULE:
        return hyperrule.total_steps(examples)
    return duration.to_steps(text, global_batch_size=batch, num_examples=examples)


@functools.cache
def _size(folders: tuple[str, ...], split: str) -> tuple[int, int] | None:
    """Returns examples and classes of a training split, None if data are missing."""
    if not all(Path(folder).is_dir() for folder in folders):
        return None
    from keras_transfer.data.dataset import Dataset  # takes seconds to import

    found = [Dataset(folder) for folder in folders]
    examples = sum(d.splits[split].num_examples for d in found if split in d.splits)
    return examples, max(d.labels.num_classes for d in found)


def describe(cells: Sequence[Cell], states: Mapping[str, str], workdir: Path) -> Iterator[str]:
    """Yields lines on the cost of the cells to do.

    Args:
        cells: All cells of the grid, also those that ``--only`` leaves out: they measure.
        states: Name -> status of the cells that are chosen.
        workdir: The folder of the cells.
    """
    total: dict[str, float] = defaultdict(float)
    unknown = 0
    for group in cells_lib.by_shape(cells):
        to_do = [cell for cell in group if states.get(cell.name) == TO_DO]
        if not to_do:
            continue
        done = [workdir / c.name for c in group if runs.is_finished(workdir / c.name)]
        speed, steps = measure(done), [steps_of(cell) for cell in to_do]
        known = [count for count in steps if count is not None]
        shown = f"{sum(known):,} steps" + ", more unknown" * (len(known) < len(steps))
        line = f"  {group[0].target}, {group[0].config.model.name}: {len(to_do)} cells, {shown}: "
        if speed is None or len(known) < len(steps):
            unknown += len(to_do)
            why = "no run of this shape has finished here" if speed is None else "length unknown"
            yield f"{line}time unknown, {why}"
            continue
        hours = speed.hours(known)
        total[speed.device] += hours
        yield (
            f"{line}{hours:.2f} {speed.device} hours at {speed.step_seconds:.3g} s a step and "
            f"{speed.run_seconds:.3g} s a run (from {speed.runs} finished)"
        )
    parts = [f"{hours:.2f} {device} hours" for device, hours in total.items()]
    parts += [f"{unknown} cells of unknown time"] if unknown else []
    if parts:
        yield f"cost of what is to do: {' and '.join(parts)}"
