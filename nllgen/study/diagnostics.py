"""All that is wrong with a file, collected and told at once: line, key, value, what is allowed, nearest match."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from nllgen.errors import ConfigError

KeyPath = tuple[str | int, ...]

MAX_SHOWN = 50


class Diagnostics:
    """The errors found so far in one file.

    Args:
        name: of the file, as the user typed it.
    """

    def __init__(self, name: str):
        self.name = name
        self._found: dict[tuple[int, str], None] = {}  # a dict keeps the order and drops repetitions

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, text: str) -> None:
        """Remember one error; the same one twice counts once."""
        self._found[line, text] = None

    def error(self, hint: str = "") -> ConfigError:
        """All of them as one error, in the order of the lines."""
        told = [f"{self.name}:{line}: {text}" for line, text in sorted(self._found, key=lambda item: item[0])]
        if len(told) > MAX_SHOWN:
            told = [*told[:MAX_SHOWN], f"… and {len(told) - MAX_SHOWN} more"]
        if len(told) == 1:
            return ConfigError(told[0], hint)
        return ConfigError("\n".join([f"{len(self)} errors in {self.name}", *told]), hint)

    def check(self) -> None:
        """Pass if nothing was found.

        Raises:
            ConfigError: with everything that was found.
        """
        if self._found:
            raise self.error()


def dotted(path: KeyPath) -> str:
    """``("cells", 0, "data", "source")`` → ``cells[0].data.source``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def show(value: object) -> str:
    """A value as YAML would write it, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def near(word: object, allowed: Iterable[str]) -> str:
    """``; did you mean X?`` where something allowed is like ``word``, else nothing."""
    match = difflib.get_close_matches(str(word)[:100], list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """The sentence about a key that nobody knows."""
    allowed = list(allowed)
    return f"unknown key {show(key)}; allowed: {', '.join(allowed)}{near(key, allowed)}"


def not_allowed(value: object, allowed: Iterable[str]) -> str:
    """The sentence about a value that is not one of a few names."""
    allowed = list(allowed)
    return f"{show(value)} is not allowed; allowed: {', '.join(allowed)}{near(value, allowed)}"


def explain(error: ValidationError, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """pydantic's errors as (key, sentence); the key is empty where the values are wrong only together.

    Args:
        error: of one flat model.
        keys: that the model knows.
    """
    by_key: dict[str, list[Any]] = {}
    for item in error.errors(include_url=False):
        by_key.setdefault(str(item["loc"][0]) if item["loc"] else "", []).append(item)
    for key, items in by_key.items():
        first = items[0]
        if first["type"] == "extra_forbidden":
            yield key, unknown_key(key, keys)
        elif first["type"] == "missing":
            yield key, "is required"
        elif first["type"] == "value_error":
            yield key, first["msg"].removeprefix("Value error, ")
        else:  # a union gives one item for each of its members
            allowed = " or ".join(item["msg"].removeprefix("Input should be ") for item in items)
            names = re.findall(r"'([^']*)'", allowed) if isinstance(first["input"], str) else []
            yield key, f"{show(first['input'])} is not allowed; allowed: {allowed}{near(first['input'], names)}"
