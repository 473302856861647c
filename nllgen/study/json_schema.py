"""JSON schema of the YAML of a study, for editors: generated from the models and from the keys of sweeps.

It is of draft 7, which the YAML language server reads. How values go together is left to the loader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from nllgen.study.allowed_keys import (
    ARCHITECTURES,
    KEYS,
    PARADIGMS,
    SECTIONS,
    SINGLES,
    STUDY_SECTIONS,
    TUNED,
    field_model,
    paradigm_keys,
)
from nllgen.study.config import Cell, FlowConfig, NLLConfig, Precision, Study
from nllgen.study.degrees import DEGREES
from nllgen.study.image_sets import REAL
from nllgen.study.metric_groups import OTHER_NAMES
from nllgen.study.pretrained import pretrained_names
from nllgen.study.tuning import TuningFile

SCHEMA_PATH = Path(__file__).with_name("study.schema.json")
TUNED_MEANING = "take the settings of a tuning study's winner"
_RANGE = {"$ref": "#/definitions/range"}
_SEVERAL = {"anyOf": [{"type": "array"}, _RANGE]}
_UNDERSCORES = {"type": "string", "pattern": "^[-+]?[0-9]+(_[0-9]+)+$"}  # 4_000, a text in YAML 1.2
_RANGE_OF_NUMBERS = {
    "type": "object",
    "description": "whole numbers from start up to, but not including, stop",
    "properties": {"range": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}},
    "required": ["range"],
    "additionalProperties": False,
}

Schema = dict[str, Any]


def schema_text() -> str:
    """Format the schema as the file that ships."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"


def study_schema() -> Schema:
    """Return the schema of a study's file."""
    top = _fields(Study)
    properties: Schema = {name: top[name] for name in ("name", "purpose", "plugins", "optional")}
    properties["tuning"] = _object(_fields(TuningFile), required=list(TuningFile.model_fields))
    properties["truth"] = {"anyOf": [_pretrained(), _trained_truth()]}
    for name, model in STUDY_SECTIONS.items():
        properties[name] = _object({key: _with_underscores(schema) for key, schema in _fields(model).items()})
    for name in ("every", "final"):
        properties["metrics"]["properties"][name]["items"]["enum"] += OTHER_NAMES
    properties["cells"] = {"type": "array", "minItems": 1, "items": {"$ref": "#/definitions/sweep"}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A study of nllgen",
        **_object(properties, required=["name", "cells"]),
        "definitions": {"range": _RANGE_OF_NUMBERS, "sweep": _sweep(), **{key: _axis(key) for key in KEYS}},
    }


def attribute_docs(model: type) -> dict[str, str]:
    """Collect the ``Attributes:`` sections of a model and its bases: name → meaning."""
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        section = (base.__doc__ or "").partition("Attributes:\n")[2]
        for names, meaning in re.findall(r"^ {8}([\w, ]+): (.*(?:\n {12}.*)*)", section, re.MULTILINE):
            meanings |= dict.fromkeys(names.split(", "), meaning.replace("``", "`"))
    return meanings


def _object(properties: Mapping[str, Schema], *, required: Iterable[str] = ()) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def _fields(model: type[BaseModel]) -> dict[str, Schema]:
    """Return the schema of each field of a model, with its meaning."""
    meanings = attribute_docs(model)
    properties = model.model_json_schema()["properties"]
    return {name: _described(schema, meanings.get(name, "")) for name, schema in properties.items()}


def _described(schema: Schema, meaning: str) -> Schema:
    schema = {key: value for key, value in schema.items() if key != "title"}
    if meaning:
        schema["description"] = re.sub(r"\s+", " ", meaning)
    return schema


def _value(key: str) -> Schema:
    """Return the schema of a single value of a dotted key of a sweep."""
    meanings = attribute_docs(Cell)
    if key == "degree":
        return {"enum": list(DEGREES), "description": meanings["degree"]}
    if key == "precision":
        return {"enum": ["auto", *get_args(Precision)], "description": meanings["precision"]}
    if key == "paradigm.name":
        return {"enum": list(PARADIGMS), "description": "how a cell is trained"}
    if key == f"paradigm.{TUNED}":
        return {"type": "boolean", "description": TUNED_MEANING}
    section, _, name = key.rpartition(".")
    model = field_model(section, name)
    assert model is not None
    return _with_underscores(_fields(model)[name])


def _with_underscores(schema: Schema) -> Schema:
    """Accept a number that is written with underscores, which YAML 1.2 reads as a text."""
    if not _is_number(schema):
        return schema
    outer = {key: schema[key] for key in ("description", "default") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in outer}
    return outer | {"anyOf": [*inner.get("anyOf", [inner]), _UNDERSCORES]}


def _is_number(schema: Schema) -> bool:
    return any(part.get("type") in ("integer", "number") for part in schema.get("anyOf", [schema]))


def _axis(key: str) -> Schema:
    """Return the schema of one value, a list or a range."""
    value = _value(key)
    outer = {"description": value["description"]} if "description" in value else {}
    several = {"type": "array", "items": value, "minItems": 1}
    return {**outer, "anyOf": [value, several, *([_RANGE] if _is_number(value) else [])]}


def _ref(key: str) -> Schema:
    return {"$ref": f"#/definitions/{key}"}


def _section(section: str, *, is_single: bool = False) -> Schema:
    """Return the schema of a section of a sweep, or with single values of the truth."""
    make = _value if is_single else _ref
    schema = _object({key: make(f"{section}.{key}") for key in SECTIONS[section]})
    if section == "paradigm" and not is_single:
        schema["allOf"] = [
            {
                "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
                "then": {"propertyNames": {"enum": list(paradigm_keys([name]))}},
            }
            for name in PARADIGMS
        ]
    return schema


def _sweep() -> Schema:
    """Return the schema of an entry of ``cells``."""
    models = [*ARCHITECTURES, "degree"]
    dotted = _object({key: _ref(key) for key in KEYS}) | {"minProperties": 1}
    properties = {name: _section(name) for name in SECTIONS} | {key: _ref(key) for key in SINGLES}
    properties["zip"] = _object({key: {"allOf": [_ref(key), _SEVERAL]} for key in KEYS}) | {"minProperties": 1}
    properties |= {name: {"type": "array", "items": dotted} for name in ("exclude", "include")}
    named = {"properties": {"paradigm": {"required": ["name"]}}, "required": ["paradigm"]}
    exclusive = [{"not": {"required": [a, b]}} for i, a in enumerate(models) for b in models[i + 1 :]]
    has_model = {"anyOf": [{"required": [name]} for name in (*models, "zip")]}
    has_name = {"anyOf": [named, {"required": ["zip"]}]}
    return _object(properties) | {"allOf": [*exclusive, has_model, has_name]}


def _pretrained() -> Schema:
    meaning = "a truth that ships with nllgen"
    name = {"enum": pretrained_names(), "description": meaning}
    return _object({"pretrained": name, "base_scale": _value("flow.base_scale")}, required=["pretrained"])


def _trained_truth() -> Schema:
    paradigm = _fields(NLLConfig)
    properties = {
        "data": _section("data", is_single=True),
        "flow": _object({key: _value(f"flow.{key}") for key in FlowConfig.model_fields if key != "shape"}),
        "paradigm": _object({key: _with_underscores(schema) for key, schema in paradigm.items()}),
        **{key: _value(key) for key in SINGLES if key not in ("degree", "start_noise")},
    }
    properties["data"]["properties"]["source"] = {"enum": list(REAL)}
    properties["start"] = {"const": "random"}
    return _object(properties)
