"""Quantities in the units of their keys; a value in another unit is refused with what it is in this one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from nllgen.study.diagnostics import show

_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400}
_GIBIBYTES = {"K": 2.0**-20, "M": 2.0**-10, "G": 1.0, "T": 2.0**10}


def parse_gibibytes(text: str) -> float | None:
    """Read ``8G``, ``512 MB`` or ``16GiB``; return None for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    return float(match[1]) * _GIBIBYTES[match[2].upper()] if match else None


def parse_seconds(text: str) -> int | None:
    """Read ``90 s``, ``2h``, or a time as Slurm writes it, ``1-00:00:00`` or ``12:30:00``; None for anything else."""
    if match := re.fullmatch(r"(\d+)\s*([a-z]+)", text.strip().lower()):
        return int(match[1]) * _SECONDS[match[2]] if match[2] in _SECONDS else None
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None or (match[1] is None and match[3] is None):
        return None
    days, first, second, third = (int(part or 0) for part in match.groups())
    if match[1] is not None or match[4] is not None:  # days and hours, or hours, minutes and seconds
        return days * 86400 + first * 3600 + second * 60 + third
    return first * 60 + second


def _refusing(unit: str, convert: Callable[[str], str]) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        number = convert(value)
        raise ValueError(
            f"{show(value)} is not allowed; allowed: a number of {unit}{f'; write {number}' if number else ''}"
        )

    return BeforeValidator(check)


def _as_minutes(text: str) -> str:
    seconds = parse_seconds(text)
    return str(-(-seconds // 60)) if seconds else ""


def _as_seconds(text: str) -> str:
    seconds = parse_seconds(text)
    return str(seconds) if seconds else ""


def _as_gibibytes(text: str) -> str:
    number = parse_gibibytes(text)
    return f"{number:.4g}" if number else ""


Minutes = Annotated[
    int, Field(ge=1, le=60 * 24 * 365), _refusing("minutes, of which an hour has 60 and one day is 1440", _as_minutes)
]
Gibibytes = Annotated[float, Field(gt=0, le=16_384), _refusing("GiB", _as_gibibytes)]
SignalSeconds = Annotated[int, Field(ge=10, le=3600), _refusing("seconds", _as_seconds)]


def duration(seconds: float) -> str:
    """Return for example ``3 h 20 min``, in seconds below two minutes."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    days, hours = divmod(minutes // 60, 24)
    return f"{days} days {hours} h" if days else f"{hours} h {minutes % 60} min"
