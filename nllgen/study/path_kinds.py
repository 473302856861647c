"""Kinds of paths that users give to commands, told by content and then by name, and refusals that name the kind.

A command that wants another kind says which one it was given, and the path that was probably meant.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

from nllgen.errors import ConfigError
from nllgen.study.untrusted_files import open_regular

HEADER, MANIFEST = "study.yaml", "manifest.jsonl"  # both are there where a study is frozen
COLLECTED = "study.h5"
_HEAD_BYTES = 1 << 16
_HDF5 = b"\x89HDF\r\n\x1a\n"
_CHECKSUM = b"nllgen sha256 "  # in front of every HDF5 file of nllgen
_ZIP = b"PK\x03\x04"
_SIF = slice(32, 42), b"SIF_MAGIC\0"
_GRID_KEY = re.compile(r"^cells\s*:", re.MULTILINE)
_HEADER_KEY = re.compile(r"^num_cells\s*:", re.MULTILINE)
_PROFILE_KEY = re.compile(
    r"^(partition|account|qos|sbatch|setup|signal_s|array_parallelism|gpu_option)\s*:", re.MULTILINE
)
_NAME_KEY = re.compile(r"^name\s*:\s*[\"']?([A-Za-z0-9][\w.-]*)", re.MULTILINE)
_MODEL_NAME = re.compile(r"model\.[0-9a-f]+\.pt")
_MAX_NAMED = 3


class PathKind(StrEnum):
    """Kinds of what lies at a path, in words that follow *it is*."""

    MISSING = "not there"
    STUDY = "a study folder"
    CELL = "the folder of a cell"
    TRUTH = "the folder of a truth"
    ROOT = "a folder of studies"
    DIRECTORY = "a folder"
    GRID = "the YAML file of a study"
    FROZEN = "the study.yaml of a study folder"
    PROFILE = "the profile of a cluster"
    STUDY_H5 = "a study.h5"
    RESULT_H5 = "the result.h5 of one cell"
    DATASET_H5 = "the dataset.h5 of a truth"
    METRICS_H5 = "the metrics of one cell"
    HDF5 = "an HDF5 file"
    WEIGHTS = "a file of weights"
    MODEL = "the weights of one cell"
    ARRAYS = "a file of arrays (.npz)"
    CONTAINER = "an Apptainer container"
    FILE = "a file"
    SPECIAL = "no regular file"

    @property
    def is_directory(self) -> bool:
        """Return whether it is a directory of some kind."""
        return self in (PathKind.STUDY, PathKind.CELL, PathKind.TRUTH, PathKind.ROOT, PathKind.DIRECTORY)


# kinds of files that a report may be of: an HDF5 file's own content tells more
COLLECTED_KINDS = (PathKind.STUDY_H5, PathKind.HDF5, PathKind.DATASET_H5, PathKind.METRICS_H5)
_BY_NAME: Final = {
    COLLECTED: PathKind.STUDY_H5,
    "result.h5": PathKind.RESULT_H5,
    "dataset.h5": PathKind.DATASET_H5,
}
_IN_STUDY: Final = {"cells": PathKind.CELL, "truths": PathKind.TRUTH}  # parent's name → kind


def is_study(path: Path) -> bool:
    """Return whether a study is frozen in a directory."""
    return (path / MANIFEST).exists() and (path / HEADER).exists()


def studies_in(root: Path) -> Iterator[Path]:
    """Yield the directories of studies in a directory, by name; those that cannot be looked into are passed over."""
    try:
        paths = sorted(root.iterdir())
    except OSError:
        return
    for path in paths:
        with contextlib.suppress(OSError):
            if is_study(path):
                yield path


def enclosing_study(path: Path) -> Path | None:
    """Return the study directory that a path is or lies in; None outside of one."""
    absolute = path.absolute()
    with contextlib.suppress(OSError):  # what cannot be looked into is no help
        return next((parent for parent in (absolute, *absolute.parents) if is_study(parent)), None)
    return None


def path_kind(path: Path) -> PathKind:
    """Return the kind of what lies at a path; of a file, its first bytes are read."""
    try:
        if path.is_dir():
            return _directory_kind(path)
        if not path.exists():
            return PathKind.MISSING
        if not path.is_file():
            return PathKind.SPECIAL
        with open_regular(path) as file:
            return _file_kind(path.name, file.read(_HEAD_BYTES))
    except (OSError, ValueError):  # a name that no file can have, or a file that cannot be read
        return PathKind.MISSING if not _exists(path) else PathKind.FILE


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _directory_kind(path: Path) -> PathKind:
    if is_study(path):
        return PathKind.STUDY
    kind = _IN_STUDY.get(path.absolute().parent.name)
    if kind and is_study(path.absolute().parent.parent):
        return kind
    return PathKind.ROOT if next(studies_in(path), None) else PathKind.DIRECTORY


def _file_kind(name: str, head: bytes) -> PathKind:
    where, magic = _SIF
    if head[where] == magic:
        return PathKind.CONTAINER
    if head.startswith(_ZIP):
        return _zip_kind(name, head)
    if head.startswith(_CHECKSUM):
        is_result = b'"cell_id"' in head.partition(_HDF5)[0]
        return PathKind.RESULT_H5 if is_result else _named_kind(name)
    if head.startswith(_HDF5):
        return _named_kind(name)
    text = head.decode("utf-8", "ignore")
    if _HEADER_KEY.search(text):
        return PathKind.FROZEN
    if _GRID_KEY.search(text):
        return PathKind.GRID
    return PathKind.PROFILE if _PROFILE_KEY.search(text) and not _NAME_KEY.search(text) else PathKind.FILE


def _zip_kind(name: str, head: bytes) -> PathKind:
    if b"/data.pkl" in head:  # torch's
        return PathKind.MODEL if _MODEL_NAME.fullmatch(name) else PathKind.WEIGHTS
    return PathKind.ARRAYS if b".npy" in head else PathKind.FILE


def _named_kind(name: str) -> PathKind:
    is_metrics = name.startswith("metrics.") and name.endswith(".h5")
    return PathKind.METRICS_H5 if is_metrics else _BY_NAME.get(name, PathKind.HDF5)


def name_in_grid(path: Path) -> str:
    """Return the name of the study that a YAML file holds; empty where its text has none."""
    try:
        with open_regular(path) as file:
            match = _NAME_KEY.search(file.read(_HEAD_BYTES).decode("utf-8", "ignore"))
    except OSError:
        return ""
    return match[1] if match else ""


def refusal(path: Path, wanted: str, hint: str, *, meant: Path | str | None = None) -> ConfigError:
    """Return the error of a path of another kind than the one that is wanted.

    Args:
        path: as it was given.
        wanted: kind in words, with its article.
        hint: what to give instead, where nobody can know what was meant.
        meant: path that was probably meant.
    """
    kind = path_kind(path)
    state = "it does not exist" if kind is PathKind.MISSING else f"it is {kind}"
    return ConfigError(f"{path} is not {wanted}: {state}", f"did you mean {meant}?" if meant else hint)


def require_root(root: Path) -> None:
    """Check that a directory of all studies is no study itself.

    Raises:
        ConfigError: it is one.
    """
    if is_study(root):
        hint = f"did you mean --root {root.parent}?"
        raise ConfigError(f"{root} is a study folder, not the folder of all studies", hint)


def not_a_study(path: Path, root: Path) -> ConfigError:
    """Return the error of a path that is no study directory, where one is wanted."""
    hint = "give the folder that `nllgen submit` named, <root>/<study>, or the name of a study under --root"
    if path_kind(path) is PathKind.DIRECTORY:
        hint = f"it has no {HEADER} and {MANIFEST}; {hint}"
    return refusal(path, "a study folder", _hint_of(path, root) or hint, meant=_meant_study(path, root))


def _meant_study(path: Path, root: Path) -> Path | None:
    """Return the study that a path of another kind probably stands for; None where nobody can know."""
    kind = path_kind(path)
    if kind is PathKind.GRID and (name := name_in_grid(path)) and is_study(root / name):
        return root / name
    if kind is PathKind.ROOT:
        names = list(studies_in(path))
        return names[0] if len(names) == 1 else None
    return enclosing_study(path)


def _hint_of(path: Path, root: Path) -> str:
    """Return what to do with a path that was given instead of a study; empty where its kind tells nothing."""
    kind = path_kind(path)
    if kind is PathKind.GRID:
        return f"nothing of it was submitted under {root}; `nllgen submit {path}` does that"
    if kind is PathKind.ROOT:
        names = [study_dir.name for study_dir in studies_in(path)]
        more = ", …" if len(names) > _MAX_NAMED else ""
        return f"it holds {', '.join(names[:_MAX_NAMED])}{more}: give the folder of one"
    return ""


def not_a_grid(path: Path) -> ConfigError:
    """Return the error of a path that is no study's YAML, where one is wanted."""
    hint = "give the YAML file that describes a study, or the name of a built-in one"
    if (study := enclosing_study(path)) is None:
        return refusal(path, "the YAML file of a study", hint)
    beside = (Path(f"{study.name}.yaml"), study.parent.with_name(f"{study.name}.yaml"))
    meant = next((grid for grid in beside if path_kind(grid) is PathKind.GRID), None)
    hint = f"give the YAML file that was submitted; what is frozen runs on with: nllgen retry {study}"
    return refusal(path, "the YAML file of a study", hint, meant=meant)


def not_collected(path: Path, root: Path) -> ConfigError:
    """Return the error of a path that is no study.h5, where one is wanted."""
    study = _meant_study(path, root)
    meant = study / COLLECTED if study and (study / COLLECTED).exists() else study
    hint = _hint_of(path, root) or "`nllgen collect STUDY` writes it; a study's folder or name will do, too"
    return refusal(path, "a study.h5", hint, meant=meant)


def not_a_container(path: Path) -> ConfigError:
    """Return the error of a path that is no SIF, where one is wanted."""
    return refusal(path, "an Apptainer container (SIF)", "`nllgen build -o nllgen.sif` makes one")


def not_arrays(path: Path) -> ConfigError:
    """Return the error of a path that holds no arrays, where a file of them is wanted."""
    return refusal(path, "a file of arrays", "give an .npz or HDF5 file; `nllgen score --help` describes its content")


def not_weights(path: Path) -> ConfigError:
    """Return the error of a path that is no truth.pt, nor a directory with one, where one is wanted."""
    study = enclosing_study(path)
    hint = "name a truth.pt, its folder truths/<id>, or the folder or name of a study that has a truth"
    return refusal(path, "a truth", hint, meant=study)


def not_a_profile(path: Path) -> ConfigError:
    """Return the error of a path that is no profile, where one is wanted."""
    hint = "give the YAML file of a profile, or its name; `nllgen doctor --write NAME` makes one for this cluster"
    return refusal(path, "the profile of a cluster", hint)
