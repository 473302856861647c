"""Faults that pydantic finds, in words of this project: key, value, what is allowed, nearest match.

Its own text never reaches a user: every ValidationError that becomes a message passes through this module.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, Field, ValidationError

from nllgen.study.diagnostics import KeyPath, did_you_mean, dotted, show, unknown_key

Model = TypeVar("Model", bound=BaseModel)

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


_WORDS: dict[str, str] = {}  # pattern of a text → what it is


def text_of_form(pattern: str, words: str, max_length: int | None = None) -> Any:
    """Return the constraint of texts that match a pattern, which messages describe in words."""
    _WORDS[pattern] = words
    return Field(pattern=pattern, max_length=max_length)


class Contradiction(NamedTuple):
    """Values that are allowed each and not together; the text names their keys."""

    keys: tuple[str, ...]
    text: str


class ContradictionError(ValueError):
    """All contradictions of a model, whose values are allowed otherwise."""

    def __init__(self, model: BaseModel, contradictions: Collection[Contradiction]):
        super().__init__("; ".join(each.text for each in contradictions))
        self.model = model
        self.contradictions = contradictions


class Fault(NamedTuple):
    """A fault of a model's values.

    Attributes:
        path: keys from the model to the value; empty for values that contradict each other.
        text: without the key, except for values that contradict each other.
        keys: of values that contradict each other.
    """

    path: KeyPath
    text: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Validated(Generic[Model]):
    """A model of the values that have no fault, and the faults of the others.

    Attributes:
        model: has defaults instead of wrong values; None where a required one is wrong or missing.
        wrong: keys with a fault, or whose value is not known.
        faults: those that were not known before.
    """

    model: Model | None
    wrong: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()

    @property
    def is_right(self) -> bool:
        """Return whether every value is known and right."""
        return self.model is not None and not self.wrong


def validate(model: type[Model], values: Mapping[str, Any], unknown: Collection[str] = ()) -> Validated[Model]:
    """Validate values so that no fault hides another: what is right is validated without what is wrong.

    Args:
        model: the type.
        values: key → value.
        unknown: keys whose value is not known, since it has a fault that is reported elsewhere.
    """
    wrong = set(unknown)
    built, first = _attempt(model, {key: value for key, value in values.items() if key not in wrong})
    faults = [fault for fault in first if fault.path and str(fault.path[0]) not in wrong]
    wrong |= {str(fault.path[0]) for fault in first if fault.path}
    if built is None:
        built, first = _attempt(model, {key: value for key, value in values.items() if key not in wrong})
    contradictions = [fault for fault in first if not fault.path and wrong.isdisjoint(fault.keys)]
    wrong.update(key for fault in contradictions for key in fault.keys)
    return Validated(built, frozenset(wrong), (*faults, *contradictions))


def _attempt(model: type[Model], values: Mapping[str, Any]) -> tuple[Model | None, list[Fault]]:
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        causes = [item["ctx"]["error"] for item in error.errors() if item["type"] == "value_error" and not item["loc"]]
        built = next((cause.model for cause in causes if isinstance(cause, ContradictionError)), None)
        return built if isinstance(built, model) else None, list(faults_of(error, model.model_fields))


def faults_of(error: ValidationError, keys: Iterable[str]) -> Iterator[Fault]:
    """Translate pydantic's errors of a model with these keys, one fault a value; a union has an error a member."""
    by_path: dict[KeyPath, list[Any]] = {}
    for item in error.errors(include_url=False):
        by_path.setdefault(key_path(item["loc"]), []).append(item)
    for path, items in by_path.items():
        causes = [item["ctx"]["error"] for item in items if item["type"] == "value_error"]
        if causes and isinstance(causes[0], ContradictionError):
            yield from (Fault(path, text, of_keys) for of_keys, text in causes[0].contradictions)
        else:
            yield Fault(path, _text(path, items, keys))


def one_line(error: Exception) -> str:
    """Return an error's text; for pydantic's, ``key: fault; …``."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(": ".join(filter(None, (dotted(path), text))) for path, text, _ in faults_of(error, ()))


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
    elif context.get("pattern") in _WORDS:
        bounds = [_WORDS[context["pattern"]]]
    return " and ".join(bounds) or _EXPECTED.get(item["type"], "another value")


def _plain(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else re.sub("'([^']+)'", r"\1", str(value))
