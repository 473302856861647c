"""Expansion of a product to cells. Each distinct section is validated once: a product repeats it by the thousand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, get_args

from pydantic import ValidationError

from nllgen.study.config import (
    Cell,
    DataConfig,
    DatasetConfig,
    FlowConfig,
    Frozen,
    ImportedConfig,
    ParadigmConfig,
    Precision,
)
from nllgen.study.degrees import DEGREES, student
from nllgen.study.diagnostics import dotted, not_allowed, show
from nllgen.study.sweep import ARCHITECTURES, PARADIGMS, SECTIONS, TUNED, TUNED_KEY, Assignment, Product
from nllgen.study.tuning import Tuning, find_winner
from nllgen.study.validation import faults_of, one_line
from nllgen.study.yaml_documents import YamlDocument

Model = TypeVar("Model", bound=Frozen)


@dataclass(frozen=True)
class StudyContext:
    """The parts of a study that its cells depend on.

    Attributes:
        document: the file, which receives the errors.
        truth: reference of degrees and synthetic data; None if there is none, or it is wrong.
        has_truth: the file has a truth section, right or wrong, so that none is reported as missing.
        dataset: None if that section is wrong.
        tuning: trials whose winners cells can take; None if there are none, or the section is wrong.
        has_tuning: the file has a tuning section, right or wrong.
    """

    document: YamlDocument
    precision: Precision
    truth: Cell | None = None
    has_truth: bool = False
    dataset: DatasetConfig | None = field(default_factory=DatasetConfig)
    plugins: tuple[str, ...] = ()
    tuning: Tuning | None = None
    has_tuning: bool = False


def expand(product: Product, context: StudyContext) -> Iterator[Cell]:
    """Yield the valid cells of a product; add the errors of the others to the document."""
    expander = _Expander(product, context)
    largest: Cell | None = None  # the cell that needs the largest pool of training images
    for assignment in product.assignments(context.document):
        if (cell := expander.cell(assignment)) is not None:
            yield cell
            largest = cell if largest is None else max(largest, cell, key=_pool_size)
    if largest is not None:
        expander.check_pool(largest)


class _Expander:
    def __init__(self, product: Product, context: StudyContext):
        self.product = product
        self.context = context
        self.cache: dict[tuple[object, ...], Any] = {}
        keys = [*product.axes, *product.zipped]
        self.shared_keys = [key for key in keys if key != "seed"]
        self.shared: dict[tuple[object, ...], dict[str, Any] | None] = {}
        self.keys = {name: [key for key in keys if key.startswith(f"{name}.")] for name in SECTIONS}
        # an architecture without keys is an axis under its own name
        self.architecture = next((name for name in ARCHITECTURES if name in keys or self.keys[name]), "flow")

    def cell(self, assignment: Assignment) -> Cell | None:
        """Build the cell of an assignment; add its errors and return None where it is wrong."""
        values = _typed(assignment, self.shared_keys)
        if values not in self.shared:
            self.shared[values] = self._shared_fields(assignment)
        shared = self.shared[values]
        if shared is None:
            return None
        fields = {**shared, "seed": assignment.get("seed", 0)}
        cell = self._validate(Cell, "", fields, assignment)
        return cell if cell is not None and self._can_start(cell) and self._is_no_trial(cell) else None

    def _shared_fields(self, assignment: Assignment) -> dict[str, Any] | None:
        """Return all fields but the seed, which thousands of cells share; None where one is wrong."""
        degree = assignment.get("degree", "custom")
        is_control = degree == "W*"
        data = self._cached("data", assignment, (), lambda: self._data(assignment))
        depends_on = (type(degree), degree, None if data is None else data.shape)
        model = self._cached(self.architecture, assignment, depends_on, lambda: self._model(assignment, data))
        precision = self._precision(assignment.get("precision", "auto"))
        like = self._like(assignment, data, model, precision)
        keys = (is_control, *(part.canonical if isinstance(part, Frozen) else part for part in like.values()))
        paradigm = self._cached("paradigm", assignment, keys, lambda: self._paradigm(assignment, is_control, like))
        if data is None or model is None or paradigm is None or precision is None:
            return None
        return {
            "data": data,
            self.architecture: model,
            "paradigm": paradigm,
            "start": "truth" if is_control else assignment.get("start", "random"),
            "start_noise": assignment.get("start_noise", 0.0),
            "precision": precision,
            "degree": degree,
        }

    def check_pool(self, cell: Cell) -> None:
        """Check that the dataset has the training images that a cell needs."""
        dataset, needed, num = self.context.dataset, _pool_size(cell), cell.data.num_train
        if dataset is not None and needed > dataset.num_train:
            block = f"seed {cell.seed} trains on block {cell.seed} of {num} synthetic images"
            text = f"{block}, which needs dataset.num_train ≥ {needed}; it is {dataset.num_train}"
            self._add_error("data.num_train", text, num)

    def _add_error(self, key: str, text: str, value: object = None) -> None:
        path = self.product.path_of(key, value)
        line = self.context.document.line(path)
        if len(path) > 2 and isinstance(path[-1], int) and path[-2] not in ("include", "cells"):
            path = path[:-1]  # without the position in an axis: its key and line are enough
        self.context.document.diagnostics.add(line, f"{dotted(path)}: {text}")

    def _cached(
        self, section: str, assignment: Assignment, depends_on: tuple[object, ...], build: Callable[[], Model | None]
    ) -> Model | None:
        key = (section, _typed(assignment, self.keys[section]), depends_on)
        if key not in self.cache:
            self.cache[key] = build()
        return cast("Model | None", self.cache[key])

    def _payload(self, section: str, assignment: Assignment) -> dict[str, Any]:
        return {key.removeprefix(f"{section}."): assignment[key] for key in self.keys[section]}

    def _precision(self, value: object) -> Precision | None:
        match value:
            case "auto":
                return self.context.precision
            case "fp32" | "bf16":
                return value
        self._add_error("precision", not_allowed(value, ("auto", *get_args(Precision))), value)
        return None

    def _data(self, assignment: Assignment) -> DataConfig | None:
        payload = self._payload("data", assignment)
        if payload.get("source") != "synthetic":
            return self._validate(DataConfig, "data", payload, assignment)
        if "num_train" not in payload:
            self._add_error("data.num_train", "is required for synthetic data; allowed: a number or fresh")
            return None
        if self.context.truth is None:
            self._add_missing_truth("data.source", "synthetic images are drawn from the truth", "synthetic")
            self._validate(DataConfig, "data", payload | {"truth_id": "unknown"}, assignment)
            return None
        agrees = self._fill_synthetic(payload, self.context.truth)
        return self._validate(DataConfig, "data", payload, assignment) if agrees else None

    def _fill_synthetic(self, payload: dict[str, Any], truth: Cell) -> bool:
        """Fill in what synthetic data take from the truth and the dataset; return whether the rest agrees with it."""
        num_before = len(self.context.document.diagnostics)
        for key in ("image_size", "alpha"):
            of_truth = getattr(truth.data, key)
            value = payload.setdefault(key, of_truth)
            if value != of_truth:
                text = f"{show(value)} differs from the truth's {of_truth}; leave it out"
                self._add_error(f"data.{key}", text, value)
        for key in ("num_val", "num_test") if self.context.dataset is not None else ():
            limit = getattr(self.context.dataset, key)
            value = payload.setdefault(key, limit)
            if type(value) is int and value > limit:
                self._add_error(f"data.{key}", f"{value} is more than dataset.{key}, which is {limit}", value)
        payload["truth_id"] = truth.id
        return len(self.context.document.diagnostics) == num_before

    def _model(self, assignment: Assignment, data: DataConfig | None) -> Frozen | None:
        if "degree" in assignment:
            return self._student(assignment["degree"], data)
        payload = self._payload(self.architecture, assignment)
        if data is not None:
            payload["shape"] = data.shape
        model = self._validate(ARCHITECTURES[self.architecture], self.architecture, payload, assignment)
        if isinstance(model, ImportedConfig) and not model.is_under(self.context.plugins):
            declared = ", ".join(self.context.plugins) or "none"
            text = f"{model.module} is not declared (plugins: {declared}); to allow it, add plugins: [{model.module}]"
            self._add_error("model.factory", text, model.factory)
            return None
        return model

    def _student(self, degree: Any, data: DataConfig | None) -> FlowConfig | None:
        truth = self.context.truth
        if degree not in DEGREES:
            self._add_error("degree", not_allowed(degree, DEGREES), degree)
            return None
        if truth is None:
            self._add_missing_truth("degree", f"degree {degree} is relative to the truth", degree)
            return None
        if data is not None and data.shape != truth.data.shape:
            text = f"degree {degree} needs the truth's image_size {truth.data.image_size}; it is {data.image_size}"
            self._add_error("data.image_size", text, data.image_size)
            return None
        try:
            return student(truth.real_nvp, degree)
        except ValidationError as error:
            text = f"degree {degree} of this truth has no valid flow: {one_line(error)}"
            self._add_error("degree", text, degree)
            return None

    def _like(
        self, assignment: Assignment, data: DataConfig | None, model: Frozen | None, precision: Precision | None
    ) -> dict[str, Frozen | str | None]:
        """Return what a trial must share with a cell that takes its settings; empty for any other cell."""
        is_tuned = assignment.get(TUNED_KEY) is True
        return {"data": data, self.architecture: model, "precision": precision} if is_tuned else {}

    def _paradigm(
        self, assignment: Assignment, is_control: bool, like: dict[str, Frozen | str | None]
    ) -> ParadigmConfig | None:
        payload = self._payload("paradigm", assignment)
        name = payload.get("name")
        if name is None:
            self._add_error("paradigm.name", f"is required; allowed: {', '.join(PARADIGMS)}")
            return None
        if name not in PARADIGMS:
            self._add_error("paradigm.name", not_allowed(name, PARADIGMS), name)
            return None
        is_tuned = payload.pop(TUNED, False)
        if not isinstance(is_tuned, bool):
            self._add_error(TUNED_KEY, not_allowed(is_tuned, ("true", "false")), is_tuned)
            return None
        if is_tuned:
            return self._tuned(payload, assignment, like)
        if is_control:
            payload["steps"] = 0  # measures the truth and trains nothing
        return self._validate(PARADIGMS[name], "paradigm", payload, assignment)

    def _tuned(
        self, payload: dict[str, Any], assignment: Assignment, like: dict[str, Frozen | str | None]
    ) -> ParadigmConfig | None:
        """Return the winner's paradigm, evaluated as often as the cell says; what else it gives selects trials."""
        tuning, key = self.context.tuning, TUNED_KEY
        if tuning is None:
            if not self.context.has_tuning:
                text = "takes the winner of a tuning study, and this study names none: tuning: {file: …, sha256: …}"
                self._add_error(key, text, True)
            return None
        if None in like.values():
            return None  # reported already
        values = {name: value for name, value in payload.items() if name != "eval_every"}
        try:
            trained = find_winner(tuning, like, values).cell.paradigm.model_dump()
        except ValueError as error:
            self._add_error(key, str(error), True)
            return None
        return self._validate(PARADIGMS[payload["name"]], "paradigm", trained | payload, assignment)

    def _is_no_trial(self, cell: Cell) -> bool:
        """Check that the tuning study did not run a cell's seed on the same data and model."""
        tuning = self.context.tuning
        if tuning is None or (cell.data.canonical, cell.architecture.canonical, cell.seed) not in tuning.runs:
            return True
        self._add_error(
            "seed", f"seed {cell.seed} was tried by the tuning study {tuning.study}; take others", cell.seed
        )
        return False

    def _validate(
        self, model: type[Model], section: str, payload: dict[str, Any], assignment: Assignment
    ) -> Model | None:
        try:
            return model.model_validate(payload)
        except ValidationError as error:
            keys = [key for key in model.model_fields if key not in ("truth_id", "shape")]
            for path, text in faults_of(error, keys):
                key = ".".join(map(str, (section, *path) if section else path))
                if not path:  # values that contradict each other: point at one that the text names
                    key = next((key for key in self.keys.get(section, ()) if key.split(".")[1] in text), section)
                self._add_error(key, text, assignment.get(key))
            return None

    def _add_missing_truth(self, key: str, reason: str, value: object) -> None:
        if not self.context.has_truth:
            self._add_error(key, f"{reason}, and this study has no truth section", value)

    def _can_start(self, cell: Cell) -> bool:
        """Check that a cell that starts at the truth has the truth's flow."""
        truth = self.context.truth
        if cell.start != "truth" or (truth is not None and cell.flow == truth.flow):
            return True
        if truth is None:
            self._add_missing_truth("start", "start: truth takes the truth's weights", "truth")
        else:
            text = f"start: truth needs the truth's own flow (degree W), not {cell.degree}"
            self._add_error("start", text, cell.start)
        return False


def _pool_size(cell: Cell) -> int:
    """Return the number of synthetic training images up to the end of a cell's block; 0 where it has none."""
    num = cell.data.num_train
    return (cell.seed + 1) * num if cell.data.source == "synthetic" and isinstance(num, int) else 0


def _typed(assignment: Assignment, keys: Sequence[str]) -> tuple[object, ...]:
    """Return the values of keys with their types, since 1 == 1.0 == True and only one of them is a seed."""
    return tuple((type(assignment[key]), _hashable(assignment[key])) for key in keys)


def _hashable(value: Any) -> object:
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, dict) else value
