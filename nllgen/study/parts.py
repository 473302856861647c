"""The sections of a cell, each built once for all combinations that share its values, and the errors in them.

A section with a fault is built from its other values, so that what contradicts those is reported as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import ValidationError

from nllgen.study.allowed_keys import ARCHITECTURES, PARADIGMS, SECTIONS, TUNED, TUNED_KEY, foreign_key
from nllgen.study.axis_values import Wrong
from nllgen.study.config import Cell, DataConfig, DatasetConfig, Frozen, ImportedConfig, ParadigmConfig, Precision
from nllgen.study.degrees import student
from nllgen.study.diagnostics import show
from nllgen.study.own_images import OwnImages
from nllgen.study.product import Assignment, Product
from nllgen.study.tuning import Tuning, find_winner
from nllgen.study.validation import Validated, one_line, validate
from nllgen.study.yaml_documents import YamlDocument

Model = TypeVar("Model", bound=Frozen)
Build = Callable[[], Validated[Model]]
Like = dict[str, object]  # attribute of a cell → value that a trial must share; None is not known


@dataclass(frozen=True)
class StudyContext:
    """The parts of a study that its cells depend on.

    Attributes:
        document: the file, which receives the errors.
        truth: reference of degrees and synthetic data, built from what is right; None where there is none.
        wrong_of_truth: dotted keys of the truth with a fault.
        has_truth: the file has a truth section, right or wrong, so that none is reported as missing.
        dataset: sizes of the data set.
        tuning: trials whose winners cells can take; None if there are none, or the section is wrong.
        has_tuning: the file has a tuning section, right or wrong.
        image_files: SHA-256 → path of one's own images; filled by the cells that name them.
        copy_of: SHA-256 → place of the copy that a study has of such images, once it is frozen; None for no study.
    """

    document: YamlDocument
    precision: Precision
    truth: Cell | None = None
    wrong_of_truth: frozenset[str] = frozenset()
    has_truth: bool = False
    dataset: Validated[DatasetConfig] = field(default_factory=lambda: Validated(DatasetConfig()))
    plugins: tuple[str, ...] = ()
    tuning: Tuning | None = None
    has_tuning: bool = False
    image_files: dict[str, str] = field(default_factory=dict)
    copy_of: Callable[[str], Path] | None = None

    @property
    def has_right_flow(self) -> bool:
        """Return whether the truth's flow is known, on which degrees depend."""
        return self.truth is not None and not any(key.startswith("flow") for key in self.wrong_of_truth)


_CONTROL = {"steps": 0}  # W* measures the truth and trains nothing


class Parts(NamedTuple):
    """The parts of a cell; ``precision`` is None where it is wrong."""

    data: Validated[DataConfig]
    model: Validated[Any]
    paradigm: Validated[Any]
    precision: Precision | None

    @property
    def wrong(self) -> frozenset[str]:
        """Return the dotted keys that are not known."""
        parts = {"data": self.data, "model": self.model, "paradigm": self.paradigm}
        return frozenset(f"{name}.{key}" for name, part in parts.items() for key in part.wrong)

    @property
    def are_right(self) -> bool:
        """Return whether a cell can be made of them."""
        return self.data.is_right and self.model.is_right and self.paradigm.is_right and self.precision is not None


class PartBuilder:
    """A builder of the parts of a product's cells."""

    def __init__(self, product: Product, context: StudyContext):
        self.product = product
        self.context = context
        self.cache: dict[tuple[object, ...], Any] = {}
        keys = [*product.axes, *product.zipped]
        self.keys = {name: [key for key in keys if key.startswith(f"{name}.")] for name in SECTIONS}
        # an architecture without keys is an axis under its own name
        present = (name for name in ARCHITECTURES if name in keys or self.keys[name] or name in product.partial)
        self.architecture = "flow" if "degree" in keys else next(present, "flow")

    def parts(self, assignment: Assignment) -> Parts:
        """Build the parts of an assignment; add their errors."""
        degree = assignment.get("degree", "custom")
        is_control = degree == "W*"
        data = self._cached("data", assignment, (), lambda: self._data(assignment))
        depends_on = (type(degree), _hashable(degree), data.model and data.model.shape, "image_size" in data.wrong)
        model = self._cached(self.architecture, assignment, depends_on, lambda: self._model(assignment, data))
        precision = self._precision(assignment.get("precision", "auto"))
        like = self._like(assignment, data, model, precision, is_control=is_control)
        keys = (is_control, *(part.canonical if isinstance(part, Frozen) else part for part in like.values()))
        paradigm = self._cached("paradigm", assignment, keys, lambda: self._paradigm(assignment, is_control, like))
        return Parts(data, model, paradigm, precision)

    def _precision(self, value: Any) -> Precision | None:
        if isinstance(value, Wrong):
            return None
        return self.context.precision if value == "auto" else cast("Precision", value)

    def add_error(self, key: str, text: str, value: object = None) -> None:
        """Add an error of a key, at its ``value`` in a list."""
        path = self.product.path_of(key, value)
        is_position = len(path) > 2 and isinstance(path[-1], int) and path[-2] not in ("include", "cells")
        # without the position in an axis: its key and line are enough
        self.context.document.add_error(path, text, name=path[:-1] if is_position else path)

    def add_missing_truth(self, key: str, reason: str, value: object) -> None:
        """Add the error of something that needs a truth, unless the file has one that is wrong."""
        if not self.context.has_truth:
            self.add_error(key, f"{reason}, and this study has no truth section", value)

    def _cached(
        self, section: str, assignment: Assignment, depends_on: tuple[object, ...], build: Build[Model]
    ) -> Validated[Model]:
        key = (section, typed(assignment, self.keys[section]), depends_on)
        if key not in self.cache:
            self.cache[key] = build()
        return cast("Validated[Model]", self.cache[key])

    def _payload(self, section: str, assignment: Assignment) -> tuple[dict[str, Any], set[str]]:
        """Return the values of a section, and its keys whose value is not known."""
        values = {key.removeprefix(f"{section}."): assignment[key] for key in self.keys[section]}
        unknown = {key for key, value in values.items() if isinstance(value, Wrong)}
        if section in self.product.partial:
            unknown |= set(SECTIONS[section]) - values.keys()
        return {key: value for key, value in values.items() if key not in unknown}, unknown

    def _validated(
        self, model: type[Model], section: str, payload: dict[str, Any], unknown: set[str], assignment: Assignment
    ) -> Validated[Model]:
        """Validate a section; contradictions are errors of the last of their keys that the sweep gives."""
        validated = validate(model, payload, unknown)
        for path, text, keys in validated.faults:
            present = [f"{section}.{key}" for key in keys if f"{section}.{key}" in assignment]
            key = present[-1] if present else ".".join(map(str, (section, *path)))
            self.add_error(key, text, assignment.get(key))
        return validated

    def _data(self, assignment: Assignment) -> Validated[DataConfig]:
        payload, unknown = self._payload("data", assignment)
        if payload.get("source") == "synthetic":
            self._fill_synthetic(payload, unknown, assignment)
        elif payload.get("source") == "file":
            OwnImages(self, payload, unknown).fill()
        return self._validated(DataConfig, "data", payload, unknown, assignment)

    def _fill_synthetic(self, payload: dict[str, Any], unknown: set[str], assignment: Assignment) -> None:
        """Fill in what synthetic data take from the truth and the dataset, and check that the rest agrees with it."""
        truth, dataset = self.context.truth, self.context.dataset
        if "num_train" not in payload and not isinstance(assignment.get("data.num_train"), Wrong):
            self.add_error("data.num_train", "is required for synthetic data; allowed: a number or fresh")
            unknown.add("num_train")
        if truth is None:
            self.add_missing_truth("data.source", "synthetic images are drawn from the truth", "synthetic")
        for key in ("image_size", "alpha"):
            if truth is None or f"data.{key}" in self.context.wrong_of_truth:
                unknown.update({key} - payload.keys())
                continue
            of_truth = getattr(truth.data, key)
            if key not in unknown and (value := payload.setdefault(key, of_truth)) != of_truth:
                self.add_error(f"data.{key}", f"{show(value)} differs from the truth's {of_truth}; leave it out", value)
                unknown.add(key)
        for key in ("num_val", "num_test") if dataset.model else ():
            limit = getattr(dataset.model, key)
            if key not in dataset.wrong and key not in unknown and (value := payload.setdefault(key, limit)) > limit:
                self.add_error(f"data.{key}", f"{value} is more than dataset.{key}, which is {limit}", value)
                unknown.add(key)
        payload["truth_id"] = truth.id if truth else "unknown"
        if truth and truth.data.image_shape:
            payload["image_shape"] = truth.data.image_shape

    def _model(self, assignment: Assignment, data: Validated[DataConfig]) -> Validated[Any]:
        shape = data.model.shape if data.model and "image_size" not in data.wrong else None
        if "degree" in assignment:
            return self._student(assignment["degree"], shape)
        section = self.architecture
        payload, unknown = self._payload(section, assignment)
        if shape is None:
            unknown.add("shape")
        else:
            payload["shape"] = shape
        validated = self._validated(ARCHITECTURES[section], section, payload, unknown, assignment)
        model = validated.model
        if isinstance(model, ImportedConfig) and "factory" not in unknown and not model.is_under(self.context.plugins):
            declared = ", ".join(self.context.plugins) or "none"
            text = f"{model.module} is not declared (plugins: {declared}); to allow it, add plugins: [{model.module}]"
            self.add_error("model.factory", text, model.factory)
            return Validated(model, validated.wrong | {"factory"})
        return validated

    def _student(self, degree: Any, shape: tuple[int, int, int] | None) -> Validated[Any]:
        truth = self.context.truth
        if isinstance(degree, Wrong):
            return Validated(None)
        if truth is None:
            self.add_missing_truth("degree", f"degree {degree} is relative to the truth", degree)
            return Validated(None)
        is_known = "data.image_size" not in self.context.wrong_of_truth
        if shape is not None and is_known and shape != truth.data.shape:
            text = f"degree {degree} needs the truth's image_size {truth.data.image_size}; it is {shape[1]}"
            self.add_error("data.image_size", text, shape[1])
            return Validated(None)
        is_known = is_known and shape is not None and self.context.has_right_flow
        try:
            return Validated(student(truth.real_nvp, degree), frozenset() if is_known else frozenset({"degree"}))
        except ValidationError as error:
            if self.context.has_right_flow:
                self.add_error("degree", f"degree {degree} of this truth has no valid flow: {one_line(error)}", degree)
            return Validated(None)

    def _like(
        self,
        assignment: Assignment,
        data: Validated[DataConfig],
        model: Validated[Any],
        precision: Precision | None,
        *,
        is_control: bool,
    ) -> Like:
        """Return what a trial must share with a cell that takes its settings; empty for any other cell."""
        if assignment.get(TUNED_KEY) is not True:
            return {}
        known = {"data": data, self.architecture: model}
        like: Like = {name: part.model if part.is_right else None for name, part in known.items()}
        like |= {"precision": precision, "start": "random", "start_noise": 0.0}
        if not is_control:  # whose start is its degree's
            like |= {key: assignment[key] for key in ("start", "start_noise") if key in assignment}
        return {key: None if isinstance(value, Wrong) else value for key, value in like.items()}

    def _paradigm(self, assignment: Assignment, is_control: bool, like: Like) -> Validated[ParadigmConfig]:
        payload, unknown = self._payload("paradigm", assignment)
        if any(isinstance(assignment.get(key), Wrong) for key in ("paradigm", "paradigm.name")):
            return Validated(None)
        if "name" not in payload:
            self.add_error("paradigm.name", f"is required; allowed: {', '.join(PARADIGMS)}")
            return Validated(None)
        model = PARADIGMS[payload["name"]]
        is_tuned = payload.pop(TUNED, False)
        for key in [key for key in payload if key not in model.model_fields]:
            self.add_error(f"paradigm.{key}", foreign_key(key, payload["name"]), payload.pop(key))
            unknown.add(key)
        if is_tuned:
            return self._tuned(payload, unknown, assignment, like, is_control=is_control)
        payload |= _CONTROL if is_control else {}
        return self._validated(model, "paradigm", payload, unknown, assignment)

    def _tuned(
        self, payload: dict[str, Any], unknown: set[str], assignment: Assignment, like: Like, *, is_control: bool
    ) -> Validated[ParadigmConfig]:
        """Return the winner's paradigm, evaluated as often as the cell says; what else it gives selects trials."""
        tuning, model = self.context.tuning, PARADIGMS[payload["name"]]
        if tuning is None and not self.context.has_tuning:
            text = "takes the winner of a tuning study, and this study names none: tuning: {file: …, sha256: …}"
            self.add_error(TUNED_KEY, text, True)
        if tuning is None or unknown or None in like.values():
            return Validated(None)
        values = {name: value for name, value in payload.items() if name != "eval_every"}
        try:
            trained = find_winner(tuning, like, values).cell.paradigm.model_dump()
        except ValueError as error:
            self.add_error(TUNED_KEY, str(error), True)
            return Validated(None)
        own = payload | (_CONTROL if is_control else {})
        return self._validated(model, "paradigm", trained | own, unknown, assignment)


def typed(assignment: Assignment, keys: Sequence[str]) -> tuple[object, ...]:
    """Return the values of keys with their types, since 1 == 1.0 == True and only one of them is a seed."""
    return tuple((type(assignment[key]), _hashable(assignment[key])) for key in keys)


def _hashable(value: Any) -> object:
    value = value.value if isinstance(value, Wrong) else value
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, dict | list) else value
