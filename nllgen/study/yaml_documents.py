"""Reader of YAML 1.2 documents: plain values, the line of each value, and the errors in them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from nllgen.errors import ConfigError
from nllgen.study.diagnostics import Diagnostics, KeyPath, dotted, nearest, show, unknown_key
from nllgen.study.untrusted_files import open_regular
from nllgen.study.validation import Validated, validate
from nllgen.study.yaml_composer import LOADER, Composer, plain_value

MAX_BYTES = 1 << 20
_MISSPELT = 0.75  # likeness from which on a key is taken for another

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
        """Return the option that set the value at ``path`` or around it, or made it; empty where it is the file's."""
        around = (self.options[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.options)
        is_made = path not in self.lines
        made_by = (text for at, text in self.options.items() if is_made and path and at[: len(path)] == path)
        return next(itertools.chain(around, made_by), "")

    def where(self, path: KeyPath) -> str:
        """Return the place of ``path`` in words: a line of the file, or an option."""
        option = self.option(path)
        return f"in {option}" if option else f"on line {self.line(path)}"

    def add_error(self, path: KeyPath, text: str, *, name: KeyPath | None = None) -> None:
        """Add an error of the value at ``path``, which the message calls ``name`` where that is given."""
        if option := self.option(path):
            inner = dotted(self._below_option(path))
            self.diagnostics.add(0, f"{inner}: {text}" if inner else text, option)
            return
        key = dotted(path if name is None else name)
        self.diagnostics.add(self.line(path), f"{key}: {text}" if key else text)

    def _below_option(self, path: KeyPath) -> KeyPath:
        """Return the keys of ``path`` below the value that an option sets as a whole, such as a section."""
        return next((path[end:] for end in range(len(path), 0, -1) if path[:end] in self.options), ())

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
        root = Composer(yaml.parse(text, Loader=LOADER), diagnostics).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        diagnostics.add(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
        raise diagnostics.error() from error
    except (yaml.YAMLError, UnicodeError) as error:
        diagnostics.add(1, f"not YAML: {str(error).splitlines()[0]}")
        raise diagnostics.error() from error
    lines: dict[KeyPath, int] = {}
    return YamlDocument(plain_value(root, (), lines), lines, diagnostics)


def _check_size(data: bytes, file_name: str) -> None:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{file_name} is larger than {MAX_BYTES} bytes", "write long lists as {range: [start, stop]}")
