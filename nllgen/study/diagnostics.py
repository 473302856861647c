"""Errors of a YAML file, collected and raised together: line, key, value, allowed values, nearest match."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

from nllgen.errors import ConfigError

KeyPath = tuple[str | int, ...]

MAX_SHOWN = 50


class Diagnostics:
    """The errors of the file that the user named ``file_name``."""

    def __init__(self, file_name: str):
        self.file_name = file_name
        self._errors: dict[tuple[int, str], None] = {}  # a dict keeps the order and drops repetitions

    def __len__(self) -> int:
        return len(self._errors)

    def add(self, line: int, text: str, option: str = "") -> None:
        """Add an error of a line, or of an option of the command line; a repeated one counts once."""
        message = f"{option}: {text}" if option else f"{self.file_name}:{line}: {text}"
        self._errors[0 if option else line, message] = None

    def error(self) -> ConfigError:
        """Combine all errors into one, sorted by line."""
        messages = [message for _, message in sorted(self._errors, key=lambda item: item[0])]
        if len(messages) == 1:
            return ConfigError(messages[0])
        if len(messages) > MAX_SHOWN:
            messages = [*messages[:MAX_SHOWN], f"… and {len(messages) - MAX_SHOWN} more"]
        return ConfigError("\n".join([f"{len(self)} errors in {self.file_name}", *messages]))

    def check(self) -> None:
        """Raise a ConfigError of all errors, if there are any."""
        if self._errors:
            raise self.error()


def dotted(path: KeyPath) -> str:
    """Format a path: ``("cells", 0, "data", "source")`` becomes ``cells[0].data.source``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def show(value: object) -> str:
    """Format a value as YAML would write it, in at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: object, allowed: Iterable[str], likeness: float = 0.5) -> str | None:
    """Return the name that is most like a word; None where none is as like as ``likeness``, from 0 to 1."""
    return next(iter(difflib.get_close_matches(str(word)[:100], list(allowed), n=1, cutoff=likeness)), None)


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """Suggest the nearest match as ``; did you mean X?``; return an empty text where nothing is similar."""
    match = nearest(word, allowed)
    return f"; did you mean {match}?" if match else ""


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """Describe a key that is not one of the allowed ones."""
    allowed = list(allowed)
    return f"unknown key {show(key)}; allowed: {', '.join(allowed)}{did_you_mean(key, allowed)}"


def not_allowed(value: object, allowed: Iterable[str]) -> str:
    """Describe a value that is not one of the allowed names."""
    allowed = list(allowed)
    return f"{show(value)} is not allowed; allowed: {', '.join(allowed)}{did_you_mean(value, allowed)}"
