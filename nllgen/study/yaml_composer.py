"""Composer of YAML events: a tree of values with the line of each, within bounds on depth, values and digits.

PyYAML's events are composed here instead of by PyYAML. The bounds hold *while* reading, with each alias counted as the
values that it expands to, duplicate keys are errors, and scalars follow YAML 1.2: ``1e-3`` is a number, ``on`` a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from nllgen.study.diagnostics import Diagnostics, KeyPath, dotted, show

MAX_DEPTH = 16
MAX_NODES = 200_000
MAX_DIGITS = 40  # Python refuses to convert 4,300 and more

_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# libyaml is ten times faster, but not part of every build of PyYAML
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its line and its number of values; those of an alias count each time that it is used."""

    value: Any
    line: int
    size: int = 1


class Composer:
    """A reader of YAML events that builds a tree of nodes."""

    def __init__(self, events: Iterator[Any], diagnostics: Diagnostics):
        self.events = events
        self.diagnostics = diagnostics
        self.anchors: dict[str, Node] = {}
        self.num_nodes = 0

    def document(self) -> Node:
        """Compose the only document of the stream."""
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            self._stop(1, "the file is empty")
        root = self._node(next(self.events), ())
        next(self.events)  # end of the document
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.diagnostics.add(_line(after), "a second document begins here; a file has one document")
        return root

    def _stop(self, line: int, text: str) -> NoReturn:
        self.diagnostics.add(line, text)
        raise self.diagnostics.error()

    def _node(self, event: Any, path: KeyPath) -> Node:
        if len(path) > MAX_DEPTH:
            self._stop(_line(event), f"nested more than {MAX_DEPTH} levels deep")
        if not isinstance(event, yaml.AliasEvent):
            node = self._value(event, path)
            self.num_nodes += 1
        elif event.anchor in self.anchors:  # known after its value, so that no alias contains itself
            node = self.anchors[event.anchor]
            self.num_nodes += node.size  # bounds the expansion without doing it
        else:
            self._stop(_line(event), f"{dotted(path)}: *{event.anchor} has no complete &{event.anchor} before it")
        if self.num_nodes > MAX_NODES:
            self._stop(_line(event), f"more than {MAX_NODES:,} values, counting what aliases expand to")
        return node

    def _value(self, event: Any, path: KeyPath) -> Node:
        line = _line(event)
        if event.tag is not None:
            text = f"{dotted(path)}: tags such as {event.tag} are not allowed; write a plain value"
            self.diagnostics.add(line, text)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event, path), line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(path, line)
        else:
            node = self._mapping(path, line)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _sequence(self, path: KeyPath, line: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return Node(items, line, 1 + sum(item.size for item in items))

    def _mapping(self, path: KeyPath, line: int) -> Node:
        entries: dict[str, tuple[int, Node]] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key_line = _line(event)
            if not isinstance(event, yaml.ScalarEvent):
                self.diagnostics.add(key_line, f"{dotted(path) or 'the file'}: a key must be a word")
                self._node(event, (*path, ""))
                self._node(next(self.events), (*path, ""))
                continue
            key, key_path = event.value, (*path, event.value)
            if key in entries:
                self.diagnostics.add(key_line, f"{dotted(key_path)}: given twice, first on line {entries[key][0]}")
            if key == "<<":
                self.diagnostics.add(key_line, f"{dotted(key_path)}: merge keys are not supported; write the keys out")
            entries[key] = (key_line, self._node(next(self.events), key_path))
        return Node(entries, line, 1 + sum(node.size for _, node in entries.values()))

    def _scalar(self, event: Any, path: KeyPath) -> str | int | float | bool | None:
        text: str = event.value
        if not event.implicit[0]:  # quoted
            return text
        if text in _WORDS:
            return _WORDS[text]
        is_int = _INT.fullmatch(text)
        if not is_int and not _FLOAT.fullmatch(text):
            return text
        digits = text.replace("_", "")
        if len(digits) > MAX_DIGITS or not math.isfinite(float(digits)):
            self.diagnostics.add(_line(event), f"{dotted(path)}: {show(text)} is too long or too large a number")
            return 0
        return int(digits) if is_int else float(digits)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def plain_value(node: Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """Convert a node to plain values and record their lines."""
    lines.setdefault(path, node.line)
    if isinstance(node.value, list):
        return [plain_value(item, (*path, i), lines) for i, item in enumerate(node.value)]
    if isinstance(node.value, dict):
        value = {}
        for key, (line, item) in node.value.items():
            lines[(*path, key)] = line  # the key's line, since the value may be an alias of one far above
            value[key] = plain_value(item, (*path, key), lines)
        return value
    return node.value
