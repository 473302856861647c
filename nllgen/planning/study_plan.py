"""The study and the plan of a study file, and the cells to evaluate, given what is already stored under a root."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from nllgen.errors import ConfigError
from nllgen.planning.calibration import AS_SHIPPED, KnownCalibration
from nllgen.planning.plan import Action, Plan, SpeedKey, inspect_study, make_plan
from nllgen.planning.reasons import ContainerRule
from nllgen.storage.study_dir import StudyDir, studies
from nllgen.storage.tasks import TaskKind, tasks_of
from nllgen.study.config import Cell, Precision, Study
from nllgen.study.diagnostics import did_you_mean, not_allowed
from nllgen.study.difference import is_extension
from nllgen.study.extend import extend_study
from nllgen.study.hardware import auto_precision
from nllgen.study.load import Echo, PrecisionOf, load_study
from nllgen.study.metric_groups import METRIC_GROUPS

if TYPE_CHECKING:
    from nllgen.study.run_options import CellTiming


def load_study_at(
    grid: str,
    root: Path,
    is_available: Callable[[str], bool],
    precision: Precision | None = None,
    overrides: Sequence[str] = (),
    echo: Echo = lambda text: None,
) -> Study:
    """Load a study file, in agreement with the study of that name that is frozen under a root.

    Args:
        grid: path of a YAML file, or name of a built-in study.
        root: directory of all studies.
        is_available: tells whether a source of optional data is on this machine. Cells on a missing source are left
            out, unless they are frozen.
        precision: meaning of ``precision: auto``; this machine's where None. A frozen study keeps that of its first
            submission.
        overrides: ``KEY=VALUE`` each, values that replace those of the file.
        echo: receives a line about what each of them reaches.

    Raises:
        ConfigError: the file has errors; the message names each with its line.
    """
    own = precision or auto_precision()

    def named(study: str) -> StudyDir:
        return StudyDir(root / Path(study).name)

    def copy_of(name: str, sha256: str) -> Path:
        return named(name).images(sha256)

    def load(meaning: Precision | PrecisionOf, echo: Echo = lambda text: None) -> Study:
        return load_study(grid, precision=meaning, overrides=overrides, echo=echo, copy_of=copy_of)

    study = load(lambda name: _frozen_precision(named(name)) or own, echo)
    study_dir = StudyDir(root / study.name)
    frozen = study_dir.read_study() if study_dir.is_frozen else None
    if frozen is not None and not is_extension(frozen, study):
        study = _in_another_precision(load, study, frozen, own)
    if not study.optional:
        return study
    reduced = study.without_missing([source for source in study.optional if not is_available(source)])
    return reduced if frozen is None or is_extension(frozen, reduced) else study


def _frozen_precision(study_dir: StudyDir) -> Precision | None:
    """Return the precision that a frozen study was probably submitted with; None where nothing shows it."""
    if not study_dir.is_frozen:
        return None
    frozen = study_dir.read_study()
    trained = (frozen.truth,) if frozen.truth and frozen.trains_truth else frozen.cells
    used = {cell.precision for cell in trained}
    return used.pop() if len(used) == 1 else None


def _in_another_precision(load: Callable[[Precision], Study], study: Study, frozen: Study, own: Precision) -> Study:
    """Return the study of a file in the precision that extends the frozen one; in this machine's if none does."""
    for precision in get_args(Precision):
        with contextlib.suppress(ConfigError):  # two cells can be equal in the other precision
            other = load(precision)
            if is_extension(frozen, other):
                return other
            study = other if precision == own else study
    return study


def merge_frozen(study: Study, study_dir: StudyDir) -> Study:
    """Return a study with the cells that are frozen in its directory.

    Raises:
        ConflictError: the frozen study is another one.
    """
    return extend_study(study_dir.read_study(), study) if study_dir.is_frozen else study


def plan_study_at(
    study: Study,
    root: Path,
    cores: int,
    container: ContainerRule | None = None,
    calibration: KnownCalibration = AS_SHIPPED,
    gpus: int | None = None,
    timings: Mapping[SpeedKey, CellTiming] | None = None,
) -> Plan:
    """Plan a study of :func:`load_study_at`, given its results under a root, for so many cores.

    Raises:
        ConflictError: the study that is frozen there is another one.
    """
    study_dir = StudyDir(root / study.name)
    study = merge_frozen(study, study_dir)
    tasks = tasks_of(study, study_dir)
    files = inspect_study(study, study_dir, container, tasks)
    plan = make_plan(
        study, files, cores=cores, container=container, tasks=tasks, calibration=calibration, gpus=gpus,
        timings=timings or {},
    )  # fmt: skip
    missing = {row.id for row in plan.rows if row.kind is TaskKind.CELL and row.action is Action.RUN}
    return replace(plan, elsewhere=_results_elsewhere(study_dir, missing))


def _results_elsewhere(study_dir: StudyDir, cells: Set[str]) -> dict[str, int]:
    """Count the results of cells in each other study beside a study: it may have been renamed."""
    counts = {}
    for other in studies(study_dir.path.parent):
        if other.path.name != study_dir.path.name:
            with contextlib.suppress(OSError):  # another's, or on its way: it is a hint only
                names = {path.name for path in (other.path / "cells").iterdir()}
                counts[other.path.name] = sum(other.cell(name).result.exists() for name in names & cells)
    return {name: count for name, count in counts.items() if count}


def elsewhere_note(plan: Plan, study: str) -> str:
    """Return the note for cells whose results are in another study."""
    return (
        f"{plan.elsewhere[study]} of these cells have a result in the study {study} under the same root; if it was "
        f"renamed, give the study that name again, or copy the directories truths and cells of {study} to {plan.study}"
    )


def left_out_note(source: str) -> str:
    """Return the note for cells that are left out because their data are missing."""
    return f"cells on {source} are left out, since it is not on this machine; next: nllgen assets fetch {source}"


def cells_to_evaluate(study_dir: StudyDir, metrics: Sequence[str], cell_ids: Sequence[str]) -> list[Cell]:
    """Return the cells of ``cell_ids``, ids or ``truth``; where it is empty, all cells and the trained truth.

    Raises:
        ConfigError: a metric or cell does not exist, or a named cell has no result.
    """
    for name in metrics:
        if name not in METRIC_GROUPS:
            raise ConfigError(f"--metric: {not_allowed(name, METRIC_GROUPS)}")
    study = study_dir.read_study()
    cells = {cell.id: cell for cell in study.cells}
    if study.truth is not None and study.trains_truth:
        cells["truth"] = study.truth
    for cell_id in cell_ids:
        if cell_id not in cells:
            raise ConfigError(
                f"study {study.name} has no cell {cell_id!r}{did_you_mean(cell_id, cells)}",
                f"`nllgen status {study_dir.path}` lists the ids of its cells",
            )
        task_dir = study_dir.truth(cells[cell_id].id) if cell_id == "truth" else study_dir.cell(cell_id)
        if not task_dir.result.exists():
            raise ConfigError(f"{cell_id} has no result yet", f"see: nllgen status {study_dir.path}")
    return [cells[cell_id] for cell_id in dict.fromkeys(cell_ids or cells)]
