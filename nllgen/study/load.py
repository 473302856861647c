"""YAML → Study. The form is described in docs; every error of a file is reported in one go, with its line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from nllgen.errors import ConfigError
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.claims import claims_sha256
from nllgen.study.config import Cell, DatasetConfig, Frozen, MetricsConfig, Precision, Resources, Study
from nllgen.study.diagnostics import Diagnostics, KeyPath, dotted, explain, near, not_allowed, unknown_key
from nllgen.study.expand import Resolver
from nllgen.study.pretrained import pretrained_card, pretrained_names
from nllgen.study.sweep import Product, SweepReader
from nllgen.study.yaml_documents import Source, read_text, read_yaml

MAX_CELLS = 100_000
_KEYS = ("name", "truth", "dataset", "metrics", "resources", "plugins", "optional", "cells")

Model = TypeVar("Model", bound=Frozen)


def load_study(grid: str | Path, *, precision: Precision) -> Study:
    """The study of a file, or the built-in one of that name where no such file exists.

    Args:
        grid: path of a YAML file, or for example ``misspec`` or ``misspec.yaml``.
        precision: what ``precision: auto`` means.

    Raises:
        ConfigError: there is no such file or study, or it cannot be run as it is written.
    """
    path = _find(grid)
    return parse_study(read_text(path), str(path), precision=precision)


def parse_study(text: str, name_for_errors: str, *, precision: Precision) -> Study:
    """The study that a YAML text describes.

    Args:
        text: the YAML.
        name_for_errors: what messages call the file.
        precision: what ``precision: auto`` means.

    Raises:
        ConfigError: with everything that is wrong.
    """
    diagnostics = Diagnostics(name_for_errors)
    source = read_yaml(text, diagnostics)
    reader = SweepReader(source, diagnostics)
    root = reader.mapping((), source.value)
    for key in root:
        if key not in _KEYS:
            reader.add((key,), unknown_key(key, _KEYS))
    for key in ("name", "cells"):
        if root and root.get(key) is None:
            reader.add((key,), "is required")
    dataset = _section(reader, root, "dataset", DatasetConfig)
    metrics = _section(reader, root, "metrics", MetricsConfig)
    resources = _section(reader, root, "resources", Resources)
    has_truth = "truth" in root
    pretrained = _pretrained(reader, root["truth"]) if has_truth else ""
    truth = _truth(reader, root["truth"], precision) if has_truth and pretrained is None else None
    if pretrained:
        truth = pretrained_card(pretrained).cell
    resolver = Resolver(reader, precision, truth, has_truth, dataset, _plugins(root))
    cells = _cells(reader, resolver, root["cells"]) if root.get("cells") is not None else ()
    given = {"dataset": dataset, "metrics": metrics, "resources": resources}
    fields = {"name": root.get("name"), "truth": truth, "cells": cells, "claims_sha256": claims_sha256()}
    fields |= {"pretrained": pretrained or ""} | {key: root[key] for key in ("plugins", "optional") if key in root}
    fields |= {key: model for key, model in given.items() if model is not None}
    try:
        study = Study.model_validate(fields)
    except ValidationError as error:
        for key, sentence in explain(error, _KEYS):
            if root.get(key) is not None:
                reader.add((key,), sentence)
    diagnostics.check()
    return study


def _find(grid: str | Path) -> Path:
    path = Path(grid)
    try:
        if path.is_file():
            return path
        exists = path.exists()
    except OSError as error:
        raise ConfigError(f"grid {str(grid)[:200]!r} cannot be read: {error.strerror}") from error
    names = builtin_names("jobs")
    found = builtin_path("jobs", str(grid))
    if found is not None:
        return found
    what = "is not a file" if exists else "does not exist"
    message = f"grid {str(grid)!r} {what}{near(path.name.removesuffix('.yaml'), names)}"
    raise ConfigError(message, f"give the path of a YAML file or a built-in study: {', '.join(names) or 'none'}")


def _section(reader: SweepReader, root: dict[str, Any], key: str, model: type[Model]) -> Model | None:
    """The model of one top-level section, its defaults where it is not given; None if it is wrong."""
    before = len(reader.diagnostics)
    value = reader.mapping((key,), root.get(key, {}))
    try:
        found = model.model_validate(value)
    except ValidationError as error:
        for inner, sentence in explain(error, model.model_fields):
            reader.add((key, inner) if inner else (key,), sentence)
    return found if len(reader.diagnostics) == before else None


def _plugins(root: dict[str, Any]) -> tuple[str, ...]:
    """Those that are written as they should be; what else is wrong with them the study's own model says."""
    value = root.get("plugins")
    return tuple(name for name in value if isinstance(name, str)) if isinstance(value, list) else ()


def _pretrained(reader: SweepReader, value: Any) -> str | None:
    """The name of a truth that ships; empty where a wrong one is named, None where the truth is to be trained."""
    if not isinstance(value, dict) or "pretrained" not in value:
        return None
    path, name, names = ("truth", "pretrained"), value["pretrained"], pretrained_names()
    before = len(reader.diagnostics)
    for key in value:
        if key != "pretrained":
            reader.add(("truth", key), "goes with a truth that is trained; leave out either it or pretrained")
    if name not in names:
        reader.add(path, not_allowed(name, names))
    return str(name) if len(reader.diagnostics) == before else ""


def _truth(reader: SweepReader, value: Any, precision: Precision) -> Cell | None:
    path: KeyPath = ("truth",)
    before = len(reader.diagnostics)
    given = reader.mapping(path, value)
    paradigm = given.get("paradigm", {})
    if isinstance(paradigm, dict):  # there is only one way to train a truth, so that it need not be named
        given = given | {"paradigm": {"name": "nll"} | paradigm}
    leaves = reader.leaves(path, given, extras=False)
    for leaf in leaves.values():
        if leaf.is_axis:
            reader.add(leaf.path, "the truth is one cell: give a single value")
    for key, only in (("paradigm.name", "nll"), ("data.source", "mnist"), ("start", "random")):
        if key in leaves and leaves[key].values[0] != only:
            reader.add(leaves[key].path, f"a truth is trained by nll on mnist from a random start; allowed: {only}")
    if len(reader.diagnostics) > before and any(leaf.is_axis for leaf in leaves.values()):
        return None
    cells = list(Resolver(reader, precision).cells(Product(path, leaves, {})))
    return cells[0].model_copy(update={"degree": "W"}) if cells and len(reader.diagnostics) == before else None


def _cells(reader: SweepReader, resolver: Resolver, value: Any) -> tuple[Cell, ...]:
    blocks = reader.sequence(("cells",), value)
    before = len(reader.diagnostics)
    variants = [v for i, block in enumerate(blocks) for v in reader.variants(("cells", i), block)]
    total = sum(variant.count for variant in variants)
    if total > MAX_CELLS:
        largest = max(variants, key=lambda variant: variant.count)
        axes = " × ".join(f"{key} ({_count(length)})" for key, length in largest.axes.items())
        text = (
            f"{_count(total)} cells, at most {MAX_CELLS:,} are allowed; the largest block is {axes or 'a single cell'}"
        )
        reader.add(largest.path, text)
        return ()
    found: dict[str, tuple[Cell, KeyPath]] = {}
    repeated: dict[tuple[KeyPath, KeyPath], list[str]] = {}
    for variant in variants:
        for cell in resolver.cells(variant):
            first, path = found.setdefault(cell.id, (cell, variant.path))
            if first is not cell:
                same = first.label if first.label == cell.label else f"{first.label} = {cell.label}"
                repeated.setdefault((path, variant.path), []).append(same)
    for (path, again), labels in repeated.items():
        reader.add(again, _repeats(reader.source, path, labels))
    _one_shape(reader, found.values())
    if not found and len(reader.diagnostics) == before:
        reader.add(("cells",), "an empty grid: no cells are left to run")
    return tuple(cell for cell, _ in found.values())


def _one_shape(reader: SweepReader, found: Iterable[tuple[Cell, KeyPath]]) -> None:
    """A study is one file of images of one size."""
    first: Cell | None = None
    for cell, path in found:
        first = first or cell
        if cell.data.shape != first.data.shape:
            size, other = first.data.image_size, cell.data.image_size
            reader.add(path, f"data.image_size is {other}, earlier cells have {size}: a study has images of one size")
            return


def _repeats(source: Source, path: KeyPath, labels: list[str]) -> str:
    shown = "; ".join(labels[:3]) + ("; …" if len(labels) > 3 else "")
    return f"{len(labels)} duplicate cells, already in {dotted(path)} on line {source.line(path)}: {shown}"


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"
