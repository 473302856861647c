"""Loader of studies: YAML → Study. Every error of a file is reported at once, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from nllgen.errors import ConfigError
from nllgen.study.allowed_keys import STUDY_KEYS, STUDY_SECTIONS, TRUTH_KEYS, unknown_key_of
from nllgen.study.axis_values import Wrong
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.claims import claims_sha256
from nllgen.study.config import Cell, DatasetConfig, FlowConfig, Frozen, MetricsConfig, Precision, Study
from nllgen.study.diagnostics import KeyPath, did_you_mean, not_allowed
from nllgen.study.expand import expand_truth
from nllgen.study.grid import read_cells
from nllgen.study.image_sets import REAL
from nllgen.study.lenets import domain_of, has_lenet, without_lenet
from nllgen.study.overrides import apply_overrides
from nllgen.study.parts import StudyContext
from nllgen.study.path_kinds import PathKind, not_a_grid, path_kind
from nllgen.study.pretrained import pretrained_card, pretrained_names
from nllgen.study.product import Axis, Product
from nllgen.study.sweep import SweepReader
from nllgen.study.tuning import Tuning, TuningFile, read_tuning
from nllgen.study.validation import Validated, faults_of
from nllgen.study.yaml_documents import YamlDocument, read_text, read_yaml

PrecisionOf = Callable[[str], Precision]
CopyOf = Callable[[str, str], Path]  # (name of a study, SHA-256) → place of its copy of one's own images
Echo = Callable[[str], None]
_Truth = tuple[Cell | None, frozenset[str], str]  # built from what is right, the keys that are not, a name that ships
_NO_TRUTH: _Truth = (None, frozenset(), "")
_TRUTH: KeyPath = ("truth",)
_REQUIRED = ("name", "cells")
_TRUTH_VALUES = {"paradigm.name": ("nll",), "data.source": REAL, "start": ("random",)}  # the only ones of a truth


def load_study(
    grid: str | Path,
    *,
    precision: Precision | PrecisionOf,
    overrides: Sequence[str] = (),
    echo: Echo = lambda text: None,
    copy_of: CopyOf | None = None,
) -> Study:
    """Load the study of a file, or the built-in one of that name where there is no such file.

    Args:
        grid: path of a YAML file, or for example ``misspec`` or ``misspec.yaml``.
        precision: meaning of ``precision: auto``, or a function that returns it for the study's name.
        overrides: ``KEY=VALUE`` each, values that replace those of the file.
        echo: receives a line about what each of them reaches.
        copy_of: where a frozen study has the images that its file no longer leads to.

    Raises:
        ConfigError: there is no such file or study, or it has errors.
    """
    path = _find(grid)
    return parse_study(read_text(path), str(path), precision=precision, overrides=overrides, echo=echo, copy_of=copy_of)


def parse_study(
    text: str,
    file_name: str,
    *,
    precision: Precision | PrecisionOf,
    overrides: Sequence[str] = (),
    echo: Echo = lambda text: None,
    copy_of: CopyOf | None = None,
) -> Study:
    """Parse the YAML text of a study, as :func:`load_study` does its file.

    Raises:
        ConfigError: all errors of the file.
    """
    document = read_yaml(text, file_name)
    apply_overrides(document, overrides, echo)
    root = _root(document)
    study_name = str(root.get("name"))
    precision = precision(study_name) if callable(precision) else precision
    copy_of_images = partial(copy_of, study_name) if copy_of else None
    sections = {
        name: document.validated((name,), root.get(name, {}), model, partial(_unknown_key, name, model))
        for name, model in STUDY_SECTIONS.items()
    }
    fields: dict[str, Any] = {name: section.model for name, section in sections.items() if section.model is not None}
    fields |= {key: root[key] for key in ("name", "purpose", "plugins", "optional") if key in root}
    image_files: dict[str, str] = {}  # of the truth and the cells
    truth_context = StudyContext(document, precision, image_files=image_files, copy_of=copy_of_images)
    truth, wrong_of_truth, pretrained = _truth(truth_context, root["truth"]) if "truth" in root else _NO_TRUTH
    plugins = root["plugins"] if isinstance(root.get("plugins"), list) else []
    names = tuple(name for name in plugins if isinstance(name, str))  # validation reports the rest
    tuning = _tuning(document, root["tuning"]) if "tuning" in root else None
    dataset = cast("Validated[DatasetConfig]", sections["dataset"])
    context = StudyContext(
        document, precision, truth, wrong_of_truth, "truth" in root, dataset, names, tuning, "tuning" in root,
        image_files, copy_of_images,
    )  # fmt: skip
    cells = read_cells(context, root["cells"]) if root.get("cells") is not None else ()
    if root.get("purpose") == "tuning":
        _check_tuning(document, cast("Validated[MetricsConfig]", sections["metrics"]), cells, truth)
    fields |= {"truth": truth, "pretrained": pretrained, "cells": cells, "claims_sha256": claims_sha256()}
    fields |= {"tuning": tuning, "overrides": tuple(overrides), "image_files": image_files}
    return _validated_study(document, root, fields)


def _validated_study(document: YamlDocument, root: dict[str, Any], fields: dict[str, Any]) -> Study:
    """Return the study of these fields, where the document has no error."""
    try:
        study = Study.model_validate(fields)
    except ValidationError as error:
        for path, text, _ in faults_of(error, STUDY_KEYS):
            is_reported = path and path[0] in _REQUIRED and root.get(str(path[0])) is None
            if path and str(path[0]) in root and not is_reported:
                document.add_error(path, text)
        raise document.diagnostics.error() from error
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
    names, own = builtin_names("jobs"), _files_beside(path)
    likely = did_you_mean(path.name, own) or did_you_mean(path.name.removesuffix(".yaml"), names)
    message = f"grid {str(grid)!r} does not exist{likely}"
    raise ConfigError(message, f"give the path of a YAML file or a built-in study: {', '.join(names) or 'none'}")


def _files_beside(path: Path) -> list[str]:
    """List the names of the YAML files in the folder of a path; none where it cannot be read."""
    try:
        return sorted(file.name for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml"))
    except OSError:
        return []


def _root(document: YamlDocument) -> dict[str, Any]:
    """Return the keys of the file that are known, and check that the required ones are there."""
    root, _ = document.known((), document.value, STUDY_KEYS, lambda key: unknown_key_of("", key, STUDY_KEYS))
    for key in _REQUIRED:
        if isinstance(document.value, dict) and root.get(key) is None:
            document.add_error((key,), "is required")
    return root


def _unknown_key(section: str, model: type[Frozen], key: str) -> str:
    return unknown_key_of(section, key, list(model.model_fields))


def _tuning(document: YamlDocument, value: Any) -> Tuning | None:
    """Read the trials of a tuning study; a relative path begins at the folder of the study's file."""
    section = document.validate(("tuning",), value, TuningFile)
    if section is None:
        return None
    try:
        return read_tuning(Path(document.diagnostics.file_name).parent / section.file, section.sha256)
    except ConfigError as error:
        document.add_error(("tuning",), f"{error.message}; {error.hint}" if error.hint else error.message)
        return None


def _check_tuning(
    document: YamlDocument, metrics: Validated[MetricsConfig], cells: Sequence[Cell], truth: Cell | None
) -> None:
    """Check that the trials of a tuning study can be compared by their Fréchet distances."""
    known = metrics.model if metrics.wrong.isdisjoint(("every", "frechet")) else None
    if known and ("frechet" not in known.every or "lenet" not in known.frechet):
        text = "a tuning study compares Fréchet distances: it needs frechet in every, and lenet in frechet"
        document.add_error(("metrics",), text)
    domains = (domain_of(cell.data, truth) for cell in cells)
    if domain := next((domain for domain in domains if not has_lenet(domain)), None):
        text = f"tuning compares Fréchet distances on LeNet's features; {without_lenet(domain.source, domain.shape)}"
        document.add_error(("purpose",), text)


def _truth(context: StudyContext, value: Any) -> _Truth:
    """Read the truth, one that is trained or one that ships."""
    document = context.document
    if not isinstance(value, dict) or "pretrained" not in value:
        return (*_trained_truth(context, value), "")
    for key in [key for key in value if key not in ("pretrained", "base_scale")]:
        document.add_error((*_TRUTH, key), "goes with a truth that is trained; leave out either it or pretrained")
    name, names = value["pretrained"], pretrained_names()
    if name not in names:
        document.add_error((*_TRUTH, "pretrained"), not_allowed(name, names))
        return _NO_TRUTH
    cell = pretrained_card(name).cell
    scale = {"base_scale": value["base_scale"]} if "base_scale" in value else {}
    flow = document.validate(_TRUTH, cell.real_nvp.model_dump() | scale, FlowConfig)
    if flow is None:
        return cell, frozenset({"flow.base_scale"}), name
    return cell.model_copy(update={"flow": flow}), frozenset(), name


def _trained_truth(context: StudyContext, value: Any) -> tuple[Cell | None, frozenset[str]]:
    document = context.document
    entries, is_whole = document.known(_TRUTH, value, TRUTH_KEYS, lambda key: unknown_key_of("truth", key, TRUTH_KEYS))
    paradigm = entries.get("paradigm", {})
    if isinstance(paradigm, dict):  # the name may be left out, since only one is allowed
        entries = entries | {"paradigm": {"name": "nll"} | paradigm}
    reader = SweepReader(document, ("nll",))
    axes = reader.axes(_TRUTH, entries)
    for key, axis in axes.items():
        if axis.is_list:
            document.add_error(axis.path, "the truth is one cell: give a single value")
        allowed = _TRUTH_VALUES.get(key)
        if allowed is not None and not axis.is_wrong and axis.values[0] not in allowed:
            text = f"a truth is trained by nll on real images from a random start; allowed: {', '.join(allowed)}"
            document.add_error(axis.path, text)
            axes[key] = Axis([Wrong(axis.values[0])], axis.path, False)
    if not isinstance(value, dict):
        return None, frozenset()
    product = Product(_TRUTH, axes, {}, partial=frozenset(reader.partial))
    truth, wrong = expand_truth(product, context)
    return truth, wrong if is_whole else wrong | {"data.image_size", "data.alpha", "flow"}
