"""Configuration in files that nllgen wrote. A paradigm or model that this installation lacks is unknown here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from nllgen.errors import SchemaError
from nllgen.study.config import SCHEMA, Cell
from nllgen.study.diagnostics import dotted, show
from nllgen.study.validation import key_path, one_line

Model = TypeVar("Model", bound=BaseModel)


def parse_cell(values: Any, where: str, cell_id: str = "") -> Cell:
    """Validate the values of a cell.

    Args:
        values: as JSON has them.
        where: the file, for the message.
        cell_id: its recorded id, by which values that are unknown here are known to be whole; empty without one.

    Raises:
        SchemaError: its paradigm or model is unknown here, or another key or value of a whole cell.
        ValueError: it is damaged.
    """
    try:
        return Cell.model_validate(values)
    except ValidationError as error:
        names = list(_unknown_names(error))
        if not names and cell_id and isinstance(values, dict) and _id_of(values) == cell_id:
            names = list(_unknown_values(error))
        if names:
            raise _unknown(names, where) from error
        raise ValueError(one_line(error)) from error


def parse_cell_json(text: str | bytes, where: str) -> Cell:
    """Parse the JSON text of a cell.

    Raises:
        SchemaError: its paradigm or model is unknown here.
        ValueError: it is damaged.
    """
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return parse_cell(values, where)


def parse_section(model: type[Model], values: Any, where: str, section: str = "") -> Model:
    """Validate a section of a study, or with its sections the study.

    Raises:
        SchemaError: each fault is a key or a name that is unknown here.
        ValueError: it is damaged.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        prefix = f"{section}." if section else ""
        names = [f"{prefix}{name}" for name in _unknown_values(error)]
        if len(names) == error.error_count():
            raise _unknown(names, where) from error
        raise ValueError(f"{prefix}{one_line(error)}") from error


def _unknown(names: list[str], where: str) -> SchemaError:
    listed = ", ".join(dict.fromkeys(names))
    return SchemaError(
        f"{where}: unknown here: {listed}; this installation of nllgen lacks what the study was made with",
        "use the nllgen that made it, or install the version that has it",
    )


def _unknown_names(error: ValidationError) -> Iterator[str]:
    """Yield the paradigm and the model of a cell that this installation does not have."""
    for item in error.errors(include_url=False):
        if item["type"] == "union_tag_invalid":
            yield f"paradigm {item['ctx']['tag']}"
        elif item["type"] == "extra_forbidden" and len(item["loc"]) == 1 and isinstance(item["input"], dict):
            yield f"model {item['loc'][0]}"


def _unknown_values(error: ValidationError) -> Iterator[str]:
    """Yield the keys that a model does not have, and the names that are not among those of a key."""
    for item in error.errors(include_url=False):
        path = dotted(key_path(item["loc"]))
        if item["type"] == "extra_forbidden":
            yield path
        elif item["type"] == "literal_error" and isinstance(item["input"], str):
            yield f"{path}: {show(item['input'])}"


def _id_of(values: dict[str, Any]) -> str:
    """Return the id that a cell of these values has, whatever its keys."""
    known = {key: value for key, value in values.items() if key != "degree"}
    content = {"cell": known, "schema": SCHEMA}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_values_of)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _values_of(section: BaseModel) -> dict[str, Any]:
    """Return the values of a section that was parsed with an earlier cell."""
    return section.model_dump(mode="json")
