"""The weights of the best evaluation of a run, for ``train.select=best``."""

import math
from pathlib import Path

from absl import logging

from keras_transfer import models
from keras_transfer.core import runs
from keras_transfer.evaluation import metrics
from keras_transfer.training.loop import Progress
from keras_transfer.training.saving import on_chief
from keras_transfer.training.step import Engine


class Best:
    """Keeps the weights of the best evaluation beside the checkpoints until the run is finished.

    All workers hold the same values and so decide the same; the chief writes. Of equal evaluations
    the first counts. ``progress`` remembers the choice, and checkpoints carry it.

    Args:
        run_dir: The run directory.
        engine: Whose weights.
        metric: Name of the metric that is compared, such as ``accuracy``.
    """

    def __init__(self, run_dir: Path, engine: Engine, metric: str):
        self._folder = run_dir / runs.CHECKPOINT_DIR
        self._engine, self._metric = engine, metric
        self._sign = 1 if metrics.find(metric).higher_is_better else -1
        self._in_checkpoint = 0

    def restored(self, progress: Progress) -> None:
        """Checks, after a restart, that the weights which a checkpoint speaks of are there."""
        self._in_checkpoint = progress.best_step
        if progress.best_step and not self._file(progress.best_step).exists():
            logging.warning(
                "%s is gone: the best weights are chosen anew from step %d on.",
                self._file(progress.best_step),
                progress.step,
            )
            progress.best_step, progress.best_value = 0, math.nan

    def offer(self, progress: Progress, values: dict[str, float]) -> None:
        """Keeps the weights as they are now if they are better than those before."""
        value = values[self._metric]
        if progress.best_step and not self._sign * value > self._sign * progress.best_value:
            return
        if math.isnan(value):
            return
        progress.best_step, progress.best_value = progress.step, value
        on_chief(lambda: self._save(progress.step), self._engine.total)

    def take(self, progress: Progress) -> int:
        """Gives the engine the best weights and returns the step they are of."""
        if progress.best_step and progress.best_step != progress.step:
            models.load_npz(self._engine.model, self._file(progress.best_step))
        step = progress.best_step or progress.step
        logging.info("The weights of step %d are tested: %s", step, self._words(progress))
        return step

    def forget(self) -> None:
        """Deletes the files, once the run has its own weights."""
        for file in self._folder.glob("best_*.npz"):
            file.unlink(missing_ok=True)

    def _words(self, progress: Progress) -> str:
        if not progress.best_step:
            return f"{self._metric} was never defined on the validation split, so they are the last"
        return f"{self._metric} {progress.best_value:.4f} on the validation split is the best"

    def _file(self, step: int) -> Path:
        return self._folder / f"best_{step:09d}.npz"

    def _save(self, step: int) -> None:
        models.save_npz(self._engine.model, self._file(step))
        # The one that the newest checkpoint speaks of may be needed after a restart.
        for file in self._folder.glob("best_*.npz"):
            if file not in (self._file(step), self._file(self._in_checkpoint)):
                file.unlink(missing_ok=True)
