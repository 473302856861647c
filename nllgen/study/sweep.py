"""Sweeps: entries of ``cells:``, each a product of axes with ``zip``, ``exclude`` and ``include``.

An axis is a dotted key with one or several values. A sweep is the product of its axes, where those of a ``zip`` vary
together. Each ``include`` is a further product: the sweep's, with some axes replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from nllgen.study.allowed_keys import (
    ARCHITECTURES,
    KEYS,
    MODIFIERS,
    SECTIONS,
    SINGLES,
    SWEEP_KEYS,
    paradigm_keys,
    unknown_key_of,
)
from nllgen.study.axis_values import OPTIONS, Wrong, value_fault
from nllgen.study.diagnostics import KeyPath, show, unknown_key
from nllgen.study.product import Axis, Product
from nllgen.study.yaml_documents import YamlDocument


class SweepReader:
    """A reader of the sweeps of a document, which receives the errors in them."""

    def __init__(self, document: YamlDocument, paradigms: Collection[object] = ()):
        self.document = document
        self.paradigms = paradigms  # names in the sweep that is read
        self.partial: set[str] = set()
        self.is_whole = True

    def products(self, path: KeyPath, value: Any) -> list[Product]:
        """Read a sweep: its own product, then that of each ``include``."""
        if not isinstance(value, dict):
            self.document.mapping(path, value)
            return []
        self.partial, self.is_whole = set(), True
        entries, is_whole = self.document.known(path, value, SWEEP_KEYS, self._unknown("cells", SWEEP_KEYS))
        self.is_whole = is_whole
        self.paradigms = paradigm_names(entries)
        axes = self.axes(path, {key: item for key, item in entries.items() if key not in MODIFIERS})
        zipped = self._zip((*path, "zip"), entries["zip"], axes) if "zip" in entries else {}
        axes = {key: axis for key, axis in axes.items() if key not in zipped}
        self._check_architecture(path, {*entries, *axes, *zipped}, is_required=True)
        excludes = {at: self._exclude(at, item, {*axes, *zipped}) for at, item in self._items(path, entries, "exclude")}
        applied = {at: excluded for at, excluded in excludes.items() if excluded}
        main = Product(path, axes, zipped, applied, frozenset(self.partial), self.is_whole)
        return [main, *(self._include(at, item, main) for at, item in self._items(path, entries, "include"))]

    def axes(self, path: KeyPath, entries: dict[str, Any]) -> dict[str, Axis]:
        """Read the axes in the sections and single keys of a sweep or truth."""
        axes: dict[str, Axis] = {}
        for key, value in entries.items():
            at = (*path, key)
            if key not in SECTIONS:
                axes |= self._axis(at, key, value)
            elif key in ARCHITECTURES and value == {}:  # an architecture with all its defaults
                axes[key] = Axis([True], at, False)
            else:
                axes |= self._section(at, key, value)
        return axes

    def _section(self, path: KeyPath, section: str, value: Any) -> dict[str, Axis]:
        """Read a section, each of whose keys is an axis."""
        listed = paradigm_keys(self.paradigms) if section == "paradigm" else SECTIONS[section]
        entries, is_whole = self.document.known(path, value, SECTIONS[section], self._unknown(section, listed), listed)
        if not is_whole:
            self.partial.add(section)
            self.is_whole = False
        axes = {} if isinstance(value, dict) else {section: Axis([Wrong(value)], path, False)}
        for key, item in entries.items():
            axes |= self._axis((*path, key), f"{section}.{key}", item)
        return axes

    def _unknown(self, section: str, listed: Collection[str]) -> Callable[[str], str]:
        return lambda key: unknown_key_of(section, key, listed)

    def _items(self, path: KeyPath, entries: dict[str, Any], key: str) -> Iterator[tuple[KeyPath, Any]]:
        for i, item in enumerate(self.document.sequence((*path, key), entries.get(key, []))):
            yield (*path, key, i), item

    def _dotted(self, path: KeyPath, value: Any, used: Collection[str]) -> dict[str, Axis]:
        """Read a mapping of dotted keys, at least one; the allowed ones are those of the sections that are used."""
        if value == {}:
            self._add_error(path, "needs at least one dotted key, for example seed: 0")
        sections = {key.split(".")[0] for key in used} - {"paradigm"} | {"data"}
        of_sections = (f"{name}.{key}" for name in SECTIONS if name in sections for key in SECTIONS[name])
        listed = [*of_sections, *(f"paradigm.{key}" for key in paradigm_keys(self.paradigms)), *SINGLES]
        entries, is_whole = self.document.known(path, value, KEYS, lambda key: unknown_key(key, listed), listed)
        self.is_whole &= is_whole
        axes: dict[str, Axis] = {}
        for key, item in entries.items():
            axes |= self._axis((*path, key), key, item)
        return axes

    def _zip(self, path: KeyPath, value: Any, axes: dict[str, Axis]) -> dict[str, Axis]:
        zipped = self._dotted(path, value, axes)
        for key, axis in zipped.items():
            if not axis.is_list and not axis.is_wrong:
                self._add_error(axis.path, "zip needs a list")
            if key in axes:
                place = self.document.where(axes[key].path)
                self._add_error(axis.path, f"given twice: in zip and {place}; keep one of them")
        lengths = {key: axis.count for key, axis in zipped.items() if axis.is_list}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{key} has {count}" for key, count in lengths.items())
            self._add_error(path, f"lists that vary together need equal lengths: {counts}")
        shortest = min(lengths.values(), default=1)
        return {key: axis.of_length(shortest) for key, axis in zipped.items()}

    def _exclude(self, path: KeyPath, value: Any, keys: Collection[str]) -> dict[str, Axis]:
        """Read the axes of an ``exclude``; none where it has an error, since it cannot be applied."""
        num_before = len(self.document.diagnostics)
        axes = self._dotted(path, value, keys)
        for key, axis in axes.items():
            if key not in keys:
                self._add_error(axis.path, "this sweep does not set that key, so that it cannot exclude it")
        if len(self.document.diagnostics) == num_before:
            return axes
        self.is_whole = False
        return {}

    def _include(self, path: KeyPath, value: Any, main: Product) -> Product:
        self.is_whole = main.is_whole
        names = value.get("paradigm.name") if isinstance(value, dict) else None
        of_sweep, self.paradigms = self.paradigms, _as_list(names) or self.paradigms
        replaced = self._dotted(path, value, {*main.axes, *main.zipped})
        self.paradigms = of_sweep
        zipped = {} if set(main.zipped) <= set(replaced) else main.zipped
        if clash := [key for key in replaced if key in zipped]:
            text = f"{', '.join(clash)} is part of the sweep's zip; give all of {', '.join(zipped)} or none"
            self._add_error(path, text)
        axes = {key: axis for key, axis in main.axes.items() if key not in replaced}
        axes |= {key: axis for key, axis in replaced.items() if key not in clash}
        self._check_architecture(path, {*axes, *zipped}, is_required=False)
        return Product(path, axes, zipped, partial=main.partial, is_whole=self.is_whole)

    def _check_architecture(self, path: KeyPath, keys: Collection[str], *, is_required: bool) -> None:
        sections = {key.split(".")[0] for key in keys}
        architectures = [name for name in (*ARCHITECTURES, "degree") if name in sections]
        if len(architectures) > 1:
            text = f"give either {' or '.join(architectures)}; a degree is a flow relative to the truth"
            self._add_error(path, text)
        elif is_required and not architectures:
            self._add_error(path, "needs a degree (relative to the truth) or a flow, dcgan or model")

    def _add_error(self, path: KeyPath, text: str) -> None:
        """Add an error of a structure, by which equal combinations may not be meant as such."""
        self.is_whole = False
        self.document.add_error(path, text)

    def _axis(self, path: KeyPath, key: str, value: Any) -> dict[str, Axis]:
        """Read the values of a key."""
        if isinstance(value, dict) and key != OPTIONS:
            values = self._range(path, value)
            if values is None:
                return {key: Axis([Wrong(value)], path, False)}
            return {key: Axis(values, path, True, self._are_ends_right(path, key, values))}
        if not isinstance(value, list):
            return {key: Axis([self._checked(path, path, key, value)], path, False)}
        if not value:
            self.document.add_error(path, "an empty list makes no cells; give at least one value")
            return {key: Axis([Wrong(value)], path, False)}
        return {key: Axis([self._checked((*path, i), path, key, item) for i, item in enumerate(value)], path, True)}

    def _checked(self, path: KeyPath, name: KeyPath, key: str, value: Any) -> Any:
        """Return a value, as :class:`Wrong` where it has a fault."""
        if fault := value_fault(key, value, self.paradigms):
            self.document.add_error(path, fault, name=name)
            return Wrong(value)
        return value

    def _are_ends_right(self, path: KeyPath, key: str, values: range) -> bool:
        """Check both ends of a range: limits hold for all values if for these."""
        faults = [value_fault(key, end, self.paradigms) for end in dict.fromkeys((values[0], values[-1]))]
        for fault in filter(None, faults):
            self.document.add_error(path, fault)
        return not any(faults)

    def _range(self, path: KeyPath, value: dict[str, Any]) -> range | None:
        numbers = value["range"] if list(value) == ["range"] else None
        if not isinstance(numbers, list) or [type(number) for number in numbers] not in ([int] * 2, [int] * 3):
            form = "{range: [start, stop]} or {range: [start, stop, step]} of whole numbers"
            error = f"{show(value)} is not allowed; allowed: a value, a list, {form}"
        elif numbers[2:] == [0]:
            error = f"{show(value)}: the step is 0"
        elif not range(*numbers):
            error = f"{show(value)} is empty: it counts from start up to, but not including, stop"
        else:
            return range(*numbers)
        self.document.add_error(path, error)
        return None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def paradigm_names(entries: dict[str, Any]) -> list[Any]:
    """Return the names of paradigms that a sweep gives, right or wrong."""
    paradigm, zipped = entries.get("paradigm"), entries.get("zip")
    names = _as_list(paradigm.get("name")) if isinstance(paradigm, dict) else []
    return names + (_as_list(zipped.get("paradigm.name")) if isinstance(zipped, dict) else [])
