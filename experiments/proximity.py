r"""Measures how far sources are from targets, in the features of one fixed network.

    python -m experiments.proximity --init=weights/BiT-M-R50x1.npz --out=proximity \
        --sources=imagenet1k=DIR,chexpert=DIR --targets=pets=DIR,tuberculosis=DIR

Datasets are folders, NAME=DIR where results carry another name than the dataset's own (with a comma
in it: "NAME=DIR" in double quotes), and NAME=DIR+DIR for a union. Writes proximity.csv, a row per
source, target and measure. On two CPU cores, 2,000 images of 224 x 224 pixels of a dataset take
R50x1 about 2 minutes, kept for the next time below --out; then a pair takes about a minute.
"""

from collections.abc import Sequence

from absl import flags

from experiments import _main
from keras_transfer.core.errors import UserError
from keras_transfer.evaluation.proximity.estimates import ProximityRow
from keras_transfer.evaluation.proximity.measures import MEASURES
from keras_transfer.training.proximity_folders import Folders

_INIT = flags.DEFINE_string("init", None, "The fixed network: a run directory or a BiT .npz.")
_SOURCES = flags.DEFINE_list("sources", [], "Datasets that networks were pre-trained on.")
_TARGETS = flags.DEFINE_list("targets", [], "Datasets that they were transferred to.")
_OUT = flags.DEFINE_string("out", None, "Where proximity.csv and the features go.")
_EXAMPLES = flags.DEFINE_integer("examples", 2000, "Training images drawn from each dataset.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 50, "Pairs of halves behind each number.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of drawing and halving.")
_MODEL = flags.DEFINE_string("model", "", "Name of the network, where the weights do not say it.")
_EVAL = flags.DEFINE_string("eval", "", "Evaluation string; by default the one of the weights.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step; changes no number.", 1)


def table(rows: Sequence[ProximityRow]) -> list[str]:
    """Returns lines for a person: a pair per line, its measures with intervals and nulls."""
    lines = [f"{'source':<24}{'target':<24}{'measure':<22}{'value':>10}{'95 %':>24}{'null':>10}"]
    for row in rows:
        interval = f"{row.low:.4g} to {row.high:.4g}"
        lines.append(
            f"{row.source:<24}{row.target:<24}{row.measure:<22}{row.value:>10.4g}{interval:>24}"
            f"{row.null:>10.4g}"
        )
    similar = " and ".join(name for name, m in MEASURES.items() if not m.nearer_is_smaller)
    return [
        *lines,
        f"{rows[0].num_source} images of each dataset. Smaller is nearer, but for {similar}; a "
        "value at its null, that of two halves of the source, is no distance at all.",
    ]


def main() -> None:
    """Runs what the flags say."""
    init, out = _main.require(_INIT), _main.require(_OUT)
    for flag in (_SOURCES, _TARGETS):
        if not flag.value:
            raise UserError(f"--{flag.name} is missing.")
    sources, targets = ([Folders.parse(t) for t in flag.value] for flag in (_SOURCES, _TARGETS))
    training = _main.training()
    network = training.open_network(str(init), _MODEL.value, _EVAL.value)
    rows = training.measure_proximity(
        network,
        sources,
        targets,
        out,
        examples=_EXAMPLES.value,
        repetitions=_REPETITIONS.value,
        seed=_SEED.value,
        batch_size=_BATCH.value,
    )
    if rows:
        print("\n".join(table(rows)))
        print(f"finished: {out / 'proximity.csv'}")


if __name__ == "__main__":
    _main.run(main)
