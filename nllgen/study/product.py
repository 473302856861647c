"""Products of axes, and the combinations of their values. Products are counted before any of them is expanded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nllgen.study.axis_values import Wrong
from nllgen.study.diagnostics import KeyPath
from nllgen.study.yaml_documents import YamlDocument

_MAX_REPEATED = 100_001  # more than the cells of any study

Scalar = str | int | float | bool
Assignment = dict[str, Any]  # dotted key → Scalar, a mapping for OPTIONS, or Wrong


@dataclass(frozen=True)
class Axis:
    """The values of one dotted key at its place in the file; ``is_list`` unless the file has a single value."""

    values: Sequence[Any]
    path: KeyPath
    is_list: bool
    is_known: bool = True  # no end of a range has a fault

    @property
    def is_wrong(self) -> bool:
        """Return whether no value of it is known."""
        return not self.is_known or (not self.is_list and isinstance(self.values[0], Wrong))

    @property
    def known_values(self) -> Iterable[Any]:
        """Return the values, as :class:`Wrong` where they are not known."""
        return self.values if self.is_known else map(Wrong, self.values)

    def of_length(self, length: int) -> Axis:
        """Return the first values, so many of them; a single value is repeated."""
        values = self.values[:length] if self.is_list else [*self.values] * min(length, _MAX_REPEATED)
        return replace(self, values=values)

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
        partial: sections with a key that is not known, so that any of their other keys may be meant by it.
        is_whole: every key and structure is right, so that equal combinations are duplicates.
    """

    path: KeyPath
    axes: dict[str, Axis]
    zipped: dict[str, Axis]
    excludes: dict[KeyPath, dict[str, Axis]] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()
    is_whole: bool = True

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

    def thinned(self, most: int) -> Product:
        """Return a product of at most so many cells: the first values of each axis."""
        length = max(self.lengths.values(), default=1)
        while math.prod(min(count, length) for count in self.lengths.values()) > most:
            length = min(length - 1, 1000)
        axes, zipped = (
            {key: replace(axis, values=list(axis.values[:length])) for key, axis in part.items()}
            for part in (self.axes, self.zipped)
        )
        return replace(self, axes=axes, zipped=zipped, excludes={})

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
        rows = list(zip(*(axis.known_values for axis in self.zipped.values()), strict=True)) or [()]
        unused = dict.fromkeys(self.excludes)
        for values in itertools.product(*(axis.known_values for axis in self.axes.values())):
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
            if any(document.option(self.path_of(key)) for key in self.excludes[path]):
                continue  # the value that it excludes was replaced
            document.add_error(path, "matches no cell of its sweep; correct a value or leave it out")
