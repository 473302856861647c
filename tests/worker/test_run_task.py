"""Tasks of a study, run in this process on real MNIST: the truth, its data set, cells."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch

from nllgen.data.truth import load_tensors, to_bytes
from nllgen.errors import IncompleteError, MachineError, NllgenError
from nllgen.launch.freeze import freeze
from nllgen.storage.check_results import check_results
from nllgen.storage.collect import collect
from nllgen.storage.dataset import read_dataset, write_dataset
from nllgen.storage.result import model_of, read_result, write_result
from nllgen.storage.states import Expected, ResultState, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import tasks_of
from nllgen.study.config import Cell, Study
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.setup import device_of, enter

pytestmark = pytest.mark.usefixtures("quick_critics")


def work(study_dir: StudyDir, task: str, assets: Path) -> int:
    """Run a task to its end; return the exit code that a worker would answer."""
    before = torch.get_num_threads()
    try:
        enter(study_dir, TaskOrder(task, f"a{random.random()}"), RunOptions(assets, "cpu"))
    except NllgenError as error:
        return error.exit_code
    finally:
        torch.set_num_threads(before)
    return 0


def test_the_data_set_has_the_contracts_layout(done: StudyDir, truth_cell: Cell) -> None:
    path = done.dataset(truth_cell.id)
    with h5py.File(path) as file:
        for split in ("train", "val", "test"):
            assert file[f"{split}/x"].shape == (200, 1, 14, 14)
            assert file[f"{split}/x"].dtype == "float32"
            assert file[f"{split}/log_prob"].dtype == "float64"
            assert file[f"{split}/log_prob"].attrs["unit"] == "nats"
        assert {"schema", "truth_id", "truth_sha256", "entropy_nats", "entropy_se_nats"} <= set(file.attrs)


def test_entropy_agrees_with_the_validation_nll_of_the_truth(done: StudyDir, truth_cell: Cell) -> None:
    dataset = read_dataset(done.dataset(truth_cell.id))
    nll = -dataset.log_prob["val"]
    spread = (nll.var() / len(nll) + dataset.numbers["entropy_se_nats"] ** 2) ** 0.5
    assert abs(nll.mean() - dataset.numbers["entropy_nats"]) < 4 * spread


def test_the_control_at_the_truth_measures_zero_to_the_stated_error(done: StudyDir, study: Study) -> None:
    control = next(cell for cell in study.cells if cell.degree == "W*")
    final = read_result(done.cell(control.id).result).final
    assert abs(final["kl_nats"][0]) < 3e-5
    assert abs(final["reverse_kl_nats"][0]) < 3e-5


def test_a_finished_task_is_not_run_again(prepared: StudyDir, truth_cell: Cell, mnist_assets: Path) -> None:
    before = prepared.truth(truth_cell.id).result.stat().st_mtime_ns
    assert work(prepared, "truth", mnist_assets) == 0
    assert prepared.truth(truth_cell.id).result.stat().st_mtime_ns == before


def test_a_grown_pool_begins_with_the_old_one(
    prepared: StudyDir, study: Study, mnist_assets: Path, truth_cell: Cell
) -> None:
    path = prepared.dataset(truth_cell.id)
    before = read_dataset(path)
    larger = study.model_copy(update={"dataset": study.dataset.model_copy(update={"num_train": 900})})
    freeze(larger, prepared.path.parent)
    assert work(prepared, "dataset", mnist_assets) == 0
    after = read_dataset(path)
    assert after.sizes()["train"] == 900
    assert (after.x["train"][:200] == before.x["train"]).all()
    assert (after.log_prob["train"][:200] == before.log_prob["train"]).all()
    assert after.numbers["entropy_nats"] == before.numbers["entropy_nats"]


def test_a_diverged_truth_is_not_frozen(study: Study, mnist_assets: Path, tmp_path: Path, truth_cell: Cell) -> None:
    wild = truth_cell.paradigm.model_copy(update={"lr": 10.0, "schedule": "constant"})
    truth = truth_cell.model_copy(update={"paradigm": wild})
    cells = tuple(cell for cell in study.cells if cell.start == "random")
    data = {cell.id: cell.data.model_copy(update={"truth_id": truth.id}) for cell in cells}
    cells = tuple(cell.model_copy(update={"data": data[cell.id]}) for cell in cells)
    study_dir, frozen, _ = freeze(study.model_copy(update={"truth": truth, "cells": cells}), tmp_path)
    assert frozen.truth is not None
    assert work(study_dir, "truth", mnist_assets) == 1
    assert read_result(study_dir.truth(frozen.truth.id).result).attrs["outcome"] == "diverged"
    assert not study_dir.truth_weights(frozen.truth.id).exists()


def test_a_result_of_another_truth_is_made_again(
    done: StudyDir, prepared: StudyDir, study: Study, mnist_assets: Path, tmp_path: Path, truth_cell: Cell
) -> None:
    """Its truth was trained anew elsewhere: the same cell, other weights behind its data."""
    control = next(cell for cell in study.cells if cell.degree == "W*")
    task = prepared.cell(control.id)
    result = read_result(done.cell(control.id).result)
    result.attrs["truth_sha256"] = "0" * 64
    del result.attrs["science_sha256"], result.attrs["schema"]
    task.path.mkdir(parents=True)
    assert write_result(task.result, result, "foreign", lambda: None)
    tasks = {task.name: task for task in tasks_of(study, prepared)}
    assert inspect(tasks[control.id], Expected.of(study, prepared)).state is ResultState.STALE
    with pytest.raises(IncompleteError, match="another truth"):
        collect(prepared, tmp_path / "study.h5", reference={})
    assert work(prepared, control.id, mnist_assets) == 0
    assert read_result(task.result).attrs["truth_sha256"] == read_dataset(prepared.dataset(truth_cell.id)).truth_sha256


def test_a_data_set_of_other_weights_is_moved_aside_and_drawn_again(
    prepared: StudyDir, study: Study, truth_cell: Cell, mnist_assets: Path
) -> None:
    """Once, nothing but removing the file by hand helped."""
    path = prepared.dataset(truth_cell.id)
    before = read_dataset(path)
    write_dataset(path, replace(before, truth_sha256="0" * 64))
    (task,) = (task for task in tasks_of(study, prepared) if task.name == "dataset")
    assert inspect(task, Expected.of(study, prepared)).state is ResultState.STALE
    assert work(prepared, "dataset", mnist_assets) == 0
    assert read_dataset(path).truth_sha256 == before.truth_sha256
    assert path.with_name("dataset.h5.damaged").exists()


def test_a_truth_whose_weights_were_damaged_is_frozen_again_to_the_same_bits(
    prepared: StudyDir, truth_cell: Cell, mnist_assets: Path
) -> None:
    path = prepared.truth_weights(truth_cell.id)
    before = path.read_bytes()
    path.write_bytes(before[:-10])
    assert work(prepared, "truth", mnist_assets) == 0
    assert path.read_bytes() == before


def test_a_truth_pt_of_other_weights_is_wrong_and_not_all_that_the_truth_made(
    prepared: StudyDir, study: Study, truth_cell: Cell, mnist_assets: Path
) -> None:
    """Once, ``check --repair`` moved the data set and every result aside instead."""
    path = prepared.truth_weights(truth_cell.id)
    before = path.read_bytes()
    content = load_tensors(path)
    next(iter(content["weights"].values())).add_(0.1)
    path.write_bytes(to_bytes(content))
    (wrong,) = check_results(prepared, study)
    assert (wrong.counted, wrong.reason.startswith("holds other weights")) == (path, True)
    tasks = {task.name: task for task in tasks_of(study, prepared)}
    expected = Expected.of(study, prepared)
    assert inspect(tasks["dataset"], expected).state is ResultState.COMPLETE
    assert inspect(tasks["truth"], expected).state is ResultState.PARTIAL
    assert work(prepared, study.cells[-1].id, mnist_assets) == 2, "a cell would be measured with the wrong truth"
    assert work(prepared, "truth", mnist_assets) == 0
    assert path.read_bytes() == before
    assert path.with_name("truth.pt.damaged").exists()


def test_a_damaged_truth_pt_is_wrong_and_not_the_run_that_freezes_it_again(
    prepared: StudyDir, study: Study, truth_cell: Cell
) -> None:
    path = prepared.truth_weights(truth_cell.id)
    path.write_bytes(path.read_bytes()[:-10])
    assert [wrong.counted for wrong in check_results(prepared, study)] == [path]


def test_a_damaged_data_set_is_moved_aside_and_drawn_again(
    prepared: StudyDir, truth_cell: Cell, mnist_assets: Path
) -> None:
    path = prepared.dataset(truth_cell.id)
    before = read_dataset(path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert work(prepared, "dataset", mnist_assets) == 0
    assert (read_dataset(path).x["val"] == before.x["val"]).all()
    assert path.with_name("dataset.h5.damaged").exists()


def test_a_truth_whose_weights_were_lost_is_trained_again_to_the_same_bits(
    prepared: StudyDir, truth_cell: Cell, mnist_assets: Path
) -> None:
    folder, frozen = prepared.truth(truth_cell.id), prepared.truth_weights(truth_cell.id)
    before = frozen.read_bytes()
    model = model_of(folder)
    content = load_tensors(model)
    next(iter(content["weights"]["best"].values())).add_(1)
    model.write_bytes(to_bytes(content))
    frozen.unlink()
    assert work(prepared, "truth", mnist_assets) == 0
    assert frozen.read_bytes() == before


def test_a_finished_cell_is_reported(
    mixed_study: StudyDir, mnist_assets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = mixed_study.read_study().cells[0]
    enter(mixed_study, TaskOrder(cell.id, "again"), RunOptions(mnist_assets, "cpu"))
    out = capsys.readouterr().out
    assert "already there" in out
    assert "step " not in out, "a finished cell was trained again"


def test_a_device_that_is_not_available_is_named() -> None:
    with pytest.raises(MachineError, match="cuda:99 is not available"):
        device_of("cuda:99")


def test_weights_that_cannot_be_read_now_leave_the_data_set_to_name_the_truth(
    prepared: StudyDir, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else any result would count, also one of another truth."""
    known = Expected.of(study, prepared).truth_sha256

    def unreadable(_: object) -> str:
        raise MachineError("truth.pt cannot be read now", "ask again")

    for source in ("trained_sha256", "_weights_digest"):
        monkeypatch.setattr(f"nllgen.storage.states.{source}", unreadable)
    assert Expected.of(study, prepared).truth_sha256 == known != ""
