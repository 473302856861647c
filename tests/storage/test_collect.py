from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nllgen.errors import IncompleteError, MachineError
from nllgen.storage.collect import collect
from nllgen.storage.result import Result, write_result
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import read_study
from nllgen.storage.weights import weights_digest
from nllgen.study.config import Cell, Study
from tests.storage.conftest import WEIGHTS, finish_truth, truth_id


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Any:
    return make_study(3)


@pytest.fixture
def folder(tmp_path: Path, study: Study, make_result: Callable[..., Result]) -> Any:
    """A study of which everything is there."""
    folder = StudyDir(tmp_path / "small")
    folder.freeze(study)
    truth_sha256 = finish_truth(folder, study, make_result)
    for cell in study.cells:
        facts = {"num_parameters": cell.seed, "truth_sha256": truth_sha256}
        put(folder.cell(cell.id), make_result(cell, num_samples=cell.seed, **facts))
    return folder


def put(task: Any, result: Result) -> None:
    task.path.mkdir(parents=True, exist_ok=True)
    write_result(task.result, result, "a", lambda: None)


def collected(folder: StudyDir, **options: Any) -> Any:
    out = folder.path / "study.h5"
    return collect(folder, out, reference={}, **options), read_study(out)


def test_a_complete_study_has_no_holes(folder: StudyDir) -> None:
    found, _ = collected(folder)
    assert (found.num_done, found.num_diverged, found.holes) == (3, 0, [])


def test_many_results_are_read_by_several_processes_to_the_same_file(
    folder: StudyDir, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.cell(study.cells[1].id).result.write_bytes(b"damaged")
    found, _ = collected(folder, allow_missing=True)
    alone = found.path.read_bytes()
    here = []
    found.path.unlink()
    monkeypatch.setattr("nllgen.storage.collect_part._MANY", 2)
    monkeypatch.setattr("nllgen.storage.collect_part.read_result", lambda path: here.append(path))
    again, _ = collected(folder, allow_missing=True)
    assert here == []
    assert again == found
    assert again.path.read_bytes() == alone


def test_a_second_collection_reads_what_is_new_and_writes_the_same_file(
    folder: StudyDir, study: Study, make_result: Callable[..., Result]
) -> None:
    first, _ = collected(folder)
    content = first.path.read_bytes()
    again, _ = collected(folder)
    assert (first.num_read, again.num_read) == (4, 0)
    assert first.path.read_bytes() == content
    task = folder.cell(study.cells[1].id)
    task.result.unlink()
    changed = make_result(study.cells[1], host="elsewhere", num_samples=2, truth_sha256=weights_digest(WEIGHTS))
    write_result(task.result, changed, "b", lambda: None)
    third, file = collected(folder)
    assert (third.num_read, list(file.cells["host"])) == (1, ["here", "here", "elsewhere", "here"])
    content = third.path.read_bytes()
    third.path.unlink()
    collected(folder)
    assert third.path.read_bytes() == content


def test_an_earlier_file_that_cannot_be_used_is_read_over(folder: StudyDir) -> None:
    first, _ = collected(folder)
    content = first.path.read_bytes()
    first.path.write_bytes(content[:-1])
    again, _ = collected(folder)
    assert (again.num_read, first.path.read_bytes()) == (4, content)


def test_the_truth_comes_first_and_cells_in_the_studys_order(folder: StudyDir, study: Study) -> None:
    _, file = collected(folder)
    assert list(file.cells["id"]) == [truth_id(study), *(cell.id for cell in study.cells)]
    assert list(file.cells["role"]) == ["truth", "cell", "cell", "cell"]


def test_each_row_has_its_own_cells_provenance(folder: StudyDir) -> None:
    _, file = collected(folder)
    assert list(file.cells["num_parameters"][1:]) == [0, 1, 2]


def test_samples_know_their_cell(folder: StudyDir) -> None:
    _, file = collected(folder)
    assert list(file.samples_cell) == [0, 0, 2, 3, 3]


def test_long_tables_know_their_cell(folder: StudyDir) -> None:
    _, file = collected(folder)
    assert np.bincount(file.history["cell"]).tolist() == [101] * 4
    assert list(file.final["weights"][file.final["cell"] == 2]) == ["last", "best"]


def test_a_column_that_some_cells_lack_is_nan_there(
    folder: StudyDir, study: Study, make_result: Callable[..., Result]
) -> None:
    task, digest = folder.cell(study.cells[1].id), weights_digest(WEIGHTS)
    whole = make_result(study.cells[1], truth_sha256=digest)
    task.result.unlink()
    history = {name: data for name, data in whole.history.items() if name != "lr"}
    write_result(task.result, replace(whole, history=history), "b", lambda: None)
    _, file = collected(folder)
    lacking = file.cells["id"][np.unique(file.history["cell"][np.isnan(file.history["lr"])])]
    assert list(lacking) == [study.cells[1].id]


def change(file: h5py.File) -> None:
    rows = file["eval"][()]
    rows["val_nll_nats"][0] = 5.0
    file["eval"][...] = rows


def test_a_result_that_was_changed_by_hand_is_a_hole(folder: StudyDir, study: Study, tamper: Any) -> None:
    tamper(folder.cell(study.cells[1].id).result, change)
    with pytest.raises(IncompleteError, match="science digest"):
        collected(folder)


def test_columns_that_were_not_measured_are_absent(folder: StudyDir) -> None:
    _, file = collected(folder)
    assert "kl_nats" not in file.eval
    assert np.isfinite(file.eval["val_nll_nats"]).all()


def test_the_datasets_attributes_come_along(folder: StudyDir, study: Study) -> None:
    _, file = collected(folder)
    about = file.datasets[truth_id(study)]
    assert (about["entropy_nats"], about["num_val"], about["truth_sha256"]) == (0.5, 20, weights_digest(WEIGHTS))


def test_logits_of_the_truth_become_pixels(folder: StudyDir) -> None:
    _, file = collected(folder)
    np.testing.assert_allclose(file.reference["truth"], 0.5)


def test_a_divergence_is_counted_apart(folder: StudyDir, study: Study, make_result: Callable[..., Result]) -> None:
    task = folder.cell(study.cells[0].id)
    task.result.unlink()
    write_result(
        task.result,
        make_result(study.cells[0], outcome="diverged", truth_sha256=weights_digest(WEIGHTS)),
        "b",
        lambda: None,
    )
    found, file = collected(folder)
    assert (found.num_done, found.num_diverged, list(file.cells["outcome"]).count("diverged")) == (2, 1, 1)


# holes


def missing(folder: StudyDir, study: Study) -> Any:
    folder.cell(study.cells[1].id).result.unlink()
    return study.cells[1].id, "no result"


def damaged(folder: StudyDir, study: Study) -> Any:
    path = folder.cell(study.cells[1].id).result
    path.write_bytes(path.read_bytes()[:-1])
    return study.cells[1].id, "damaged"


def mistaken(folder: StudyDir, study: Study) -> Any:
    one, other = (folder.cell(cell.id).result for cell in study.cells[1:])
    one.write_bytes(other.read_bytes())
    return study.cells[1].id, f"the result of {study.cells[2].id}"


def no_truth(folder: StudyDir, study: Study) -> Any:
    folder.truth(truth_id(study)).result.unlink()
    return truth_id(study), "no result"


def no_dataset(folder: StudyDir, study: Study) -> Any:
    folder.dataset(truth_id(study)).unlink()
    return "dataset.h5", "not drawn yet"


def damaged_dataset(folder: StudyDir, study: Study) -> Any:
    path = folder.dataset(truth_id(study))
    path.write_bytes(path.read_bytes()[:-1])
    return "dataset.h5", "damaged"


HOLES = [missing, damaged, mistaken, no_truth, no_dataset, damaged_dataset]


@pytest.mark.parametrize("make_hole", HOLES)
def test_a_hole_is_named_with_its_reason(folder: StudyDir, study: Study, make_hole: Any) -> None:
    name, why = make_hole(folder, study)
    with pytest.raises(IncompleteError, match=f"1 of 5 runs(.|\n)*{name}.*{why}(.|\n)*--allow-missing"):
        collected(folder)
    assert not (folder.path / "study.h5").exists()


@pytest.mark.parametrize("make_hole", HOLES)
def test_allowed_holes_are_returned(folder: StudyDir, study: Study, make_hole: Any) -> None:
    name, why = make_hole(folder, study)
    found, _ = collected(folder, allow_missing=True)
    assert len(found.holes) == 1
    assert name in found.holes[0]
    assert why in found.holes[0]


@pytest.mark.parametrize("make_hole", [missing, damaged, mistaken])
def test_an_allowed_hole_is_marked_in_its_row(folder: StudyDir, study: Study, make_hole: Any) -> None:
    make_hole(folder, study)
    _, file = collected(folder, allow_missing=True)
    assert list(file.cells["outcome"]) == ["done", "done", "missing", "done"]
    assert file.cells["id"][2] == study.cells[1].id
    assert (file.cells["host"][2], np.isnan(file.cells["num_threads"][2])) == ("", True)
    assert 2 not in file.eval["cell"]


def test_a_study_of_holes_alone_is_a_file(tmp_path: Path, study: Study) -> None:
    folder = StudyDir(tmp_path / "small")
    folder.freeze(study)
    found, file = collected(folder, allow_missing=True)
    assert (len(found.holes), found.num_done, set(file.cells["outcome"])) == (5, 0, {"missing"})


def test_many_holes_are_counted(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    folder = StudyDir(tmp_path / "small")
    folder.freeze(make_study(50))
    with pytest.raises(IncompleteError, match=r"52 of 52 runs(.|\n)*and 32 more"):
        collected(folder)


def test_real_data_alone_need_no_data_set(
    tmp_path: Path, make_cell: Callable[..., Cell], make_study: Callable[..., Study], make_result: Callable[..., Result]
) -> None:
    cells = (make_cell(1),)
    study = make_study(0).model_copy(update={"cells": cells, "truth": None})
    folder = StudyDir(tmp_path / "small")
    folder.freeze(study)
    put(folder.cell(cells[0].id), make_result(cells[0]))
    found, file = collected(folder)
    assert (found.holes, file.datasets, list(file.cells["role"])) == ([], {}, ["cell"])


def test_a_result_that_this_machine_cannot_read_is_no_hole(folder: StudyDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(path: Path) -> None:
        raise MachineError(f"cannot read {path}: Input/output error")

    monkeypatch.setattr("nllgen.storage.collect_part.read_result", unreadable)
    with pytest.raises(MachineError, match="Input/output error"):
        collected(folder, allow_missing=True)
