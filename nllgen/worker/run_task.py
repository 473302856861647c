"""Run one task of a study: the truth, its data set, or a cell."""

from __future__ import annotations

from pathlib import Path

import torch

from nllgen.assets import inception_weights, require_mnist
from nllgen.data.truth import Truth, check_fits, load_truth, truth_bytes
from nllgen.errors import AssetError, CellsFailedError, ConfigError, CorruptFileError
from nllgen.metrics.features import Extractor, load_extractor
from nllgen.storage.atomic import create_bytes
from nllgen.storage.dataset import read_dataset
from nllgen.storage.result import read_attrs, read_result
from nllgen.storage.study_dir import StudyDir, TaskDir
from nllgen.study.config import Cell, Study
from nllgen.worker.dataset import draw_dataset
from nllgen.worker.factory import CellData, make_evaluator, mnist_data, synthetic_data, synthetic_rows
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
    study, task = study_dir.read_study(), settings.order.task
    if task == "truth":
        _run_truth(study_dir, study, settings)
    elif task == "dataset":
        _run_dataset(study_dir, study, settings)
    else:
        _run_cell(study_dir, study, _cell_of(study, task), settings)


def exact_arithmetic() -> None:
    """Make torch compute in true fp32, and give the same bits for the same input, on CUDA too."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def _run_truth(study_dir: StudyDir, study: Study, settings: Settings) -> None:
    """Train the truth as a cell of its own, then freeze its best weights; a pretrained truth is never trained."""
    cell = _require_truth(study)
    task_dir, frozen = study_dir.truth(cell.id), study_dir.truth_weights(cell.id)
    if study.pretrained:
        raise ConfigError(f"the truth of {study.name} is {study.pretrained}: it is not trained", "submit the study")
    if not (_done(task_dir.result, None, settings) and _has_weights(task_dir, cell)):
        run_cell(prepare_run(study_dir, study, cell, task_dir, None, settings))
    if frozen.exists():
        return
    weights = load_model(task_dir, cell)
    if read_attrs(task_dir.result)["outcome"] == "diverged":
        raise CellsFailedError(
            f"the truth of {study.name} diverged: it is not frozen, and nothing that needs it can run",
            "choose a smaller learning rate for the truth and submit the grid under another name",
        )
    create_bytes(frozen, truth_bytes(cell, weights["best"]))
    echo(f"frozen: {frozen}")


def _run_dataset(study_dir: StudyDir, study: Study, settings: Settings) -> None:
    """Draw the data set, or the part of it that an extended study lacks."""
    truth_id = _require_truth(study).id
    weights, path = study_dir.truth_weights(truth_id), study_dir.dataset(truth_id)
    draw_dataset(weights, path, study.dataset, settings.stop, settings.display)


def _run_cell(study_dir: StudyDir, study: Study, cell: Cell, settings: Settings) -> None:
    task_dir = study_dir.cell(cell.id)
    truth = truth_of(study_dir, study, cell, settings)
    if _done(task_dir.result, truth, settings):
        echo(f"already there: {task_dir.result}")
        return
    run_cell(prepare_run(study_dir, study, cell, task_dir, truth, settings))


def _cell_of(study: Study, cell_id: str) -> Cell:
    for cell in study.cells:
        if cell.id == cell_id:
            return cell
    raise ConfigError(f"study {study.name} has no cell {cell_id}", "nllgen status lists its cells")


def _require_truth(study: Study) -> Cell:
    if study.truth is None:
        raise ConfigError(f"study {study.name} has no truth", "add a truth section to its grid")
    return study.truth


def truth_of(study_dir: StudyDir, study: Study, cell: Cell, settings: Settings) -> Truth | None:
    """Load the truth that a cell needs; return None where it needs none.

    Raises:
        AssetError, CorruptFileError: the truth is missing or damaged.
    """
    if cell.data.source != "synthetic" and cell.start != "truth":
        return None
    truth = load_truth(study_dir.truth_weights(_require_truth(study).id), settings.device)
    check_fits(truth, cell)
    return truth


def prepare_run(
    study_dir: StudyDir, study: Study, cell: Cell, task_dir: TaskDir, truth: Truth | None, settings: Settings
) -> CellRun:
    """Load what a cell, or the truth, is trained and measured with; ``truth`` is the one of :func:`truth_of`.

    Raises:
        AssetError: MNIST or the data set is missing.
        ConfigError, CorruptFileError: the data set does not fit or is damaged.
    """
    data, metrics = _load_data(study_dir, study, cell, truth, settings), study.metrics
    evaluator = make_evaluator(cell, data, truth, metrics, _load_extractors(study, settings), settings.device)
    return CellRun(cell, study.name, task_dir, data, truth, evaluator, metrics, settings)


def _load_data(study_dir: StudyDir, study: Study, cell: Cell, truth: Truth | None, settings: Settings) -> CellData:
    if cell.data.source != "synthetic":
        return mnist_data(cell, study.metrics, require_mnist(settings.options.assets), settings.device)
    assert truth is not None
    dataset = read_dataset(study_dir.dataset(truth.id), train_rows=synthetic_rows(cell))
    return synthetic_data(cell, study.metrics, dataset, truth, settings.device)


def _load_extractors(study: Study, settings: Settings) -> tuple[Extractor, ...]:
    """Load the extractors of the study's metrics that this machine has; the columns of the others stay empty."""
    weights = inception_weights(settings.options.assets)
    extractors = (
        load_extractor(name, settings.device, inception_weights=weights, echo=echo) for name in study.metrics.frechet
    )
    return tuple(extractor for extractor in extractors if extractor is not None)


def _done(path: Path, truth: Truth | None, settings: Settings) -> bool:
    """Return whether a valid result exists; move one that does not count aside, and never overwrite it."""
    if not path.exists():
        return False
    try:
        attrs = read_result(path).attrs
        if truth is not None and attrs["truth_sha256"] != truth.sha256:
            raise CorruptFileError(f"{path}: made with another truth than truth.pt")
        if settings.options.required_container not in (None, attrs["image_sha256"]):
            raise CorruptFileError(f"{path}: made in another container")
    except CorruptFileError as error:
        move_aside(path, error)
        return False
    return True


def _has_weights(task_dir: TaskDir, cell: Cell) -> bool:
    """Return whether the weights that a result was measured on exist; without them the run is repeated."""
    try:
        load_model(task_dir, cell)
    except (CorruptFileError, AssetError) as error:
        move_aside(task_dir.result, error)
        return False
    return True
