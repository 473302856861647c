"""The cells that a further metric is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from nllgen.errors import ConfigError
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell, MetricGroup
from nllgen.study.diagnostics import did_you_mean, not_allowed


def cells_to_evaluate(study_dir: StudyDir, metrics: Sequence[str], cell_ids: Sequence[str]) -> list[Cell]:
    """Return the cells of ``cell_ids``, ids or ``truth``; where it is empty, all cells and the trained truth.

    Raises:
        ConfigError: a metric or cell does not exist, or a named cell has no result.
    """
    allowed = get_args(MetricGroup)
    for name in metrics:
        if name not in allowed:
            raise ConfigError(f"--metric: {not_allowed(name, allowed)}")
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
