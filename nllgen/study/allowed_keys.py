"""Keys of a study: those that each section allows, and the section or paradigm that a key belongs to instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import get_args

from nllgen.study.config import (
    AnyParadigm,
    Cell,
    DataConfig,
    DatasetConfig,
    DCGANConfig,
    FlowConfig,
    Frozen,
    ImportedConfig,
    MetricsConfig,
    ParadigmConfig,
    Resources,
)
from nllgen.study.diagnostics import show, unknown_key

TUNED = "tuned"  # key of a paradigm whose settings are those of a tuning study's winner
TUNED_KEY = f"paradigm.{TUNED}"

PARADIGMS: dict[str, type[ParadigmConfig]] = {
    model.model_fields["name"].default: model for model in get_args(get_args(AnyParadigm)[0])
}
ARCHITECTURES: dict[str, type[Frozen]] = {"flow": FlowConfig, "dcgan": DCGANConfig, "model": ImportedConfig}
SECTIONS: dict[str, tuple[str, ...]] = {
    "data": tuple(key for key in DataConfig.model_fields if key not in ("truth_id", "image_shape")),
    **{name: tuple(key for key in model.model_fields if key != "shape") for name, model in ARCHITECTURES.items()},
    "paradigm": tuple(
        dict.fromkeys(key for model in PARADIGMS.values() for key in ("name", TUNED, *model.model_fields))
    ),
}
SINGLES = ("degree", "start", "start_noise", "precision", "seed")
KEYS = (*(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys), *SINGLES)
MODIFIERS = ("zip", "exclude", "include")
SWEEP_KEYS = (*SECTIONS, *SINGLES, *MODIFIERS)
TRUTH_KEYS = tuple(key for key in (*SECTIONS, *SINGLES) if key not in ("degree", "start_noise", "dcgan", "model"))
STUDY_SECTIONS: dict[str, type[Frozen]] = {"dataset": DatasetConfig, "metrics": MetricsConfig, "resources": Resources}
STUDY_KEYS = ("name", "purpose", "tuning", "truth", *STUDY_SECTIONS, "plugins", "optional", "cells")


def paradigm_keys(names: Iterable[object]) -> tuple[str, ...]:
    """Return the keys that paradigms allow; of all paradigms where none of the names is one."""
    models = [PARADIGMS[name] for name in names if isinstance(name, str) and name in PARADIGMS]
    keys = ("name", TUNED, *(key for model in models for key in model.model_fields))
    return tuple(dict.fromkeys(keys)) if models else SECTIONS["paradigm"]


def unknown_key_of(section: str, key: str, allowed: Collection[str]) -> str:
    """Describe a key that a section does not have: what is allowed, and whose key it is where it has an owner."""
    if owners := _owners(key, section):
        listed = ", ".join(owners)
        return f"unknown key {show(key)}, which is a key of {listed}; allowed: {', '.join(allowed)}"
    return unknown_key(key, allowed)


def foreign_key(key: str, paradigm: str) -> str:
    """Describe a key of other paradigms than a cell's."""
    owners = ", ".join(name for name, model in PARADIGMS.items() if key in model.model_fields)
    allowed = ", ".join(paradigm_keys([paradigm]))
    return f"unknown key {show(key)} of paradigm {paradigm}, which is a key of {owners}; allowed: {allowed}"


def _owners(key: str, section: str) -> list[str]:
    """Return the other sections of a study that have a key, those of cells first."""
    of_cells = {name: keys for name, keys in SECTIONS.items() if name != section}
    of_study = {name: tuple(model.model_fields) for name, model in STUDY_SECTIONS.items() if name != section}
    groups: dict[str, Collection[str]] = {**of_cells, **of_study}
    if section != "cells":
        groups["cells"] = SWEEP_KEYS
    if section:
        groups["the study"] = STUDY_KEYS
    return [name for name, keys in groups.items() if key in keys]


def field_model(section: str, key: str, paradigms: Iterable[object] = ()) -> type[Frozen] | None:
    """Return the model that validates a key of a section; for a paradigm, of the first of them that has it."""
    if section == "data":
        return DataConfig
    if section in ARCHITECTURES:
        return ARCHITECTURES[section]
    if section != "paradigm":
        return Cell
    names = [name for name in paradigms if isinstance(name, str) and name in PARADIGMS]
    models = [PARADIGMS[name] for name in (*names, *PARADIGMS)]
    return next((model for model in models if key in model.model_fields), None)
