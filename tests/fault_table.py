"""The table that `tests.faults` writes into cluster/README.md."""

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

MARKS = ("<!-- faults:begin -->", "<!-- faults:end -->")


@dataclasses.dataclass(frozen=True)
class Case:
    """What a fault did.

    Attributes:
        name: Kind of fault.
        step: When it came.
        seconds: From the fault to the end of the last worker.
        code: Exit code of the launcher.
        said: The cause that the log names.
        onward: What the next start came to.
    """

    name: str
    step: int
    seconds: float
    code: int
    said: str
    onward: str = ""


def rows(cases: Sequence[Case]) -> list[str]:
    """Returns the lines of the table, one per kind of fault."""
    lines = [
        "| fault | cases | at steps | all stopped after | exit code | what the log says | then |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(case.name for case in cases):
        same = [case for case in cases if case.name == name]
        steps = ", ".join(str(case.step) for case in same)
        low, high = (f"{f(case.seconds for case in same):.1f}" for f in (min, max))
        seconds = f"{low} s" if low == high else f"{low} - {high} s"
        said = re.sub(r"127\.0\.0\.1:\d+", "host:port", same[0].said)
        said = re.sub(r"/\S*/", "", said).replace("|", "").rstrip(";:")
        cells = [name, len(same), steps, seconds, same[0].code, said, same[0].onward]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def where(steps: int) -> list[str]:
    """Returns date, machine and versions."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    packages = {"TensorFlow": "tensorflow-cpu", "Keras": "keras"}
    versions = [f"{name} {importlib.metadata.version(p)}" for name, p in packages.items()]
    return [
        f"{datetime.date.today()}, `python -m tests.faults`: two workers on one machine",
        f"({os.cpu_count()} x {cpu[1] if cpu else platform.machine()}), {', '.join(versions)},",
        f"runs of {steps} steps with a checkpoint every 6; `launch_local --grace=15`.",
    ]


def write(path: Path, lines: Sequence[str]) -> None:
    """Puts lines between the two marks of a file."""
    before, rest = path.read_text().split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    path.write_text("\n".join([f"{before}{MARKS[0]}", *lines, f"{MARKS[1]}{after}"]))
