"""The tasks of a study: the truth, its data set, the cells."""

from __future__ import annotations

from pathlib import Path

import torch

from nllgen.assets import inception_weights, require_mnist
from nllgen.data.truth import Truth, check_fits, load_truth, truth_bytes
from nllgen.errors import AssetError, CellsFailedError, ConfigError, CorruptFileError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.extractors import load_extractor
from nllgen.metrics.features import Extractor
from nllgen.storage.atomic import create_bytes
from nllgen.storage.dataset import read_dataset
from nllgen.storage.result import read_attrs, read_result
from nllgen.storage.study_dir import StudyDir, TaskDir
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
    if task == "truth":
        _truth(study_dir, study, settings)
    elif task == "dataset":
        _dataset(study_dir, study, settings)
    else:
        _cell(study_dir, study, _find(study, task), settings)


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


def _find(study: Study, cell_id: str) -> Cell:
    for cell in study.cells:
        if cell.id == cell_id:
            return cell
    raise ConfigError(f"study {study.name} has no cell {cell_id}", "nllgen status lists its cells")


def _require_truth(study: Study) -> Cell:
    if study.truth is None:
        raise ConfigError(f"study {study.name} has no truth", "add a truth section to its grid")
    return study.truth


def _cell(study_dir: StudyDir, study: Study, cell: Cell, settings: Settings) -> None:
    folder = study_dir.cell(cell.id)
    truth = truth_of(study_dir, study, cell, settings)
    if _done(folder.result, truth, settings):
        echo(f"already there: {folder.result}")
        return
    data = _data(study_dir, study, cell, truth, settings)
    evaluator = make_evaluator(cell, data, truth, study.metrics, _extractors(study, settings), settings.device)
    run_cell(cell, study.name, folder, data, truth, evaluator, study.metrics, settings)


def truth_of(study_dir: StudyDir, study: Study, cell: Cell, settings: Settings) -> Truth | None:
    """The truth that a cell needs, None where it needs none.

    Raises:
        AssetError, CorruptFileError: it is missing or damaged.
    """
    if cell.data.source != "synthetic" and cell.start != "truth":
        return None
    truth = load_truth(study_dir.truth_weights(_require_truth(study).id), settings.device)
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


def _done(path: Path, truth: Truth | None, settings: Settings) -> bool:
    """Whether a valid result is there; one that does not count is moved out of the way, never overwritten."""
    if not path.exists():
        return False
    try:
        attrs = read_result(path).attrs
        if truth is not None and attrs["truth_sha256"] != truth.sha256:
            raise CorruptFileError(f"{path}: made with another truth than truth.pt")
        if settings.strict_container and attrs["image_sha256"] != settings.container_sha256:
            raise CorruptFileError(f"{path}: made in another container")
    except CorruptFileError as error:
        move_aside(path, error)
        return False
    return True


def _has_weights(folder: TaskDir, cell: Cell) -> bool:
    """Whether the weights that a result was measured on are there; without them the run is repeated."""
    try:
        load_model(folder, cell)
    except (CorruptFileError, AssetError) as error:
        move_aside(folder.result, error)
        return False
    return True


def _truth(study_dir: StudyDir, study: Study, settings: Settings) -> None:
    """Train the truth as a cell of its own, then freeze its best weights; a pretrained one is never trained."""
    cell = _require_truth(study)
    folder, frozen = study_dir.truth(cell.id), study_dir.truth_weights(cell.id)
    if study.pretrained:
        raise ConfigError(f"the truth of {study.name} is {study.pretrained}: it is not trained", "submit the study")
    if not (_done(folder.result, None, settings) and _has_weights(folder, cell)):
        data = _data(study_dir, study, cell, None, settings)
        evaluator = make_evaluator(cell, data, None, study.metrics, _extractors(study, settings), settings.device)
        run_cell(cell, study.name, folder, data, None, evaluator, study.metrics, settings)
    if frozen.exists():
        return
    weights = load_model(folder, cell)
    if read_attrs(folder.result)["outcome"] == "diverged":
        raise CellsFailedError(
            f"the truth of {study.name} diverged: it is not frozen, and nothing that needs it can run",
            "choose a smaller learning rate for the truth and submit the grid under another name",
        )
    create_bytes(frozen, truth_bytes(cell, weights["best"]))
    echo(f"frozen: {frozen}")


def _dataset(study_dir: StudyDir, study: Study, settings: Settings) -> None:
    """Draw the data set, or the part of it that a grown study lacks."""
    truth_id = _require_truth(study).id
    draw_dataset(study_dir.truth_weights(truth_id), study_dir.dataset(truth_id), study.dataset, settings.interruptible)
