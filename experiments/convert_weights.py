r"""Turns published weights into a directory that ``model.init`` takes.

    python -m experiments.convert_weights --in=BiT-M-R50x1.npz --out=weights/bit-m-r50x1 --verify
    python -m experiments.convert_weights --out=weights/chexpert+mimic-r50x1 \
        --in=pretrained_models/chexpert_mimic_bit50x1/model.pth.tar --source=chexpert_mimic_bit50x1

--in is a BiT .npz, a checkpoint of torch.save (PyTorch need not be installed, and nothing in the
file is executed), or a finished run. Weights are useless without the normalisation they were
trained with: it comes from the run's card, from the name of a BiT file, from the config that
--source names if it is one of the authors' 19, or from --normalisation.
"""

from pathlib import Path

from absl import flags

from experiments import _main
from experiments.published import PRESETS, authors_facts
from keras_transfer.core.errors import UserError
from keras_transfer.core.labels import MULTICLASS, MULTILABEL

_IN = flags.DEFINE_string("in", None, "BiT .npz, checkpoint of torch.save, or run directory.")
_OUT = flags.DEFINE_string("out", None, "Directory to create.")
_SOURCE = flags.DEFINE_string(
    "source", "", "What they were trained on: a name for results, or one of the authors' configs."
)
_NORMALISATION = flags.DEFINE_string(
    "normalisation", "", f"{', '.join(PRESETS)}, or an operation such as value_range(-1, 1)."
)
_RESOLUTION = flags.DEFINE_integer("resolution", 0, "Side of the images of training, if known.", 0)
_ARCH = flags.DEFINE_string("arch", "", "Architecture, checked against the file.")
_LABELS = flags.DEFINE_list("labels", [], "Names of the outputs, or a file with one in each line.")
_TASK = flags.DEFINE_string("task", "", f"With --labels: {MULTICLASS} or {MULTILABEL}.")
_VERIFY = flags.DEFINE_bool("verify", False, "Build the network from the result and compare.")


def main() -> None:
    """Runs what the flags say."""
    source, out = _main.require(_IN), _main.require(_OUT)
    facts = _facts(source)
    training = _main.training()

    done = training.convert(source, out, training.Facts(**facts), verify=_VERIFY.value)
    card = done.card
    print(f"{out}: {card.arch}, {done.num_arrays} arrays, a head of {done.num_classes}")
    print(f"source {card.source}, {card.normalisation}, evaluated by {card.eval or '(not known)'}")
    if done.dtypes != ("float32",):
        print(f"converted to float32 from {', '.join(done.dtypes)}")
    if done.logits is not None:
        total, norm = done.logits.sum(), (done.logits.astype(float) ** 2).sum() ** 0.5
        print(f"verified: {done.num_arrays} arrays equal {source} bit for bit")
        print(f"logits of a fixed image: sum {total:.6g}, norm {norm:.6g}, crc32 {done.checksum}")
    print(f"Use it by model.init={out} with model.name={card.arch}.")


def _facts(source: Path) -> dict[str, object]:
    """Everything that the flags say about the weights."""
    known = authors_facts(_SOURCE.value) or {"source": _SOURCE.value}
    folder = source.absolute().parent.name
    if not _SOURCE.value and source.suffix != ".npz" and authors_facts(folder):
        raise UserError(
            f"--source is missing; if {source} is what the authors published under this folder's "
            f"name: --source={folder}."
        )
    if _ARCH.value and known.get("arch", _ARCH.value) != _ARCH.value:
        raise UserError(f"--arch={_ARCH.value}: {_SOURCE.value} is of {known['arch']}.")
    if bool(_LABELS.value) != (_TASK.value in (MULTICLASS, MULTILABEL)):
        raise UserError(f"--labels and --task={MULTICLASS} or --task={MULTILABEL} go together.")
    return known | {
        "arch": _ARCH.value or known.get("arch", ""),
        "normalisation": PRESETS.get(_NORMALISATION.value, _NORMALISATION.value),
        "resolution": _RESOLUTION.value,
        "labels": _labels(_LABELS.value),
        "task": _TASK.value,
    }


def _labels(given: list[str]) -> tuple[str, ...]:
    if len(given) == 1 and Path(given[0]).is_file():
        return tuple(filter(None, Path(given[0]).read_text().splitlines()))
    return tuple(given)


if __name__ == "__main__":
    _main.run(main)
