"""Claims: of many processes on many machines, one at a time works on a directory.

A claim is a file in the directory, created with O_EXCL, which a shared file system grants to one
process only. Its holder touches it from time to time. A claim that nobody has touched for minutes
is dead, on the holder's own host as soon as its process is gone.

Claims are numbered and a number is never used again: who follows a dead or released claim creates
the next number, and again the file system lets only one of several contenders. (To rename the dead
claim away would not do: a contender that had looked before would rename the new one.)

Clocks of the hosts must agree to a fraction of ``STALE_SECONDS``.
"""

import dataclasses
import datetime
import json
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from keras_transfer.core import runs

# A claim is dead after so long without a touch: longer than a file system may hang.
STALE_SECONDS = 600.0

_NAME = re.compile(r"claim\.(\d+)\.json")


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a claim.

    Attributes:
        host: Its machine, and which of the machine's process tables: containers have their own.
        pid: Its process id there.
        process_start: When the process began, in clock ticks since boot: pids are used again. ""
            where the system does not say.
        time: When it took the claim, in UTC.
        released: Whether it has given the claim back.
    """

    host: str
    pid: int
    process_start: str
    time: str
    released: bool = False

    @classmethod
    def this_process(cls) -> "Holder":
        """Describes this process."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(host=_host(), pid=os.getpid(), process_start=_start_of(os.getpid()), time=now)

    @property
    def is_dead(self) -> bool:
        """Whether it ran on this host and is gone; False where that cannot be known."""
        if self.host != _host():
            return False
        if self.process_start:
            return _start_of(self.pid) != self.process_start
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Claim:
    """The right to work on a directory, until `release` or the end of the process."""

    def __init__(self, folder: Path, number: int, holder: Holder):
        self._folder, self._number, self._holder = folder, number, holder

    def touch(self) -> bool:
        """Says that the process is still there.

        Returns:
            False if another process has followed, or the directory is gone: stop working on it.
        """
        try:
            os.utime(_path(self._folder, self._number))
        except FileNotFoundError:
            return False
        return _newest(self._folder) == self._number

    def release(self) -> None:
        """Lets others have the directory at once."""
        given_back = dataclasses.replace(self._holder, released=True)
        runs.write_json(_path(self._folder, self._number), dataclasses.asdict(given_back))


def take(folder: Path, stale_seconds: float = STALE_SECONDS) -> Claim | None:
    """Claims a directory, which is created if it is missing.

    What the caller has seen in the directory before may be out of date: look again.

    Args:
        folder: The directory.
        stale_seconds: Age of the last touch from which a claim is dead.

    Returns:
        The claim, or None if another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    newest = _newest(folder)
    if _is_live(folder, newest, stale_seconds):
        return None
    holder = Holder.this_process()
    try:
        stream = _path(folder, newest + 1).open("x")
    except FileExistsError:
        return None
    with stream:
        json.dump(dataclasses.asdict(holder), stream)
    return Claim(folder, newest + 1, holder)


def is_taken(folder: Path, stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether a process that seems to live works on a directory."""
    return _is_live(folder, _newest(folder), stale_seconds)


def last_holder(folder: Path) -> Holder | None:
    """Returns who made the newest claim, dead or alive; None if nobody can be named."""
    newest = _newest(folder)
    return None if newest < 0 else _read(_path(folder, newest))


def _is_live(folder: Path, number: int, stale_seconds: float) -> bool:
    if number < 0:
        return False
    path = _path(folder, number)
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    holder = _read(path)
    if holder is not None and (holder.released or holder.is_dead):
        return False
    return age < stale_seconds


def _read(path: Path) -> Holder | None:
    """Returns the holder; None while the file is being written, or if its writer died in it."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _newest(folder: Path) -> int:
    """Returns the highest number of a claim, -1 without any."""
    try:
        matches = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return -1
    return max((int(match[1]) for match in matches if match), default=-1)


def _path(folder: Path, number: int) -> Path:
    return folder / f"claim.{number}.json"


def _host() -> str:
    try:
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _start_of(pid: int) -> str:
    """Returns when a process began; "" if it is gone, a zombie, or the system does not say."""
    try:
        # The name before the bracket may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
