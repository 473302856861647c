"""Faults that pydantic finds, in words of this project: key, value, what is allowed, nearest match.

Its own text never reaches a user: every ValidationError that becomes a message passes through this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from nllgen.study.diagnostics import KeyPath, did_you_mean, dotted, show, unknown_key

# Parts of pydantic's locations that are no keys: members of a union, validators.
_NO_KEY = re.compile(r"[\w-]*\[.*|constrained-\w+|int|float|str|bool|none|nullable|function-.*", re.DOTALL)
_TAGGED = "paradigm"  # the union whose members pydantic names after their tag
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "string_unicode": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dataclass_type": "a mapping of keys to values",
    "none_required": "null",
    "path_type": "a path",
    "invalid_key": "a text as a key",
}
# Keys of the context of an error → the text of its bound.
_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "max_length": "a length of at most {}",
    "min_length": "a length of at least {}",
    "pattern": "a text of the form {}",
    "expected": "{}",
    "discriminator": "a mapping with the key {}",
}


class Fault(NamedTuple):
    """A fault of a model's values.

    Attributes:
        path: keys from the model to the value; empty for values that contradict each other.
        text: without the key, except for values that contradict each other.
    """

    path: KeyPath
    text: str


def faults_of(error: ValidationError, keys: Iterable[str]) -> Iterator[Fault]:
    """Translate pydantic's errors of a model with these keys, one fault a value; a union has an error a member."""
    by_path: dict[KeyPath, list[Any]] = {}
    for item in error.errors(include_url=False):
        by_path.setdefault(key_path(item["loc"]), []).append(item)
    for path, items in by_path.items():
        yield Fault(path, _text(path, items, keys))


def one_line(error: Exception) -> str:
    """Return an error's text; for pydantic's, ``key: fault; …``."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(": ".join(filter(None, (dotted(path), text))) for path, text in faults_of(error, ()))


def key_path(location: tuple[str | int, ...]) -> KeyPath:
    """Return the keys and indices of a location."""
    parts = [part for part in location if isinstance(part, int) or not _NO_KEY.fullmatch(part)]
    return tuple(part for i, part in enumerate(parts) if not (i and parts[i - 1] == _TAGGED and part != parts[-1]))


def _text(path: KeyPath, items: list[Any], keys: Iterable[str]) -> str:
    first = items[0]
    match first["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return unknown_key(str(path[-1]), keys)
        case "missing":
            return "is required"
        case "json_invalid":
            return "is no JSON"
    if own := [str(item["ctx"]["error"]) for item in items if item["type"] == "value_error"]:
        return own[0]
    allowed = list(dict.fromkeys(_expected(item) for item in items))
    value = first["input"]
    names = [name for item in items for name in _names(item)] if isinstance(value, str) else []
    return f"{show(value)} is not allowed; allowed: {' or '.join(allowed)}{did_you_mean(value, names)}"


def _names(item: Any) -> list[str]:
    """Return the names that one member of a union accepts."""
    return re.findall(r"'([^']*)'", str((item.get("ctx") or {}).get("expected", "")))


def _expected(item: Any) -> str:
    """Describe what one member of a union accepts."""
    context = item.get("ctx") or {}
    bounds = [text.format(_plain(context[key])) for key, text in _BOUNDS.items() if key in context]
    if "expected_tags" in context:
        bounds = [_plain(context["expected_tags"])]
    return " and ".join(bounds) or _EXPECTED.get(item["type"], "another value")


def _plain(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else re.sub("'([^']+)'", r"\1", str(value))
