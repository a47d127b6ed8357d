"""Fine-tunes on one target: one run, or all pairs of a list of shots and a list of seeds.

    python -m experiments.finetune --config=experiments/configs/finetune.py:data=DIR,init=RUN \
        --workdir=runs/transfer --shots=1,5,10,full --seeds=0,1,2,3,4

With lists, each run has its own directory below --workdir, finished ones are skipped, and runs of
one shape share one compiled step.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from experiments import _main
from keras_transfer.core.config import TransferConfig
from keras_transfer.core.errors import UserError

_SHOTS = flags.DEFINE_list("shots", None, "Shots to run, such as 1,5,10,full.")
_SEEDS = flags.DEFINE_list("seeds", None, "Seeds to run, such as 0,1,2,3,4.")
_main.define_run_flags("experiments/configs/finetune.py:data=DIR,init=RUN")


def expand(
    config: TransferConfig, workdir: Path, shots: list[str] | None, seeds: list[str] | None
) -> Iterator[tuple[TransferConfig, Path]]:
    """Yields the config and directory of each run."""
    if shots is None and seeds is None:
        yield config, workdir
        return
    if any(not seed.isdigit() for seed in seeds or []):
        raise UserError(f"--seeds must be whole numbers, got {','.join(seeds or [])}.")
    for shot in shots or [config.shots]:
        for seed in seeds or [str(config.seed)]:
            one = copy.deepcopy(config)
            one.shots, one.seed = shot, int(seed)
            one.validate()
            yield one, workdir / f"shots_{shot}.seed_{seed}"


def main() -> None:
    """Runs what the flags say."""
    config = _main.read_config(TransferConfig)
    values = flags.FLAGS
    jobs = list(expand(config, Path(values.workdir or "."), _SHOTS.value, _SEEDS.value))
    training = _main.begin(config, lambda training: training.dry_run(config))
    if training is None:
        return
    engines = training.EngineCache()
    for one, workdir in jobs:
        training.transfer(one, workdir, engines=engines)
    print(f"finished: {len(jobs)} run(s) in {values.workdir}")


if __name__ == "__main__":
    _main.run(main)
