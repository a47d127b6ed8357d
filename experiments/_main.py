"""What all scripts share: flags of a run, and errors as one line with an exit code.

Exit codes: 0 done, 2 wrong input (nothing was trained that could have been refused before), 75 asks
the batch system to start the job again (it continues from its checkpoint).
"""

import dataclasses
import importlib.util
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from logging import WARNING
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TypeVar

from absl import app, flags, logging
from ml_collections import config_flags

from keras_transfer.core import config as config_lib
from keras_transfer.core import runs
from keras_transfer.core.errors import Preempted, UserError, WorkerLost, did_you_mean

USER_ERROR_EXIT_CODE = 2

# What batch scripts answer with a requeue: EX_TEMPFAIL of sysexits.h.
REQUEUE_EXIT_CODE = 75

_FAREWELL_SECONDS = 0.5

# Our errors raised inside tf.data or inside a config file reach us as text with a traceback.
_OUR_ERROR = re.compile(r"\b(?:UserError|CorruptFileError): (.+)")

C = TypeVar("C", bound=config_lib.RunConfig)


def define_run_flags(default_config: str) -> None:
    """Defines the flags of scripts that run a config."""
    config_flags.DEFINE_config_file("config", None, f"The run, such as {default_config}.")
    flags.DEFINE_string("workdir", None, "Run directory.")
    flags.DEFINE_bool("dry_run", False, "Build everything, say what it costs, write nothing.")
    flags.DEFINE_bool("print_config", False, "Print the config and stop.")
    flags.DEFINE_string("from_run", None, "Repeat the run in this directory, by its config.json.")


def read_config(kind: type[C]) -> C:
    """Returns the config that the flags name, checked as far as it can be without data."""
    values = flags.FLAGS
    if values.from_run and values.config is not None:
        raise UserError("--config and --from_run exclude each other: --from_run has its config.")
    if values.from_run:
        config: config_lib.RunConfig = runs.read_config(Path(values.from_run))
    elif values.config is not None:
        config = values.config
    else:
        raise UserError("--config=FILE.py is missing (or --from_run=DIR).")
    if not isinstance(config, kind):
        raise UserError(f"This script runs a {kind.__name__}, got a {type(config).__name__}.")
    if not (values.workdir or values.dry_run or values.print_config):
        raise UserError("--workdir=DIR is missing.")
    config.validate()
    return config


def require(flag: flags.FlagHolder[str | None]) -> Path:
    """Returns a path that must be given; absl's own check would exit with another code."""
    if not flag.value:
        raise UserError(f"--{flag.name} is missing.")
    return Path(flag.value)


def show_config(config: config_lib.RunConfig) -> None:
    """Prints a config as JSON."""
    print(json.dumps(config_lib.to_dict(config), indent=1))


def begin(
    config: config_lib.RunConfig, plan: Callable[[ModuleType], Iterable[str]]
) -> ModuleType | None:
    """Answers ``--print_config`` and ``--dry_run``; checks that the datasets are there.

    Args:
        config: The run.
        plan: From the training package, the lines of a dry run.

    Returns:
        The training package, or None if there is nothing to run.
    """
    from experiments.configs import datasets  # slow to import

    values = flags.FLAGS
    if values.print_config:
        show_config(config)
        return None
    try:
        datasets.require(config.data.dirs)
    except UserError:
        if values.dry_run:
            show_config(config)
        raise
    package = training()
    if values.dry_run:
        for line in plan(package):
            print(line)
        return None
    return package


def run(main: Callable[[], None], *, tensorflow: bool = True) -> None:
    """Runs a script: parses flags, calls ``main`` and turns errors into one line and a code.

    Args:
        main: The script. It imports TensorFlow late, so that wrong flags are answered at once.
        tensorflow: Whether it needs TensorFlow at all.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.INFO)
    # TFDS announces every folder it opens, matplotlib every glyph: only our own words count.
    logging.get_absl_handler().addFilter(
        lambda r: r.levelno >= WARNING or "keras_transfer" in r.pathname
    )
    if tensorflow and importlib.util.find_spec("tensorflow") is None:
        _fail("TensorFlow is missing: pip install 'keras_transfer[cpu]' or '[cuda]'.")
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)


def training() -> ModuleType:
    """Imports the training package without TensorFlow's greetings, which no log level stops."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    from keras_transfer import training

    return training


def _parse(argv: list[str]) -> list[str]:
    for word in argv:
        if word.startswith("--config=") and not Path(word[9:].split(":")[0]).is_file():
            _fail(f"{word}: no such file.")
    try:
        return flags.FLAGS([_quoted(word) for word in argv])
    except (flags.Error, UserError) as error:
        _fail(_plain_text(error))
    except KeyError as error:  # config_flags: a field that no dataclass has
        _fail(_unknown_field(str(error.args[0]), argv))


def _quoted(word: str) -> str:
    """Makes one text of ``--config.data.dirs=a/b,c``, which config_flags would read as Python."""
    match = re.fullmatch(r"(--config\.data\.(?:dirs|views))=([^'\"(\[].*)", word)
    return f"{match[1]}={match[2]!r}" if match else word


def _unknown_field(text: str, argv: list[str]) -> str:
    match = re.search(r"Field (\w+) not found on dataclass <class '[\w.]*?(\w+)'>", text)
    if not match:
        return text
    owner = getattr(config_lib, match[2], None)
    known = [f.name for f in dataclasses.fields(owner)] if owner else []
    culprit = next((a for a in argv if f".{match[1]}" in a.split("=")[0]), match[1])
    return f"{culprit}: no such config field.{did_you_mean(match[1], known)}"


def _guarded(main: Callable[[], None], argv: list[str]) -> None:
    if len(argv) > 1:
        _fail(f"Unexpected argument {argv[1]!r}: every argument is a --flag=value.")
    try:
        main()
        leave(0)
    except UserError as error:
        _fail(str(error))
    except (Preempted, WorkerLost) as stop:
        print(stop, file=sys.stderr)
        leave(REQUEUE_EXIT_CODE)
    except Exception as error:
        message = text_of_user_error(error)
        if message is None:
            raise
        _fail(message)


def text_of_user_error(error: Exception) -> str | None:
    """Returns the text of our own error inside one of TensorFlow or absl; None if it has none."""
    match = _OUR_ERROR.search(str(error))
    return match[1] if match else None


def _plain_text(error: Exception) -> str:
    return text_of_user_error(error) or str(error)


def leave(code: int) -> None:
    """Ends a worker of several at once, with an exit code; a single process ends as usual.

    TensorFlow's own farewell between workers takes 3 to 30 s and often ends in errors of its own
    (spec/cluster.md section 3.3).
    """
    cluster = sys.modules.get("keras_transfer.training.cluster")
    if cluster is not None and cluster.team().size > 1:
        if code == 0:
            cluster.wait_for_all()
            # Our last answer to the others may still be under way: exit would cut it off.
            time.sleep(_FAREWELL_SECONDS)
        logging.flush()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    leave(USER_ERROR_EXIT_CODE)
    raise AssertionError("leave returns only after success")
