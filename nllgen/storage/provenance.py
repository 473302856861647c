"""The provenance of results: the digest and the version of the code."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from nllgen import __version__
from nllgen.errors import MachineError


@cache
def code_sha256() -> str:
    """Return the digest of this program; see :func:`digest_of_package`."""
    return digest_of_package(Path(__file__).parents[1])


def digest_of_package(package: Path) -> str:
    """Return the digest over the names and content of a package's Python files."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_code(expected: str) -> None:
    """Check that this program is the one that a study was submitted with.

    Args:
        expected: the recorded ``code_sha256``; empty where none was recorded.

    Raises:
        MachineError: the program was edited since, or another one is first on Python's path.
    """
    if expected and expected != code_sha256():
        raise MachineError(
            f"{Path(__file__).parents[1]} is not the program that the study was submitted with "
            f"(code {code_sha256()[:12]}, submitted {expected[:12]})",
            "submit the study again; look for another nllgen on PYTHONPATH",
        )


def nllgen_version() -> str:
    """Return the version of the program, as ``nllgen --version`` prints it."""
    return __version__
