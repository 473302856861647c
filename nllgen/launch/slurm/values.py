"""Parsers of the values that Slurm's programs print."""

from __future__ import annotations

import re
from collections.abc import Iterator

_UNSET = frozenset(("(null)", "N/A", "n/a", "NONE", "None", "none", ""))


def parse_value(text: str) -> str:
    """Strip a value; return an empty text for ``(null)``, ``N/A`` and the like."""
    return "" if text.strip() in _UNSET else text.strip()


def parse_number(text: str) -> int | None:
    """Read the number that a value begins with (``5 sec``, ``20000``, ``8+``); None for ``UNLIMITED`` and the like."""
    match = re.match(r"\s*(\d+)", text)
    return int(match[1]) if match else None


def parse_minutes(text: str) -> int | None:
    """Read a time in whole minutes; None where there is no limit.

    ``30`` is minutes, ``30:00`` minutes and seconds, ``1:00:00`` hours too, and ``2-12`` or ``2-12:00:00`` days too.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        return None
    days, first, second = (int(part) if part else 0 for part in match.groups()[:3])
    if match[1] is not None:
        return days * 1440 + first * 60 + second
    return first * 60 + second if match[4] is not None else first


def parse_version(text: str) -> tuple[int, int] | None:
    """Read ``slurm-wlm 22.05.8`` as (22, 5)."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def parse_indices(text: str) -> Iterator[int]:
    """Iterate over the array indices of ``7`` or ``[0-3,5,8-9:1%4]``."""
    for part in text.strip("[]").split("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", part)
        if match:
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            yield from range(first, last + 1, step)


def parse_config(text: str) -> dict[str, str]:
    """Read ``scontrol show config``: key, in small letters, → value, as :func:`parse_value` returns it."""
    config: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Za-z]\w*(\[\d+\])?", key.strip()):
            config.setdefault(key.strip().lower(), parse_value(value))
    return config


def parse_fields(line: str) -> dict[str, str]:
    """Read a line of ``scontrol --oneliner show``. Values may have blanks; keys begin with a capital.

    The first value of a key counts: later versions end a line with texts of users, such as ``SubmitLine``.
    """
    words = re.split(r" +(?=[A-Z][A-Za-z]+=)", line.strip())
    fields: dict[str, str] = {}
    for key, equals, value in (word.partition("=") for word in words):
        if equals:
            fields.setdefault(key, value)
    return fields


def parse_job_id(output: str) -> tuple[str, str] | None:
    """Read the number of a job and its cluster, empty where none is named, from what sbatch prints.

    Both documented forms are read, ``7;alpha`` of ``--parsable`` and ``Submitted batch job 7 on cluster alpha``, each
    on a line of its own among lines of others.
    """
    for line in reversed(output.splitlines()):
        match = re.fullmatch(r"(\d+)(?:;(\S+))?", line.strip()) or re.fullmatch(
            r"Submitted batch job (\d+)(?: on cluster (\S+))?", line.strip()
        )
        if match:
            return match[1], match[2] or ""
    return None


def parse_gpus(gres: str) -> list[tuple[str, int]]:
    """Read the types of a node's GPUs and their numbers, an empty type where there is none.

    ``gpu:a100:4(S:0-1),nvme:3500`` → a100, 4; ``gpu:2(IDX:0-1)`` → 2 without a type; ``gpu`` → 1 without a type;
    ``gpu:1g.10gb:7`` → 7 of that MIG profile; ``gpu:3g.20gb`` → 1 of that profile.
    """
    gpus: list[tuple[str, int]] = []
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        resource, *rest = (word for word in part.strip().split(":") if word != "no_consume")
        if resource == "gpu":
            has_number = bool(rest) and rest[-1].isdigit()
            gpus.append((":".join(rest[:-1] if has_number else rest), int(rest[-1]) if has_number else 1))
    return gpus


def parse_tres(text: str) -> dict[str, int]:
    """Read ``cpu=6,mem=2G,gres/gpu=2``: resource → number; memory in MiB."""
    amounts: dict[str, int] = {}
    for part in text.split(","):
        name, equals, value = part.strip().rpartition("=")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)", value)
        if not equals or not match:
            continue
        powers = "KMGTP".find(match[2]) - 1 if name == "mem" else "KMGTP".find(match[2]) + 1
        powers = 0 if not match[2] else powers
        amounts[name] = int(float(match[1]) * 1024**powers)
    return amounts
