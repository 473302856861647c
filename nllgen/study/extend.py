"""Extension of a frozen study by more cells, a larger pool of training images or other resources.

Nothing else may change. The rules of its claims stay those that were registered when it was first frozen.
"""

from __future__ import annotations

import shlex

from nllgen.errors import ConflictError
from nllgen.study.claims import version_of
from nllgen.study.config import Study
from nllgen.study.difference import is_extension, study_differences

MAX_SHOWN = 5


def extend_study(frozen: Study, new: Study) -> Study:
    """Extend the frozen study by the cells that ``new`` adds.

    The frozen cells come first. Resources are the new ones, and the digest of the claims' rules is the frozen one.
    ``dataset.num_train`` is the larger, since a larger pool begins with the smaller one.

    Raises:
        ConflictError: ``new`` lacks frozen cells or differs in a value that results depend on.
    """
    if not is_extension(frozen, new):
        raise _conflict(frozen, new)
    known = {cell.id for cell in frozen.cells}
    cells = (*frozen.cells, *(cell for cell in new.cells if cell.id not in known))
    num_train = max(frozen.dataset.num_train, new.dataset.num_train)
    dataset = new.dataset.model_copy(update={"num_train": num_train})
    left_out = tuple(source for source in new.left_out if all(cell.data.source != source for cell in cells))
    overrides = tuple(dict.fromkeys((*frozen.overrides, *new.overrides)))
    kept = {"cells": cells, "dataset": dataset, "left_out": left_out, "overrides": overrides}
    kept["claims_sha256"] = frozen.claims_sha256
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


def _conflict(frozen: Study, new: Study) -> ConflictError:
    differences = list(study_differences(frozen, new))
    shown = differences[:MAX_SHOWN]
    if len(differences) > MAX_SHOWN:
        shown.append(f"… and {len(differences) - MAX_SHOWN} more")
    hint = "undo the change, or give the grid another name or another --root; cells can be added but not removed"
    if frozen.overrides != new.overrides:
        options = " ".join(f"--set {shlex.quote(each)}" for each in frozen.overrides)
        hint = (
            f"the frozen study was made {f'with {options}' if options else 'without --set'}; give the same, or {hint}"
        )
    return ConflictError("\n  ".join([f"the grid contradicts the frozen study {frozen.name}:", *shown]), hint)
