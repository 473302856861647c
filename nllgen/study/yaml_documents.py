"""YAML read safely, with the line of every value.

The parser's events are composed here instead of by PyYAML, so that depth and size are bounded *while* reading (aliases
are counted as what they expand to), duplicate keys are seen, and scalars follow YAML 1.2: ``1e-3`` is a number, ``on``
a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from nllgen.errors import ConfigError
from nllgen.study.diagnostics import Diagnostics, KeyPath, dotted, show

MAX_BYTES = 1 << 20
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
# libyaml is ten times faster and not in every build of PyYAML
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Source:
    """What a YAML file says.

    Attributes:
        value: dicts with text keys, lists, str, int, float, bool and None.
        lines: path of a value → the line it is written on, from 1.
    """

    value: Any
    lines: dict[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of ``path``, or of the nearest thing around it that is written in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_text(path: Path) -> str:
    """The text of a small UTF-8 file.

    Raises:
        ConfigError: the file is missing, unreadable, too large or not UTF-8.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist or is not a file"
            raise ConfigError(f"{path} {what}", "give the path of a YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    _check_size(data, str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8") from error


def read_yaml(text: str, diagnostics: Diagnostics) -> Source:
    """The values and lines of a YAML text. Slips that leave it readable (a key given twice) go to ``problems``.

    Raises:
        ConfigError: the text is not YAML, is empty, or is beyond the limits of size, depth or number of values.
    """
    try:
        _check_size(text.encode(), diagnostics.name)
        root = _Composer(yaml.parse(text, Loader=_LOADER), diagnostics).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        diagnostics.add(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
        raise diagnostics.error() from error
    except (yaml.YAMLError, UnicodeError) as error:
        diagnostics.add(1, f"not YAML: {str(error).splitlines()[0]}")
        raise diagnostics.error() from error
    lines: dict[KeyPath, int] = {}
    return Source(_plain(root, (), lines), lines)


def _check_size(data: bytes, name: str) -> None:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name} is larger than {MAX_BYTES} bytes", "write long lists as {range: [start, stop]}")


@dataclass(frozen=True, slots=True)
class _Node:
    """A value with its line; ``size`` counts the values in it, those behind aliases as often as they occur."""

    value: Any
    line: int
    size: int = 1


class _Composer:
    """Events → one tree of nodes."""

    def __init__(self, events: Iterator[Any], diagnostics: Diagnostics):
        self.events = events
        self.diagnostics = diagnostics
        self.anchors: dict[str, _Node] = {}
        self.num_nodes = 0

    def document(self) -> _Node:
        """The one document of the stream."""
        next(self.events)  # start of the stream
        if isinstance(next(self.events), yaml.StreamEndEvent):
            self._stop(1, "the file is empty")
        root = self._node(next(self.events), ())
        next(self.events)  # end of the document
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._stop(after.start_mark.line + 1, "a second document begins here; one file is one document")
        return root

    def _stop(self, line: int, text: str) -> NoReturn:
        self.diagnostics.add(line, text)
        raise self.diagnostics.error()

    def _node(self, event: Any, path: KeyPath) -> _Node:
        line = event.start_mark.line + 1
        if len(path) > MAX_DEPTH:
            self._stop(line, f"nested more than {MAX_DEPTH} levels deep")
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias:
            if event.anchor not in self.anchors:  # also one that contains itself: it is known only when complete
                self._stop(line, f"{dotted(path)}: *{event.anchor} has no complete &{event.anchor} before it")
            node = self.anchors[event.anchor]
        else:
            if event.tag is not None:
                self.diagnostics.add(
                    line, f"{dotted(path)}: tags such as {event.tag} are not allowed; write a plain value"
                )
            node = self._value(event, path, line)
            if event.anchor:
                self.anchors[event.anchor] = node
        # read values plus what aliases expand to: bounds the expansion without doing it
        self.num_nodes += node.size if is_alias else 1
        if self.num_nodes > MAX_NODES:
            self._stop(line, f"more than {MAX_NODES:,} values, counting what aliases expand to")
        return node

    def _value(self, event: Any, path: KeyPath, line: int) -> _Node:
        if isinstance(event, yaml.ScalarEvent):
            return _Node(self._scalar(event, path, line), line)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[_Node] = []
            while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
                items.append(self._node(event, (*path, len(items))))
            return _Node(items, line, 1 + sum(item.size for item in items))
        return self._mapping(path, line)

    def _mapping(self, path: KeyPath, line: int) -> _Node:
        entries: dict[str, tuple[int, _Node]] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            at = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                self._stop(at, f"{dotted(path) or 'the file'}: a key must be a word")
            key = event.value
            if key in entries:
                self.diagnostics.add(at, f"{dotted((*path, key))}: given twice, first on line {entries[key][0]}")
            if key == "<<":
                self.diagnostics.add(at, f"{dotted((*path, key))}: merge keys are not supported; write the keys out")
            entries[key] = (at, self._node(next(self.events), (*path, key)))
        return _Node(entries, line, 1 + sum(node.size for _, node in entries.values()))

    def _scalar(self, event: Any, path: KeyPath, line: int) -> str | int | float | bool | None:
        text: str = event.value
        if not event.implicit[0]:  # quoted
            return text
        if text in _WORDS:
            return _WORDS[text]
        number = _INT.fullmatch(text) or _FLOAT.fullmatch(text)
        if not number:
            return text
        digits = text.replace("_", "")
        if len(digits) > MAX_DIGITS or not math.isfinite(float(digits)):
            self.diagnostics.add(line, f"{dotted(path)}: {show(text)} is too long or too large a number")
            return 0
        return int(digits) if _INT.fullmatch(text) else float(digits)


def _plain(node: _Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """The node's plain value; notes the lines on the way."""
    lines.setdefault(path, node.line)
    if isinstance(node.value, list):
        return [_plain(item, (*path, i), lines) for i, item in enumerate(node.value)]
    if isinstance(node.value, dict):
        value = {}
        for key, (line, item) in node.value.items():
            lines[(*path, key)] = line  # the key's line, even if its value is an alias of something far above
            value[key] = _plain(item, (*path, key), lines)
        return value
    return node.value
