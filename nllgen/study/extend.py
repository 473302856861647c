"""Extension of a frozen study by more cells, a larger pool of training images or other resources.

Nothing else may change. The rules of its claims stay those that were registered when it was first frozen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nllgen.errors import ConflictError
from nllgen.study.claims import version_of
from nllgen.study.config import Study

MAX_SHOWN = 20
_MAY_CHANGE: dict[str, bool | set[str]] = {
    **dict.fromkeys(("cells", "resources", "claims_sha256", "optional", "plugins", "left_out"), True),
    "dataset": {"num_train"},
    "tuning": {"trials"},  # its digest stands for them
}


def extend_study(frozen: Study, new: Study) -> Study:
    """Extend the frozen study by the cells that ``new`` adds.

    The frozen cells come first. Resources are the new ones, and the digest of the claims' rules is the frozen one.
    ``dataset.num_train`` is the larger, since a larger pool begins with the smaller one.

    Raises:
        ConflictError: ``new`` lacks frozen cells or differs in a value that results depend on.
    """
    if conflicts := [*_changed_values(frozen, new), *_missing_cells(frozen, new)]:
        shown = conflicts[:MAX_SHOWN]
        if len(conflicts) > MAX_SHOWN:
            shown.append(f"… and {len(conflicts) - MAX_SHOWN} more")
        raise ConflictError(
            "\n  ".join([f"the grid contradicts the frozen study {frozen.name}:", *shown]),
            "undo the change, or give the grid another name or another --root; cells can be added but not removed",
        )
    known = {cell.id for cell in frozen.cells}
    cells = (*frozen.cells, *(cell for cell in new.cells if cell.id not in known))
    num_train = max(frozen.dataset.num_train, new.dataset.num_train)
    dataset = new.dataset.model_copy(update={"num_train": num_train})
    left_out = tuple(source for source in new.left_out if all(cell.data.source != source for cell in cells))
    kept = {"cells": cells, "dataset": dataset, "claims_sha256": frozen.claims_sha256, "left_out": left_out}
    return new.model_copy(update=kept)


def rules_note(frozen: Study, new: Study) -> str | None:
    """Describe how the rules of the claims differ from the registered ones; return None where they do not."""
    if frozen.claims_sha256 == new.claims_sha256:
        return None
    registered = f"SHA-256 {frozen.claims_sha256}" if frozen.claims_sha256 else "none"
    version = version_of(frozen.claims_sha256)
    judged = "its report will say so" if version is None else f"its report judges by version {version}, which they are"
    return (
        f"the rules of the claims have changed since {frozen.name} was first submitted; the registered ones stay "
        f"({registered}; this version's: {new.claims_sha256 or 'none'}), and {judged}"
    )


def _changed_values(frozen: Study, new: Study) -> Iterator[str]:
    before = dict(_flatten("", frozen.model_dump(mode="json", exclude=_MAY_CHANGE)))
    after = dict(_flatten("", new.model_dump(mode="json", exclude=_MAY_CHANGE)))
    for key in dict.fromkeys([*before, *after]):
        # whole values, since long ones may differ at their ends only
        old, now = (json.dumps(values[key]) if key in values else "not given" for values in (before, after))
        if old != now:
            yield f"{key}: frozen {old}, now {now}"


def _missing_cells(frozen: Study, new: Study) -> Iterator[str]:
    present = {cell.id for cell in new.cells}
    for cell in frozen.cells:
        if cell.id not in present:
            yield f"cells: frozen {cell.id} ({cell.label}), now not in the grid"


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(f"{prefix}.{key}" if prefix else key, item)
    else:
        yield prefix, value
