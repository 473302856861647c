"""Sweeps: entries of ``cells:``, each a product of axes with ``zip``, ``exclude`` and ``include``.

An axis is a dotted key with one or several values. A sweep is the product of its axes, where those of a ``zip`` vary
together. Each ``include`` is a further product: the sweep's, with some axes replaced. Products are counted before any
of them is expanded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from nllgen.study.config import AnyParadigm, DataConfig, DCGANConfig, FlowConfig, Frozen, ImportedConfig, ParadigmConfig
from nllgen.study.diagnostics import KeyPath, show, unknown_key
from nllgen.study.yaml_documents import YamlDocument

Scalar = str | int | float | bool
Assignment = dict[str, Any]  # dotted key → Scalar, or a mapping for OPTIONS
OPTIONS = "model.options"
TUNED = "tuned"  # key of a paradigm whose settings are those of a tuning study's winner
TUNED_KEY = f"paradigm.{TUNED}"

PARADIGMS: dict[str, type[ParadigmConfig]] = {
    model.model_fields["name"].default: model for model in get_args(get_args(AnyParadigm)[0])
}
ARCHITECTURES: dict[str, type[Frozen]] = {"flow": FlowConfig, "dcgan": DCGANConfig, "model": ImportedConfig}
SECTIONS: dict[str, tuple[str, ...]] = {
    "data": tuple(key for key in DataConfig.model_fields if key != "truth_id"),
    **{name: tuple(key for key in model.model_fields if key != "shape") for name, model in ARCHITECTURES.items()},
    "paradigm": tuple(
        dict.fromkeys(key for model in PARADIGMS.values() for key in ("name", TUNED, *model.model_fields))
    ),
}
SINGLES = ("degree", "start", "start_noise", "precision", "seed")
KEYS = (*(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys), *SINGLES)
MODIFIERS = ("zip", "exclude", "include")
SWEEP_KEYS = (*SECTIONS, *SINGLES, *MODIFIERS)
TRUTH_KEYS = tuple(key for key in (*SECTIONS, *SINGLES) if key not in ("degree", "start_noise", "dcgan", "model"))


@dataclass(frozen=True)
class Axis:
    """The values of one dotted key at its place in the file; ``is_list`` unless the file has a single value."""

    values: Sequence[Any]
    path: KeyPath
    is_list: bool

    @property
    def count(self) -> int:
        """Count the values; ``len`` fails on a range beyond 2⁶³."""
        values = self.values
        return (values[-1] - values[0]) // values.step + 1 if isinstance(values, range) else len(values)

    def __contains__(self, value: Scalar) -> bool:
        # a range iterates to look up anything but an int
        return value in self.values if isinstance(value, int) or not isinstance(self.values, range) else False


@dataclass(frozen=True)
class Product:
    """A product of axes: a sweep's own, or that of an ``include``.

    Attributes:
        axes, zipped: dotted key → axis; those of ``zipped`` vary together.
        excludes: path of each ``exclude`` → the axes whose combinations it drops.
    """

    path: KeyPath
    axes: dict[str, Axis]
    zipped: dict[str, Axis]
    excludes: dict[KeyPath, dict[str, Axis]] = field(default_factory=dict)

    @property
    def lengths(self) -> dict[str, int]:
        """Return the length of each axis that has several values, by its name."""
        lengths = {key: axis.count for key, axis in self.axes.items() if axis.is_list}
        if self.zipped:
            lengths[f"zip({', '.join(self.zipped)})"] = next(iter(self.zipped.values())).count
        return lengths

    @property
    def count(self) -> int:
        """Count the cells before ``exclude``."""
        return math.prod(self.lengths.values())

    def path_of(self, key: str, value: object = None) -> KeyPath:
        """Return the path of a key, or of its ``value`` in a list."""
        axis = self.axes.get(key) or self.zipped.get(key)
        if axis is None:
            return (*self.path, *key.split(".")) if key else self.path
        if isinstance(axis.values, list) and axis.is_list and value in axis.values:
            return (*axis.path, axis.values.index(value))
        return axis.path

    def assignments(self, document: YamlDocument) -> Iterator[Assignment]:
        """Yield every combination that no ``exclude`` drops, then report each ``exclude`` that dropped none."""
        keys = [*self.axes, *self.zipped]
        rows = list(zip(*(axis.values for axis in self.zipped.values()), strict=True)) or [()]
        unused = dict.fromkeys(self.excludes)
        for values in itertools.product(*(axis.values for axis in self.axes.values())):
            for row in rows:
                assignment: Assignment = dict(zip(keys, values + row, strict=True))
                dropped_by = [
                    path
                    for path, axes in self.excludes.items()
                    if all(assignment[key] in axis for key, axis in axes.items())
                ]
                for path in dropped_by:
                    unused.pop(path, None)
                if not dropped_by:
                    yield assignment
        for path in unused:
            document.add_error(path, "matches no cell of its sweep; correct a value or leave it out")


class SweepReader:
    """A reader of the sweeps of a document, which receives the errors in them."""

    def __init__(self, document: YamlDocument):
        self.document = document

    def products(self, path: KeyPath, value: Any) -> list[Product]:
        """Read a sweep: its own product, then that of each ``include``."""
        entries = self.document.mapping(path, value)
        axes = self.axes(path, {key: item for key, item in entries.items() if key not in MODIFIERS}, SWEEP_KEYS)
        zipped = self._zip((*path, "zip"), entries["zip"], axes) if "zip" in entries else {}
        self._check_architecture(path, {*entries, *axes, *zipped}, is_required=isinstance(value, dict))
        excludes = {at: self._exclude(at, item, {*axes, *zipped}) for at, item in self._items(path, entries, "exclude")}
        main = Product(path, axes, zipped, {at: excluded for at, excluded in excludes.items() if excluded})
        return [main, *(self._include(at, item, main) for at, item in self._items(path, entries, "include"))]

    def axes(self, path: KeyPath, entries: dict[str, Any], allowed: Collection[str]) -> dict[str, Axis]:
        """Read the axes in the sections and single keys of a sweep or truth."""
        axes: dict[str, Axis] = {}
        for key, value in entries.items():
            at = (*path, key)
            if key not in allowed:
                self.document.add_error(at, unknown_key(key, allowed))
            elif key not in SECTIONS:
                axes |= self._axis(at, key, value)
            elif key in ARCHITECTURES and value == {}:  # an architecture with all its defaults
                axes[key] = Axis([True], at, False)
            else:
                axes |= self._keys(at, value, SECTIONS[key], f"{key}.")
        return axes

    def _keys(self, path: KeyPath, value: Any, allowed: Collection[str], prefix: str = "") -> dict[str, Axis]:
        """Read a mapping of keys that all are axes."""
        axes: dict[str, Axis] = {}
        for key, item in self.document.mapping(path, value).items():
            if key in allowed:
                axes |= self._axis((*path, key), prefix + key, item)
            else:
                self.document.add_error((*path, key), unknown_key(key, allowed))
        return axes

    def _items(self, path: KeyPath, entries: dict[str, Any], key: str) -> Iterator[tuple[KeyPath, Any]]:
        for i, item in enumerate(self.document.sequence((*path, key), entries.get(key, []))):
            yield (*path, key, i), item

    def _dotted(self, path: KeyPath, value: Any) -> dict[str, Axis]:
        """Read a mapping of dotted keys, at least one."""
        if value == {}:
            self.document.add_error(path, "needs at least one dotted key, for example seed: 0")
        return self._keys(path, value, KEYS)

    def _zip(self, path: KeyPath, value: Any, axes: dict[str, Axis]) -> dict[str, Axis]:
        zipped = self._dotted(path, value)
        for key, axis in zipped.items():
            if not axis.is_list:
                self.document.add_error(axis.path, "zip needs a list")
            if key in axes:
                line = self.document.line(axes[key].path)
                self.document.add_error(axis.path, f"given twice: in zip and on line {line}; keep one of them")
        lengths = {key: axis.count for key, axis in zipped.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{key} has {count}" for key, count in lengths.items())
            self.document.add_error(path, f"lists that vary together need equal lengths: {counts}")
            return {}
        return zipped

    def _exclude(self, path: KeyPath, value: Any, keys: Collection[str]) -> dict[str, Axis]:
        axes = self._dotted(path, value)
        for key in axes:
            if key not in keys:
                self.document.add_error((*path, key), "this sweep does not set that key, so that it cannot exclude it")
        return {key: axis for key, axis in axes.items() if key in keys}

    def _include(self, path: KeyPath, value: Any, main: Product) -> Product:
        replaced = self._dotted(path, value)
        zipped = {} if set(main.zipped) <= set(replaced) else main.zipped
        if clash := [key for key in replaced if key in zipped]:
            text = f"{', '.join(clash)} is part of the sweep's zip; give all of {', '.join(zipped)} or none"
            self.document.add_error(path, text)
        axes = {key: axis for key, axis in main.axes.items() if key not in replaced} | replaced
        self._check_architecture(path, {*axes, *zipped}, is_required=False)
        return Product(path, axes, zipped)

    def _check_architecture(self, path: KeyPath, keys: Collection[str], *, is_required: bool) -> None:
        sections = {key.split(".")[0] for key in keys}
        architectures = [name for name in (*ARCHITECTURES, "degree") if name in sections]
        if len(architectures) > 1:
            text = f"give either {' or '.join(architectures)}; a degree is a flow relative to the truth"
            self.document.add_error(path, text)
        elif is_required and not architectures:
            self.document.add_error(path, "needs a degree (relative to the truth) or a flow, dcgan or model")

    def _axis(self, path: KeyPath, key: str, value: Any) -> dict[str, Axis]:
        """Read the values of a key; the result is empty where any of them is wrong."""
        if isinstance(value, dict) and key != OPTIONS:
            values = self._range(path, value)
            return {key: Axis(values, path, True)} if values else {}
        if not isinstance(value, list):
            return {key: Axis([value], path, False)} if self._check_value(path, key, value) else {}
        if not value:
            self.document.add_error(path, "an empty list makes no cells; give at least one value")
        are_valid = [self._check_value((*path, i), key, item) for i, item in enumerate(value)]
        return {key: Axis(value, path, True)} if value and all(are_valid) else {}

    def _check_value(self, path: KeyPath, key: str, value: Any) -> bool:
        if key == OPTIONS:
            error = "" if isinstance(value, dict) else f"{show(value)} is not a mapping of names to values"
        elif value is None:
            error = "has no value"
        else:
            error = f"{show(value)} is not a single value" if isinstance(value, list | dict) else ""
        if error:
            self.document.add_error(path, error)
        return not error

    def _range(self, path: KeyPath, value: dict[str, Any]) -> range | None:
        numbers = value["range"] if list(value) == ["range"] else None
        if not isinstance(numbers, list) or [type(number) for number in numbers] not in ([int] * 2, [int] * 3):
            form = "{range: [start, stop]} or {range: [start, stop, step]} of whole numbers"
            error = f" is not allowed; allowed: a value, a list, {form}"
        elif numbers[2:] == [0]:
            error = ": the step is 0"
        elif not range(*numbers):
            error = " is empty: it counts from start up to, but not including, stop"
        else:
            return range(*numbers)
        self.document.add_error(path, show(value) + error)
        return None
