"""Assignments of dotted keys → cells. Each distinct sub-model is validated once: grids repeat them by the thousand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
from nllgen.study.diagnostics import KeyPath, dotted, explain, not_allowed, show
from nllgen.study.sweep import ARCHITECTURES, PARADIGMS, SECTIONS, Product, Raw, SweepReader

Model = TypeVar("Model", bound=Frozen)


@dataclass
class Resolver:
    """Builds the cells of one file and notes what is wrong with them.

    Attributes:
        reader: takes the errors.
        precision: what ``auto`` means.
        truth: that degrees and synthetic data refer to; None if there is none, or it is wrong.
        has_truth: the file has a truth section, right or wrong: a wrong one is not also told to be missing.
        dataset: None if that section is wrong.
        plugins: modules that models may be imported from.
    """

    reader: SweepReader
    precision: Precision
    truth: Cell | None = None
    has_truth: bool = False
    dataset: DatasetConfig | None = field(default_factory=DatasetConfig)
    plugins: tuple[str, ...] = ()

    def cells(self, variant: Product) -> Iterator[Cell]:
        """The right cells of a block or include."""
        build = _VariantResolver(self, variant)
        for raw in variant.assignments(self.reader.source, self.reader.diagnostics):
            cell = build.cell(raw)
            if cell is not None:
                yield cell
        build.check_pool()


class _VariantResolver:
    def __init__(self, study: Resolver, variant: Product):
        self.study = study
        self.variant = variant
        self.cache: dict[tuple[object, ...], Any] = {}
        keys = [*variant.leaves, *variant.zipped]
        self.keys = {name: [key for key in keys if key.startswith(f"{name}.")] for name in SECTIONS}
        # a section without keys is in the leaves under its own name
        self.kind = next((name for name in ARCHITECTURES if name in keys or self.keys[name]), "flow")
        self.pool: tuple[int, Cell] | None = None  # the cell that needs the largest pool of training images

    def add(self, key: str, text: str, value: object = None) -> None:
        at = self.variant.where(key, value)
        self.study.reader.diagnostics.add(self.study.reader.source.line(at), f"{dotted(_without_index(at))}: {text}")

    def cell(self, raw: Raw) -> Cell | None:
        degree = raw.get("degree", "custom")
        control = degree == "W*"
        data = self._once("data", raw, (), lambda: self._data(raw))
        shape = None if data is None else data.shape
        model = self._once(self.kind, raw, (type(degree), degree, shape), lambda: self._architecture(raw, data))
        paradigm = self._once("paradigm", raw, (control,), lambda: self._paradigm(raw, control))
        precision = raw.get("precision", "auto")
        if precision == "auto":
            precision = self.study.precision
        elif precision not in ("fp32", "bf16"):
            self.add("precision", not_allowed(precision, ("auto", "fp32", "bf16")), precision)
            return None
        if data is None or model is None or paradigm is None:
            return None
        parts: dict[str, Any] = {
            "data": data,
            self.kind: model,
            "paradigm": paradigm,
            "start": "truth" if control else raw.get("start", "random"),
            "precision": precision,
            "seed": raw.get("seed", 0),
            "degree": degree,
        }
        try:
            cell = Cell(**parts)
        except ValidationError as error:
            self._explain(error, "", Cell, raw)
            return None
        return cell if self._fits(cell) else None

    def check_pool(self) -> None:
        dataset = self.study.dataset
        if dataset is not None and self.pool is not None and self.pool[0] > dataset.num_train:
            needed, cell = self.pool
            self.add(
                "data.num_train",
                f"seed {cell.seed} trains on block {cell.seed} of {cell.data.num_train} synthetic images, which needs "
                f"dataset.num_train ≥ {needed}; it is {dataset.num_train}",
                cell.data.num_train,
            )

    def _once(self, name: str, raw: Raw, also: tuple[object, ...], build: Callable[[], Model | None]) -> Model | None:
        # with types, since 1 == 1.0 == True and only one of them is a seed
        values = tuple((raw[key].__class__, _hashable(raw[key])) for key in self.keys[name])
        key = (name, values, also)
        if key not in self.cache:
            self.cache[key] = build()
        found: Model | None = self.cache[key]
        return found

    def _payload(self, section: str, raw: Raw) -> dict[str, Any]:
        return {key.removeprefix(f"{section}."): raw[key] for key in self.keys[section]}

    def _data(self, raw: Raw) -> DataConfig | None:
        payload = self._payload("data", raw)
        if payload.get("source") == "synthetic":
            if "num_train" not in payload:
                self.add("data.num_train", "is required for synthetic data; allowed: a number or fresh")
                return None
            if self.study.truth is None:
                self._needs_truth("data.source", "synthetic images are drawn from the truth", "synthetic")
                payload |= {"truth_id": "unknown"}
            elif not self._synthetic(payload, self.study.truth):
                return None
        data = self._validate(DataConfig, "data", payload, raw)
        return None if data is not None and data.truth_id == "unknown" else data

    def _synthetic(self, payload: dict[str, Any], truth: Cell) -> bool:
        before = len(self.study.reader.diagnostics)
        for key in ("image_size", "alpha"):
            own = getattr(truth.data, key)
            if payload.setdefault(key, own) != own:
                value = payload[key]
                self.add(f"data.{key}", f"{show(value)} differs from the truth's {own}; leave it out", value)
        for key in ("num_val", "num_test") if self.study.dataset is not None else ():
            limit = getattr(self.study.dataset, key)
            value = payload.setdefault(key, limit)
            if type(value) is int and value > limit:
                self.add(f"data.{key}", f"{value} is more than dataset.{key}, which is {limit}", value)
        payload["truth_id"] = truth.id
        return len(self.study.reader.diagnostics) == before

    def _architecture(self, raw: Raw, data: DataConfig | None) -> Frozen | None:
        if "degree" in raw:
            return self._degree(raw["degree"], data)
        shape = {} if data is None else {"shape": data.shape}
        model = self._validate(ARCHITECTURES[self.kind], self.kind, self._payload(self.kind, raw) | shape, raw)
        if isinstance(model, ImportedConfig) and not model.is_under(self.study.plugins):
            declared = ", ".join(self.study.plugins) or "none"
            text = f"{model.module} is not declared (plugins: {declared}); say plugins: [{model.module}] to have it run"
            self.add("model.factory", text, model.factory)
            return None
        return model

    def _degree(self, name: Any, data: DataConfig | None) -> FlowConfig | None:
        truth = self.study.truth
        if name not in DEGREES:
            self.add("degree", not_allowed(name, DEGREES), name)
            return None
        if truth is None:
            self._needs_truth("degree", f"degree {name} is relative to the truth", name)
            return None
        if data is not None and data.shape != truth.data.shape:
            text = f"degree {name} needs the truth's image_size {truth.data.image_size}; it is {data.image_size}"
            self.add("data.image_size", text, data.image_size)
            return None
        try:
            return student(truth.real_nvp, name)
        except ValidationError as error:
            for key, text in explain(error, SECTIONS["flow"]):
                self.add("degree", f"degree {name} of this truth has no valid flow: {key}: {text}", name)
            return None

    def _paradigm(self, raw: Raw, control: bool) -> ParadigmConfig | None:
        payload = self._payload("paradigm", raw)
        name = payload.get("name")
        if name is None:
            self.add("paradigm.name", f"is required; allowed: {', '.join(PARADIGMS)}")
            return None
        if name not in PARADIGMS:
            self.add("paradigm.name", not_allowed(name, PARADIGMS), name)
            return None
        if control:
            payload["steps"] = 0  # measures the truth and trains nothing
        return self._validate(PARADIGMS[name], "paradigm", payload, raw)

    def _validate(self, model: type[Model], section: str, payload: dict[str, Any], raw: Raw) -> Model | None:
        try:
            return model.model_validate(payload)
        except ValidationError as error:
            self._explain(error, section, model, raw)
            return None

    def _explain(self, error: ValidationError, section: str, model: type[Frozen], raw: Raw) -> None:
        hidden = ("truth_id", "shape")
        for name, text in explain(error, [key for key in model.model_fields if key not in hidden]):
            key = ".".join(part for part in (section, name) if part)
            if not name:  # several values that do not go together: point at one that the sentence names
                key = next((key for key in self.keys.get(section, ()) if key.split(".")[1] in text), section)
            self.add(key, text, raw.get(key))

    def _needs_truth(self, key: str, why: str, value: object) -> None:
        if not self.study.has_truth:
            self.add(key, f"{why}, and this study has no truth section", value)

    def _fits(self, cell: Cell) -> bool:
        truth = self.study.truth
        if cell.start == "truth":
            if truth is None:
                self._needs_truth("start", "start: truth takes the truth's weights", "truth")
                return False
            if cell.flow != truth.flow:
                text = f"start: truth needs the truth's own flow (degree W), not {cell.degree}"
                self.add("start", text, cell.start)
                return False
        if cell.data.source == "synthetic" and isinstance(cell.data.num_train, int):
            needed = (cell.seed + 1) * cell.data.num_train
            if self.pool is None or needed > self.pool[0]:
                self.pool = (needed, cell)
        return True


def _hashable(value: Any) -> object:
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, dict) else value


def _without_index(path: KeyPath) -> KeyPath:
    """An item of an axis is told by its key and line; its position in the list would only distract."""
    return path[:-1] if len(path) > 2 and isinstance(path[-1], int) and path[-2] not in ("include", "cells") else path
