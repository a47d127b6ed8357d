"""Pre-trains one network on one source.

    python -m experiments.pretrain --config=experiments/configs/smoke.py --workdir=runs/smoke

Running the same command again continues the run, or says that it is finished. Where datasets are
missing, all of them are named with the commands that build them.
"""

from pathlib import Path

from absl import flags

from experiments import _main
from keras_transfer.core.config import PretrainConfig

_RESUME = flags.DEFINE_string(
    "resume", "", "Another run directory: go on from its newest checkpoint, optimiser included."
)
_main.define_run_flags("experiments/configs/smoke.py")


def main() -> None:
    """Runs what the flags say."""
    config = _main.read_config(PretrainConfig)
    training = _main.begin(config, lambda training: training.dry_run(config))
    if training is None:
        return
    workdir = Path(flags.FLAGS.workdir)
    training.pretrain(config, workdir, resume=_RESUME.value)
    print(f"finished: {workdir}")


if __name__ == "__main__":
    _main.run(main)
