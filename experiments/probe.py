r"""Probes frozen features on one target: ridge regression and k nearest neighbours, in seconds.

    python -m experiments.probe --config=experiments/configs/finetune.py:target=pets,init=RUN \
        --workdir=runs/probes/pets --shots=1,5,10,full --seeds=0,1,2,3,4 --methods=linear,knn

Takes the configs of experiments.finetune, and for the same shots and seed the same training images.
Features of all splits are computed once and kept below --workdir. Each method, number of shots and
seed has its own run directory there; reports show them as networks of their own.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from experiments import _main, finetune
from keras_transfer.core import runs
from keras_transfer.core.config import TransferConfig

# --shots, --seeds and the flags of a run are those of experiments.finetune.
_METHODS = flags.DEFINE_list("methods", ["linear", "knn"], "Probes to run, of linear and knn.")


def table(rows: Sequence[runs.ResultRow], metric: str) -> list[str]:
    """Returns lines of means and standard deviations over seeds, one per network and split."""
    found: dict[tuple[str, str], dict[int | None, list[float]]] = {}
    for row in rows:
        if row.metric == metric:
            line = found.setdefault((row.arch, row.split), {})
            line.setdefault(row.shots, []).append(row.value)
    shots = list(dict.fromkeys(shot for line in found.values() for shot in line))
    head = "".join(f"{'full' if shot is None else shot:>18}" for shot in shots)
    lines = [f"{metric + ', by shots':<36}{head}"]
    for (arch, split), line in found.items():
        cells = "".join(f"{_cell(line[shot]):>18}" for shot in shots)
        lines.append(f"{f'{arch}, {split}':<36}{cells}")
    return lines


def _cell(values: list[float]) -> str:
    mean = f"{np.mean(values):.4f}"
    return f"{mean} ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else mean


def main() -> None:
    """Runs what the flags say."""
    config = _main.read_config(TransferConfig)
    values = flags.FLAGS
    workdir = Path(values.workdir or ".")
    jobs = [one for one, _ in finetune.expand(config, workdir, values.shots, values.seeds)]
    shots = list(dict.fromkeys(one.shots for one in jobs))
    seeds = list(dict.fromkeys(one.seed for one in jobs))
    methods = _METHODS.value
    training = _main.begin(
        config,
        lambda training: training.probe_plan(config, workdir, shots, seeds, methods=methods),
    )
    if training is None:
        return
    rows, metric = training.probe(config, workdir, shots, seeds, methods=methods)
    if rows:
        print("\n".join(table(rows, metric)))
        print(f"finished: {workdir}")


if __name__ == "__main__":
    _main.run(main)
