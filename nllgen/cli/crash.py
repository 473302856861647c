"""The report of an unexpected exception: one line for the user, and a log for whoever repairs it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

import click

from nllgen.errors import EXIT_ENVIRONMENT

_MAX_CHARACTERS = 200


def report_crash(error: Exception) -> NoReturn:
    """Write the traceback to a log, print one line that names it, and exit with 3.

    Args:
        error: an exception that no command expects.
    """
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_CHARACTERS]
    try:
        advice = f"please report it with the log {_write_log(error)} and the output of `nllgen doctor`"
    except OSError as failure:
        advice = f"please report the command that failed (no log could be written: {failure.strerror})"
    click.echo(f"error: unexpected {reason.encode('ascii', 'backslashreplace').decode()}; {advice}", err=True)
    sys.exit(EXIT_ENVIRONMENT)


def _write_log(error: Exception) -> Path:
    """Write a log into the user's state directory, or into the temporary directory if that fails."""
    from importlib.metadata import version

    facts = f"nllgen {version('nllgen')}, Python {platform.python_version()}, {platform.platform()}\n"
    text = f"{facts}{' '.join(sys.argv)}\n\n{''.join(traceback.format_exception(error))}"
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "nllgen"
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-"
    try:
        state.mkdir(parents=True, exist_ok=True)
        number, path = tempfile.mkstemp(".log", name, state)
    except (OSError, RuntimeError):  # no home directory
        number, path = tempfile.mkstemp(".log", f"nllgen-{name}")
    with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(path)
