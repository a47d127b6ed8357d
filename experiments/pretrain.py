"""Pre-trains one network on one source.

    python -m experiments.pretrain --config=experiments/configs/smoke.py --workdir=runs/smoke

Running the same command again continues the run, or says that it is finished. Where datasets are
missing, all of them are named with the commands that build them.
"""

from pathlib import Path

from absl import flags

from experiments import _main
from experiments.configs import datasets
from keras_transfer.core.config import PretrainConfig
from keras_transfer.core.errors import UserError

_RESUME = flags.DEFINE_string(
    "resume", "", "Another run directory: go on from its newest checkpoint, optimiser included."
)
_main.define_run_flags("experiments/configs/smoke.py")


def main() -> None:
    """Runs what the flags say."""
    config = _main.read_config(PretrainConfig)
    values = flags.FLAGS
    if values.print_config:
        _main.show_config(config)
        return
    try:
        datasets.require(config.data.dirs)
    except UserError:
        if values.dry_run:
            _main.show_config(config)
        raise
    training = _main.training()
    if values.dry_run:
        for line in training.dry_run(config):
            print(line)
        return
    training.pretrain(config, Path(values.workdir), resume=_RESUME.value)
    print(f"finished: {values.workdir}")


if __name__ == "__main__":
    _main.run(main)
