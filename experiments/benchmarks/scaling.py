"""Weak scaling: images per second of N workers beside one, and where the time goes.

Each worker has the same batch, threads and cores whatever their number. The crews are

*   alone: one worker, one process, no communication; T(1);
*   apart: N such workers at the same time that know nothing of each other: what is lost here is
    lost to the machine they share (memory, caches, clock rate), not to communication;
*   team: N workers that train one network together; T(N).

All of them live through the whole run and take turns, so that noise of the machine hits all.
"""

import contextlib
import dataclasses
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from experiments.benchmarks import pictures, scaling_rows, timing
from experiments.benchmarks.scaling_crews import Crew, Turn
from experiments.benchmarks.scaling_rows import Row
from experiments.benchmarks.scaling_worker import REAL, SYNTHETIC, Task
from keras_transfer.core.errors import UserError
from keras_transfer.reporting import figures
from keras_transfer.reporting.figures import scaling as scaling_figure

_STORED_PER_SEEN = 8 / 7  # as the paper's 256 pixels stored for 224 seen


def scaling(
    workers: Sequence[int],
    task: Task,
    *,
    threads: int,
    rounds: int,
    images: int,
    out: Path | None,
) -> list[Row]:
    """Measures, prints, and writes csv and figure.

    Args:
        workers: Numbers of workers; 1 is measured in any case.
        task: What is trained; its ``data`` is replaced by records made here.
        threads: Threads (and cores, where there are enough) of each worker.
        rounds: Interleaved measurements.
        images: How many different ones the records hold.
        out: Folder for ``scaling.csv`` and the figure; None writes nothing.

    Returns:
        The measurements.

    Raises:
        UserError: If a number of workers is no number, or a worker ends.
    """
    numbers = sorted({1, *workers})
    if numbers[0] < 1:
        raise UserError(f"--workers={numbers[0]}: at least 1.")
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        data = _records(Path(scratch), images, task.size)
        task = dataclasses.replace(task, data=str(data))
        crews = _Crews(stack, numbers, task, threads, Path(scratch))
        rows = [
            row
            for number in tqdm(range(rounds), desc="rounds", leave=False)
            for kind in (SYNTHETIC, REAL)
            for row in crews.measure(kind, number)
        ]
    print(_heading(task, threads, rounds))
    print(scaling_rows.table(rows))
    if threads == 1:
        # One thread that computes is busy all the time, unless others are on its core.
        busy = timing.spread([row.alone_cpu / row.alone for row in rows])
        print(f"\nshare of its core that a worker alone had: {busy}; far below 1: measure again")
    if out is not None:
        _write(rows, out)
    return rows


def _records(scratch: Path, images: int, size: int) -> Path:
    """Builds photographs into records with the project's own builder."""
    from tfrecords_builders import stages

    pictures.photographs(scratch / "photographs", images)
    job = stages.make_job(
        "image_folder",
        input_dir=str(scratch / "photographs"),
        image_size=round(size * _STORED_PER_SEEN),
        options=["val_fraction=0,test_fraction=0"],
    )
    return stages.build(job, scratch / "records", stages.Settings()).folder


class _Crews:
    """All crews; whose turn it is not, waits."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        numbers: Sequence[int],
        task: Task,
        threads: int,
        folder: Path,
    ):
        self._task = task
        cores = sorted(os.sched_getaffinity(0))

        def start(name: str, workers: int, own: Sequence[int]) -> Crew:
            crew = Crew(name, workers, threads=threads, cores=own, task=task, folder=folder)
            stack.callback(crew.close)
            return crew

        most = numbers[-1]
        enough = threads and most * threads <= len(cores)
        self._single = [
            start(f"single{i}", 1, cores[i * threads : (i + 1) * threads] if enough else cores)
            for i in range(most)
        ]
        self._team = {n: start(f"team{n}", n, cores) for n in numbers if n > 1}
        crews = [*self._single, *self._team.values()]
        for crew in crews:
            crew.meet()
        for crew in crews:
            crew.wait_until_ready()

    def measure(self, kind: str, number: int) -> list[Row]:
        """Gives every crew its turn once; returns a row for each number of workers."""
        alone = self._single[0].train(kind)
        rows = [self._row(1, kind, number, alone, alone, alone)]
        for workers, team in self._team.items():
            chosen = self._single[:workers]
            for crew in chosen:
                crew.begin(kind)
            apart = [turn for crew in chosen for turn in crew.finish()]
            rows.append(self._row(workers, kind, number, alone, apart, team.train(kind)))
        return rows

    def _row(
        self,
        workers: int,
        kind: str,
        number: int,
        alone: Sequence[Turn],
        apart: Sequence[Turn],
        team: Sequence[Turn],
    ) -> Row:
        task = self._task
        together = max(turn.end for turn in team) - min(turn.start for turn in team)
        return Row(
            workers=workers,
            input=kind,
            round=number,
            model=task.model,
            size=task.size,
            batch=task.batch,
            alone=_wall(alone) / task.steps,
            apart=_wall(apart) / task.steps,
            team=together / task.steps,
            alone_cpu=_cpu(alone) / task.steps,
            apart_cpu=_cpu(apart) / task.steps,
            team_cpu=_cpu(team) / task.steps,
        )


def _wall(turns: Sequence[Turn]) -> float:
    return statistics.mean(turn.end - turn.start for turn in turns)


def _cpu(turns: Sequence[Turn]) -> float:
    return statistics.mean(turn.cpu for turn in turns)


def _heading(task: Task, threads: int, rounds: int) -> str:
    pack = "by default" if task.pack_mib is None else task.pack_mib
    return (
        f"{task.model}, {task.size} px, {task.batch} images per step and worker (weak scaling), "
        f"{threads or 'any number of'} thread(s) per worker, {len(os.sched_getaffinity(0))} "
        f"core(s), pack_mib {pack}; {rounds} interleaved rounds of {task.steps} steps; "
        "median [min - max]"
    )


def _write(rows: Sequence[Row], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / scaling_rows.CSV_FILE).write_text(scaling_rows.to_csv(rows))
    series: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        rates = series.setdefault(f"{row.input} input", {})
        rates.setdefault(row.workers, []).append(row.images_per_second)
    for path in figures.write(scaling_figure.scaling_curves(series, unit="workers"), out):
        print(f"wrote {path}")
    print(f"wrote {out / scaling_rows.CSV_FILE}")
