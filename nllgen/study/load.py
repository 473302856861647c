"""Loader of studies: YAML → Study. Every error of a file is reported at once, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from nllgen.errors import ConfigError
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.claims import claims_sha256
from nllgen.study.config import Cell, DatasetConfig, FlowConfig, Frozen, MetricsConfig, Precision, Resources, Study
from nllgen.study.diagnostics import KeyPath, did_you_mean, dotted, not_allowed, unknown_key
from nllgen.study.expand import StudyContext, expand
from nllgen.study.path_kinds import PathKind, not_a_grid, path_kind
from nllgen.study.pretrained import pretrained_card, pretrained_names
from nllgen.study.sections import LENET_SIZES
from nllgen.study.sweep import TRUTH_KEYS, TUNED_KEY, Product, SweepReader
from nllgen.study.tuning import Tuning, read_tuning
from nllgen.study.validation import faults_of
from nllgen.study.yaml_documents import YamlDocument, read_text, read_yaml

PrecisionOf = Callable[[str], Precision]
MAX_CELLS = 100_000
_KEYS = ("name", "purpose", "tuning", "truth", "dataset", "metrics", "resources", "plugins", "optional", "cells")
_TRUTH: KeyPath = ("truth",)
_TRUTH_VALUES = {"paradigm.name": "nll", "data.source": "mnist", "start": "random"}  # the only ones of a truth


def load_study(grid: str | Path, *, precision: Precision | PrecisionOf) -> Study:
    """Load the study of a file, or the built-in one of that name where there is no such file.

    Args:
        grid: path of a YAML file, or for example ``misspec`` or ``misspec.yaml``.
        precision: meaning of ``precision: auto``, or a function that returns it for the study's name.

    Raises:
        ConfigError: there is no such file or study, or it has errors.
    """
    path = _find(grid)
    return parse_study(read_text(path), str(path), precision=precision)


def parse_study(text: str, file_name: str, *, precision: Precision | PrecisionOf) -> Study:
    """Parse the YAML text of a study, as :func:`load_study` does its file.

    Raises:
        ConfigError: all errors of the file.
    """
    document = read_yaml(text, file_name)
    root = document.mapping((), document.value)
    _check_keys(document, root)
    dataset = document.validate(("dataset",), root.get("dataset", {}), DatasetConfig)
    sections = {
        "dataset": dataset,
        "metrics": document.validate(("metrics",), root.get("metrics", {}), MetricsConfig),
        "resources": document.validate(("resources",), root.get("resources", {}), Resources),
    }
    fields: dict[str, Any] = {key: section for key, section in sections.items() if section is not None}
    fields |= {key: root[key] for key in ("name", "purpose", "plugins", "optional") if key in root}
    precision = precision(str(root.get("name"))) if callable(precision) else precision
    truth, pretrained = _truth(document, root["truth"], precision) if "truth" in root else (None, "")
    plugins = root["plugins"] if isinstance(root.get("plugins"), list) else []
    names = tuple(name for name in plugins if isinstance(name, str))  # validation reports the rest
    tuning = _tuning(document, root["tuning"]) if "tuning" in root else None
    context = StudyContext(document, precision, truth, "truth" in root, dataset, names, tuning, "tuning" in root)
    cells = _cells(context, root["cells"]) if root.get("cells") is not None else ()
    fields |= {"truth": truth, "pretrained": pretrained, "cells": cells, "claims_sha256": claims_sha256()}
    fields["tuning"] = tuning
    try:
        study = Study.model_validate(fields)
    except ValidationError as error:
        for path, text in faults_of(error, _KEYS):
            if path and root.get(str(path[0])) is not None:
                document.add_error(path, text)
        raise document.diagnostics.error() from error
    _check_purpose(document, study)
    document.diagnostics.check()
    return study


def _find(grid: str | Path) -> Path:
    path = Path(grid)
    try:
        is_file, exists = path.is_file(), path.exists()
    except OSError as error:
        raise ConfigError(f"grid {str(grid)[:200]!r} cannot be read: {error.strerror}") from error
    if not is_file and (builtin := builtin_path("jobs", str(grid))):
        return builtin
    if exists and path_kind(path) not in (PathKind.GRID, PathKind.FILE):
        raise not_a_grid(path)
    if is_file:
        return path
    names = builtin_names("jobs")
    message = f"grid {str(grid)!r} does not exist{did_you_mean(path.name.removesuffix('.yaml'), names)}"
    raise ConfigError(message, f"give the path of a YAML file or a built-in study: {', '.join(names) or 'none'}")


def _check_keys(document: YamlDocument, root: dict[str, Any]) -> None:
    for key in root:
        if key not in _KEYS:
            document.add_error((key,), unknown_key(key, _KEYS))
    for key in ("name", "cells"):
        if isinstance(document.value, dict) and root.get(key) is None:
            document.add_error((key,), "is required")


class _TuningFile(Frozen):
    """The section ``tuning``: the file that the report of a tuning study wrote, and its SHA-256."""

    file: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _tuning(document: YamlDocument, value: Any) -> Tuning | None:
    """Read the trials of a tuning study; a relative path begins at the folder of the study's file."""
    section = document.validate(("tuning",), value, _TuningFile)
    if section is None:
        return None
    try:
        return read_tuning(Path(document.diagnostics.file_name).parent / section.file, section.sha256)
    except ConfigError as error:
        document.add_error(("tuning",), f"{error.message}; {error.hint}" if error.hint else error.message)
        return None


def _check_purpose(document: YamlDocument, study: Study) -> None:
    """Check that the trials of a tuning study can be compared by their Fréchet distances."""
    if study.purpose != "tuning":
        return
    if "frechet" not in study.metrics.every or "lenet" not in study.metrics.frechet:
        text = "a tuning study compares Fréchet distances: it needs frechet in every, and lenet in frechet"
        document.add_error(("metrics",), text)
    if sizes := {cell.data.image_size for cell in study.cells} - set(LENET_SIZES):
        text = f"tuning compares Fréchet distances, which images of {min(sizes)}×{min(sizes)} do not have"
        document.add_error(("purpose",), text)


def _truth(document: YamlDocument, value: Any, precision: Precision) -> tuple[Cell | None, str]:
    """Read the truth: its cell, None where it has errors, and the name of a pretrained one."""
    num_before = len(document.diagnostics)
    if not isinstance(value, dict) or "pretrained" not in value:
        cell = _trained_truth(document, value, precision)
        return (cell if len(document.diagnostics) == num_before else None), ""
    for key in [key for key in value if key not in ("pretrained", "base_scale")]:
        document.add_error((*_TRUTH, key), "goes with a truth that is trained; leave out either it or pretrained")
    name, names = value["pretrained"], pretrained_names()
    if name not in names:
        document.add_error((*_TRUTH, "pretrained"), not_allowed(name, names))
        return None, ""
    cell = pretrained_card(name).cell
    flow = cell.real_nvp.model_dump() | ({"base_scale": value["base_scale"]} if "base_scale" in value else {})
    scaled = document.validate(_TRUTH, flow, FlowConfig)
    if scaled is None or len(document.diagnostics) > num_before:
        return None, ""
    return cell.model_copy(update={"flow": scaled}), name


def _trained_truth(document: YamlDocument, value: Any, precision: Precision) -> Cell | None:
    entries = document.mapping(_TRUTH, value)
    paradigm = entries.get("paradigm", {})
    if isinstance(paradigm, dict):  # the name may be left out, since only one is allowed
        entries = entries | {"paradigm": {"name": "nll"} | paradigm}
    axes = SweepReader(document).axes(_TRUTH, entries, TRUTH_KEYS)
    lists = [axis for axis in axes.values() if axis.is_list]
    for axis in lists:
        document.add_error(axis.path, "the truth is one cell: give a single value")
    for key, only in _TRUTH_VALUES.items():
        if key in axes and axes[key].values[0] != only:
            text = f"a truth is trained by nll on mnist from a random start; allowed: {only}"
            document.add_error(axes[key].path, text)
    if lists:
        return None
    cells = list(expand(Product(_TRUTH, axes, {}), StudyContext(document, precision)))
    return cells[0].model_copy(update={"degree": "W"}) if cells else None


def _cells(context: StudyContext, value: Any) -> tuple[Cell, ...]:
    document, num_before = context.document, len(context.document.diagnostics)
    reader = SweepReader(document)
    sweeps = document.sequence(("cells",), value)
    products = [product for i, sweep in enumerate(sweeps) for product in reader.products(("cells", i), sweep)]
    if sum(product.count for product in products) > MAX_CELLS:
        _add_too_many(document, products)
        return ()
    cells: dict[str, tuple[Cell, KeyPath]] = {}
    duplicates: dict[tuple[KeyPath, KeyPath], list[str]] = {}
    for product in products:
        for cell in expand(product, context):
            first, path = cells.setdefault(cell.id, (cell, product.path))
            if first is not cell and TUNED_KEY not in product.axes:  # a winner may be a cell that the file has anyway
                label = first.label if first.label == cell.label else f"{first.label} = {cell.label}"
                duplicates.setdefault((path, product.path), []).append(label)
    for (path, repeated), labels in duplicates.items():
        shown = "; ".join(labels[:3]) + ("; …" if len(labels) > 3 else "")
        already = f"already in {dotted(path)} on line {document.line(path)}"
        document.add_error(repeated, f"{len(labels)} duplicate cells, {already}: {shown}")
    _check_image_size(document, cells.values())
    if not cells and len(document.diagnostics) == num_before:
        document.add_error(("cells",), "an empty grid: no cells are left to run")
    return tuple(cell for cell, _ in cells.values())


def _add_too_many(document: YamlDocument, products: list[Product]) -> None:
    total = _format_count(sum(product.count for product in products))
    largest = max(products, key=lambda product: product.count)
    axes = " × ".join(f"{key} ({_format_count(length)})" for key, length in largest.lengths.items())
    text = f"{total} cells, at most {MAX_CELLS:,} are allowed; the largest sweep is {axes or 'a single cell'}"
    document.add_error(largest.path, text)


def _check_image_size(document: YamlDocument, cells: Iterable[tuple[Cell, KeyPath]]) -> None:
    """Check that all images have one size, since a study is one file of images."""
    size: int | None = None
    for cell, path in cells:
        size, other = size or cell.data.image_size, cell.data.image_size
        if other != size:
            text = f"data.image_size is {other}, earlier cells have {size}: a study has images of one size"
            document.add_error(path, text)
            return


def _format_count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"10^{len(str(number)) - 1}"
