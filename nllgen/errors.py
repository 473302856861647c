"""Everything a user can cause. Each error says what was wrong, what is allowed and the way out."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_CELLS_FAILED = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_STOPPED = 75  # sysexits' EX_TEMPFAIL: stopped and resumable


class NllgenError(Exception):
    """Base of every expected failure.

    Args:
        message: what was wrong, with the key and the value.
        hint: what is allowed or what to do next.
    """

    exit_code = EXIT_USAGE

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


class ConfigError(NllgenError):
    """A study, grid or profile that cannot be run as it is written."""


class ConflictError(NllgenError):
    """A grid that contradicts what a study folder was frozen with."""


class CorruptFileError(NllgenError):
    """A file that is truncated, damaged, or not what its name says."""


class SchemaError(NllgenError):
    """A file or folder written by a version with another schema."""


class AssetError(NllgenError):
    """A data set or weights file that is missing or fails its hash."""

    exit_code = EXIT_ENVIRONMENT


class MachineError(NllgenError):
    """Something the machine lacks: a tool, a package, space, a permission."""

    exit_code = EXIT_ENVIRONMENT


class ContainerError(NllgenError):
    """A container image that cannot be built, or must not be used."""

    exit_code = EXIT_ENVIRONMENT


class IncompleteError(NllgenError):
    """A study with holes where completeness was asked for."""

    exit_code = EXIT_CELLS_FAILED


class CellsFailedError(NllgenError):
    """Some cells ended without a result."""

    exit_code = EXIT_CELLS_FAILED


class StoppedError(NllgenError):
    """Work that was asked to stop, has kept its state and can go on."""

    exit_code = EXIT_STOPPED
