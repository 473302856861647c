"""One block of ``cells:`` → assignments of dotted keys to values: lists, ranges, zip, exclude and include.

A block is a product: each key holds one value or several, ``zip`` groups keys that vary together. An ``include`` is the
block again with some keys replaced. Everything is counted before anything is expanded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from nllgen.study.config import AnyParadigm, DataConfig, DCGANConfig, FlowConfig, Frozen, ImportedConfig, ParadigmConfig
from nllgen.study.diagnostics import Diagnostics, KeyPath, dotted, show, unknown_key
from nllgen.study.yaml_documents import Source

Scalar = str | int | float | bool
Raw = dict[str, Any]  # a Scalar, but for OPTIONS
OPTIONS = "model.options"  # a mapping is one value of it

PARADIGMS: dict[str, type[ParadigmConfig]] = {
    model.model_fields["name"].default: model for model in get_args(get_args(AnyParadigm)[0])
}
ARCHITECTURES: dict[str, type[Frozen]] = {"flow": FlowConfig, "dcgan": DCGANConfig, "model": ImportedConfig}
SECTIONS: dict[str, tuple[str, ...]] = {
    "data": tuple(key for key in DataConfig.model_fields if key != "truth_id"),
    **{name: tuple(key for key in model.model_fields if key != "shape") for name, model in ARCHITECTURES.items()},
    "paradigm": tuple(dict.fromkeys(key for model in PARADIGMS.values() for key in ("name", *model.model_fields))),
}
SINGLES = ("degree", "start", "precision", "seed")
KEYS = (*(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys), *SINGLES)


@dataclass(frozen=True)
class Axis:
    """The values of one dotted key, and where they are written."""

    values: Sequence[Any]
    path: KeyPath
    is_axis: bool

    @property
    def count(self) -> int:
        """Number of values; ``len`` fails on a range beyond 2⁶³."""
        values = self.values
        if isinstance(values, range):
            return (values[-1] - values[0]) // values.step + 1
        return len(values)

    def __contains__(self, value: Scalar) -> bool:
        # a range would be walked through for anything but an int
        return value in self.values if isinstance(value, int) or not isinstance(self.values, range) else False


@dataclass(frozen=True)
class Product:
    """A product of leaves: a block, or one of its includes."""

    path: KeyPath
    leaves: dict[str, Axis]
    zipped: dict[str, Axis]
    excludes: list[tuple[KeyPath, dict[str, Axis]]] = field(default_factory=list)

    @property
    def axes(self) -> dict[str, int]:
        """Name of each axis → its length."""
        axes = {key: leaf.count for key, leaf in self.leaves.items() if leaf.is_axis}
        if self.zipped:
            axes[f"zip({', '.join(self.zipped)})"] = next(iter(self.zipped.values())).count
        return axes

    @property
    def count(self) -> int:
        """Number of cells before ``exclude``."""
        return math.prod(self.axes.values())

    def where(self, key: str, value: object = None) -> KeyPath:
        """The path at which ``key``, and in a list this ``value`` of it, is written; else the variant's own."""
        leaf = self.leaves.get(key) or self.zipped.get(key)
        if leaf is None:
            return (*self.path, *key.split(".")) if key else self.path
        if isinstance(leaf.values, list) and leaf.is_axis and value in leaf.values:
            return (*leaf.path, leaf.values.index(value))
        return leaf.path

    def assignments(self, source: Source, diagnostics: Diagnostics) -> Iterator[Raw]:
        """Every combination that no ``exclude`` drops; one that drops nothing is an error, told at the end."""
        keys = [*self.leaves, *self.zipped]
        rows: list[tuple[Scalar, ...]] = [()]
        if self.zipped:
            rows = list(zip(*(leaf.values for leaf in self.zipped.values()), strict=True))
        unused = dict.fromkeys(path for path, _ in self.excludes)
        for values in itertools.product(*(leaf.values for leaf in self.leaves.values())):
            for row in rows:
                raw: Raw = dict(zip(keys, values + row, strict=True))
                hits = [path for path, match in self.excludes if all(raw[key] in leaf for key, leaf in match.items())]
                for path in hits:
                    unused.pop(path, None)
                if not hits:
                    yield raw
        for path in unused:
            text = "matches no cell of its block; remove it or correct a value"
            diagnostics.add(source.line(path), f"{dotted(path)}: {text}")


class SweepReader:
    """Reads blocks of one file and notes what is wrong with them."""

    def __init__(self, source: Source, diagnostics: Diagnostics):
        self.source = source
        self.diagnostics = diagnostics

    def add(self, path: KeyPath, text: str) -> None:
        """Note an error of the value at ``path``."""
        self.diagnostics.add(self.source.line(path), f"{dotted(path)}: {text}")

    def mapping(self, path: KeyPath, value: Any) -> dict[str, Any]:
        """``value`` if it is a mapping, else an error and nothing."""
        if isinstance(value, dict):
            return value
        self.add(path, f"{show(value)} is not a mapping of keys to values")
        return {}

    def sequence(self, path: KeyPath, value: Any) -> list[Any]:
        """``value`` if it is a list, else an error and nothing."""
        if isinstance(value, list):
            return value
        self.add(path, f"{show(value)} is not a list")
        return []

    def variants(self, path: KeyPath, value: Any) -> list[Product]:
        """The block at ``path`` and its includes."""
        block = self.mapping(path, value)
        extras = {key: block[key] for key in ("zip", "exclude", "include") if key in block}
        leaves = self.leaves(path, {key: item for key, item in block.items() if key not in extras}, extras=True)
        zipped = self._zip((*path, "zip"), extras["zip"], leaves) if "zip" in extras else {}
        self._check_flow(path, {*block, *leaves, *zipped}, is_block=isinstance(value, dict))
        main = Product(path, leaves, zipped)
        for i, item in enumerate(self.sequence((*path, "exclude"), extras.get("exclude", []))):
            at = (*path, "exclude", i)
            match = self._dotted(at, item)
            for key in [key for key in match if key not in leaves and key not in zipped]:
                self.add((*at, key), "this block does not set that key, so that it cannot exclude by it")
                del match[key]
            if match:
                main.excludes.append((at, match))
        included = enumerate(self.sequence((*path, "include"), extras.get("include", [])))
        return [main, *(self._include((*path, "include", i), item, main) for i, item in included)]

    def leaves(self, path: KeyPath, block: dict[str, Any], *, extras: bool) -> dict[str, Axis]:
        """The leaves of nested sections.

        Args:
            extras: the block belongs to ``cells``; else it describes one cell, the truth.
        """
        allowed = [*SECTIONS, *SINGLES, *(("zip", "exclude", "include") if extras else ())]
        if not extras:  # a truth is a flow
            allowed = [key for key in allowed if key not in ("degree", "dcgan", "model")]
        found: dict[str, Axis | None] = {}
        for key, value in block.items():
            at = (*path, key)
            if key not in allowed:
                self.add(at, unknown_key(key, allowed))
            elif key in SECTIONS:
                if key in ARCHITECTURES and value == {}:  # all its defaults
                    found[key] = Axis([True], at, False)
                for inner, item in self.mapping(at, value).items():
                    if inner in SECTIONS[key]:
                        found[f"{key}.{inner}"] = self._leaf((*at, inner), item, f"{key}.{inner}" == OPTIONS)
                    else:
                        self.add((*at, inner), unknown_key(inner, SECTIONS[key]))
            else:
                found[key] = self._leaf(at, value)
        return {key: leaf for key, leaf in found.items() if leaf is not None}

    def _dotted(self, path: KeyPath, value: Any) -> dict[str, Axis]:
        found: dict[str, Axis] = {}
        entries = self.mapping(path, value)
        if isinstance(value, dict) and not value:
            self.add(path, "needs at least one dotted key, for example seed: 0")
        for key, item in entries.items():
            if key not in KEYS:
                self.add((*path, key), unknown_key(key, KEYS))
            elif leaf := self._leaf((*path, key), item, key == OPTIONS):
                found[key] = leaf
        return found

    def _zip(self, path: KeyPath, value: Any, leaves: dict[str, Axis]) -> dict[str, Axis]:
        zipped = self._dotted(path, value)
        for key, leaf in zipped.items():
            if not leaf.is_axis:
                self.add(leaf.path, "zip needs a list")
            if key in leaves:
                first = self.source.line(leaves[key].path)
                self.add(leaf.path, f"given twice: in zip and on line {first}; keep one of them")
        lengths = {key: leaf.count for key, leaf in zipped.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{key} has {count}" for key, count in lengths.items())
            self.add(path, f"lists that vary together need equal lengths: {told}")
            return {}
        return zipped

    def _include(self, path: KeyPath, value: Any, main: Product) -> Product:
        own = self._dotted(path, value)
        zipped = {} if set(main.zipped) <= set(own) else main.zipped
        if zipped and (clash := [key for key in own if key in zipped]):
            self.add(path, f"{', '.join(clash)} is part of the block's zip; give all of {', '.join(zipped)} or none")
        leaves = {key: leaf for key, leaf in main.leaves.items() if key not in own} | own
        self._check_flow(path, {*leaves, *zipped}, is_block=False)
        return Product(path, leaves, zipped)

    def _check_flow(self, path: KeyPath, keys: set[str], *, is_block: bool) -> None:
        sections = {key.split(".")[0] for key in keys}
        given = [name for name in (*ARCHITECTURES, "degree") if name in sections]
        if len(given) > 1:
            self.add(path, f"give either {' or '.join(given)}; a degree is a flow relative to the truth")
        elif is_block and not given:
            self.add(path, "needs a degree (relative to the truth) or a flow, dcgan or model")

    def _leaf(self, path: KeyPath, value: Any, is_mapping: bool = False) -> Axis | None:
        if isinstance(value, dict):
            if is_mapping:
                return Axis([value], path, False)
            values = self._range(path, value)
            return Axis(values, path, True) if values else None
        if not isinstance(value, list):
            return Axis([value], path, False) if self._is_value(path, value, is_mapping) else None
        if not value:
            self.add(path, "an empty list makes no cells; give at least one value")
        good = [self._is_value((*path, i), item, is_mapping) for i, item in enumerate(value)]
        return Axis(value, path, True) if value and all(good) else None

    def _is_value(self, path: KeyPath, value: Any, is_mapping: bool) -> bool:
        if not is_mapping:
            return self._is_scalar(path, value)
        if not isinstance(value, dict):
            self.add(path, f"{show(value)} is not a mapping of names to values")
        return isinstance(value, dict)

    def _is_scalar(self, path: KeyPath, value: Any) -> bool:
        if value is None:
            self.add(path, "has no value")
        elif isinstance(value, list | dict):
            self.add(path, f"{show(value)} is not a single value")
        else:
            return True
        return False

    def _range(self, path: KeyPath, value: dict[str, Any]) -> range | None:
        numbers = value.get("range")
        whole = isinstance(numbers, list) and all(type(item) is int for item in numbers)
        if list(value) != ["range"] or not isinstance(numbers, list) or not whole or len(numbers) not in (2, 3):
            form = "{range: [start, stop]} or {range: [start, stop, step]} of whole numbers"
            self.add(path, f"{show(value)} is not allowed; allowed: a value, a list, {form}")
            return None
        if len(numbers) == 3 and numbers[2] == 0:
            self.add(path, f"{show(value)}: the step is 0")
            return None
        found = range(*numbers)
        if not found:
            self.add(path, f"{show(value)} is empty: it counts from start up to, but not including, stop")
            return None
        return found
