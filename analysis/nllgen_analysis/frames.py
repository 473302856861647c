"""A study as pandas frames: cells with their configuration in columns, evaluations and final metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nllgen.errors import ConfigError, CorruptFileError
from nllgen.storage.collect import read_results
from nllgen.storage.convert import read_any_study
from nllgen.storage.hdf5_data import Array
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS, HISTORY_COLUMNS
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import StudyFile
from nllgen.storage.tables import Table
from nllgen.study.config import Cell, DataConfig
from nllgen.study.degrees import DEGREES
from nllgen.study.image_sets import REAL, SOURCES, source_title
from nllgen.study.lenets import domain_of
from nllgen.study.path_kinds import COLLECTED_KINDS, PathKind, enclosing_study, not_collected, path_kind
from nllgen.study.stored import parse_cell, parse_cell_json, parse_section
from nllgen.study.tuning import Tuning
from nllgen.study.user_directories import expand_home
from nllgen_analysis.cells_frame import STARTED_AT_TRUTH, cells_frame
from nllgen_analysis.columns import KEYS

DEGREE_ORDER = (*DEGREES, "custom")
OUTCOME_ORDER = ("done", "diverged", "missing")


@dataclass(frozen=True)
class Frames:
    """A study as frames; :data:`COLUMNS` has the unit and the meaning of every column, and docs/frames.md lists them.

    Metrics carry their units in their names (``kl_nats``, ``time_s``).

    Attributes:
        name: of the study.
        study: its resolved YAML as JSON-like values.
        cells: one row per cell and for the truth's own training, index 0…n−1.
        eval: one row per evaluation: ``cell`` (row of ``cells``), ``step``, ``epoch``, ``weights`` (raw or ema), the
            metrics, and the columns ``KEYS`` of the cell. A metric that no cell has is a column of NaN.
        final: one row per cell and kind of ``weights`` (last, best, ema), likewise.
        history: one row per logged step, with ``cell`` but without ``KEYS``; :func:`join_cells` adds them.
        samples: one row per kept image of a model: ``cell``, ``number`` and ``image``, an array (C, H, W) in [0, 1].
        datasets: one row per truth, with the attributes of its dataset.
        reference: images (m, C, H, W) under the names of real sources and ``truth``, if the study has them.
        configs: the configuration of each row of ``cells``.
    """

    name: str
    study: dict[str, Any]
    cells: pd.DataFrame
    eval: pd.DataFrame
    final: pd.DataFrame
    history: pd.DataFrame
    samples: pd.DataFrame
    datasets: pd.DataFrame
    reference: dict[str, Array]
    configs: tuple[Cell, ...]

    def images_of(self, row: int) -> Array:
        """Return the kept images (n, C, H, W) of a row of ``cells``."""
        images = self.samples.loc[self.samples["cell"] == row, "image"]
        return np.stack(list(images)) if len(images) else np.zeros((0, *self.configs[row].data.shape), np.float32)

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of cells per outcome, without the truth's own training."""
        outcomes = self.cells.loc[self.cells["role"] != "truth", "outcome"]
        return {outcome: int((outcomes == outcome).sum()) for outcome in OUTCOME_ORDER}

    @property
    def pretrained_truth(self) -> Cell | None:
        """Return the configuration of a truth that ships with nllgen, None if the study trained its own.

        Raises:
            CorruptFileError: the study's header does not hold it.
        """
        if not self.study.get("pretrained"):
            return None
        try:
            return parse_cell(self.study.get("truth"), "truth")
        except ValueError as error:
            raise CorruptFileError(
                "the study names a pretrained truth but does not contain it", "collect it again"
            ) from error

    @property
    def truth(self) -> Cell | None:
        """Return the configuration of the truth, trained or shipped; None where the study has none.

        Raises:
            CorruptFileError: the study's header does not hold one that ships.
        """
        trained = (config for config, role in zip(self.configs, self.cells["role"], strict=True) if role == "truth")
        return next(trained, None) or self.pretrained_truth

    @property
    def domains(self) -> list[DataConfig]:
        """Return the real data that the images of the rows of ``cells`` look like, once each."""
        truth = self.truth
        return list(dict.fromkeys(domain_of(config.data, truth) for config in self.configs))

    @property
    def source_titles(self) -> dict[str, str]:
        """Return the sources of the study for people: real ones, then images that a truth draws, named by its own.

        A truth whose training is not known was trained on MNIST.
        """
        origin = self.truth.data.source if self.truth else REAL[0]
        used = {config.data.source for config in self.configs} | {origin}
        synthetic = {"synthetic": f"synthetic {source_title(origin)}"}
        return {source: source_title(source) for source in REAL if source in used} | synthetic

    @property
    def reference_titles(self) -> dict[str, str]:
        """Return what ``reference`` can have for people: images of the real sources, and of the truth."""
        return {source: title for source, title in self.source_titles.items() if source in REAL} | {"truth": "truth"}

    @property
    def is_tuning(self) -> bool:
        """Return whether all cells are trials, which choose settings for another study."""
        return self.study.get("purpose") == "tuning"

    @property
    def tuning(self) -> Tuning | None:
        """Return the trials that cells took their settings from, None if there are none.

        Raises:
            CorruptFileError: the study's header does not hold them as they were frozen.
        """
        if not self.study.get("tuning"):
            return None
        try:
            return parse_section(Tuning, self.study["tuning"], "tuning")
        except ValueError as error:
            raise CorruptFileError("the study's trials of tuning are damaged", "collect it again") from error

    @property
    def counts_text(self) -> str:
        """Return for example ``12 cells done, 1 diverged, 0 missing``."""
        counts = self.counts
        return f"{counts['done']} cells done, {counts['diverged']} diverged, {counts['missing']} missing"


def load(path: Path | str) -> Frames:
    """Read a study: a study.h5, the directory of a study, or a directory with a study.h5.

    From the directory of a study, the results that are there now are read, also while it runs; nothing is written.

    Raises:
        ConfigError: there is nothing at this path, a directory without a study, or a file of another kind.
        CorruptFileError: the study.h5 is damaged, or holds an invalid configuration.
        SchemaError: it was written with another schema.
        MachineError: it cannot be read now.
    """
    return to_frames(_read(expand_home(Path(path))))


def _read(path: Path) -> StudyFile:
    study_dir = StudyDir(path.absolute())
    if study_dir.is_frozen:
        return read_results(study_dir)
    file = study_dir.collected if path.is_dir() else path
    if _is_of_another_kind(file if file.exists() else path):
        raise not_collected(path, path.absolute().parent)
    if not file.exists():
        raise ConfigError(
            f"there is no study at {file}", "give the directory of a study, <root>/<study>, or a study.h5"
        )
    return read_any_study(file)


def _is_of_another_kind(path: Path) -> bool:
    """Return whether something else than a study lies at a path, or lies in a study; a damaged file is one."""
    kind = path_kind(path)
    if kind is PathKind.MISSING or kind.is_directory:
        return kind is PathKind.ROOT or enclosing_study(path) is not None
    return kind not in COLLECTED_KINDS and (kind is not PathKind.FILE or path.suffix != ".h5")


def to_frames(study: StudyFile) -> Frames:
    """Convert the arrays of a study to frames."""
    configs = tuple(_parse(text, row) for row, text in enumerate(study.cells["config"]))
    cells = cells_frame(study.cells, configs)
    return Frames(
        name=study.name,
        study=study.study,
        cells=cells,
        eval=join_cells(_long(study.eval, EVAL_COLUMNS, "eval"), cells),
        final=join_cells(_long(study.final, FINAL_COLUMNS, "final"), cells),
        history=_long(study.history, HISTORY_COLUMNS, "history"),
        samples=_samples(study),
        datasets=pd.DataFrame([{"truth_id": truth, **attrs} for truth, attrs in study.datasets.items()]),
        reference=study.reference,
        configs=configs,
    )


def join_cells(table: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Add the columns ``KEYS`` to a table with a column ``cell``."""
    return table.join(cells[list(KEYS)], on="cell")


def _samples(study: StudyFile) -> pd.DataFrame:
    frame = pd.DataFrame({"cell": study.samples_cell.astype(np.int64)})
    frame["number"] = frame.groupby("cell").cumcount()
    frame["image"] = pd.Series([*study.samples], dtype=object)
    return frame


def _long(table: Table, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    frame = pd.DataFrame(table)
    missing = [column for column in ("step", "weights") if column in columns and column not in frame]
    if missing and len(frame):
        raise CorruptFileError(f"/{name} of the study has no column {missing[0]}", "collect the study again")
    return frame.reindex(columns=["cell", *columns])  # at once: hundreds of single inserts would fragment it


def _parse(text: str, row: int) -> Cell:
    where = f"/cells row {row} of the study"
    try:
        return parse_cell_json(text, where)
    except ValueError as error:
        raise CorruptFileError(
            f"{where}: invalid configuration ({error})",
            "collect the study again with this version of nllgen",
        ) from error


def setting_order(cells: pd.DataFrame) -> list[str]:
    """Return the settings: real images first, MNIST before others, N ascending, fresh samples last."""

    def rank(row: tuple[str, str, int, str]) -> tuple[int, int, bool, float]:
        source, num, size, _ = row
        return SOURCES.index(source), size, num == "fresh", float(num) if num.isdigit() else float("inf")

    columns = ["source", "num_train", "image_size", "setting"]
    rows = cells[columns].drop_duplicates().itertuples(index=False, name=None)
    return [row[3] for row in sorted(rows, key=rank)]


def student_order(students: pd.Series) -> list[str]:
    """Return the students: the truth, then the degrees from the smallest model to the largest."""

    def rank(student: str) -> tuple[int, str]:
        degree = student
        for suffix in STARTED_AT_TRUTH:
            degree = degree.removesuffix(suffix)
        return (DEGREE_ORDER.index(degree) if degree in DEGREE_ORDER else -1), student

    return sorted(students.unique(), key=rank)


def ranked(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the ranks ``_setting`` and ``_student`` by ``setting_order`` and ``student_order``."""
    settings = {name: rank for rank, name in enumerate(setting_order(rows))}
    students = {name: rank for rank, name in enumerate(student_order(rows["student"]))}
    return rows.assign(_setting=rows["setting"].map(settings), _student=rows["student"].map(students))
