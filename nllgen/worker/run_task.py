"""Run one task of a study: the truth, its data set, or a cell."""

from __future__ import annotations

import torch

from nllgen.assets import inception_weights, require_images
from nllgen.data.truth import Truth, check_fits, load_truth, truth_bytes
from nllgen.errors import AssetError, CellsFailedError, ConfigError, CorruptFileError, MachineError
from nllgen.metrics.extractors import load_extractor
from nllgen.metrics.features import Extractor
from nllgen.storage.atomic import create_bytes
from nllgen.storage.dataset import read_dataset
from nllgen.storage.event_file import run_name
from nllgen.storage.result import read_attrs
from nllgen.storage.states import OTHER_FROZEN, Expected, ResultState, has_other_weights, inspect
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.storage.tasks import Task, TaskKind, tasks_of
from nllgen.storage.visibility import is_there
from nllgen.study.config import Cell, Study
from nllgen.study.lenets import domain_of
from nllgen.worker.dataset import draw_dataset
from nllgen.worker.factory import CellData, make_evaluator, own_data, published_data, synthetic_data, synthetic_rows
from nllgen.worker.settings import Settings, echo, move_aside
from nllgen.worker.train_cell import CellRun, load_model, run_cell


def run_task(study_dir: StudyDir, settings: Settings) -> None:
    """Run the ordered task to its end; do nothing where its files are complete.

    Args:
        study_dir: a frozen study.
        settings: settings of the run, with the order.

    Raises:
        ConfigError: the study has no such task, or a task that it needs is not done.
        StoppedError: a stop was asked for.
    """
    exact_arithmetic()
    study_dir.guard()
    study = study_dir.read_study()
    task = _task_of(study_dir, study, settings.order.task)
    match task.kind:
        case TaskKind.TRUTH:
            _run_truth(study_dir, study, task, settings)
        case TaskKind.DATASET:
            _run_dataset(study_dir, study, task, settings)
        case TaskKind.CELL:
            _run_cell(study_dir, study, task, settings)


def exact_arithmetic() -> None:
    """Make torch compute in true fp32, and give the same bits for the same input, on CUDA too."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def _task_of(study_dir: StudyDir, study: Study, name: str) -> Task:
    for task in tasks_of(study, study_dir):
        if task.name == name:
            return task
    if name == TaskKind.TRUTH and study.pretrained:
        raise ConfigError(f"the truth of {study.name} is {study.pretrained}: it is not trained", "submit the study")
    if name in (TaskKind.TRUTH, TaskKind.DATASET):
        raise ConfigError(f"study {study.name} has no {name}", "add a truth section, and a cell on synthetic data")
    raise ConfigError(f"study {study.name} has no cell {name}", "nllgen status lists its cells")


def _run_truth(study_dir: StudyDir, study: Study, task: Task, settings: Settings) -> None:
    """Train the truth as a cell of its own, then freeze its best weights."""
    task_dir = task.task_dir
    _move_wrong_weights_aside(task_dir)
    if _is_done(study_dir, study, task, settings) and is_there(task_dir.weights):
        return
    if not (is_there(task_dir.result) and _has_weights(task)):
        run_cell(prepare_run(study_dir, study, task.cell, task_dir, None, settings))
    if is_there(task_dir.weights):
        return
    weights = load_model(task_dir, task.cell)
    if read_attrs(task_dir.result)["outcome"] == "diverged":
        raise CellsFailedError(
            f"the truth of {study.name} diverged: it is not frozen, and nothing that needs it can run",
            "choose a smaller learning rate for the truth and submit the grid under another name",
        )
    create_bytes(task_dir.weights, truth_bytes(task.cell, weights["best"]))
    echo(f"frozen: {task_dir.weights}")


def _move_wrong_weights_aside(truth_dir: TaskDir) -> None:
    path = truth_dir.weights
    try:
        if has_other_weights(truth_dir):
            move_aside(path, f"{path}: {OTHER_FROZEN}", "freezing again")
    except CorruptFileError as error:
        move_aside(path, str(error), "freezing again")


def _run_dataset(study_dir: StudyDir, study: Study, task: Task, settings: Settings) -> None:
    """Draw the data set, or the part of it that an extended study lacks."""
    if not _is_done(study_dir, study, task, settings):
        draw_dataset(task.task_dir.weights, task.task_dir.dataset, study.dataset, settings.stop, settings.display)


def _run_cell(study_dir: StudyDir, study: Study, task: Task, settings: Settings) -> None:
    truth = truth_of(study_dir, study, task.cell, settings)
    if not _is_done(study_dir, study, task, settings):
        run_cell(prepare_run(study_dir, study, task.cell, task.task_dir, truth, settings))


def truth_of(study_dir: StudyDir, study: Study, cell: Cell, settings: Settings) -> Truth | None:
    """Load the truth that a cell needs; return None where it needs none.

    Raises:
        AssetError, CorruptFileError: the truth is missing or damaged.
    """
    if not cell.data.is_synthetic and cell.start != "truth":
        return None
    if study.truth is None:
        raise ConfigError(f"study {study.name} has no truth", "add a truth section to its grid")
    truth = load_truth(study_dir.truth_weights(study.truth.id), settings.device, study.truth)
    check_fits(truth, cell)
    if Expected.of(study, study_dir).truth_sha256 not in ("", truth.sha256):
        raise CorruptFileError(f"{study_dir.truth(study.truth.id).path}: {OTHER_FROZEN}", "submit the study again")
    return truth


def prepare_run(
    study_dir: StudyDir, study: Study, cell: Cell, task_dir: TaskDir, truth: Truth | None, settings: Settings
) -> CellRun:
    """Load what a cell, or the truth, is trained and measured with; ``truth`` is the one of :func:`truth_of`.

    Raises:
        AssetError: the images or the data set are missing.
        ConfigError, CorruptFileError: the data set does not fit or is damaged.
    """
    data, metrics = _load_data(study_dir, study, cell, truth, settings), study.metrics
    evaluator = make_evaluator(cell, data, truth, metrics, _load_extractors(study, cell, settings), settings.device)
    role = "truth" if cell is study.truth else "cell"
    events = study_dir.events / run_name(cell, role) if study.resources.writes_events else None
    return CellRun(cell, study.name, task_dir, data, truth, evaluator, metrics, settings, events)


def _load_data(study_dir: StudyDir, study: Study, cell: Cell, truth: Truth | None, settings: Settings) -> CellData:
    if cell.data.sha256 is not None:
        return own_data(cell, study.metrics, study_dir.images(cell.data.sha256), settings.device)
    if not cell.data.is_synthetic:
        directory = require_images(settings.options.assets, cell.data.source)
        return published_data(cell, study.metrics, directory, settings.device)
    assert truth is not None
    dataset = read_dataset(study_dir.dataset(truth.id), train_rows=synthetic_rows(cell))
    return synthetic_data(cell, study.metrics, dataset, truth, settings.device)


def _load_extractors(study: Study, cell: Cell, settings: Settings) -> tuple[Extractor, ...]:
    """Load the extractors of the study's metrics that this machine has; the columns of the others stay empty."""
    weights, domain = inception_weights(settings.options.assets), domain_of(cell.data, study.truth)
    extractors = (
        load_extractor(name, settings.device, domain=domain, inception_weights=weights, echo=echo)
        for name in study.metrics.frechet
    )
    return tuple(extractor for extractor in extractors if extractor is not None)


def _is_done(study_dir: StudyDir, study: Study, task: Task, settings: Settings) -> bool:
    """Return whether a result that counts exists; move one that does not count aside, and never overwrite it.

    Raises:
        MachineError: it cannot be read now.
    """
    files = inspect(task, Expected.of(study, study_dir, settings.options.required_container))
    path = task.published
    if files.state.is_done:
        echo(f"already there: {path}")
        return True
    if files.state is ResultState.LOCKED:
        raise MachineError(files.detail, "nothing was changed; it is tried again")
    if files.state in (ResultState.DAMAGED, ResultState.STALE):
        move_aside(path, files.detail)
    return False


def _has_weights(task: Task) -> bool:
    """Return whether the weights that a result was measured on exist; without them the run is repeated."""
    try:
        load_model(task.task_dir, task.cell)
    except (CorruptFileError, AssetError) as error:
        move_aside(task.task_dir.result, str(error))
        return False
    return True
