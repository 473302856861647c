"""Values that no file may hold: a profile names the variables of the submitting user that its jobs get.

A profile's own values stand in the record of each submission and in the scripts of its jobs, which others may read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from nllgen.errors import ConfigError, MachineError

_ADVICE = "name it in pass_environment, and set it where you submit: then its value stands in no file"
_SECRET = re.compile(
    r"(?:^|_)(?:TOKENS?|SECRETS?|PASSWORD|PASSWD|PASSPHRASE|PWD|CREDENTIALS?|(?:API|ACCESS|PRIVATE|SECRET)_?KEY)(?:_|$)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"_(?:PATH|FILE|DIR)$", re.IGNORECASE)  # the name of a file is no secret
_WITH_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
_ASSIGNMENT = re.compile(r"(?:^|[\s;&|])([A-Za-z_]\w*)=[\"']?[^\s\"'$`]")  # of a literal, in a line of shell


def is_secret(name: str, value: str = "") -> bool:
    """Return whether a variable holds a secret, by its name, or by a password in an address."""
    return bool(_SECRET.search(name) and not _PLACE.search(name)) or bool(_WITH_PASSWORD.search(value))


def check_values(environment: Mapping[str, str]) -> dict[str, str]:
    """Refuse variables whose value is a secret.

    Raises:
        ValueError: it names the variable, and not its value.
    """
    for name, value in environment.items():
        if is_secret(name, value):
            raise ValueError(f"{name} looks like a secret, which every record of a submission would hold; {_ADVICE}")
    return dict(environment)


def check_lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse lines of shell that set a variable to a secret.

    Raises:
        ValueError: it names the variable, and not its value.
    """
    for line in lines:
        names = [match[1] for match in _ASSIGNMENT.finditer(line) if is_secret(match[1])]
        if names or _WITH_PASSWORD.search(line):
            what = names[0] if names else "a password in an address"
            raise ValueError(f"{what} looks like a secret, which every script of a job would hold; {_ADVICE}")
    return lines


def require_variables(names: Iterable[str]) -> None:
    """Check before anything is sent that the variables which jobs get are set here.

    Raises:
        ConfigError: one is not.
    """
    if missing := [name for name in names if name not in os.environ]:
        raise ConfigError(
            f"pass_environment: {', '.join(missing)} is not set here", "export it, or take its name out of the profile"
        )


def passed_variables(names: Iterable[str]) -> dict[str, str]:
    """Return the variables that a worker gets, from the environment of its job.

    Raises:
        MachineError: one has not arrived.
    """
    names = tuple(names)
    if missing := [name for name in names if name not in os.environ]:
        raise MachineError(
            f"pass_environment: {', '.join(missing)} is not set in this job",
            "the cluster does not pass on the environment of sbatch; set it in a file that `setup` sources",
        )
    return {name: os.environ[name] for name in names}
