"""Expansion of a product to cells, and of the truth; what is wrong with a combination is added to the document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from nllgen.study.allowed_keys import SINGLES
from nllgen.study.axis_values import Wrong
from nllgen.study.cell import contradictions_between
from nllgen.study.config import Cell, NLLConfig
from nllgen.study.parts import PartBuilder, Parts, StudyContext, typed
from nllgen.study.product import Assignment, Product


class Candidate(NamedTuple):
    """A combination of a product.

    Attributes:
        cell: None where it has a fault.
        identity: equal for equal cells, and for equal values where there is a fault.
        label: for people.
        shape: of an image, (C, H, W); None where it is not known.
    """

    cell: Cell | None
    identity: str
    label: str
    shape: tuple[int, int, int] | None


def expand(product: Product, context: StudyContext) -> Iterator[Candidate]:
    """Yield the combinations of a product; add the errors of those that are no cell to the document."""
    expander = _Expander(product, context)
    for assignment in product.assignments(context.document):
        yield expander.candidate(assignment)
    expander.check_pools()


def expand_truth(product: Product, context: StudyContext) -> tuple[Cell | None, frozenset[str]]:
    """Return the truth, built from the first of its values that are right, and the dotted keys that are wrong."""
    assignment: Assignment = {key: axis.values[0] for key, axis in product.axes.items()}
    parts = PartBuilder(product, context).parts(assignment)
    wrong = {key.replace("model.", "flow.", 1) for key in parts.wrong}
    singles = {key: assignment[key] for key in SINGLES if key in assignment and key != "precision"}
    wrong |= {key for key, value in assignment.items() if isinstance(value, Wrong)}
    if parts.data.model is None or parts.model.model is None:
        return None, frozenset(wrong)
    fields: dict[str, Any] = {key: value for key, value in singles.items() if not isinstance(value, Wrong)}
    fields |= {"paradigm": parts.paradigm.model or NLLConfig(), "precision": parts.precision or context.precision}
    fields |= {"data": parts.data.model, "flow": parts.model.model, "degree": "W"}
    return (Cell.model_construct(**fields) if wrong else Cell.model_validate(fields)), frozenset(wrong)


class _Shared(NamedTuple):
    """All of a cell but its seed; ``cell`` is None where something of it is wrong."""

    parts: Parts
    cell: Cell | None
    shape: tuple[int, int, int] | None


class _Expander(PartBuilder):
    """A builder of a product's cells, which looks for what contradicts itself between their parts."""

    def __init__(self, product: Product, context: StudyContext):
        super().__init__(product, context)
        self.shared: dict[tuple[object, ...], _Shared] = {}
        self.last_blocks: dict[int, int] = {}  # number of training images → largest seed that takes a block of them
        axes = product.axes | product.zipped
        self.lists = [key for key, axis in axes.items() if axis.is_list]
        self.shared_keys = [key for key in axes if key != "seed"]

    def candidate(self, assignment: Assignment) -> Candidate:
        """Build the cell of an assignment; add its errors."""
        values = typed(assignment, self.shared_keys)
        if values not in self.shared:
            self.shared[values] = self._shared(assignment)
        parts, first, shape = self.shared[values]
        seed = assignment.get("seed", 0)
        self._note_block(parts, seed)
        if first is None or isinstance(seed, Wrong):
            label = ", ".join(f"{key} {_plain(assignment[key])}" for key in self.lists) or "the same values"
            return Candidate(None, self._identity(assignment), label, shape)
        cell = first.model_copy(update={"seed": seed})  # which was validated where it is written
        identity = cell.id if self.product.is_whole else self._identity(assignment)
        return Candidate(cell if self._is_no_trial(cell) else None, identity, cell.label, shape)

    def _shared(self, assignment: Assignment) -> _Shared:
        """Build all of a cell but its seed, which thousands of cells share."""
        parts = self.parts(assignment)
        degree, noise = assignment.get("degree", "custom"), assignment.get("start_noise", 0.0)
        start = "truth" if degree == "W*" else assignment.get("start", "random")
        data = parts.data.model if "image_size" not in parts.data.wrong else None
        shape = data.shape if data else None
        fits = self._fit(assignment, parts, start, noise)
        if not fits or not parts.are_right or any(isinstance(value, Wrong) for value in (degree, start, noise)):
            return _Shared(parts, None, shape)
        fields: dict[str, Any] = {
            "data": parts.data.model,
            self.architecture: parts.model.model,
            "paradigm": parts.paradigm.model,
            "start": start,
            "start_noise": noise,
            "precision": parts.precision,
            "degree": degree,
        }
        return _Shared(parts, Cell.model_validate(fields), shape)

    def _identity(self, assignment: Assignment) -> str:
        """Return the values of a combination; in a sweep whose keys are not all known, equal ones are its own alone."""
        text = json.dumps(assignment, sort_keys=True, default=_plain)
        return text if self.product.is_whole else f"{self.product.path} {text}"

    def _fit(self, assignment: Assignment, parts: Parts, start: object, noise: object) -> bool:
        """Check that the parts go together, as far as they are known."""
        wrong = frozenset() if parts.are_right else parts.wrong
        paradigm = parts.paradigm.model
        contradictions = contradictions_between(parts.data.model, parts.model.model, paradigm, start, noise)
        fits = True
        for keys, text in contradictions:
            if wrong.isdisjoint(keys):
                key = next((key for key in reversed(keys) if key in assignment), "")
                self.add_error(key, text, assignment.get(key))
                fits = False
        return self._can_start(parts, start, assignment.get("degree", "custom")) and fits

    def _can_start(self, parts: Parts, start: object, degree: object) -> bool:
        """Check that a cell that starts at the truth has the truth's flow."""
        truth = self.context.truth
        if start != "truth" or self.architecture != "flow":
            return True
        if truth is None:
            self.add_missing_truth("start", "start: truth takes the truth's weights", "truth")
            return False
        if not parts.model.is_right or not self.context.has_right_flow or parts.model.model == truth.flow:
            return True
        self.add_error("start", f"start: truth needs the truth's own flow (degree W), not {degree}", "truth")
        return False

    def _note_block(self, parts: Parts, seed: Any) -> None:
        data = parts.data.model
        if data is None or not data.is_synthetic or isinstance(seed, Wrong) or "num_train" in parts.data.wrong:
            return
        if isinstance(data.num_train, int):
            self.last_blocks[data.num_train] = max(seed, self.last_blocks.get(data.num_train, 0))

    def check_pools(self) -> None:
        """Check that the dataset has the training images of the last block of each size."""
        dataset = self.context.dataset
        if dataset.model is None or "num_train" in dataset.wrong:
            return
        for num, seed in self.last_blocks.items():
            if (needed := (seed + 1) * num) > dataset.model.num_train:
                block = f"seed {seed} trains on block {seed} of {num} synthetic images"
                text = f"{block}, which needs dataset.num_train ≥ {needed}; it is {dataset.model.num_train}"
                self.add_error("data.num_train", text, num)

    def _is_no_trial(self, cell: Cell) -> bool:
        """Check that the tuning study did not run a cell's seed on the same data and model."""
        tuning = self.context.tuning
        if tuning is None or (cell.data.canonical, cell.architecture.canonical, cell.seed) not in tuning.runs:
            return True
        text = f"seed {cell.seed} was tried by the tuning study {tuning.study}; take others"
        self.add_error("seed", text, cell.seed)
        return False


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Wrong) else value
