"""Evaluates the weights of a finished run on a split, of its own data or of another dataset.

python -m experiments.evaluate --run=runs/smoke --data=data/digits --split=test
"""

from absl import flags

from experiments import _main

_RUN = flags.DEFINE_string("run", None, "Finished run directory.")
_DATA = flags.DEFINE_string("data", "", "Dataset folder; by default the run's own data.")
_SPLIT = flags.DEFINE_string("split", "test", "Split to evaluate.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step; changes no number.", 1)


def main() -> None:
    """Runs what the flags say."""
    run = _main.require(_RUN)
    training = _main.training()

    report, path = training.evaluate(run, _DATA.value, _SPLIT.value, batch_size=_BATCH.value)
    for name, value in report.values.items():
        print(f"{name:<40}{value:.6f}")
    for name, labels in report.undefined.items():
        print(f"{name} is not defined for: {', '.join(labels)}")
    print(f"predictions: {path}")


if __name__ == "__main__":
    _main.run(main)
