"""Exports of a study's frames to files that other programs read: CSV, Parquet, TensorBoard's event files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nllgen.errors import ConfigError, MachineError
from nllgen.storage.atomic import create_bytes, make_folder, write_bytes
from nllgen.storage.event_file import EventFile, add_run, run_name
from nllgen_analysis.columns import COLUMNS
from nllgen_analysis.frames import Frames
from nllgen_analysis.tables import to_csv

_MAX_NAMED = 5
_EVENTS = "export"  # tells the event files of an export from those of a run
_TABLES = ("cells", "eval", "final", "history", "datasets")


class Format(StrEnum):
    """Formats of an export."""

    CSV = "csv"
    PARQUET = "parquet"
    TENSORBOARD = "tensorboard"


def export(frames: Frames, out: Path, to: Format, *, replace: bool = False) -> list[Path]:
    """Write a study into a directory, and return what was written: files, or one directory per run for TensorBoard.

    Args:
        frames: of the study.
        out: the directory, which is made where it does not exist.
        to: format of the files.
        replace: replace files of an earlier export; other files are never touched.

    Raises:
        ConfigError: some of the files exist already.
        MachineError: the package that writes the format is missing, or the directory cannot be written.
    """
    if to is Format.TENSORBOARD:
        return _export_events(frames, out, replace=replace)
    contents = _csv_files(frames) if to is Format.CSV else _parquet_files(frames)
    _require_free([out / name for name in contents], replace=replace)
    make_folder(out)
    for name, data in contents.items():
        if replace:
            write_bytes(out / name, data)
        elif not create_bytes(out / name, data):
            _require_free([out / name], replace=False)
    return [out / name for name in contents]


def _require_free(paths: list[Path], *, replace: bool) -> None:
    taken = [] if replace else [path for path in paths if path.exists() or path.is_symlink()]
    if taken:
        names = ", ".join(path.name for path in taken[:_MAX_NAMED])
        more = f" and {len(taken) - _MAX_NAMED} more" if len(taken) > _MAX_NAMED else ""
        raise ConfigError(
            f"{taken[0].parent} has {names}{more} already: they are not replaced",
            "choose another --out, or add --force to replace them",
        )


def _columns() -> pd.DataFrame:
    """Return the unit and the meaning of every column of the exported frames."""
    rows = [(frame, name, *column) for frame, columns in COLUMNS.items() for name, column in columns.items()]
    return pd.DataFrame(rows, columns=["frame", "column", "unit", "meaning"])


def _csv_files(frames: Frames) -> dict[str, bytes]:
    tables = {name: getattr(frames, name) for name in _TABLES} | {"columns": _columns()}
    files = {f"{name}.csv": to_csv(table, float_format=None) for name, table in tables.items()}
    images, buffer = frames.samples["image"], io.BytesIO()
    x = np.stack([*images]) if len(images) else np.zeros((0, *frames.configs[0].data.shape), np.float32)
    np.savez_compressed(buffer, x=x, cell=frames.samples["cell"].to_numpy())
    return files | {"samples.npz": buffer.getvalue()}


def _parquet_files(frames: Frames) -> dict[str, bytes]:
    images = frames.samples["image"]
    samples = frames.samples.assign(image=images.map(np.ravel), shape=images.map(lambda image: [*image.shape]))
    tables: dict[str, pd.DataFrame] = {name: getattr(frames, name) for name in _TABLES}
    tables |= {"samples": samples, "columns": _columns()}
    return {f"{name}.parquet": _to_parquet(name, table) for name, table in tables.items() if len(table.columns)}


def _to_parquet(name: str, table: pd.DataFrame) -> bytes:
    """Return a table as Parquet, with its units in the attributes that ``pandas.read_parquet`` restores."""
    table = table.copy()
    table.attrs = {"units": {column: text.unit for column, text in COLUMNS.get(name, {}).items()}}
    buffer = io.BytesIO()
    try:
        table.to_parquet(buffer, engine="pyarrow", index=False)
    except ImportError as error:
        raise MachineError(
            "Parquet files cannot be written: pyarrow is not installed", "pip install 'nllgen[parquet]'"
        ) from error
    return buffer.getvalue()


def _export_events(frames: Frames, out: Path, *, replace: bool) -> list[Path]:
    present = frames.cells.index[frames.cells["outcome"] != "missing"]
    runs = {row: out / run_name(frames.configs[row], frames.cells["role"][row]) for row in present}
    _require_free([*runs.values()], replace=replace)
    rows_of = {name: _rows_by_cell(getattr(frames, name)) for name in ("history", "eval", "final")}
    for row, directory in runs.items():
        for earlier in directory.glob(f"events.*.{_EVENTS}"):
            earlier.unlink()
        ended_at = _seconds(frames.cells["finished_at"][row])
        file = EventFile(directory, _EVENTS)
        add_run(file, rows_of["history"](row), rows_of["eval"](row), ended_at)
        finals = rows_of["final"](row)
        for final in finals:
            file.add_final(final, ended_at)
        if len(images := frames.images_of(row)):
            file.add_images(max((int(final["step"]) for final in finals), default=0), images, ended_at)
        file.close()
    return [*runs.values()]


def _rows_by_cell(table: pd.DataFrame) -> Callable[[int], list[Mapping[str, Any]]]:
    """Return a function from a row of ``cells`` to its rows of a table, without columns of NaN alone."""
    if table.empty:  # all its columns are without a value
        return lambda _: []
    groups = dict(iter(table.dropna(axis="columns", how="all").groupby("cell", sort=False)))
    return lambda row: groups[row].to_dict("records") if row in groups else []


def _seconds(when: str) -> float:
    """Return a time in seconds since 1970; 0 where a study of an earlier schema has none."""
    return datetime.fromisoformat(when).timestamp() if when else 0.0
