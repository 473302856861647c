"""Text of a frozen study: a readable header (study.yaml) and one line per cell (manifest.jsonl)."""

from __future__ import annotations

import json
from typing import Any

import yaml
from pydantic import BaseModel

from nllgen.errors import CorruptFileError, SchemaError
from nllgen.study.config import SCHEMA, Cell, DatasetConfig, MetricsConfig, Resources, Study
from nllgen.study.stored import parse_cell, parse_section
from nllgen.study.tuning import Tuning
from nllgen.study.yaml_composer import LOADER

_SECTIONS: dict[str, type[BaseModel]] = {
    "tuning": Tuning,
    "dataset": DatasetConfig,
    "metrics": MetricsConfig,
    "resources": Resources,
}
_SHARED = ("data", "flow", "dcgan", "model", "paradigm")
# a line as manifest_text writes it: the id, the sections, and what follows them
_ID = '{"id": "'
_ID_START, _ID_END = len(_ID), len(_ID) + 16
_AFTER_SECTIONS = '"start": '  # the last one of a line: an option of a user's model may be called start, too

_MAX_LINE = 1 << 20  # a cell has two thousand
_MAX_EVENTS = 300_000  # a trial of a tuning study has a hundred
_MAX_DEPTH = 64  # a study has six levels, and a model of the user's own options of any depth


def header_text(study: Study) -> str:
    """Format study.yaml: the resolved study without its cells."""
    # the number of cells tells a frozen study from a grid: it is near the beginning, however long a section is
    head = {"schema": SCHEMA, "num_cells": len(study.cells), **study.model_dump(mode="json", exclude={"cells"})}
    text: str = yaml.safe_dump(head, sort_keys=False)
    return "# Frozen at submission by nllgen; the cells are in manifest.jsonl.\n" + text


def manifest_text(study: Study) -> str:
    """Format manifest.jsonl: one cell per line with its id, in the study's order."""
    lines = (json.dumps({"id": cell.id, "cell": cell.model_dump(mode="json")}) for cell in study.cells)
    return "".join(line + "\n" for line in lines)


def parse_frozen(header: str, manifest: str, where: str) -> Study:
    """Parse study.yaml and manifest.jsonl of the study ``where``, and verify each cell by its id.

    Raises:
        CorruptFileError: the text is damaged or was edited.
        SchemaError: the study was frozen with another schema, or with a paradigm or model that is unknown here.
    """
    try:
        head: Any = _load_yaml(header)
        if not isinstance(head, dict):
            raise ValueError("study.yaml is not a mapping")
        if (schema := head.pop("schema", None)) != SCHEMA:
            raise SchemaError(
                f"{where}: the study was frozen with schema {schema}, this version reads schema {SCHEMA}",
                "use the nllgen that made it, or submit the grid with another name or --root",
            )
        count = head.pop("num_cells", None)
        if type(count) is not int:
            raise ValueError(f"study.yaml counts {count} cells")
        # the header is written last: an extension that was killed before it leaves further lines, which do not count
        lines = manifest.splitlines()[: max(count, 0)]
        if any(len(line) > _MAX_LINE for line in lines):  # an empty list takes 30 times its text
            raise ValueError(f"a line of manifest.jsonl has more than {_MAX_LINE:,} characters")
        reader = _CellReader(where)
        cells = [reader.read(line) for line in lines]
        if count != len(cells):
            raise ValueError(f"study.yaml counts {count} cells, manifest.jsonl has {len(cells)}")
        sections = {name: _parse_section(name, value, where) for name, value in head.items()}
        return parse_section(Study, {**sections, "cells": tuple(cells)}, where)
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptFileError(
            f"{where}: the frozen study is damaged or was edited: {error}",
            "submit the grid with another name or --root; results here can still be collected from a backup",
        ) from error


def _load_yaml(text: str) -> Any:
    """Load a YAML text.

    Aliases are refused, since a few of them can expand to billions of values, deep nesting, which takes hours, and
    more values than a study has.
    """
    depth = 0
    for i, event in enumerate(yaml.parse(text, Loader=LOADER)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("study.yaml has an alias, which nllgen does not write")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH or i > _MAX_EVENTS:
            raise ValueError("study.yaml has more values, or deeper nesting, than nllgen writes")
    return yaml.load(text, Loader=LOADER)


def _parse_section(name: str, value: Any, where: str) -> Any:
    if name == "truth" and value is not None:
        return parse_cell(value, where)
    is_section = name in _SECTIONS and value is not None
    return parse_section(_SECTIONS[name], value, where, name) if is_section else value


class _CellReader:
    """A reader of lines that parses what cells share once, as thousands of them do."""

    def __init__(self, where: str):
        self._where = where
        self._known: dict[tuple[str, str], Any] = {}
        self._beginnings: dict[str, dict[str, Any]] = {}  # text of the sections → their models

    def read(self, line: str) -> Cell:
        """Parse a cell and verify it by its id."""
        cell, cell_id = self._read_end(line) or self._read_whole(line)
        if cell.id != cell_id:
            raise ValueError(f"cell {cell_id} has the content of {cell.id}")
        return cell

    def _read_end(self, line: str) -> tuple[Cell, str] | None:
        """Parse what follows sections that are known by their text; None where they are not."""
        beginning, mark, end = line[_ID_END:].rpartition(_AFTER_SECTIONS)
        if not mark or not line.startswith(_ID) or beginning not in self._beginnings:
            return None
        values = json.loads(f'{{"cell": {{{mark}{end}')["cell"]
        cell_id = line[_ID_START:_ID_END]
        return parse_cell(values | self._beginnings[beginning], self._where, cell_id), cell_id

    def _read_whole(self, line: str) -> tuple[Cell, str]:
        parsed = json.loads(line)
        values = dict(parsed["cell"])
        keys = {name: (name, repr(values[name])) for name in _SHARED if values.get(name)}
        shared = {name: self._known[key] for name, key in keys.items() if key in self._known}
        cell = parse_cell(values | shared, self._where, str(parsed["id"]))
        for name, key in keys.items():
            self._known.setdefault(key, getattr(cell, name))
        if cell.id != parsed["id"]:
            _check_keys(cell, values)
        elif line.startswith(_ID):
            beginning = line[_ID_END:].rpartition(_AFTER_SECTIONS)[0]
            self._beginnings[beginning] = {name: getattr(cell, name) for name in _SHARED}
        return cell, parsed["id"]


def _check_keys(cell: Cell, values: dict[str, Any]) -> None:
    """Refuse a cell that was frozen before one of its keys existed: its default may not be what was trained."""
    sections = {name: section for name in _SHARED if isinstance(section := getattr(cell, name), BaseModel)}
    for name, section in sections.items():
        if missing := sorted(section.model_dump().keys() - dict(values[name]).keys()):
            raise SchemaError(
                f"the study was frozen by an earlier version of nllgen, which had no {name}.{missing[0]}",
                "use the nllgen that made it, or submit the grid with another name or --root",
            )
