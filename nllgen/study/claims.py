"""Reader of the registered claims: files of rules and thresholds by version, with their digests for frozen studies.

A file never changes once a study has registered its digest: other rules are another version.
"""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from nllgen.errors import CorruptFileError

VERSION = 2  # of the rules that a study registers when it is submitted
PATHS = {1: Path(__file__).with_name("claims_v1.toml"), VERSION: Path(__file__).with_name("claims.toml")}


@cache
def claims_text(version: int = VERSION) -> str:
    """Read a file of rules that ships.

    Raises:
        CorruptFileError: the installation lacks the file.
    """
    path = PATHS[version]
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} cannot be read: {error}", "install nllgen again") from error


def claims_sha256(version: int = VERSION) -> str:
    """Return the SHA-256 of a file of rules, 64 hexadecimal digits."""
    return hashlib.sha256(claims_text(version).encode()).hexdigest()


def version_of(sha256: str) -> int | None:
    """Return the version of the rules with a digest; None where no version that ships has it."""
    return next((version for version in PATHS if claims_sha256(version) == sha256), None)


def claims_rules(version: int = VERSION) -> dict[str, Any]:
    """Parse the rules to plain values.

    Raises:
        CorruptFileError: the file was edited and is not TOML.
    """
    try:
        return tomllib.loads(claims_text(version))
    except tomllib.TOMLDecodeError as error:
        raise CorruptFileError(f"{PATHS[version]} is not TOML: {error}", "install nllgen again") from error
