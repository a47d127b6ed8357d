"""Where the numbers come from: code, versions and devices of runs, fingerprints of data, files."""

import hashlib
import html
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from keras_transfer.core import runs
from keras_transfer.reporting.collection import Collection, Run
from keras_transfer.reporting.page.parts import folded
from keras_transfer.reporting.page.tables import Format, frame_table

_UNKNOWN = "unknown"


def section(collection: Collection) -> str:
    """Returns tables, folded away: who is interested opens them."""
    if collection.files:
        return folded("Published files and their fingerprints", _files(collection))
    starts = [(run, start) for run in collection.runs for start in _starts(run)]
    return folded("Code, versions and devices", _groups(starts)) + folded(
        "Data and their fingerprints", _data(starts)
    )


def _starts(run: Run) -> list[dict[str, Any]]:
    return runs.read_json(run.directory / runs.MANIFEST_FILE).get("starts") or [{}]


def _groups(starts: Sequence[tuple[Run, dict[str, Any]]]) -> str:
    """A row for each set of runs that started alike; a run that started twice may be in two."""
    found: dict[tuple, list[tuple[Run, dict[str, Any]]]] = defaultdict(list)
    for run, start in starts:
        code = start.get("code") or {}
        changed = ", with uncommitted changes" if code.get("diff") else ""
        key = (
            run.kind,
            (code.get("commit", "")[:12] or _UNKNOWN) + changed,
            start.get("devices", _UNKNOWN),
            ", ".join(f"{k} {v}" for k, v in start.get("packages", {}).items()) or _UNKNOWN,
        )
        found[key].append((run, start))
    rows = []
    for key, members in found.items():
        times = sorted(start["time"] for _, start in members if "time" in start)
        rows.append(
            (
                *key,
                len({run.directory for run, _ in members}),
                _joined(start.get("host", _UNKNOWN) for _, start in members),
                f"{times[0]} to {times[-1]}" if times else _UNKNOWN,
            )
        )
    columns = {
        "kind": "Kind of run",
        "commit": "Commit",
        "devices": "Devices",
        "packages": "Versions",
        "runs": "Runs",
        "hosts": "Hosts",
        "times": "Started",
    }
    frame = pd.DataFrame(rows, columns=[*columns])
    caption = "Runs by the code, devices and versions they started with"
    return frame_table(frame, columns, caption, name="manifest-runs")


def _data(starts: Sequence[tuple[Run, dict[str, Any]]]) -> str:
    users: dict[tuple[str, str], set[Path]] = defaultdict(set)
    for run, start in starts:
        for folder, fingerprint in (start.get("data") or {}).items():
            users[folder, fingerprint].add(run.directory)
    if not users:
        return "<p>The manifests name no data.</p>"
    rows = [(*key, len(directories)) for key, directories in sorted(users.items())]
    columns = {"folder": "Folder", "fingerprint": "Fingerprint", "runs": "Runs"}
    frame = pd.DataFrame(rows, columns=[*columns])
    caption = "Data the runs have read; a folder in two rows has changed between runs"
    return frame_table(
        frame, columns, caption, {"folder": _code, "fingerprint": _code}, name="manifest-data"
    )


def _files(collection: Collection) -> str:
    frame = pd.DataFrame(
        {
            "file": [file.path.name for file in collection.files],
            "rows": [file.rows for file in collection.files],
            "copies": [file.rows - file.distinct for file in collection.files],
            "sha256": [
                hashlib.sha256(file.path.read_bytes()).hexdigest() for file in collection.files
            ],
        }
    )
    columns = {
        "file": "File",
        "rows": "Rows",
        "copies": "Rows that repeat another",
        "sha256": "SHA-256",
    }
    caption = f"The {len(frame)} files in {collection.files[0].path.parent}"
    form: dict[str, Format] = {"file": _code, "rows": ",d", "copies": ",d", "sha256": _code}
    return frame_table(frame, columns, caption, form, name="manifest-files")


def _joined(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _code(value: str) -> str:
    return f"<code>{html.escape(value)}</code>"
