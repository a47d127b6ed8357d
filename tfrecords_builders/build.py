r"""Builds a dataset: images and labels of a source become a TFDS folder of TFRecords.

    python -m tfrecords_builders.build --source=digits --output_dir=data --options=classes=0-4
    python -m tfrecords_builders.build --source=image_folder --input_dir=photos --output_dir=data \
        --image_size=256
    python -m tfrecords_builders.build --source=phantom --output_dir=data \
        --options=num_patients=2000,site=b

The folder is ``<output_dir>/<name>/<config>/<version>``. A build that was stopped goes on where it
stood when the same command is typed again. ``--dry_run`` shows what would be built.
"""

import shlex
import sys
from pathlib import Path

from absl import flags

from keras_transfer.core.errors import UserError
from tfrecords_builders import checks, command, images, sources, stages, summary

_SOURCE = flags.DEFINE_string("source", "", f"What to build: {', '.join(sources.names())}.")
_INPUT = flags.DEFINE_string("input_dir", "", "Where the images and label tables are.")
_OUTPUT = flags.DEFINE_string("output_dir", "", "The dataset's folder is made below this one.")
_OPTIONS = flags.DEFINE_multi_string("options", [], "Options of the source: key=value,key=value.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 0, "Shorter side of the stored images in pixels; 0 keeps their size.", 0
)
_ENCODING = flags.DEFINE_enum(
    "encoding", None, images.ENCODINGS, "How images are stored; by default as the source says."
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", images.MAX_PIXELS, "Images with more pixels are refused before decoding.", 1
)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes; 0 uses all cores.", 0)
_STAGE = flags.DEFINE_enum("stage", "all", stages.STAGES, "Which part of the work to do.")
_ON_ERROR = flags.DEFINE_enum(
    "on_error", "fail", checks.ON_ERROR, "What to do with rows and images that cannot be stored."
)
_MAX_BAD = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "Share of rows that --on_error=quarantine may put aside.", 0.0, 1.0
)
_LIMIT = flags.DEFINE_integer("limit", 0, "Keep a random sample of so many examples; 0: all.", 0)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", 0, "Files of the largest split; 0 chooses.", 0)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of order, splits and generated images.")
_TASK = flags.DEFINE_string(
    "task", "", "With --stage=write: I/N writes the I-th of N equal parts; I counts from 0."
)
_HASH_PATIENTS = flags.DEFINE_string(
    "hash_patients",
    "",
    "File of secret bytes: ids and paths of patients and studies are written as keyed hashes.",
)
_OVERWRITE = flags.DEFINE_boolean("overwrite", False, "Replace a dataset that differs.")
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Show what would be built and write nothing.")


def _next_command(outcome: stages.Outcome, stage: str) -> str:
    """Returns what to type next."""
    if outcome.card is not None:
        config = f"experiments/configs/finetune.py:data={outcome.folder}"
        return shlex.join(
            ["python", "-m", "experiments.finetune", f"--config={config}", "--dry_run"]
        )
    following = stages.STAGES[stages.STAGES.index(stage) + 1]
    typed = [word for word in sys.argv[1:] if not word.startswith(("--stage", "--task"))]
    words = ["python", "-m", "tfrecords_builders.build", *typed, f"--stage={following}"]
    return shlex.join(words)


def _task() -> tuple[int, int]:
    """Reads ``--task``."""
    if not _TASK.value:
        return 0, 1
    number, slash, count = _TASK.value.partition("/")
    if not (number.isdecimal() and slash and count.isdecimal() and int(number) < int(count)):
        raise UserError(f"--task={_TASK.value}: write I/N with 0 <= I < N, such as 0/16.")
    if _STAGE.value != "write":
        raise UserError("--task divides the stage write: add --stage=write.")
    return int(number), int(count)


def main(_: list[str]) -> None:
    """Builds what the flags say, and says what was done."""
    if not _SOURCE.value:
        raise UserError(f"--source is missing: one of {', '.join(sources.names())}.")
    job = stages.make_job(
        _SOURCE.value,
        input_dir=_INPUT.value,
        options=_OPTIONS.value,
        image_size=_IMAGE_SIZE.value,
        encoding=_ENCODING.value,
        max_pixels=_MAX_PIXELS.value,
        limit=_LIMIT.value,
        seed=_SEED.value,
        salt_file=_HASH_PATIENTS.value,
    )
    settings = stages.Settings(
        num_workers=_NUM_WORKERS.value,
        num_shards=_NUM_SHARDS.value,
        tolerance=checks.Tolerance(_ON_ERROR.value, _MAX_BAD.value),
        task=_task(),
        overwrite=_OVERWRITE.value,
        progress=True,
    )
    if _DRY_RUN.value:
        folder = stages.dataset_folder(job, Path(_OUTPUT.value or "OUTPUT_DIR"))
        print(summary.describe_source(job))
        print(summary.describe_plan(stages.preview(job, settings), settings.workers))
        print(f"dry run, nothing was written to {folder}")
        return
    if not _OUTPUT.value:
        raise UserError("--output_dir is missing: the dataset's folder is made below it.")
    outcome = stages.build(job, Path(_OUTPUT.value), settings, _STAGE.value)
    if outcome.card is None:
        print(f"stage {_STAGE.value} is done: {outcome.folder}")
    else:
        print(summary.describe_card(outcome.card))
        state = "complete" if outcome.built else "was complete already, nothing was written"
        print(f"{outcome.folder}: {state}")
    print(f"next: {_next_command(outcome, _STAGE.value)}")


if __name__ == "__main__":
    command.run(main)
