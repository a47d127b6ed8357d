"""Turns finished runs, or the authors' published files, into tables, figures and one page.

python -m experiments.report --runs=demo/runs --out=demo/report
python -m experiments.report --published=large-scale-pretraining-transfer/results --out=report
"""

from absl import flags

from experiments import _main
from keras_transfer.core.errors import UserError

_RUNS = flags.DEFINE_string("runs", None, "Folder that holds run directories, at any depth.")
_PUBLISHED = flags.DEFINE_string("published", None, "Folder of the authors' csv files instead.")
_OUT = flags.DEFINE_string("out", None, "Where csv, md, tex, figures and index.html go.")
_SPREAD = flags.DEFINE_enum(
    "spread",
    "seeds",
    ["seeds", "authors"],
    "What mean and ± are taken over: distinct seeds, or as in the paper every row of the csv "
    "files, also those that were logged twice.",
)
_PROXIMITY = flags.DEFINE_string(
    "proximity", None, "A proximity.csv of experiments.proximity, to be held against transfer."
)
_STRICT = flags.DEFINE_bool(
    "strict", False, "Stop if finished runs claim the same numbers, instead of listing them."
)


def main() -> None:
    """Runs what the flags say."""
    if bool(_RUNS.value) == bool(_PUBLISHED.value):
        raise UserError("Give --runs=FOLDER or --published=FOLDER, one of them.")
    out = _main.require(_OUT)
    from keras_transfer import reporting

    if _PUBLISHED.value:
        collection = reporting.published.collect(_PUBLISHED.value)
    else:
        collection = reporting.collect.collect(_RUNS.value, strict=_STRICT.value)
    report = reporting.write_report(
        collection, out, spread=_SPREAD.value, distances=_PROXIMITY.value
    )
    print(report.text)
    print(f"\nThe page: {report.page}")


if __name__ == "__main__":
    _main.run(main, tensorflow=False)
