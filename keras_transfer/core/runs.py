"""The run directory: its files, written atomically, and what they mean.

``manifest.json`` and ``config.json`` exist from the start, ``result.json`` if and only if the run
has finished. Directory names are for people: nothing is parsed from them.
"""

import dataclasses
import datetime
import errno
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from keras_transfer import __version__
from keras_transfer.core import config as config_lib
from keras_transfer.core.errors import CorruptFileError, DiskFull, UserError

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
RESULT_FILE = "result.json"
FEWSHOT_FILE = "fewshot.json"
WEIGHTS_FILE = "weights.npz"
WEIGHTS_CARD_FILE = "weights.json"
MEASURES_FILE = "measures.json"
CHECKPOINT_DIR = "checkpoints"
TENSORBOARD_DIR = "tensorboard"
PREDICTIONS_DIR = "predictions"

SCRATCH = "scratch"  # the source of a run that starts from no weights

# No space on the device, in the quota, or below the limit of a file's size.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_PACKAGES = (
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "tensorflow-datasets",
    "numpy",
    "scikit-learn",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One number of one finished run.

    Attributes:
        run_id: Identifies the run: digest of its config.
        source: Name of the pre-training data, or ``scratch``.
        arch: Architecture, such as ``r50x1``.
        target: Name of the data that was evaluated.
        shots: Training examples per class; None is the whole training split.
        seed: Seed of the run.
        split: Split that was evaluated.
        metric: Name of the metric.
        value: Its value, a fraction where the metric is one; NaN where it is undefined.
        num_examples: Examples evaluated.
        step: Step of the weights.
    """

    run_id: str
    source: str
    arch: str
    target: str
    shots: int | None
    seed: int
    split: str
    metric: str
    value: float
    num_examples: int
    step: int


@contextmanager
def _named_when_full(path: Path) -> Iterator[None]:
    """Names the file that a full disk refuses, which the system's error does not."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(
            f"{path} cannot be written: {os.strerror(error.errno)}. Files written before are "
            "whole: make room, then give the same command again."
        ) from None


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO]:
    """Opens a file that appears under its name only when it is complete and on disk.

    Raises:
        DiskFull: If there is no room for it; what was under the name before is still there.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    with _named_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open(mode) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically. NaN is written as null, because JSON has no NaN."""
    with atomic_write(path) as stream:
        json.dump(_without_nan(value), stream, indent=1)
        stream.write("\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        UserError: If the file is missing.
        CorruptFileError: If it is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except ValueError as error:
        raise CorruptFileError(f"{path}: not valid JSON ({error}).") from None


def write_config(run_dir: Path, config: config_lib.RunConfig) -> None:
    """Writes ``config.json``."""
    write_json(run_dir / CONFIG_FILE, config_lib.to_dict(config))


def read_config(run_dir: Path) -> config_lib.RunConfig:
    """Reads ``config.json`` of a run directory."""
    return config_lib.from_dict(read_json(run_dir / CONFIG_FILE))


def write_result(
    run_dir: Path,
    rows: Iterable[ResultRow],
    *,
    primary_metric: str,
    undefined: dict[str, list[str]],
) -> None:
    """Writes ``result.json``, which marks the run as finished.

    Args:
        run_dir: The run directory.
        rows: Every number of the run.
        primary_metric: The metric that tables show.
        undefined: Metric -> label names it is not defined for (one value only among the labels).
    """
    value = {
        "primary_metric": primary_metric,
        "undefined": undefined,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    write_json(run_dir / RESULT_FILE, value)


def read_result(run_dir: Path) -> tuple[list[ResultRow], str]:
    """Reads ``result.json``.

    Returns:
        The rows, and the name of the primary metric.
    """
    path = run_dir / RESULT_FILE
    content = read_json(path)
    try:
        rows = [
            ResultRow(**{**row, "value": float("nan") if row["value"] is None else row["value"]})
            for row in content["rows"]
        ]
        return rows, content["primary_metric"]
    except (KeyError, TypeError) as error:
        raise CorruptFileError(f"{path}: not a result of this project ({error}).") from None


def check_new(out: Path) -> None:
    """Raises a UserError if a directory that is to be made exists; an empty one may."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out: {out} exists: choose another directory, or delete it.")


def is_finished(run_dir: Path) -> bool:
    """Whether the run has written its result."""
    return (run_dir / RESULT_FILE).is_file()


def check_same(run_dir: Path, config: config_lib.RunConfig) -> None:
    """Raises a UserError if the directory belongs to a run with another config."""
    path = run_dir / MANIFEST_FILE
    if path.exists() and read_json(path)["digest"] != config_lib.digest(config):
        raise UserError(
            f"{run_dir} holds a run with another config ({differences(run_dir, config)}): "
            "choose another --workdir, or delete it."
        )


def start(run_dir: Path, config: config_lib.RunConfig, facts: dict[str, Any]) -> None:
    """Writes ``config.json`` and ``manifest.json``, or adds a restart to an existing manifest.

    Args:
        run_dir: The run directory; created if missing.
        config: The resolved config.
        facts: What the caller knows: devices, data fingerprints, initialisation, derived seeds.

    Raises:
        UserError: If the directory belongs to a run with another config.
    """
    check_same(run_dir, config)
    path = run_dir / MANIFEST_FILE
    manifest: dict[str, Any] = {"digest": config_lib.digest(config), "starts": []}
    if path.exists():
        manifest = read_json(path)
    manifest["starts"].append(
        {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "command": sys.argv,
            "slurm": {k: v for k, v in os.environ.items() if k.startswith("SLURM_")},
            "code": code_version(),
            "packages": _packages(),
            **facts,
        }
    )
    write_config(run_dir, config)
    write_json(path, manifest)


def differences(run_dir: Path, config: config_lib.RunConfig) -> str:
    """Returns the fields in which a run directory's config differs, as text for a message."""
    old = _flat(read_json(run_dir / CONFIG_FILE))
    new = _flat(json.loads(json.dumps(config_lib.to_dict(config))))
    changed = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} here"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not key.startswith("runtime.")
    ]
    return "; ".join(changed) or "same fields, other version"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _packages() -> dict[str, str]:
    found = {"python": platform.python_version(), "keras_transfer": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def code_version() -> dict[str, str]:
    """Returns the git commit of this checkout and its uncommitted diff; empty outside git."""

    def git(*args: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "diff": git("diff", "HEAD")[:100_000]}
    except (OSError, subprocess.CalledProcessError):
        return {}


def append_metrics(run_dir: Path, row: dict[str, Any]) -> None:
    """Appends one line to ``metrics.jsonl``, or none if the disk is full (DiskFull)."""
    path = run_dir / METRICS_FILE
    line = (json.dumps(_without_nan(row)) + "\n").encode()
    # Unbuffered: one system call, which a kill does not cut in two.
    with _named_when_full(path), path.open("ab", buffering=0) as stream:
        written = stream.write(line)
        if written < len(line):
            stream.truncate(stream.tell() - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def truncate_metrics(run_dir: Path, step: int) -> None:
    """Drops the lines after ``step``: a resumed run writes them again, none twice.

    A last line cut short by a kill is dropped too.
    """
    path = run_dir / METRICS_FILE
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue
    with atomic_write(path) as stream:
        stream.writelines(line + "\n" for line in kept)
