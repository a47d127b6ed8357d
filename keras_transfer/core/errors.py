"""The one exception for input that a user can mend."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Wrong input: the message is one line that names what is wrong and what to do.

    Scripts print the message without a traceback and exit with code 2.
    """


class CorruptFileError(UserError):
    """A file that cannot be what it claims to be: truncated, altered or of another format."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the tail of an error message: the nearest known name, then all of them.

    Args:
        name: What was asked for.
        known: Every valid name.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Known: {', '.join(known) if known else 'none'}."
