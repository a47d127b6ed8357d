"""Prediction of whole splits, and the verb that evaluates a finished run on any dataset."""

from pathlib import Path

from keras_transfer import evaluation, models
from keras_transfer.core import runs
from keras_transfer.data import augment, pipeline
from keras_transfer.data.dataset import Dataset
from keras_transfer.training import results, weights
from keras_transfer.training.setup import open_splits
from keras_transfer.training.step import Engine, Shape


def predict(
    engine: Engine,
    examples: pipeline.Examples,
    eval_pipeline: augment.Pipeline,
    batch_size: int,
    read_threads: int = 8,
) -> evaluation.Predictions:
    """Predicts every example exactly once; the batch size changes nothing but speed."""
    part = engine.slice(batch_size, training=False)
    logits = engine.predict(
        lambda: pipeline.eval_dataset(examples, eval_pipeline, part, read_threads=read_threads),
        len(examples),
    )
    return results.predictions_of(examples, logits)


def evaluate(
    run_dir: Path, data_dir: str, split: str, *, batch_size: int = 128
) -> tuple[evaluation.Report, Path]:
    """Evaluates the weights of a finished run on a split of any dataset with its labels.

    Args:
        run_dir: A finished run.
        data_dir: Dataset folder; "" is the run's own data.
        split: Split to evaluate.
        batch_size: Examples per step.

    Returns:
        The metrics, and the file of predictions written into the run directory.

    Raises:
        UserError: If run, data or split are missing, or the labels do not fit.
    """
    run_dir = Path(run_dir)
    file = weights.file_of(run_dir)
    config = runs.read_config(run_dir)
    card = weights.read_card(run_dir)
    folders = [data_dir] if data_dir else list(config.data.dirs)
    datasets = [Dataset(folder, **config.data.policies) for folder in folders]
    # Other data are evaluated whole, whatever views the run was trained on.
    examples = (
        pipeline.Examples(datasets, split, labels=card.label_space)
        if data_dir
        else open_splits(config.data, datasets, [split], card.label_space)[split]
    )
    engine = Engine(Shape.of(config, card.label_space), config.runtime)
    models.load_npz(engine.model, file, head="load")
    eval_pipeline = augment.compose(card.eval)
    predictions = predict(engine, examples, eval_pipeline, batch_size, config.runtime.read_threads)
    # Another dataset has a split of the same name: its own folder name tells them apart.
    name = f"{examples.name}.{split}".replace("/", ".") if data_dir else split
    path = run_dir / runs.PREDICTIONS_DIR / f"{name}.npz"
    evaluation.save_predictions(path, predictions, card.label_space)
    return evaluation.compute(predictions, card.label_space), path
