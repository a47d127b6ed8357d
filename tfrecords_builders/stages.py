"""The work of a build from first to last: plan, write, verify, finalize.

This is what ``build`` calls for the command line, and what scripts call to build without one.
"""

import contextlib
import itertools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from keras_transfer.core import runs
from keras_transfer.core.errors import CorruptFileError, UserError
from keras_transfer.core.machine import cores
from keras_transfer.data import records
from tfrecords_builders import checks, finish, images, plan, planner, sources, writer
from tfrecords_builders.images import Rendering
from tfrecords_builders.plan import Job, Plan

_QUICK_SECONDS = 3.0
STAGES = ("all", "plan", "write", "verify", "finalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a build is done, which never changes what is built.

    Attributes:
        num_workers: Processes; 0 uses all cores.
        num_shards: Files of the largest split; 0 chooses.
        tolerance: For rows and images with something wrong.
        task: (i, n): the stage ``write`` writes every n-th shard from the i-th on, so that n tasks
            of a cluster share the work.
        overwrite: Whether a dataset that was built otherwise is replaced.
        progress: Whether to draw progress bars.
    """

    num_workers: int = 0
    num_shards: int = 0
    tolerance: checks.Tolerance = field(default_factory=checks.Tolerance)
    task: tuple[int, int] = (0, 1)
    overwrite: bool = False
    progress: bool = False

    @property
    def workers(self) -> int:
        """Processes to start."""
        return self.num_workers or cores()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call of `build` has led to.

    Attributes:
        folder: The dataset's folder, or the build folder while it is not complete.
        card: Its card; None while it is not complete.
        plan: Its plan; None if it was not needed.
        built: Whether something was written; False if the dataset was complete before.
    """

    folder: Path
    card: dict[str, Any] | None
    plan: Plan | None
    built: bool


def make_job(
    source: str,
    *,
    input_dir: str = "",
    options: Sequence[str] = (),
    image_size: int = 0,
    encoding: str | None = None,
    max_pixels: int = images.MAX_PIXELS,
    limit: int = 0,
    seed: int = 0,
    salt_file: str = "",
) -> Job:
    """Checks what a user asks for.

    Args:
        source: Name of a source.
        input_dir: Where it reads; "" for sources that read nothing.
        options: ``key=value,key=value``, any number of them.
        image_size: Shorter side of the stored images, 0 keeps their size.
        encoding: ``jpeg``, ``png``, ``original``, or None for the source's own.
        max_pixels: Larger images are refused before they are decoded.
        limit: Examples to keep, 0 for all.
        seed: Of order, splits and generated content.
        salt_file: Secret under which names of patients, studies and files are hashed; "" keeps
            them.

    Raises:
        UserError: If anything is unknown or does not fit.
    """
    kind = sources.get(source)
    values = sources.parse_options(kind, options)
    if kind.needs_input_dir and not input_dir:
        raise UserError(f"--input_dir is missing: {source} reads its images from there.")
    if input_dir and not kind.needs_input_dir:
        raise UserError(f"--input_dir={input_dir}: {source} reads nothing; leave it out.")
    if input_dir and not Path(input_dir).is_dir():
        raise UserError(f"--input_dir={input_dir}: no such folder.")
    if image_size < 0 or limit < 0:
        raise UserError("--image_size and --limit cannot be negative.")
    opened = kind(values, Path(input_dir) if input_dir else None, seed)
    rendering = Rendering(
        encoding=encoding or kind.encoding,
        image_size=image_size,
        channels=opened.channels,
        bits=opened.bits,
        dicom=opened.render,
        max_pixels=max_pixels,
    )
    return Job(
        source=source,
        options=tuple(values.items()),
        input_dir=input_dir,
        seed=seed,
        rendering=rendering,
        limit=limit,
        salt_file=salt_file,
    )


def dataset_folder(job: Job, output_dir: Path) -> Path:
    """Returns ``<output_dir>/<name>/<config>/<version>``.

    Raises:
        UserError: If that is inside the input folder, where the next build would find it.
    """
    source = job.open_source()
    target = output_dir / source.name / job.config / source.version
    if job.input_dir and target.resolve().is_relative_to(Path(job.input_dir).resolve()):
        raise UserError(
            f"{target} would lie inside --input_dir={job.input_dir}: choose another --output_dir."
        )
    return target


def preview(job: Job, settings: Settings) -> Plan:
    """Makes the plan without leaving anything on disk.

    Raises:
        UserError: As `build`.
    """
    with tempfile.TemporaryDirectory() as folder, _named_errors(Path(folder)):
        return _plan(job, Path(folder), settings)


def build(job: Job, output_dir: Path, settings: Settings, stage: str = "all") -> Outcome:
    """Builds a dataset, or does one stage of it; what is finished is not done again.

    Args:
        job: What to build; see `make_job`.
        output_dir: The dataset goes to `dataset_folder` below it.
        settings: How.
        stage: One of `STAGES`.

    Raises:
        UserError: If the input is wrong, a dataset of that name was built otherwise, or the disk
            is full.
    """
    with _named_errors(output_dir):
        return _build(job, output_dir, settings, stage)


@contextlib.contextmanager
def _named_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the file system into one line: they are the user's to mend."""
    try:
        yield
    except OSError as error:
        # A full disk is found when writing, which names no file.
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error}. What is finished is kept: "
            "mend the cause and run the same command again."
        ) from None


def _build(job: Job, output_dir: Path, settings: Settings, stage: str) -> Outcome:
    target = dataset_folder(job, output_dir)
    building = target.with_name(target.name + records.BUILDING)
    complete = (target / records.CARD_FILE).is_file()
    if stage in ("all", "plan"):
        made = _plan_in(building, output_dir, job, settings)
        if complete and not settings.overwrite:
            shutil.rmtree(building)
            finish.tidy(target)
            _refuse_other_content(target, made)
            return Outcome(target, runs.read_json(target / records.CARD_FILE), made, False)
    elif complete and not building.exists():
        if stage == "verify":
            expected = runs.read_json(target / finish.SHARDS_FILE)
            damaged = _verify(target, expected, settings)
            _refuse_damage(target, damaged, "Build it again with --overwrite")
        return Outcome(target, runs.read_json(target / records.CARD_FILE), None, False)
    else:
        made = plan.load(building)
        _refuse_other(building, made.request, job.request(), "run --stage=plan again")

    if stage in ("all", "write"):
        _write(building, job, made, settings)
    if stage in ("all", "verify"):
        damaged = _verify(building, finish.collect_records(building, made), settings)
        finish.forget(building, made, damaged)
        _refuse_damage(building, damaged, "Run --stage=write or all: they are written anew")
    if stage not in ("all", "finalize"):
        return Outcome(building, None, made, True)
    return Outcome(
        target, finish.finalize(building, target, job, made, settings.tolerance), made, True
    )


def _plan(job: Job, folder: Path, settings: Settings) -> Plan:
    return planner.make(job, folder, settings.tolerance, num_shards=settings.num_shards)


def _write(folder: Path, job: Job, made: Plan, settings: Settings) -> None:
    shards = made.shards[settings.task[0] :: settings.task[1]]
    total = sum(shard.count for shard in shards)
    # Starting processes takes longer than writing a small set.
    quick = not settings.num_workers and total * made.seconds_per_example < _QUICK_SECONDS
    with _bar("write", total, settings) as bar:
        writer.write(
            folder,
            job,
            made,
            shards,
            tolerance=settings.tolerance,
            num_workers=1 if quick else settings.workers,
            progress=bar.update,
        )


def _bar(what: str, total: int, settings: Settings) -> tqdm:
    # Into a file, a line every half minute is enough.
    interval = 0.2 if sys.stderr.isatty() else 30
    return tqdm(
        total=total, desc=what, unit=" images", mininterval=interval, disable=not settings.progress
    )


def _plan_in(building: Path, output_dir: Path, job: Job, settings: Settings) -> Plan:
    """Makes the plan in the build folder; if that fails, no new folder is left."""
    new = not building.exists()
    try:
        return _plan(job, building, settings)
    except UserError:
        if new:
            shutil.rmtree(building, ignore_errors=True)
            for folder in itertools.takewhile(output_dir.__ne__, building.parents):
                with contextlib.suppress(OSError):  # holds another dataset
                    folder.rmdir()
        raise


def _refuse_other_content(target: Path, made: Plan) -> None:
    """Raises a UserError that says what differs unless a complete dataset is as planned."""
    card = runs.read_json(target / records.CARD_FILE)
    if card.get("fingerprint") != made.fingerprint:
        advice = "choose another --output_dir, or replace it with --overwrite"
        _refuse_other(target, card.get("request", {}), made.request, advice)
        raise UserError(
            f"{target} was built from another input ({card['rows']['in']} rows there, "
            f"{made.rows_in} here): {advice}."
        )


def _refuse_other(folder: Path, there: dict[str, Any], here: dict[str, Any], advice: str) -> None:
    """Raises a UserError that names the fields in which two requests differ, if they do."""
    changed = [
        f"{key}: {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(there | here)
        if there.get(key) != here.get(key)
    ]
    if changed:
        raise UserError(f"{folder} was built otherwise ({'; '.join(changed)}): {advice}.")


def _verify(folder: Path, expected: dict[str, Any], settings: Settings) -> list[str]:
    total = sum(record["count"] for record in expected.values())
    with _bar("verify", total, settings) as bar:
        return writer.verify(folder, expected, num_workers=settings.workers, progress=bar.update)


def _refuse_damage(folder: Path, damaged: list[str], advice: str) -> None:
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise CorruptFileError(f"{folder / damaged[0]}{more}: not as written. {advice}.")
