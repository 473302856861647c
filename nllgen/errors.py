"""Errors that a user can cause. Each says what was wrong, what is allowed and what to do next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

EXIT_DONE = 0
EXIT_CELLS_FAILED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_SOFTWARE = 70  # sysexits' EX_SOFTWARE: an unexpected exception
EXIT_STOPPED = 75  # sysexits' EX_TEMPFAIL: stopped and resumable


# nothing that a user made is removed, nor is that suggested: what is damaged moves aside
MADE_ANEW = "`nllgen check STUDY --repair` moves damaged files of a study aside; what made them then makes them anew"


class NllgenError(Exception):
    """Base class of every expected failure.

    Args:
        message: the problem, with the key and the value.
        hint: what is allowed, or what to do next.
    """

    exit_code = EXIT_USAGE

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


class ConfigError(NllgenError):
    """A study, grid or profile that cannot be run as written."""


class ConflictError(NllgenError):
    """A grid that contradicts the frozen study in its directory."""


class UntrustedError(NllgenError):
    """A study that this user did not submit on this site, where files of it would be executed."""


class CorruptFileError(NllgenError):
    """A file that is truncated, damaged, or not of the type that its name says."""


class SchemaError(NllgenError):
    """A file or directory that was written with another schema."""


class AssetError(NllgenError):
    """A missing data set or weights file, or one with another hash."""

    exit_code = EXIT_ENVIRONMENT


class MetricInputError(NllgenError, ValueError):
    """Arrays from which a metric cannot be computed."""


class MachineError(NllgenError):
    """A tool, package, permission or amount of disk space that the machine lacks."""

    exit_code = EXIT_ENVIRONMENT


class ContainerError(NllgenError):
    """A container that cannot be built or must not be used."""

    exit_code = EXIT_ENVIRONMENT


class IncompleteError(NllgenError):
    """A study without all results, where all of them are required."""

    exit_code = EXIT_CELLS_FAILED


class CellsFailedError(NllgenError):
    """A study in which some cells ended without a result."""

    exit_code = EXIT_CELLS_FAILED


class StoppedError(NllgenError):
    """Work that was stopped on request, has saved its state and can be resumed."""

    exit_code = EXIT_STOPPED


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses while a file is read into an error of the machine.

    A file that cannot be read now, or not with this memory, may be whole: it is never called damaged.

    Raises:
        FileNotFoundError: there is no such file; the caller knows what that means.
        MachineError: the file cannot be read now.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise MachineError(f"cannot read {path}: {error.strerror or error}", "run the same command again") from error
    except MemoryError as error:
        raise MachineError(f"{path}: not enough memory to read it", "read it on a machine with more memory") from error
