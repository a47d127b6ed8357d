"""Turns a folder of finished runs into tables, figures and one page.

python -m experiments.report --runs=demo/runs --out=demo/report
"""

from absl import flags

from experiments import _main

_RUNS = flags.DEFINE_string("runs", None, "Folder that holds run directories, at any depth.")
_OUT = flags.DEFINE_string("out", None, "Where csv, md, tex, figures and index.html go.")


def main() -> None:
    """Runs what the flags say."""
    from keras_transfer import reporting

    report = reporting.write_report(_main.require(_RUNS), _main.require(_OUT))
    print(report.text)
    print(f"\nThe page: {report.page}")


if __name__ == "__main__":
    _main.run(main, tensorflow=False)
