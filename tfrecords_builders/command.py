"""What the commands of this package share: one line per error, and what the exit code means."""

import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags

from keras_transfer.core.errors import UserError


def run(main: Callable[[list[str]], None], *, arguments: tuple[str, ...] = ()) -> None:
    """Parses flags and runs a command. Wrong input exits with 2, Ctrl-C with 130.

    Args:
        main: Called with the arguments that are no flags.
        arguments: Their names, all of which must be given.
    """
    app.run(lambda argv: guarded(main, argv), flags_parser=lambda argv: parse(argv, arguments))


def parse(argv: list[str], arguments: tuple[str, ...] = ()) -> list[str]:
    """Parses flags; returns the program's name and the arguments."""
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        _fail(str(error))
    if len(rest) <= len(arguments):
        _fail(f"{arguments[len(rest) - 1]} is missing.")
    if len(rest) > len(arguments) + 1:
        _fail(f"Unexpected argument {rest[len(arguments) + 1]!r}: write --flag=value.")
    return rest


def guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Runs a command; errors of the user become one line."""
    try:
        main(argv[1:])
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where it stood", file=sys.stderr)
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
