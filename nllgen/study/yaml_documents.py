"""Reader of YAML 1.2 documents: plain values, the line of each value, and bounds on size, depth and aliases.

PyYAML's events are composed here instead of by PyYAML. The bounds hold *while* reading, with each alias counted as the
values that it expands to, duplicate keys are errors, and scalars follow YAML 1.2: ``1e-3`` is a number, ``on`` a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel

from nllgen.errors import ConfigError
from nllgen.study.diagnostics import Diagnostics, KeyPath, dotted, nearest, show, unknown_key
from nllgen.study.untrusted_files import open_regular
from nllgen.study.validation import Validated, validate

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_NODES = 200_000
_MISSPELT = 0.75  # likeness from which on a key is taken for another
MAX_DIGITS = 40  # Python refuses to convert 4,300 and more

_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# libyaml is ten times faster, but not part of every build of PyYAML
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class YamlDocument:
    """A YAML file's content and the errors in it.

    Attributes:
        value: dicts with text keys, lists, str, int, float, bool and None.
        lines: path of a value → its line, from 1.
        diagnostics: errors of the file.
        misspelt: path of a key as it is meant → as it is written.
        options: path of a value that the command line sets → its option.
    """

    value: Any
    lines: dict[KeyPath, int]
    diagnostics: Diagnostics
    misspelt: dict[KeyPath, KeyPath] = field(default_factory=dict)
    options: dict[KeyPath, str] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int:
        """Return the line of ``path``, or of its nearest parent in the file."""
        for end in range(1, len(path) + 1 if self.misspelt else 0):
            path = self.misspelt.get(path[:end], path[:end]) + path[end:]
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def option(self, path: KeyPath) -> str:
        """Return the option that set the value at ``path`` or around it; empty where it is the file's."""
        return next((self.options[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.options), "")

    def where(self, path: KeyPath) -> str:
        """Return the place of ``path`` in words: a line of the file, or an option."""
        option = self.option(path)
        return f"in {option}" if option else f"on line {self.line(path)}"

    def add_error(self, path: KeyPath, text: str, *, name: KeyPath | None = None) -> None:
        """Add an error of the value at ``path``, which the message calls ``name`` where that is given."""
        if option := self.option(path):
            self.diagnostics.add(0, text, option)
            return
        key = dotted(path if name is None else name)
        self.diagnostics.add(self.line(path), f"{key}: {text}" if key else text)

    def mapping(self, path: KeyPath, value: Any) -> dict[str, Any]:
        """Return ``value`` if it is a mapping; otherwise add an error and return an empty one."""
        if isinstance(value, dict):
            return value
        self.add_error(path, f"{show(value)} is not a mapping of keys to values")
        return {}

    def sequence(self, path: KeyPath, value: Any) -> list[Any]:
        """Return ``value`` if it is a list; otherwise add an error and return an empty one."""
        if isinstance(value, list):
            return value
        self.add_error(path, f"{show(value)} is not a list")
        return []

    def known(
        self,
        path: KeyPath,
        value: Any,
        allowed: Collection[str],
        describe: Callable[[str], str] | None = None,
        meant: Collection[str] = (),
    ) -> tuple[dict[str, Any], bool]:
        """Return the entries of a mapping that have an allowed key, and whether those are all.

        An error is added for each other key. One that is misspelt is read as the key that it is most like, so that
        neither errors in its value are hidden nor the key is reported as missing; ``meant`` narrows down which.
        """
        entries = self.mapping(path, value)
        known = {key: item for key, item in entries.items() if key in allowed}
        num_read = len(known)
        for key in [key for key in entries if key not in allowed]:
            self.add_error((*path, key), describe(key) if describe else unknown_key(key, allowed))
            likely = nearest(key, meant or allowed, _MISSPELT)
            if likely is not None and likely not in known:
                self.misspelt[(*path, likely)] = (*path, key)
                known[likely] = entries[key]
                num_read += 1
        return known, isinstance(value, dict) and num_read == len(entries)

    def validated(
        self, path: KeyPath, value: Any, model: type[Model], describe: Callable[[str], str] | None = None
    ) -> Validated[Model]:
        """Validate the mapping at ``path`` and add its errors; keys that an unknown one may stand for are not known."""
        entries, is_whole = self.known(path, value, model.model_fields, describe)
        missing = () if is_whole else model.model_fields.keys() - entries.keys()
        validated = validate(model, entries, missing)
        for fault in validated.faults:
            key = (next((key for key in reversed(fault.keys) if key in entries), None),) if fault.keys else fault.path
            self.add_error((*path, *(part for part in key if part is not None)), fault.text)
        return validated

    def validate(self, path: KeyPath, value: Any, model: type[Model]) -> Model | None:
        """Validate the mapping at ``path``; add its errors and return None where it is wrong."""
        validated = self.validated(path, value, model)
        return validated.model if validated.is_right else None


def read_text(path: Path) -> str:
    """Read a UTF-8 file of at most ``MAX_BYTES``.

    Raises:
        ConfigError: the file is missing, unreadable, too large or not UTF-8.
    """
    try:
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "does not exist or is not a file"
            raise ConfigError(f"{path} {reason}", "give the path of a YAML file")
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    _check_size(data, str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8", "save it as UTF-8") from error


def read_yaml(text: str, file_name: str) -> YamlDocument:
    """Read a YAML text. Errors that leave it readable, such as a duplicate key, are added to its diagnostics.

    Raises:
        ConfigError: the text is not YAML, is empty, or exceeds the bounds on size, depth or number of values.
    """
    diagnostics = Diagnostics(file_name)
    try:
        _check_size(text.encode(), file_name)
        root = _Composer(yaml.parse(text, Loader=_LOADER), diagnostics).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        diagnostics.add(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
        raise diagnostics.error() from error
    except (yaml.YAMLError, UnicodeError) as error:
        diagnostics.add(1, f"not YAML: {str(error).splitlines()[0]}")
        raise diagnostics.error() from error
    lines: dict[KeyPath, int] = {}
    return YamlDocument(_plain_value(root, (), lines), lines, diagnostics)


def _check_size(data: bytes, file_name: str) -> None:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{file_name} is larger than {MAX_BYTES} bytes", "write long lists as {range: [start, stop]}")


@dataclass(frozen=True, slots=True)
class _Node:
    """A value with its line and its number of values; those of an alias count each time that it is used."""

    value: Any
    line: int
    size: int = 1


class _Composer:
    """A reader of YAML events that builds a tree of nodes."""

    def __init__(self, events: Iterator[Any], diagnostics: Diagnostics):
        self.events = events
        self.diagnostics = diagnostics
        self.anchors: dict[str, _Node] = {}
        self.num_nodes = 0

    def document(self) -> _Node:
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

    def _node(self, event: Any, path: KeyPath) -> _Node:
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

    def _value(self, event: Any, path: KeyPath) -> _Node:
        line = _line(event)
        if event.tag is not None:
            text = f"{dotted(path)}: tags such as {event.tag} are not allowed; write a plain value"
            self.diagnostics.add(line, text)
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(self._scalar(event, path), line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(path, line)
        else:
            node = self._mapping(path, line)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _sequence(self, path: KeyPath, line: int) -> _Node:
        items: list[_Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return _Node(items, line, 1 + sum(item.size for item in items))

    def _mapping(self, path: KeyPath, line: int) -> _Node:
        entries: dict[str, tuple[int, _Node]] = {}
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
        return _Node(entries, line, 1 + sum(node.size for _, node in entries.values()))

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


def _plain_value(node: _Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """Convert a node to plain values and record their lines."""
    lines.setdefault(path, node.line)
    if isinstance(node.value, list):
        return [_plain_value(item, (*path, i), lines) for i, item in enumerate(node.value)]
    if isinstance(node.value, dict):
        value = {}
        for key, (line, item) in node.value.items():
            lines[(*path, key)] = line  # the key's line, since the value may be an alias of one far above
            value[key] = _plain_value(item, (*path, key), lines)
        return value
    return node.value
