"""Which files count, by state; and that every command asks the same function."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nllgen.errors import CorruptFileError, IncompleteError, MachineError, SchemaError
from nllgen.launch.status import status
from nllgen.planning.plan import Plan, inspect_study, make_plan
from nllgen.planning.reasons import ContainerRule
from nllgen.storage import states
from nllgen.storage.collect import collect
from nllgen.storage.result import Result
from nllgen.storage.states import Expected, ResultState, TaskFiles, inspect
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.storage.weights import weights_digest
from nllgen.study.config import Study
from tests.storage.conftest import OTHER_WEIGHTS, WEIGHTS, draw, finish_truth, write

MakeResult = Callable[..., Result]


@pytest.fixture
def study(make_study: Callable[..., Study], make_cell: Callable[..., Any]) -> Study:
    """A truth, two cells on its data, and a cell on MNIST that starts at the truth."""
    study = make_study(2)
    return study.model_copy(update={"cells": (*study.cells, make_cell(9, degree="W*", start="truth"))})


@pytest.fixture
def study_dir(tmp_path: Path, study: Study) -> StudyDir:
    study_dir = StudyDir(tmp_path / "small")
    study_dir.freeze(study)
    return study_dir


def finish(study_dir: StudyDir, study: Study, make_result: MakeResult) -> None:
    """Leave what a finished study leaves: the truth's weights, its data set, and a result of each cell."""
    truth_sha256 = finish_truth(study_dir, study, make_result)
    for cell in study.cells:
        write(study_dir.cell(cell.id), make_result(cell, truth_sha256=truth_sha256))


def retrain(study_dir: StudyDir, study: Study, *, with_dataset: bool) -> None:
    """Put other weights where the truth's were, and draw the data set anew or leave the old one."""
    assert study.truth is not None
    shutil.copyfile(OTHER_WEIGHTS, study_dir.truth_weights(study.truth.id))
    if with_dataset:
        draw(study_dir, study, weights_digest(OTHER_WEIGHTS))


def files_of(study_dir: StudyDir, study: Study, container_sha256: str | None = None) -> dict[str, TaskFiles]:
    expected = Expected.of(study, study_dir, container_sha256)
    return {task.name: inspect(task, expected) for task in tasks_of(study, study_dir)}


def states_of(study_dir: StudyDir, study: Study, container_sha256: str | None = None) -> list[ResultState]:
    return [files.state for files in files_of(study_dir, study, container_sha256).values()]


def plan_study(study: Study, study_dir: StudyDir, rule: ContainerRule | None = None) -> Plan:
    return make_plan(study, inspect_study(study, study_dir, rule), container=rule)


def task_of(study_dir: StudyDir, study: Study, index: int = 0) -> Task:
    return tasks_of(study, study_dir)[index]


# --- a truth that changed


@pytest.mark.parametrize("with_dataset", [True, False], ids=["data set drawn anew", "data set of the old truth"])
def test_all_that_was_made_with_other_weights_is_stale_for_every_command(
    study_dir: StudyDir, study: Study, make_result: MakeResult, tmp_path: Path, with_dataset: bool
) -> None:
    """Once, plan, status and submit said done while collect refused, and nothing helped."""
    finish(study_dir, study, make_result)
    retrain(study_dir, study, with_dataset=with_dataset)
    dataset = ResultState.COMPLETE if with_dataset else ResultState.STALE
    stale = ["dataset"] * (not with_dataset) + [cell.id for cell in study.cells]
    assert states_of(study_dir, study) == [ResultState.COMPLETE, dataset, *[ResultState.STALE] * 3]
    planned = {row.id for row in plan_study(study, study_dir).rows if row.action == "run" and row.kind == "cell"}
    assert planned == {cell.id for cell in study.cells}
    reports = {report.name: report for report in status(study_dir, study)}
    assert [name for name, report in reports.items() if report.status == "stale"] == stale
    assert all("another truth" in reports[name].detail for name in stale)
    with pytest.raises(IncompleteError, match="another truth"):
        collect(study_dir, tmp_path / "study.h5", reference={})


def test_a_study_without_a_data_set_knows_its_truth_by_the_weights(
    study_dir: StudyDir, study: Study, make_result: MakeResult
) -> None:
    study = study.model_copy(update={"cells": study.cells[2:]})
    finish(study_dir, study, make_result)
    assert study.truth is not None
    study_dir.dataset(study.truth.id).unlink()
    assert states_of(study_dir, study) == [ResultState.COMPLETE] * 2
    retrain(study_dir, study, with_dataset=False)
    assert states_of(study_dir, study) == [ResultState.COMPLETE, ResultState.STALE]


def test_a_truth_whose_weights_are_gone_makes_nothing_stale(
    study_dir: StudyDir, study: Study, make_result: MakeResult
) -> None:
    """Freezing again from model.pt gives the same weights."""
    finish(study_dir, study, make_result)
    assert study.truth is not None
    study_dir.truth_weights(study.truth.id).unlink()
    assert states_of(study_dir, study) == [ResultState.PARTIAL, *[ResultState.COMPLETE] * 4]


def test_damaged_weights_are_the_truths_damage(study_dir: StudyDir, study: Study, make_result: MakeResult) -> None:
    finish(study_dir, study, make_result)
    assert study.truth is not None
    study_dir.truth_weights(study.truth.id).write_bytes(b"no weights")
    assert states_of(study_dir, study) == [ResultState.DAMAGED, *[ResultState.COMPLETE] * 4]


# --- results


def test_nothing_is_missing(study_dir: StudyDir, study: Study) -> None:
    assert states_of(study_dir, study) == [ResultState.MISSING] * 5


def test_a_result_is_complete_with_its_speed(study_dir: StudyDir, study: Study, make_result: MakeResult) -> None:
    cell = study.cells[1]
    write(study_dir.cell(cell.id), make_result(cell, seconds_per_step=0.25))
    files = files_of(study_dir, study)[cell.id]
    assert (files.state, files.seconds_per_step, files.step) == (ResultState.COMPLETE, 0.25, 100)
    assert files.finished_at == "2026-01-01T01:00:00+00:00"


def test_a_divergence_is_a_result(study_dir: StudyDir, study: Study, make_result: MakeResult) -> None:
    cell = study.cells[0]
    write(study_dir.cell(cell.id), make_result(cell, outcome="diverged"))
    files = files_of(study_dir, study)[cell.id]
    assert (files.state, files.state.is_done, files.state.is_to_run) == (ResultState.DIVERGED, True, False)


def test_one_flipped_bit_is_damage(study_dir: StudyDir, study: Study, make_result: MakeResult) -> None:
    cell = study.cells[0]
    path = study_dir.cell(cell.id).result
    write(study_dir.cell(cell.id), make_result(cell))
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert files_of(study_dir, study)[cell.id].state is ResultState.DAMAGED


def test_another_cells_result_is_damage(study_dir: StudyDir, study: Study, make_result: MakeResult) -> None:
    write(study_dir.cell(study.cells[0].id), make_result(study.cells[1]))
    files = files_of(study_dir, study)[study.cells[0].id]
    assert (files.state, study.cells[1].id in files.detail) == (ResultState.DAMAGED, True)


def test_a_checkpoint_is_partial_and_a_log_is_nothing(study_dir: StudyDir, study: Study) -> None:
    begun, logged = (study_dir.cell(cell.id) for cell in study.cells[:2])
    for task_dir in (begun, logged):
        task_dir.path.mkdir(parents=True)
        task_dir.log.touch()
    begun.checkpoint("1-x").touch()
    assert states_of(study_dir, study)[2:] == [ResultState.PARTIAL, ResultState.MISSING, ResultState.MISSING]


@pytest.mark.parametrize(
    ("made_in", "required", "state"),
    [
        ("c" * 64, None, ResultState.COMPLETE),
        ("c" * 64, "c" * 64, ResultState.COMPLETE),
        ("c" * 64, "d" * 64, ResultState.STALE),
        ("", "d" * 64, ResultState.STALE),
    ],
)
def test_a_container_can_be_required(
    study_dir: StudyDir, study: Study, make_result: MakeResult, made_in: str, required: str | None, state: ResultState
) -> None:
    cell = study.cells[0]
    write(study_dir.cell(cell.id), make_result(cell, container_sha256=made_in))
    files = files_of(study_dir, study, required)[cell.id]
    assert files.state is state
    assert (f"container {made_in[:12]}" if made_in else "no container") in files.detail or state is ResultState.COMPLETE
    rule = None if required is None else ContainerRule(required, strict=True)
    (row,) = (row for row in plan_study(study, study_dir, rule).rows if row.id == cell.id)
    assert row.action == ("run" if state.is_to_run else "skip")


def test_a_file_that_cannot_be_read_now_is_not_trained_again(
    study_dir: StudyDir, study: Study, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    finish(study_dir, study, make_result)

    def refuse(path: Path) -> dict[str, Any]:
        raise MachineError(f"cannot read {path}: Stale file handle", "try again")

    monkeypatch.setattr(states, "read_head", refuse)
    assert states_of(study_dir, study) == [ResultState.LOCKED, ResultState.COMPLETE, *[ResultState.LOCKED] * 3]
    assert plan_study(study, study_dir).num_run == 0
    assert {report.status for report in status(study_dir, study)} == {"locked", "done"}
    with pytest.raises(MachineError, match="Stale file handle"):
        collect(study_dir, tmp_path / "study.h5", reference={})


def test_a_link_that_leads_nowhere_is_not_trained_again(
    study_dir: StudyDir, study: Study, make_result: MakeResult, tmp_path: Path
) -> None:
    """As a study whose cells lie on a disk that is not mounted; once, all of it was to run anew."""
    finish(study_dir, study, make_result)
    assert study.truth is not None
    for path in (study_dir.path / "cells", study_dir.dataset(study.truth.id)):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / "unmounted" / path.name)
    assert states_of(study_dir, study) == [ResultState.COMPLETE, *[ResultState.LOCKED] * 4]
    assert plan_study(study, study_dir).num_run == 0
    with pytest.raises(MachineError, match="unmounted/cells, which is not there now"):
        collect(study_dir, tmp_path / "study.h5", reference={})


def test_a_result_behind_a_loop_of_links_is_not_trained_again(
    study_dir: StudyDir, study: Study, make_result: MakeResult
) -> None:
    """As any answer of a file system but that nothing is there."""
    finish(study_dir, study, make_result)
    assert study.truth is not None
    for path in (study_dir.cell(study.cells[0].id).result, study_dir.dataset(study.truth.id)):
        path.unlink()
        path.symlink_to(path)
    states_now = [files.state for files in files_of(study_dir, study).values()]
    assert states_now == [ResultState.COMPLETE, *[ResultState.LOCKED] * 2, *[ResultState.COMPLETE] * 2]


def test_a_directory_in_place_of_weights_is_damage(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="is not a file"):
        weights_digest(tmp_path)


def test_another_schema_is_no_state(
    study_dir: StudyDir, study: Study, make_result: MakeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = study.cells[0]
    with monkeypatch.context() as patch:
        patch.setattr("nllgen.storage.result.SCHEMA", 99)
        patch.setattr("nllgen.storage.head.SCHEMA", 99)
        write(study_dir.cell(cell.id), make_result(cell))
    with pytest.raises(SchemaError, match="schema 99"):
        states_of(study_dir, study)


# --- data sets


def test_a_data_set_that_is_too_small_grows(study_dir: StudyDir, study: Study) -> None:
    draw(study_dir, study, "t" * 64, num_train=5)
    assert states_of(study_dir, study)[1] is ResultState.PARTIAL
    draw(study_dir, study, "t" * 64)
    assert states_of(study_dir, study)[1] is ResultState.COMPLETE


def test_a_damaged_data_set_is_damaged(study_dir: StudyDir, study: Study) -> None:
    draw(study_dir, study, "t" * 64)
    path = task_of(study_dir, study, 1).task_dir.dataset
    path.write_bytes(path.read_bytes()[:-1])
    assert states_of(study_dir, study)[1] is ResultState.DAMAGED


# --- weights without torch


def test_weights_have_the_digest_that_torch_computes() -> None:
    torch = pytest.importorskip("torch")
    from nllgen.data.truth import load_truth

    for path in (WEIGHTS, OTHER_WEIGHTS):
        assert weights_digest(path) == load_truth(path, torch.device("cpu")).sha256


def test_the_digest_of_a_shipped_truth_is_known_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(weights_digest(WEIGHTS)) == 64
    assert weights_digest(WEIGHTS.with_name("none.pt")) == ""


@pytest.mark.parametrize("kind", ["text", "other class", "compressed", "too large", "no weights"])
def test_what_are_no_weights_is_refused_and_not_run(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, twice = tmp_path / "truth.pt", ["weights"]
    for _ in range(40):
        twice = [twice, twice]  # type: ignore[list-item]
    if kind == "text":
        path.write_text("weights")
    else:
        pickles = {
            "other class": b"cos\nsystem\n(S'touch ran'\ntR.",
            "no weights": b"(dS'weights'\nI3\ns.",
            "too large": pickle.dumps({"weights": twice}),
        }
        method = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("archive/data.pkl", pickles.get(kind, b"}."))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorruptFileError, match="not a file of weights"):
        weights_digest(path)
    assert not (tmp_path / "ran").exists()


def test_a_tensor_may_not_be_larger_than_its_storage(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path, changed = tmp_path / "truth.pt", tmp_path / "changed.pt"
    torch.save({"weights": {"a": torch.arange(4.0)}}, path)
    assert len(weights_digest(path)) == 64
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(changed, "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            other.writestr(name, content[:-4] if name.endswith("/data/0") else content)
    with pytest.raises(CorruptFileError, match="larger than its storage"):
        weights_digest(changed)


def test_states_are_plain_text_in_json() -> None:
    assert json.dumps(ResultState.STALE) == '"stale"'
