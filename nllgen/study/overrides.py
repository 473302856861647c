"""Values of a study that a command line sets: ``--set KEY=VALUE``, with the keys and values of the YAML file.

A key of cells, such as ``paradigm.steps``, reaches every sweep that has a place for it; ``cells.0.paradigm.steps``
reaches one. It replaces the value wherever the sweep gives it: in its section, its ``zip`` and its ``include``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nllgen.errors import ConfigError
from nllgen.study.allowed_keys import (
    ARCHITECTURES,
    KEYS,
    MODIFIERS,
    PARADIGMS,
    SECTIONS,
    STUDY_KEYS,
    STUDY_SECTIONS,
    TRUTH_KEYS,
    TUNED,
)
from nllgen.study.diagnostics import KeyPath, did_you_mean, dotted
from nllgen.study.sweep import paradigm_names
from nllgen.study.yaml_documents import YamlDocument, read_yaml

_CELLS = "cells"
_WHOLE_CELLS = re.compile(r"cells(\.[0-9]+|\[[0-9]+\])?")
_OF_CELLS = (*KEYS, *SECTIONS, *MODIFIERS)
_OF_STUDY = (
    *(key for key in STUDY_KEYS if key not in (_CELLS, *STUDY_SECTIONS)),
    *(f"{section}.{key}" for section, model in STUDY_SECTIONS.items() for key in model.model_fields),
    *(f"truth.{key}" for key in KEYS if key.split(".")[0] in TRUTH_KEYS),
    *STUDY_SECTIONS, "truth.pretrained", "truth.base_scale", "tuning.file", "tuning.sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Override:
    """A value that the command line sets.

    Attributes:
        text: ``KEY=VALUE`` as it was typed.
        key: dotted, without ``cells`` and a number.
        index: number of the only sweep that it reaches, None for all that have a place for it.
        is_of_cells: it is a key of sweeps.
    """

    text: str
    key: str
    value: Any
    index: int | None
    is_of_cells: bool

    @property
    def option(self) -> str:
        """Return the option as it was typed, for messages."""
        return f"--set {self.text}"

    @property
    def parts(self) -> list[str]:
        """Return the parts of the key; options of a model may have one of their own."""
        return self.key.split(".")


def parse_override(text: str) -> Override:
    """Parse ``KEY=VALUE``.

    Raises:
        ConfigError: it has no key, a key that no study has, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    match = re.fullmatch(r"cells(?:\.([0-9]{1,6})|\[([0-9]{1,6})\])?\.(.+)", key.strip())
    number = (match[1] or match[2]) if match else None
    name = match[3] if match else key.strip()
    if not equals or not name:
        raise ConfigError("is not KEY=VALUE", "for example --set paradigm.steps=100")
    if _WHOLE_CELLS.fullmatch(key.strip()):
        hint = "name a key in it, for example cells.0.paradigm.steps=100"
        raise ConfigError(f"{key.strip()} cannot be set as a whole", hint)
    is_of_cells = name in _OF_CELLS or name.startswith("model.options.")
    if not is_of_cells and (match or name not in _OF_STUDY):
        names = _OF_CELLS if match else (*_OF_STUDY, *_OF_CELLS)
        hint = f"keys are dotted as in the YAML, for example paradigm.steps{did_you_mean(name, names)}"
        raise ConfigError(f"no {'sweep' if match else 'study'} has the key {name}", hint)
    document = read_yaml(value if value.strip() else "null", "VALUE")
    document.diagnostics.check()
    return Override(text, name, document.value, None if number is None else int(number), is_of_cells)


def apply_overrides(document: YamlDocument, texts: Sequence[str], echo: Callable[[str], None]) -> None:
    """Set values in a document; errors in them name the option instead of a line.

    Args:
        document: the file; its value is changed.
        texts: ``KEY=VALUE`` each, the last of a key counts.
        echo: receives a line about what each one reaches.
    """
    for text in texts if isinstance(document.value, dict) else ():
        try:
            override = parse_override(text)
            echo(f"--set {text}: {_set(document, override)}")
        except ConfigError as error:
            document.diagnostics.add(0, "; ".join(filter(None, (error.message, error.hint))), f"--set {text}")


def _set(document: YamlDocument, override: Override) -> str:
    """Set a value; return what it reaches, in words.

    Raises:
        ConfigError: it reaches nothing.
    """
    if override.is_of_cells:
        return _set_in_cells(document, override)
    _put(document, (), override.parts, override)
    return f"sets {override.key} of the study"


def _set_in_cells(document: YamlDocument, override: Override) -> str:
    """Set a key in the sweeps that it reaches; return which, in words."""
    value = document.value.get(_CELLS)
    sweeps = {i: sweep for i, sweep in enumerate(value) if isinstance(sweep, dict)} if isinstance(value, list) else {}
    if override.index is None:
        reached = [i for i, sweep in sweeps.items() if _has_place(sweep, override.key)]
    else:
        reached = [i for i in sweeps if i == override.index]
    if not reached:
        raise _unreached(sweeps, override)
    for i in reached:
        _set_in_sweep(document, (_CELLS, i), sweeps[i], override)
    names = ", ".join(dotted((_CELLS, i)) for i in reached)
    number = "all" if len(reached) == len(sweeps) else f"{len(reached)} of {len(sweeps)}"
    return f"reaches {number} sweeps: {names}"


def _unreached(sweeps: dict[int, dict[str, Any]], override: Override) -> ConfigError:
    if override.index is not None:
        numbers = f"0 to {max(sweeps)}" if sweeps else "none"
        return ConfigError(f"the study has no sweep {override.index}", f"its sweeps: {numbers}")
    keys = [key for key in KEYS if any(_has_place(sweep, key) for sweep in sweeps.values())]
    return ConfigError(
        f"none of the {len(sweeps)} sweeps has a place for {override.key}{did_you_mean(override.key, keys)}",
        "write cells.N.KEY=VALUE to set it in one sweep all the same",
    )


def _has_place(sweep: dict[str, Any], key: str) -> bool:
    """Return whether a sweep can have a key: its model has the section, and all its paradigms have the key."""
    section, _, name = key.partition(".")
    if section in MODIFIERS:
        return section in sweep
    if section in ARCHITECTURES or section == "degree":
        return section in {part.split(".")[0] for part in _keys_of(sweep)}
    if section != "paradigm" or name in ("", "name", TUNED):
        return True
    models = [PARADIGMS[each] for each in paradigm_names(sweep) if isinstance(each, str) and each in PARADIGMS]
    return bool(models) and all(name in model.model_fields for model in models)


def _keys_of(sweep: dict[str, Any]) -> Iterator[str]:
    """Yield the sections and keys of a sweep, with those in ``zip`` and ``include``."""
    yield from sweep
    for _, part in _dotted_parts(sweep):
        yield from part


def _dotted_parts(sweep: dict[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield the mappings of dotted keys in a sweep that give values."""
    if isinstance(sweep.get("zip"), dict):
        yield ("zip",), sweep["zip"]
    included = sweep.get("include")
    for i, part in enumerate(included if isinstance(included, list) else ()):
        if isinstance(part, dict):
            yield ("include", i), part


def _set_in_sweep(document: YamlDocument, path: KeyPath, sweep: dict[str, Any], override: Override) -> None:
    """Set a key of a sweep; a list replaces one in its zip, and a single value takes the key out of it."""
    key, value = override.key, override.value
    is_list = isinstance(value, list) or (isinstance(value, dict) and "range" in value)
    in_zip = False
    for at, part in _dotted_parts(sweep):
        if key not in part:
            continue
        if at == ("zip",) and not is_list:
            del part[key]
            continue
        in_zip |= at == ("zip",)
        _put(document, (*path, *at), [key], override)
    if not sweep.get("zip", True):
        del sweep["zip"]
    if not in_zip:
        _put(document, path, override.parts, override)


def _put(document: YamlDocument, path: KeyPath, parts: list[str], override: Override) -> None:
    """Put the value where the parts lead to from a path; a section that is missing is made."""
    value = document.value
    for part in path:
        value = value[part]
    for i, part in enumerate(parts[:-1]):
        if value.get(part) is None:
            value[part] = {}
        value = value[part]
        if not isinstance(value, dict):
            whole = ".".join(parts[: i + 1])
            raise ConfigError(f"{dotted((*path, whole))} has no keys here", f"set {whole} as a whole")
    value[parts[-1]] = copy.deepcopy(override.value)
    document.options[(*path, *parts)] = override.option
