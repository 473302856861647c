"""The frame of the cells of a study: their configuration in columns, and the names that group them in figures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import pandas as pd

from nllgen.storage.tables import Table
from nllgen.study.config import Cell
from nllgen.study.image_sets import num_training, source_title

# ends of the names of students: with the truth's weights, and with noise on them
FROM_TRUTH, NEAR_TRUTH = STARTED_AT_TRUTH = (" from truth", " near truth")


def cells_frame(table: Table, parsed: Sequence[Cell]) -> pd.DataFrame:
    """Return one row per cell of /cells, with its configuration in columns and its names."""
    frame = pd.DataFrame(table)
    config = pd.DataFrame([_config_row(cell) for cell in parsed], columns=list(_config_row(_EXAMPLE)))
    frame = frame.drop(columns=["config", "precision"]).join(config)
    frame["student"] = [
        _student(role, degree, start, noise)
        for role, degree, start, noise in zip(
            frame["role"], frame["degree"], frame["start"], frame["start_noise"], strict=True
        )
    ]
    frame["setting"], frame["slug"] = _settings(frame)
    frame["variant"] = _variants(frame, [settings_of(cell) for cell in parsed])
    frame["group"] = frame["student"] + " · " + frame["paradigm"] + " · " + frame["setting"]
    varied = frame["variant"] != ""
    frame.loc[varied, "group"] += " · " + frame.loc[varied, "variant"]
    return frame


def _config_row(cell: Cell) -> dict[str, Hashable]:
    return {
        "degree": cell.kind,
        "paradigm": cell.paradigm.name,
        "source": cell.data.source,
        "num_train": str(cell.data.num_train),
        "image_size": cell.data.shape[1],
        "truth_id": cell.data.truth_id or "",
        "start": cell.start,
        "start_noise": cell.start_noise,
        "seed": cell.seed,
        "precision": cell.precision,
        "steps": cell.paradigm.steps,
        "batch_size": cell.paradigm.batch_size,
        "lr": cell.paradigm.lr,
        **{key: getattr(cell.flow, key, None) for key in ("width", "blocks", "scales", "coupling")},
        "num_dims": cell.architecture.num_dims,
        "label": cell.label,
    }


_EXAMPLE = Cell.model_validate({"data": {}, "flow": {}})


def _student(role: str, degree: str, start: str, noise: float) -> str:
    if role == "truth":
        return "truth"
    if start != "truth" or degree == "W*":
        return degree
    return degree + (NEAR_TRUTH if noise else FROM_TRUTH)


def _size(source: str, num_train: str) -> str:
    num = num_training(source, num_train)
    return "fresh samples" if num is None else f"N = {num:,}"


def _settings(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the data of each cell in words and for file names; the image size only if there are several."""
    names, slugs = [], []
    has_sizes = frame["image_size"].nunique() > 1
    for source, size, num in zip(frame["source"], frame["image_size"], frame["num_train"], strict=True):
        names.append(f"{source_title(source)}{f' {size}×{size}' if has_sizes else ''}, {_size(source, num)}")
        slugs.append(f"{source}_{num}{f'_{size}px' if has_sizes else ''}")
    return names, slugs


def settings_of(cell: Cell) -> dict[str, Hashable]:
    """Return the settings that two cells of one student, paradigm, setting and seed may differ in."""
    parts = {"": cell.model_dump(include={"precision"}) | cell.paradigm.model_dump()}
    parts["flow."] = cell.architecture.model_dump(exclude={"shape", "options"})
    parts["options."] = {key: str(value) for key, value in cell.model.options.items()} if cell.model else {}
    parts["data."] = cell.data.model_dump(exclude={"source", "num_train", "image_size", "image_shape"})
    return {f"{prefix}{key}": value for prefix, values in parts.items() for key, value in values.items()}


def _variants(frame: pd.DataFrame, settings: list[dict[str, Hashable]]) -> list[str]:
    variants = [""] * len(frame)
    for _, rows in frame.groupby(["student", "paradigm", "setting"], sort=False).groups.items():
        keys = dict.fromkeys(key for row in rows for key in settings[row])
        varied = [key for key in keys if len({settings[row].get(key) for row in rows}) > 1]
        for row in rows:
            variants[row] = ", ".join(f"{key}={settings[row].get(key)}" for key in varied)
    return variants
