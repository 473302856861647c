"""The report of an unexpected exception: one line for the user, and a log for whoever repairs it."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import NoReturn

from nllgen.cli.output import warn
from nllgen.errors import EXIT_SOFTWARE, MachineError

_MAX_CHARACTERS = 200


def report_crash(error: Exception) -> NoReturn:
    """Write the traceback to a log, print one line that names it, and exit with 70."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_CHARACTERS]
    try:
        advice = f"please report it with the log {_write_log(error)} and the output of `nllgen doctor`"
    except OSError as failure:
        advice = f"please report the command that failed (no log could be written: {failure.strerror})"
    warn(f"error: unexpected {reason.encode('ascii', 'backslashreplace').decode()}; {advice}")
    sys.exit(EXIT_SOFTWARE)


def _write_log(error: Exception) -> str:
    """Write a log into the user's directory of states, or into the temporary one; return its path."""
    from importlib.metadata import version

    number, path = _open_log()
    with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"nllgen {version('nllgen')}, Python {sys.version}\n{sys.argv}\n\n")
        file.write("".join(traceback.format_exception(error)))
    return path


def _open_log() -> tuple[int, str]:
    from nllgen.storage.atomic import make_folder
    from nllgen.study.user_directories import user_directory

    try:
        return tempfile.mkstemp(".log", "nllgen-crash-", make_folder(user_directory("STATE")))
    except (OSError, MachineError):
        return tempfile.mkstemp(".log", "nllgen-crash-")
