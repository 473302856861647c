"""Single values of the keys of a sweep, each validated where it is written.

A wrong value is reported once and kept as :class:`Wrong`, so that a product has its combinations and all else about
them is still checked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, get_args

from nllgen.study.allowed_keys import PARADIGMS, TUNED_KEY, field_model
from nllgen.study.config import Precision
from nllgen.study.degrees import DEGREES
from nllgen.study.diagnostics import not_allowed, show
from nllgen.study.validation import validate

OPTIONS = "model.options"
_NAMES: dict[str, Collection[str]] = {
    "degree": DEGREES,
    "precision": ("auto", *get_args(Precision)),
    "paradigm.name": tuple(PARADIGMS),
}


@dataclass(frozen=True)
class Wrong:
    """A value with a fault that is reported already; what depends on it is not known."""

    value: Any


def value_fault(key: str, value: Any, paradigms: Collection[object] = ()) -> str:
    """Return the fault of a value of a dotted key; empty where it has none.

    Args:
        key: for example ``data.source``.
        value: as the file has it.
        paradigms: names of the sweep, whose limits hold for ``paradigm.*``.
    """
    if key == OPTIONS:
        if not isinstance(value, dict):
            return f"{show(value)} is not a mapping of names to values"
    elif value is None:
        return "has no value"
    elif isinstance(value, list | dict):
        return f"{show(value)} is not a single value"
    if key in _NAMES:
        return "" if value in _NAMES[key] else not_allowed(value, _NAMES[key])
    if key == TUNED_KEY:
        return "" if isinstance(value, bool) else not_allowed(value, ("true", "false"))
    section, _, name = key.rpartition(".")
    model = field_model(section, name, paradigms)
    faults = validate(model, {name: value}).faults if model else ()
    return next((fault.text for fault in faults if fault.path[:1] == (name,)), "")
