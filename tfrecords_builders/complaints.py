"""What the C libraries that decode images say of damaged ones.

They say so on the error output of the process and nowhere else; libjpeg then fills what is missing
with grey and accepts the file all the same.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence

_MOST = 2**16  # bytes that are read of it, the capacity of a pipe
# "Corrupt JPEG data: ...", "Premature end of JPEG file", "libpng error: ...". Not its warnings, of
# colour profiles and other side matters.
_DAMAGE = ("JPEG", "libpng error")


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Yields a list that at the end has the lines written to the error output meanwhile.

    They are not passed on: in a set of millions of images they would bury everything else.
    """
    lines: list[str] = []
    try:
        outer = os.dup(2)
    except OSError:  # closed: nobody can listen
        yield lines
        return
    reader, pipe = os.pipe()
    # A chatty decoder must not wait for somebody to read.
    os.set_blocking(pipe, False)
    os.set_blocking(reader, False)
    os.dup2(pipe, 2)
    os.close(pipe)
    try:
        yield lines
    finally:
        os.dup2(outer, 2)
        os.close(outer)
        with contextlib.suppress(BlockingIOError):
            text = os.read(reader, _MOST).decode(errors="replace")
            lines.extend(line.strip() for line in text.splitlines())
        os.close(reader)


def damage(lines: Sequence[str]) -> str:
    """Returns the first line that tells of a damaged JPEG or PNG file, "" if none does."""
    return next((line for line in lines if any(word in line for word in _DAMAGE)), "")
