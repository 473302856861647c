"""Measure a further group of metrics on finished cells, from the weights that they kept. Nothing is trained."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nllgen.errors import CorruptFileError, NllgenError, StoppedError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.measurement import Row
from nllgen.metrics.metric_group import EXTRACTORS, MetricGroup
from nllgen.metrics.registry import GROUPS
from nllgen.models import make_model
from nllgen.storage.extra_metrics import ExtraMetrics, read_extra_metrics, write_extra_metrics
from nllgen.storage.provenance import code_sha256, nllgen_version
from nllgen.storage.result import Result, read_result
from nllgen.storage.schema import FINAL_COLUMNS
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.storage.tables import make_table
from nllgen.study.config import Cell, Study
from nllgen.worker.run_task import evaluator_of, exact_arithmetic, truth_of
from nllgen.worker.train_cell import Settings, asset_digests, device_name, echo, load_model, move_aside


@dataclass
class Evaluated:
    """What became of each cell and group.

    Attributes:
        measured: supplements written now.
        there: measured before, by the run or by an earlier call.
        unmeasurable: cells that lack what a group needs, such as a density.
        unfinished: cells without a result.
        failed: "id: why".
    """

    measured: int = 0
    there: int = 0
    unmeasurable: int = 0
    unfinished: int = 0
    failed: list[str] = field(default_factory=list)


def evaluate(study_dir: StudyDir, names: Sequence[str], cells: Sequence[Cell], settings: Settings) -> Evaluated:
    """Measure groups on the finished ones of some cells; what is there already is not measured again.

    A cell that cannot be measured (its weights are gone, or its truth was trained anew) does not keep others from it.

    Raises:
        StoppedError: a stop was asked for; what was published stays.
    """
    exact_arithmetic()
    study_dir.guard()
    study, done = study_dir.read_study(), Evaluated()
    for cell in cells:
        folder = study_dir.truth(cell.id) if cell == study.truth else study_dir.cell(cell.id)
        if not folder.result.exists():
            done.unfinished += 1
            continue
        try:
            _evaluate_cell(study_dir, study, cell, folder, names, settings, done)
        except StoppedError:
            raise
        except NllgenError as error:
            echo(f"{cell.id}: {error}")
            done.failed.append(f"{cell.id} ({cell.label}): {error.message}")
    return done


def _evaluate_cell(
    study_dir: StudyDir,
    study: Study,
    cell: Cell,
    folder: TaskDir,
    names: Sequence[str],
    settings: Settings,
    done: Evaluated,
) -> None:
    result = read_result(folder.result)
    missing = [name for name in names if not _is_there(folder.extra_metrics(name), result, name)]
    done.there += len(names) - len(missing)
    if not missing:
        return
    kept = load_model(folder, cell)
    truth = truth_of(study_dir, study, cell, settings)
    if truth is not None and truth.sha256 != result.attrs["truth_sha256"]:
        raise CorruptFileError(
            f"{folder.result}: made with another truth than truth.pt", "submit the grid again: the cell runs anew"
        )
    evaluator = evaluator_of(study_dir, study, cell, truth, settings)
    for name in missing:
        if _has_columns(result, name, [each.name for each in evaluator.references.extractors]):
            done.there += 1
            continue
        with settings.interruptible():
            rows = _rows(cell, kept, result, evaluator, name, settings)
        if not any(rows.values()):
            needs = " and ".join(sorted(GROUPS[name].needs))
            echo(f"{cell.id}: {name} needs {needs}, which {cell.label} does not have")
            done.unmeasurable += 1
            continue
        extra_metrics = _supplement(cell, result, evaluator, GROUPS[name], rows, settings)
        published = write_extra_metrics(folder.extra_metrics(name), extra_metrics)
        done.measured += published
        done.there += not published
        echo(f"{'published' if published else 'already there'}: {folder.extra_metrics(name)}")


def _is_there(path: Path, result: Result, name: str) -> bool:
    """Whether a valid supplement of this very result is there; another one is moved out of the way."""
    if not path.exists():
        return False
    try:
        if read_extra_metrics(path).belongs_to(result.attrs):
            return True
        raise CorruptFileError(f"{path}: measured on other weights or another truth than result.h5's")
    except CorruptFileError as error:
        move_aside(path, str(error), "measuring again")
        return False


def _has_columns(result: Result, name: str, extractors: list[str]) -> bool:
    """Whether the run itself measured a group, with every extractor that can be had now."""
    names = [column.replace("val_", "test_") for column in GROUPS[name].columns]
    parts = [[column for column in names if not column.endswith(EXTRACTORS)]]
    parts += [[column for column in names if column.endswith(extractor)] for extractor in extractors]
    measured = [
        any(np.isfinite(result.final[column]).any() for column in part if column in result.final)
        for part in parts
        if part
    ]
    return bool(measured) and all(measured)


def _rows(
    cell: Cell, kept: dict[str, Any], result: Result, evaluator: Evaluator, name: str, settings: Settings
) -> dict[str, Row]:
    """Weights → the group's columns on the test split, in the order of the result."""
    model = make_model(cell).to(settings.device)
    rows = {}
    for weights in map(str, result.final["weights"]):
        started = time.perf_counter()
        model.load_state_dict(kept[weights])
        row = evaluator.measure_groups(model, "test", [name])
        rows[weights] = row | {"time_s": time.perf_counter() - started} if row else {}
    return rows


def _supplement(
    cell: Cell, result: Result, evaluator: Evaluator, group: MetricGroup, rows: dict[str, Row], settings: Settings
) -> ExtraMetrics:
    steps = {str(name): int(step) for name, step in zip(result.final["weights"], result.final["step"], strict=True)}
    names = ("weights", "step", *(column.replace("val_", "test_") for column in group.columns), "time_s")
    attrs = {
        "group": group.name,
        "cell_id": cell.id,
        "model_sha256": result.attrs["model_sha256"],
        "truth_sha256": result.attrs["truth_sha256"],
        "code_sha256": code_sha256(),
        "version": nllgen_version(),
        "torch_version": str(torch.__version__),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "device": device_name(settings.device),
        "num_samples": str(evaluator.references.num_samples["test"]),
        "assets": json.dumps(asset_digests(evaluator)),
    }
    table = [{"weights": name, "step": steps[name], **row} for name, row in rows.items()]
    return ExtraMetrics(attrs, make_table(table, {name: FINAL_COLUMNS[name] for name in names}))
