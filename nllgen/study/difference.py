"""Differences between a frozen study and another one of its name: key, was, is.

What follows from another difference, such as the id of a changed truth in every cell, is not listed beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from nllgen.study.config import Cell, Study
from nllgen.study.models import Frozen

_MAY_CHANGE: dict[str, bool | set[str]] = {
    **dict.fromkeys(("cells", "resources", "claims_sha256", "optional", "plugins", "left_out", "overrides"), True),
    "dataset": {"num_train"},
    "tuning": {"trials"},  # its digest stands for them
}
_MAX_COMPARED, _MAX_CANDIDATES = 200, 2_000  # cells; those of a larger study are counted
_MAX_VALUES = 5
_SECTIONS = ("data", "flow", "dcgan", "model", "paradigm")
_DERIVED = ("truth_id", "shape")  # from the truth and from the data
_PARADIGM = "paradigm.name"
_GONE = "gone"


class Change(NamedTuple):
    """A dotted key with its value before and after, as JSON."""

    key: str
    before: str
    after: str


Changes = tuple[Change, ...]


def is_extension(frozen: Study, new: Study) -> bool:
    """Return whether a study has all frozen cells and differs in nothing else that results depend on."""
    has_cells = {cell.id for cell in frozen.cells} <= {cell.id for cell in new.cells}
    return has_cells and _values_of_study(frozen) == _values_of_study(new)


def study_differences(frozen: Study, new: Study) -> Iterator[str]:
    """Yield a line for each value of the study that differs, then for the frozen cells that the other one lacks."""
    changes = _changes_of_study(frozen, new)
    for change in changes:
        yield _line([change])
    yield from _cell_differences(frozen, new, changes)


def _values_of_study(study: Study) -> dict[str, str]:
    return dict(_flatten("", study.model_dump(mode="json", exclude=_MAY_CHANGE)))


def _changes_of_study(frozen: Study, new: Study) -> Changes:
    if (frozen.truth is None) == (new.truth is None):
        return _changes(_values_of_study(frozen), _values_of_study(new))
    rest = (_values_of_study(study.model_copy(update={"truth": None})) for study in (frozen, new))
    return (_presence("truth", frozen.truth, new.truth), *_changes(*rest))


def _presence(key: str, before: object, after: object) -> Change:
    return Change(key, *("not given" if value is None else "given" for value in (before, after)))


def _changes(before: dict[str, str], after: dict[str, str]) -> Changes:
    keys = dict.fromkeys([*before, *after])
    pairs = ((key, before.get(key, "not given"), after.get(key, "not given")) for key in keys)
    return tuple(Change(*pair) for pair in pairs if pair[1] != pair[2])


def _cell_differences(frozen: Study, new: Study, of_study: Changes) -> Iterator[str]:
    """Describe each missing cell by what distinguishes it from the most similar cell that was added, or else kept."""
    known, present = ({cell.id for cell in study.cells} for study in (frozen, new))
    missing = [cell for cell in frozen.cells if cell.id not in present]
    added = [cell for cell in new.cells if cell.id not in known][:_MAX_CANDIDATES]
    kept = [cell for cell in new.cells if cell.id in known][:_MAX_CANDIDATES]
    comparison = _Comparison(of_study)
    counts: dict[Changes, int] = {}
    for cell in missing[:_MAX_COMPARED]:
        changed, gone = comparison.nearest(cell, added), comparison.nearest(cell, kept)
        if changed is None or (gone is not None and _distance(gone) < _distance(changed)):
            changed = tuple(change._replace(after=_GONE) for change in gone or (Change("cells", cell.label, ""),))
        counts[changed] = counts.get(changed, 0) + 1
    counts.pop((), None)  # these differ in what is listed for the whole study
    yield from _grouped(counts)
    if len(missing) > _MAX_COMPARED:
        yield f"cells: {len(missing) - _MAX_COMPARED:,} more are not in the grid"


def _grouped(counts: dict[Changes, int]) -> Iterator[str]:
    """Yield a line for all cells that differ in one key with one value after it, and for each other combination."""
    groups: dict[object, list[Changes]] = {}
    for changes in counts:
        same = (changes[0].key, changes[0].after) if len(changes) == 1 else changes
        groups.setdefault(same, []).append(changes)
    for group in groups.values():
        num = sum(counts[changes] for changes in group)
        first, *others = group
        line = _line(first) if not others else _line(first, [changes[0].before for changes in others])
        yield f"{line} ({num:,} cell{'s' * (num > 1)})"


def _line(changes: Sequence[Change], others: Sequence[str] = ()) -> str:
    more = "".join(f", {value}" for value in others[: _MAX_VALUES - 1]) + ", …" * (len(others) >= _MAX_VALUES)
    return "; ".join(f"{key}: was {before}{more}, is {after}" for key, before, after in changes)


class _Comparison:
    """A comparison of cells, which share most of their sections: two sections are compared once.

    Args:
        of_study: changes of the study, from which some of its cells follow.
    """

    def __init__(self, of_study: Changes):
        renamed = (change._replace(key=_key_in_cells(change.key)) for change in of_study)
        self.explained = set(renamed)
        self.cache: dict[tuple[int, int], Changes] = {}

    def nearest(self, cell: Cell, candidates: Iterable[Cell]) -> Changes | None:
        """Return the fewest changes that make another cell of a cell; None where there is no other."""
        nearest: Changes | None = None
        for other in candidates:
            changes = self._compare(cell, other)
            if nearest is None or _distance(changes) < _distance(nearest):
                nearest = changes
            if not nearest or (_distance(nearest) == 1 and not self.explained):  # none can be nearer
                break
        return nearest

    def _compare(self, cell: Cell, other: Cell) -> Changes:
        changes: list[Change] = []
        is_named = cell.degree != other.degree and "custom" not in (cell.degree, other.degree)
        if is_named:  # the flows follow from the degrees
            changes.append(Change("degree", json.dumps(cell.degree), json.dumps(other.degree)))
        for name in _SECTIONS:
            before, after = getattr(cell, name), getattr(other, name)
            if before is not after and not (is_named and name == "flow"):
                changes += self._compare_sections(name, before, after)
        for key in ("start", "start_noise", "precision", "seed"):
            before, after = json.dumps(getattr(cell, key)), json.dumps(getattr(other, key))
            if before != after:
                changes.append(Change(key, before, after))
        return tuple(change for change in changes if change not in self.explained)

    def _compare_sections(self, name: str, before: Frozen | None, after: Frozen | None) -> Changes:
        if before is None or after is None:
            return (_presence(name, before, after),)
        key = (id(before), id(after))
        if key not in self.cache:
            changes = _changes(*(_values_of_section(name, section) for section in (before, after)))
            # the other keys of another paradigm follow from its name
            self.cache[key] = tuple(change for change in changes if change.key == _PARADIGM) or changes
        return self.cache[key]


def _distance(changes: Changes) -> int:
    """Weigh changes, so that a cell of the same paradigm and architecture is nearer than one of the same rate."""
    return sum(10 if change.key in (_PARADIGM, *_SECTIONS) else 1 for change in changes)


def _values_of_section(name: str, section: Frozen) -> dict[str, str]:
    return dict(_flatten(name, section.model_dump(mode="json", exclude=set(_DERIVED))))


def _key_in_cells(key: str) -> str:
    """Return the key of cells that follows the truth or the dataset where they do not set it."""
    section, _, rest = key.partition(".")
    return {"truth": rest, "dataset": f"data.{rest}"}.get(section, key)


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else key, item)
    else:
        yield prefix, json.dumps(value, ensure_ascii=False)
