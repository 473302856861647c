"""The header of a result: what a plan needs of ten thousand results, read without HDF5."""

from __future__ import annotations

import json
import math
import re
from numbers import Integral
from pathlib import Path
from typing import Any

from nllgen.errors import MADE_ANEW, CorruptFileError, SchemaError
from nllgen.storage.checksum import verify_checksum
from nllgen.storage.schema import HEAD_ATTRS, OUTCOMES, SCHEMA

_NUMBERS = {"num_threads", "num_cpus", "num_parameters", "seconds_per_step", "attempts", "dead_step", "schema"}
_COUNTS = {"num_threads", "num_cpus", "num_parameters", "attempts"}
_MAX_INTEGER = 2**63  # of JSON, which bounds none
_OF_NUMBERS, _OF_TEXTS = (int, float), (str,)
RESULT_BYTES = 2**30  # a sparse file of any size is hashed no further
_SHA256 = re.compile("[0-9a-f]{64}")


def read_head(path: Path) -> dict[str, Any]:
    """Return ``schema.HEAD_ATTRS`` of a file that has proved whole, and its device, empty where an older one has none.

    Raises:
        CorruptFileError: it is damaged, truncated, inconsistent or something else.
        SchemaError: it was written with another schema.
        MachineError: it cannot be read now.
    """
    try:
        head = json.loads(verify_checksum(path, RESULT_BYTES).head)
        require_schema(head["schema"], path)
        device = head.get("device")
        return checked_attrs(head, HEAD_ATTRS) | {"device": device if isinstance(device, str) else ""}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptFileError(f"{path}: not a result ({error})", MADE_ANEW) from error


def checked_attrs(attrs: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named attributes; those that other tools have added are ignored.

    Raises:
        ValueError: one is missing, of another type, or has a value that no result has.
    """
    for name in names:
        if type(attrs.get(name)) not in (_OF_NUMBERS if name in _NUMBERS else _OF_TEXTS):  # a bool is no int here
            raise ValueError(f"attribute {name} is missing or of another type")
        if name in _NUMBERS and not _fits(attrs[name], name):
            raise ValueError(f"attribute {name} is a number that no result has")
    if attrs["outcome"] not in OUTCOMES:
        raise ValueError(f"outcome is {attrs['outcome']!r}, not one of {', '.join(OUTCOMES)}")
    if not _SHA256.fullmatch(attrs.get("model_sha256", "")):  # it is a part of a file's name
        raise ValueError("model_sha256 is no SHA-256")
    return {name: attrs[name] for name in names}


def _fits(value: float, name: str) -> bool:
    """Return whether a number is one of a processor, and finite where it counts something."""
    return abs(value) <= _MAX_INTEGER if isinstance(value, int) else name not in _COUNTS or math.isfinite(value)


def require_schema(schema: object, path: Path) -> None:
    """Refuse a schema that is not this version's, or none.

    Raises:
        SchemaError: it names both schemas.
        CorruptFileError: there is no schema.
    """
    if isinstance(schema, bool) or not isinstance(schema, Integral):
        raise CorruptFileError(f"{path}: has no schema attribute", "it was not written by nllgen")
    if int(schema) != SCHEMA:
        newer = "newer" if int(schema) > SCHEMA else "older"
        raise SchemaError(
            f"{path}: written with schema {int(schema)}, this version reads schema {SCHEMA}",
            f"use a {newer} nllgen for this file",
        )
