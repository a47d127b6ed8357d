"""From predictions to the files of a run directory that reports read."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_transfer import evaluation
from keras_transfer.core import config as config_lib
from keras_transfer.core import runs
from keras_transfer.core.config import RunConfig, TransferConfig
from keras_transfer.data.pipeline import Examples
from keras_transfer.training.setup import Setup


def predictions_of(examples: Examples, logits: np.ndarray) -> evaluation.Predictions:
    """Puts logits, float32[n, C] in the order of the examples, beside ids and known labels."""
    weight = np.isfinite(examples.label).astype(np.float32)
    return evaluation.Predictions(
        example_id=examples.example_ids(), label=examples.label, logits=logits, weight=weight
    )


def write(
    run_dir: Path,
    setup: Setup,
    config: RunConfig,
    found: Mapping[str, evaluation.Predictions],
    *,
    arch: str,
    step: int,
) -> list[runs.ResultRow]:
    """Evaluates predictions, saves them, and last of all writes the result: the run is finished.

    Args:
        run_dir: The run directory.
        setup: Data, labels and what results call them.
        config: What the directory says of the run.
        found: Split -> predictions.
        arch: What results call the network.
        step: Step of the weights.

    Returns:
        The rows of the result.
    """
    rows: list[runs.ResultRow] = []
    undefined: dict[str, list[str]] = {}
    for split, predictions in found.items():
        path = run_dir / runs.PREDICTIONS_DIR / f"{split}.npz"
        evaluation.save_predictions(path, predictions, setup.labels)
        report = evaluation.compute(predictions, setup.labels)
        undefined |= {f"{split}/{name}": list(v) for name, v in report.undefined.items()}
        rows += [
            runs.ResultRow(
                run_id=config_lib.digest(config),
                source=setup.source,
                arch=arch,
                target=setup.target,
                shots=config.num_shots if isinstance(config, TransferConfig) else None,
                seed=config.seed,
                split=split,
                metric=metric,
                value=float(value),
                num_examples=len(predictions),
                step=step,
            )
            for metric, value in report.values.items()
        ]
    runs.write_result(run_dir, rows, primary_metric=setup.config.metric, undefined=undefined)
    return rows
