"""Reader of the registered claims: a file of rules and thresholds, with its digest for the frozen study."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from nllgen.errors import CorruptFileError

PATH = Path(__file__).with_name("claims.toml")


@cache
def claims_text() -> str:
    """Read the file of rules that ships.

    Raises:
        CorruptFileError: the installation lacks the file.
    """
    try:
        return PATH.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{PATH} cannot be read: {error}", "install nllgen again") from error


def claims_sha256() -> str:
    """Return the SHA-256 of the file of rules, 64 hexadecimal digits."""
    return hashlib.sha256(claims_text().encode()).hexdigest()


def claims_rules() -> dict[str, Any]:
    """Parse the rules to plain values.

    Raises:
        CorruptFileError: the file was edited and is not TOML.
    """
    try:
        return tomllib.loads(claims_text())
    except tomllib.TOMLDecodeError as error:
        raise CorruptFileError(f"{PATH} is not TOML: {error}", "install nllgen again") from error
