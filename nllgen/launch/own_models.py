"""Times of models of the user's own, which only their code can show: a few steps in a process with torch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence

from nllgen.errors import ConfigError
from nllgen.launch.calibrate import IN_JOB, reason_of, time_cells
from nllgen.launch.executables import of_study, record
from nllgen.launch.gpus import has_torch
from nllgen.planning.calibration import VARIABLE
from nllgen.planning.plan import SpeedKey, speed_key
from nllgen.study.config import Cell, Study
from nllgen.study.run_options import CellTiming

_MOST = 16  # that are timed for one plan, each for a few seconds


def time_own_models(
    study: Study, cells: Sequence[Cell], *, accept: bool, echo: Callable[[str], None]
) -> dict[SpeedKey, CellTiming]:
    """Time the cells whose costs nothing else shows; those that cannot be timed are left out.

    A study's code is executed only if it is the installed program's, if this user has submitted or accepted it on this
    site, or accepts it now.

    Args:
        study: to which the cells belong.
        cells: some of them have models of the user's own.
        accept: whether this user accepts that the study's factories are imported.
        echo: prints what is timed, and why a model cannot be.
    """
    distinct = {speed_key(cell): cell for cell in cells if cell.model is not None}
    if not distinct or os.environ.get(IN_JOB) or os.environ.get(VARIABLE) == "off" or not has_torch():
        return {}
    unknown = [each for each in of_study(study) if not each.is_trusted and not _is_own_program(study)]
    if unknown and not accept:
        echo("the times of this study's own models are unknown; nllgen plan --trust imports and times them")
        return {}
    if unknown and (note := record(*unknown)):
        echo(note)
    timed = dict(list(distinct.items())[:_MOST])
    echo(f"timing {len(timed)} models of this study: a few seconds each")
    try:
        answer = time_cells(list(timed.values()))
    except (ConfigError, OSError, subprocess.SubprocessError) as error:
        echo(f"they cannot be timed: {reason_of(error)}")
        return {}
    for cell, timing in zip(timed.values(), answer.cells, strict=True):
        if timing.reason:
            echo(f"{cell.label}: cannot be timed: {timing.reason.splitlines()[0]}")
    return {key: timing for key, timing in zip(timed, answer.cells, strict=True) if not timing.reason}


def _is_own_program(study: Study) -> bool:
    """Return whether all factories are part of nllgen."""
    return all(cell.model.is_under(()) for cell in study.cells if cell.model is not None)
