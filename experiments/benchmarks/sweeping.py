"""A sweep of one target in one process, beside the time of its training steps alone."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from experiments import _main
from experiments.configs.grids import Cell
from experiments.sweeps import state, worker
from keras_transfer.core import claims, runs
from keras_transfer.core.config import (
    DataConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    TransferConfig,
)
from tfrecords_builders import stages

_SHOTS = ("1", "5", "10", "full")
_SEEDS = range(5)
_BATCH = 32


def _grid(data: str, model: str, steps: int, size: int) -> list[Cell]:
    """5 seeds x 4 shots of handwritten digits, with the HyperRule's schedule."""
    return [
        Cell(
            f"shots_{shots}.seed_{seed}",
            TransferConfig(
                seed=seed,
                shots=shots,
                data=DataConfig(
                    dirs=(data,),
                    val_split="",
                    test_split="test",
                    train=f"decode|resize({size + 4})|random_crop({size})|value_range(-1, 1)",
                    eval=f"decode|resize({size})|value_range(-1, 1)",
                ),
                schedule=ScheduleConfig(duration=f"{steps} steps"),
                train=TrainConfig(global_batch_size=_BATCH),
                model=ModelConfig(name=model),
                optim=OptimConfig(base_lr=0.03),
            ),
        )
        for shots in _SHOTS
        for seed in _SEEDS
    ]


class _Engines:
    """A cache of engines that notes what each window of steps takes.

    Attributes:
        windows: float64[n, 3], one row per window: steps, wall seconds, CPU seconds (all threads).
        engine: The engine in use.
    """

    def __init__(self, cache: Any):
        self._cache = cache
        self._rows: list[list[float]] = []
        self.engine: Any = None

    @property
    def windows(self) -> np.ndarray:
        return np.array(self._rows)

    def get(self, *shape: Any) -> Any:
        """Returns the engine of a shape."""
        engine = self._cache.get(*shape)
        if engine is not self.engine:
            self.engine, train = engine, engine.train

            def noted(iterator: Any, rates: np.ndarray) -> Any:
                start = _now()
                values = train(iterator, rates)
                self._rows.append([len(rates), *(_now() - start)])
                return values

            engine.train = noted
        return engine


def _now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def sweep(model: str = "bit-r14x0.25", steps: int = 500, size: int = 32) -> None:
    """Prints what 20 runs cost beside their steps, in wall and in CPU seconds.

    Args:
        model: Architecture.
        steps: Optimisation steps of a run, of 32 images; the HyperRule's fewest by default.
        size: Their side in pixels.
    """
    start = _now()
    training = _main.training()
    imported = _now() - start
    logging.set_verbosity(logging.WARNING)
    engines = _Engines(training.EngineCache())
    with tempfile.TemporaryDirectory() as folder:
        job = stages.make_job("digits", options=("classes=0-9",))
        built = stages.build(job, Path(folder, "data"), stages.Settings(num_workers=1)).folder
        cells, workdir = _grid(str(built), model, steps, size), Path(folder, "runs")
        rules = state.Rules(tries=1, stale_seconds=claims.STALE_SECONDS)
        start = _now()
        with worker.Keeper(rules.stale_seconds) as keeper:
            worker.run(worker.Job(workdir, cells, rules), keeper, engines)
        seconds = _now() - start
        done = [runs.read_result(workdir / cell.name)[0] for cell in cells]
    counts, times = engines.windows[:, 0], engines.windows[:, 1:]
    assert counts.sum() == steps * len(cells)
    # The first window holds the trace: its steps alone took what those of the others did.
    one_step = times[1:].sum(axis=0) / counts[1:].sum()
    pure = one_step * counts.sum()
    tracing = times.sum(axis=0) - pure
    beside = seconds - pure - tracing
    traces = engines.engine._window.experimental_get_tracing_count()
    print(
        f"{model}, {size} px, {len(cells)} runs of {steps} steps of {_BATCH} images, "
        f"{done[0][0].num_examples} test images each; step traced {traces} time(s)"
    )
    print(f"{'':<24}{'wall s':>9}{'CPU s':>9}{'/ steps':>10}{'CPU':>8}")
    lines = {
        "training steps": pure,
        "tracing": tracing,
        "beside the steps": beside,
        "all runs": seconds,
        "with TensorFlow's start": seconds + imported,
    }
    for name, (wall, cpu) in lines.items():
        shares = (wall, cpu) / pure
        print(f"{name:<24}{wall:>9.1f}{cpu:>9.1f}{shares[0]:>10.3f}{shares[1]:>8.3f}")
    print(f"a step {1000 * one_step[0]:.1f} ms; a run {beside[0] / len(cells):.2f} s beside them")
