"""The whole path on one machine: build data, pre-train, transfer, report.

    python -m experiments.demo --workdir=demo

Running it again skips what is finished; stopped in the middle, it goes on where it stood.
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from absl import flags, logging

from experiments import _main
from experiments.configs import demo as plan
from keras_transfer.core import runs
from keras_transfer.core.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", "demo", "Where everything goes.")
_QUICK = flags.DEFINE_bool("quick", False, "A minute of it: few steps, one seed, no conclusions.")


@dataclass(frozen=True)
class Size:
    """How much of the plan is run."""

    pretrain_steps: int
    transfer_steps: int
    shots: tuple[str, ...]
    seeds: tuple[int, ...]
    minutes: str


_FULL_SIZE = Size(400, 60, plan.SHOTS, plan.SEEDS, "about 6 minutes on 2 cores")
_QUICK_SIZE = Size(10, 5, ("1", "full"), (0, 1), "about 2 minutes on 2 cores")


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text.lower()).strip("_").replace("__", "_")


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def build_data(workdir: Path) -> dict[str, str]:
    """Builds the five datasets; returns name -> folder."""
    folders = {}
    for data in (*plan.SOURCES, *plan.TARGETS):
        folder = workdir / "data" / _slug(data.name)
        command = [
            sys.executable,
            "-m",
            "tfrecords_builders.build",
            f"--source={data.source}",
            f"--output_dir={folder}",
            f"--options={data.options}",
            f"--seed={data.seed}",
        ]
        print("$ python " + " ".join(command[1:]), flush=True)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"Building {data.name!r} failed: {done.stderr.strip()[-500:]}")
        folders[data.name] = str(folder)
    return folders


def pretrain_all(workdir: Path, folders: dict[str, str], size: Size) -> dict[str, str]:
    """Pre-trains on every source; returns name -> run directory, with "" for from scratch."""
    training = _main.training()

    inits = {"scratch": ""}
    engines = training.EngineCache()
    for data in plan.SOURCES:
        run_dir = workdir / "runs" / "pretrain" / _slug(data.name)
        config = plan.pretrain(data, folders[data.name], size.pretrain_steps)
        training.pretrain(config, run_dir, engines=engines)
        inits[data.name] = str(run_dir)
    return inits


def transfer_all(workdir: Path, folders: dict[str, str], inits: dict[str, str], size: Size) -> None:
    """Transfers every initialisation to every target, shot by shot and seed by seed."""
    training = _main.training()

    jobs = [
        (target, source, shots, seed)
        for target in plan.TARGETS
        for source in inits
        for shots in size.shots
        for seed in size.seeds
    ]
    engines = training.EngineCache()
    start = time.monotonic()
    fresh = 0
    for number, (target, source, shots, seed) in enumerate(jobs, start=1):
        run_dir = (
            workdir
            / "runs"
            / "transfer"
            / _slug(target.name)
            / _slug(source)
            / f"shots_{shots}.seed_{seed}"
        )
        if runs.is_finished(run_dir):
            continue
        config = plan.transfer(
            target, folders[target.name], inits[source], shots, seed, size.transfer_steps
        )
        training.transfer(config, run_dir, engines=engines)
        fresh += 1
        left = (time.monotonic() - start) / fresh * (len(jobs) - number)
        print(
            f"[{number}/{len(jobs)}] {source} > {target.name}, {shots}-shot, seed {seed}: "
            f"{_headline(run_dir)}; about {left / 60:.1f} min left",
            flush=True,
        )


def _headline(run_dir: Path) -> str:
    rows, primary = runs.read_result(run_dir)
    return next(f"{r.metric} {100 * r.value:.1f} %" for r in rows if r.metric == primary)


def main() -> None:
    """Runs the demo."""
    from keras_transfer import reporting

    # One line a run is enough here; the runs' own words are for single runs.
    logging.set_verbosity(logging.WARNING)
    workdir = Path(_WORKDIR.value)
    size = _QUICK_SIZE if _QUICK.value else _FULL_SIZE
    _say(f"Does pre-training help, and which? BiT networks on this machine, {size.minutes}.")
    print(f"Everything goes to {workdir}/. Stop it at any time: the same command goes on.")
    _say("1/4 Build five datasets as TFRecords")
    folders = build_data(workdir)
    _say(f"2/4 Pre-train {len(plan.SOURCES)} networks, {size.pretrain_steps} steps each")
    inits = pretrain_all(workdir, folders, size)
    count = len(inits) * len(plan.TARGETS) * len(size.shots) * len(size.seeds)
    _say(f"3/4 Transfer: {count} runs of {size.transfer_steps} steps")
    transfer_all(workdir, folders, inits, size)
    _say("4/4 Report")
    collection = reporting.collect.collect(workdir / "runs")
    report = reporting.write_report(collection, workdir / "report")
    print(report.text)
    print(f"\nThe page: {report.page.resolve()}")


if __name__ == "__main__":
    _main.run(main)
