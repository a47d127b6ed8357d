"""Exceptions that scripts answer with a line and an exit code."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Wrong input: the message is one line that names what is wrong and what to do.

    Scripts print the message without a traceback and exit with code 2.
    """


class CorruptFileError(UserError):
    """A file that cannot be what it claims to be: truncated, altered or of another format."""


class DiskFull(UserError):
    """No file can be written any more; with room made, the same command goes on."""


class Preempted(Exception):
    """A run was asked to stop and has saved its state; starting it again continues it."""


class WorkerLost(Exception):
    """Another worker of the run is gone, so this one cannot go on; started again, the run does."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the tail of an error message: the nearest known name, then all of them.

    Args:
        name: What was asked for.
        known: Every valid name.
    """
    known = sorted(known)
    contained = [k for k in known if name and name in k]
    near = difflib.get_close_matches(name, known, n=1) or contained
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Known: {', '.join(known) if known else 'none'}."
