"""A frozen study grows: more cells, a larger pool of training images, other resources. Nothing else may change.

The rules of its claims stay those that were registered when it was first frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nllgen.errors import ConflictError
from nllgen.study.config import Study
from nllgen.study.diagnostics import show

MAX_SHOWN = 20
_FREE: dict[str, bool | set[str]] = {
    "cells": True,
    "resources": True,
    "dataset": {"num_train"},
    "claims_sha256": True,
    "optional": True,
    "plugins": True,
    "left_out": True,
}


def merge(frozen: Study, new: Study) -> Study:
    """The frozen study with the cells that ``new`` adds, frozen ones first.

    Resources are the new ones, the digest of the claims' rules is the frozen one; ``dataset.num_train`` takes the
    larger, since a larger pool begins with the smaller one.

    Raises:
        ConflictError: ``new`` lacks frozen cells or differs in what its results depend on.
    """
    differences = [*_differences(frozen, new), *_lacking(frozen, new)]
    if differences:
        shown = differences[:MAX_SHOWN]
        if len(differences) > MAX_SHOWN:
            shown.append(f"… and {len(differences) - MAX_SHOWN} more")
        raise ConflictError(
            "\n  ".join([f"the grid contradicts the frozen study {frozen.name}:", *shown]),
            "give the grid another name or another --root, or undo the change; cells may be added, not taken away",
        )
    known = {cell.id for cell in frozen.cells}
    cells = (*frozen.cells, *(cell for cell in new.cells if cell.id not in known))
    num_train = max(frozen.dataset.num_train, new.dataset.num_train)
    dataset = new.dataset.model_copy(update={"num_train": num_train})
    left_out = tuple(source for source in new.left_out if all(cell.data.source != source for cell in cells))
    kept = {"cells": cells, "dataset": dataset, "claims_sha256": frozen.claims_sha256, "left_out": left_out}
    return new.model_copy(update=kept)


def rules_note(frozen: Study, new: Study) -> str | None:
    """What a submission has to say where the rules of the claims are not the registered ones."""
    if frozen.claims_sha256 == new.claims_sha256:
        return None
    registered = f"SHA-256 {frozen.claims_sha256}" if frozen.claims_sha256 else "none"
    return (
        f"the rules of the claims have changed since {frozen.name} was first submitted; the registered ones stay "
        f"({registered}; this version's: {new.claims_sha256 or 'none'}), and its report will say so"
    )


def _differences(frozen: Study, new: Study) -> Iterator[str]:
    before = dict(_flat("", frozen.model_dump(mode="json", exclude=_FREE)))
    after = dict(_flat("", new.model_dump(mode="json", exclude=_FREE)))
    for key in dict.fromkeys([*before, *after]):
        old, now = (show(values[key]) if key in values else "not given" for values in (before, after))
        if old != now:
            yield f"{key}: frozen {old}, now {now}"


def _lacking(frozen: Study, new: Study) -> Iterator[str]:
    present = {cell.id for cell in new.cells}
    for cell in frozen.cells:
        if cell.id not in present:
            yield f"cells: frozen {cell.id} ({cell.label}), now not in the grid"


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, item)
    else:
        yield prefix, value
