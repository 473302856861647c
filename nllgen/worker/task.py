"""The tasks of a study: the truth, its data set, the cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nllgen.assets import inception_weights, require_mnist
from nllgen.data.synthetic import CHUNK, draw_split, entropy
from nllgen.data.truth import Truth, check_fits, load_truth, truth_bytes
from nllgen.errors import AssetError, CellsFailedError, ConfigError, CorruptFileError, NllgenError
from nllgen.flow.numerics import numerical_errors
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.features import Extractor, load_extractor
from nllgen.store.atomic import create_bytes
from nllgen.store.dataset import Dataset, read_dataset, write_dataset
from nllgen.store.layout import SPLITS
from nllgen.store.result import read_attrs, read_result
from nllgen.store.study_dir import StudyDir, TaskDir
from nllgen.study.config import Cell, DatasetConfig, Study
from nllgen.train.streams import generator
from nllgen.worker.prepare import CellData, make_evaluator, mnist_data, synthetic_data, synthetic_rows
from nllgen.worker.progress import TaskProgress
from nllgen.worker.run import Settings, load_model, run_cell, say

_CPU = torch.device("cpu")
_CHECKED = 64  # images of a data set whose numerical errors are measured


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
        load_extractor(name, settings.device, inception_weights=weights, say=say) for name in study.metrics.frechet
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
    if _done(folder.result, truth):
        say(f"already there: {folder.result}")
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


def _done(path: Path, truth: Truth | None = None) -> bool:
    """Whether a valid result is there; a damaged one is moved out of the way, never overwritten."""
    if not path.exists():
        return False
    try:
        made_with = read_result(path).attrs["truth_sha256"]
        if truth is not None and made_with != truth.sha256:
            raise CorruptFileError(f"{path}: made with another truth than truth.pt")
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


def move_aside(path: Path, error: NllgenError, then: str = "running again") -> None:
    """Keep a damaged file under another name, and say what is done about it."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    say(f"{error}\nmoved to {aside.name}, {then}")


def _truth(study_dir: StudyDir, study: Study, settings: Settings) -> None:
    """Train the truth as a cell of its own, then freeze its best weights."""
    cell = _require_truth(study)
    folder, frozen = study_dir.truth(cell.id), study_dir.truth_weights(cell.id)
    if not (_done(folder.result) and _has_weights(folder, cell)):
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
    say(f"frozen: {frozen}")


def _dataset(study_dir: StudyDir, study: Study, settings: Settings) -> None:
    """Draw the data set, or the part of it that a grown study lacks. On the CPU: no GPU decides its bits."""
    truth = load_truth(study_dir.truth_weights(_require_truth(study).id), _CPU)
    path = study_dir.dataset(truth.id)
    old = _old_dataset(path)
    if old is not None and old.truth_sha256 != truth.sha256:
        raise ConfigError(f"{path} was drawn from another truth than truth.pt", "remove it and submit the study again")
    wanted = _sizes(study.dataset)
    if _covers(old, wanted):
        say(f"already there: {path}")
        return
    with settings.interruptible():
        drawn = _draw(truth, study.dataset, wanted, old)
    if _covers(_old_dataset(path), wanted):  # a larger study's worker was quicker
        say(f"already there: {path}")
        return
    write_dataset(path, drawn)
    say(f"published: {path}")


def _covers(dataset: Dataset | None, wanted: dict[str, int]) -> bool:
    return dataset is not None and all(dataset.sizes()[split] >= wanted[split] for split in SPLITS)


def _old_dataset(path: Path) -> Dataset | None:
    """The data set that is there; a damaged one is moved out of the way."""
    if not path.exists():
        return None
    try:
        return read_dataset(path)
    except CorruptFileError as error:
        move_aside(path, error)
        return None


def _sizes(config: DatasetConfig) -> dict[str, int]:
    return {"train": config.num_train, "val": config.num_val, "test": config.num_test}


def _draw(truth: Truth, config: DatasetConfig, wanted: dict[str, int], old: Dataset | None) -> Dataset:
    def chunk_generator(split: str, chunk: int) -> torch.Generator:
        return generator(_CPU, truth.cell.seed, "dataset", split, chunk)

    x, log_prob, worst = {}, {}, old.numbers["forward_inverse_nats"] if old else 0.0
    total = sum(wanted.values()) + (0 if old else config.num_entropy)
    with TaskProgress("drawing synthetic MNIST", total) as progress:
        for split in SPLITS:
            # whole chunks of an older set are kept; they begin the larger one
            kept = min(len(old.x[split]), wanted[split]) // CHUNK * CHUNK if old else 0
            progress.more(kept)
            x[split], log_prob[split] = np.empty((0, *truth.cell.data.shape), np.float32), np.empty(0)
            if kept < wanted[split]:
                images, densities, error = draw_split(truth, split, kept, wanted[split], chunk_generator, progress.more)
                worst = max(worst, error)
                x[split], log_prob[split] = images.numpy(), densities.numpy()
            if old:
                x[split] = np.concatenate((old.x[split][:kept], x[split]))
                log_prob[split] = np.concatenate((old.log_prob[split][:kept], log_prob[split]))
        if old:
            return replace(old, x=x, log_prob=log_prob, numbers=old.numbers | {"forward_inverse_nats": worst})
        value, se = entropy(truth, config.num_entropy, chunk_generator, progress.more)
    fp_error, inverse_error = numerical_errors(truth.flow, torch.from_numpy(x["val"][:_CHECKED]))
    numbers = {
        "entropy_nats": value,
        "entropy_se_nats": se,
        "forward_inverse_nats": worst,
        "fp32_fp64_nats": fp_error,
        "inverse_error": inverse_error,
    }
    return Dataset(truth.id, truth.sha256, x, log_prob, numbers)
