"""Writes the model of a finished run as files for others, verified, with a model card.

python -m experiments.export --run=runs/smoke --out=export/smoke --formats=keras,savedmodel,npz

Each file is loaded again and compared on real images with the run's own model; one whose logits
differ by more than 1e-4 is renamed to *.failed, and the exit code is 2. ONNX needs an extra:
pip install 'keras_transfer[onnx]'.
"""

from absl import flags

from experiments import _main
from keras_transfer.core.errors import UserError

_RUN = flags.DEFINE_string("run", None, "Finished run, or directory of convert_weights.")
_OUT = flags.DEFINE_string("out", None, "Directory to create.")
_FORMATS = flags.DEFINE_list(
    "formats", ["keras", "savedmodel", "npz"], "Of keras, savedmodel, onnx and npz."
)
_DATA = flags.DEFINE_string("data", "", "Dataset folder to compare on; by default the run's own.")
_SPLIT = flags.DEFINE_string("split", "", "Its split; by default test, else validation.")


def main() -> None:
    """Runs what the flags say."""
    run, out = _main.require(_RUN), _main.require(_OUT)
    training = _main.training()

    formats = tuple(name.strip() for name in _FORMATS.value)
    found = training.export_run(run, out, formats, data=_DATA.value, split=_SPLIT.value)
    print(f"largest difference of a logit on {found[0].num_images} images:")
    for entry in found:
        print(f"  {entry.file:<24}{entry.way:<16}{entry.difference:.2g}")
    failed = sorted({entry.file for entry in found if not entry.passed})
    if failed:
        raise UserError(f"{out}: not equal to the run, do not use: {', '.join(failed)}.")
    print(f"model card: {out / 'MODEL_CARD.md'}")


if __name__ == "__main__":
    _main.run(main)
