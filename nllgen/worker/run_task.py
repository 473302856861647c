"""The tasks of a study: the truth, its data set, the cells."""

from __future__ import annotations

from pathlib import Path

import torch

from nllgen.assets import inception_weights, require_mnist
from nllgen.data.truth import Truth, check_fits, load_truth, truth_bytes
from nllgen.errors import AssetError, CellsFailedError, ConfigError, CorruptFileError, MachineError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.features import Extractor, load_extractor
from nllgen.storage.atomic import create_bytes
from nllgen.storage.dataset import read_dataset
from nllgen.storage.result import read_attrs
from nllgen.storage.states import Expected, ResultState, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.storage.weights import weights_digest
from nllgen.study.config import Cell, Study
from nllgen.worker.dataset import draw_dataset
from nllgen.worker.factory import CellData, make_evaluator, mnist_data, synthetic_data, synthetic_rows
from nllgen.worker.train_cell import Settings, echo, load_model, move_aside, run_cell


def run_task(study_dir: StudyDir, task: str, settings: Settings) -> None:
    """Run one task to its end, or do nothing where its files are there already.

    Args:
        study_dir: a frozen study.
        task: ``truth``, ``dataset`` or a cell's id.
        settings: how to run it.

    Raises:
        ConfigError: the study has no such task, or one before it is not done.
        StoppedError: a stop was asked for.
    """
    exact_arithmetic()
    study_dir.guard()
    study = study_dir.read_study()
    found = _find_task(study_dir, study, task)
    if found.kind is TaskKind.TRUTH:
        _truth(study_dir, study, found, settings)
    elif found.kind is TaskKind.DATASET:
        _dataset(study_dir, study, found, settings)
    else:
        _cell(study_dir, study, found, settings)


def exact_arithmetic() -> None:
    """fp32 means fp32, and the same input gives the same bits, on CUDA too."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def _extractors(study: Study, settings: Settings) -> tuple[Extractor, ...]:
    """Those of the study's metrics that can be had here; the columns of the others are NaN."""
    weights = inception_weights(settings.assets)
    found = (
        load_extractor(name, settings.device, inception_weights=weights, echo=echo) for name in study.metrics.frechet
    )
    return tuple(extractor for extractor in found if extractor is not None)


def _find_task(study_dir: StudyDir, study: Study, name: str) -> Task:
    for task in tasks_of(study, study_dir):
        if task.name == name:
            return task
    if name == TaskKind.TRUTH and study.pretrained:
        raise ConfigError(f"the truth of {study.name} is {study.pretrained}: it is not trained", "submit the study")
    if name in (TaskKind.TRUTH, TaskKind.DATASET):
        raise ConfigError(f"study {study.name} has no {name}", "add a truth section, or a cell on synthetic data")
    raise ConfigError(f"study {study.name} has no cell {name}", "nllgen status lists its cells")


def _cell(study_dir: StudyDir, study: Study, task: Task, settings: Settings) -> None:
    cell, task_dir = task.cell, task.task_dir
    truth = truth_of(study_dir, study, cell, settings)
    if _is_done(task, study_dir, study, settings):
        return
    data = _data(study_dir, study, cell, truth, settings)
    evaluator = make_evaluator(cell, data, truth, study.metrics, _extractors(study, settings), settings.device)
    run_cell(cell, study.name, task_dir, data, truth, evaluator, study.metrics, settings)


def truth_of(study_dir: StudyDir, study: Study, cell: Cell, settings: Settings) -> Truth | None:
    """The truth that a cell needs, None where it needs none.

    Raises:
        AssetError, CorruptFileError: it is missing or damaged.
    """
    if cell.data.source != "synthetic" and cell.start != "truth":
        return None
    if study.truth is None:
        raise ConfigError(f"study {study.name} has no truth", "add a truth section to its grid")
    truth = load_truth(study_dir.truth_weights(study.truth.id), settings.device)
    check_fits(truth, cell)
    return truth


def evaluator_of(study_dir: StudyDir, study: Study, cell: Cell, truth: Truth | None, settings: Settings) -> Evaluator:
    """What measured a cell, as it was while it ran."""
    data = _data(study_dir, study, cell, truth, settings)
    return make_evaluator(cell, data, truth, study.metrics, _extractors(study, settings), settings.device)


def _data(study_dir: StudyDir, study: Study, cell: Cell, truth: Truth | None, settings: Settings) -> CellData:
    if cell.data.source != "synthetic":
        return mnist_data(cell, study.metrics, require_mnist(settings.assets), settings.device)
    assert truth is not None
    dataset = read_dataset(study_dir.dataset(truth.id), train_rows=synthetic_rows(cell))
    return synthetic_data(cell, study.metrics, dataset, truth, settings.device)


def _is_done(task: Task, study_dir: StudyDir, study: Study, settings: Settings) -> bool:
    """Return whether a result that counts is there; one that does not is moved out of the way, never overwritten.

    Raises:
        MachineError: it cannot be read now.
    """
    required = settings.container_sha256 if settings.strict_container else None
    files = inspect(task, Expected.of(study, study_dir, required))
    path = task.task_dir.dataset if task.kind is TaskKind.DATASET else task.task_dir.result
    if files.state.is_done:
        echo(f"already there: {path}")
        return True
    if files.state is ResultState.LOCKED:
        raise MachineError(files.detail, "nothing was changed; it is tried again")
    if files.state in (ResultState.DAMAGED, ResultState.STALE):
        move_aside(path, files.detail)
    return False


def _has_weights(task: Task) -> bool:
    """Return whether the weights that a result was measured on are there; without them the run is repeated."""
    try:
        load_model(task.task_dir, task.cell)
    except (CorruptFileError, AssetError) as error:
        move_aside(task.task_dir.result, str(error))
        return False
    return True


def _truth(study_dir: StudyDir, study: Study, task: Task, settings: Settings) -> None:
    """Train the truth as a cell of its own, then freeze its best weights."""
    cell, task_dir = task.cell, task.task_dir
    _move_damaged_weights_aside(task_dir.weights)
    if _is_done(task, study_dir, study, settings) and task_dir.weights.exists():
        return
    if not (task_dir.result.exists() and _has_weights(task)):
        data = _data(study_dir, study, cell, None, settings)
        evaluator = make_evaluator(cell, data, None, study.metrics, _extractors(study, settings), settings.device)
        run_cell(cell, study.name, task_dir, data, None, evaluator, study.metrics, settings)
    if task_dir.weights.exists():
        return
    weights = load_model(task_dir, cell)
    if read_attrs(task_dir.result)["outcome"] == "diverged":
        raise CellsFailedError(
            f"the truth of {study.name} diverged: it is not frozen, and nothing that needs it can run",
            "choose a smaller learning rate for the truth and submit the grid under another name",
        )
    create_bytes(task_dir.weights, truth_bytes(cell, weights["best"]))
    echo(f"frozen: {task_dir.weights}")


def _move_damaged_weights_aside(path: Path) -> None:
    try:
        weights_digest(path)
    except CorruptFileError as error:
        move_aside(path, str(error), "freezing again")


def _dataset(study_dir: StudyDir, study: Study, task: Task, settings: Settings) -> None:
    """Draw the data set, or the part of it that a grown study lacks."""
    if not _is_done(task, study_dir, study, settings):
        paths = task.task_dir.weights, task.task_dir.dataset
        draw_dataset(*paths, study.dataset, settings.interruptible)
