"""The n-th operation on a study's files fails: a typed error, then the same command to the same bits."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from nllgen.errors import EXIT_ENVIRONMENT, NllgenError
from nllgen.storage.collect import collect
from nllgen.storage.result import model_of, read_attrs
from nllgen.storage.study_dir import StudyDir
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.settings import NeverStop
from nllgen.worker.setup import enter, enter_evaluation
from tests.faults.injected import failing_at

CODES = (errno.EIO, errno.ESTALE, errno.EACCES)
CopyOf = Callable[[StudyDir], StudyDir]


def run(study_dir: StudyDir, task: str, assets: Path) -> None:
    before = torch.get_num_threads()
    try:
        enter(study_dir, TaskOrder(task, "1-a"), RunOptions(assets, "cpu"))
    finally:
        torch.set_num_threads(before)


def exit_code_of(work: Callable[[], None]) -> int:
    """Return the exit code that a command would end with; 0 where all is done."""
    try:
        work()
    except NllgenError as error:
        return error.exit_code
    except OSError as error:  # which ``main`` turns into an error of the environment
        return EXIT_ENVIRONMENT if error.errno in CODES else -1
    return 0


def fail_everywhere(work: Callable[[], None], study_dir: StudyDir, step: int) -> int:
    """Fail at operation 1, 1 + step, … of some work until all of it is done; return the number of operations."""
    number = 1
    while True:
        with failing_at(number, study_dir.path, CODES[number % len(CODES)]) as disk:
            code = exit_code_of(work)
        if not disk.failed:
            assert code == 0
            return number
        assert code in (0, EXIT_ENVIRONMENT), disk.failed
        damaged = list(study_dir.path.rglob("*.damaged*"))
        assert not damaged, f"{disk.failed}: {damaged}"
        number += step


def test_a_cell_survives_a_failure_of_each_operation(bare_study: StudyDir, copy_of: CopyOf, mnist_assets: Path) -> None:
    study_dir = copy_of(bare_study)
    cell = study_dir.read_study().cells[-1]
    done = read_attrs(study_dir.cell(cell.id).result)
    shutil.rmtree(study_dir.cell(cell.id).path)
    failures = fail_everywhere(
        lambda: run(study_dir, cell.id, mnist_assets), study_dir, 1 if os.environ.get("NLLGEN_SOAK") else 5
    )
    assert failures > 10
    again = read_attrs(study_dir.cell(cell.id).result)
    for name in ("science_sha256", "model_sha256", "outcome"):
        assert again[name] == done[name]


def test_the_truth_and_its_data_set_survive_a_failure_of_each_operation(
    bare_study: StudyDir, copy_of: CopyOf, mnist_assets: Path
) -> None:
    """Once, a truth that could not be read for the moment was moved aside and trained again."""
    study_dir = copy_of(bare_study)
    study = study_dir.read_study()
    assert study.truth is not None
    before = {name: path.read_bytes() for name, path in _truth_files(study_dir, study.truth.id).items()}
    step = 1 if os.environ.get("NLLGEN_SOAK") else 3
    for task in ("truth", "dataset"):  # both are there: looking at them must not change them
        fail_everywhere(partial(run, study_dir, task, mnist_assets), study_dir, step)
    assert {name: path.read_bytes() for name, path in _truth_files(study_dir, study.truth.id).items()} == before
    study_dir.dataset(study.truth.id).unlink()
    fail_everywhere(lambda: run(study_dir, "dataset", mnist_assets), study_dir, step)
    assert study_dir.dataset(study.truth.id).read_bytes() == before["dataset.h5"]


def _truth_files(study_dir: StudyDir, truth_id: str) -> dict[str, Path]:
    task_dir = study_dir.truth(truth_id)
    return {path.name: path for path in (task_dir.result, model_of(task_dir), task_dir.weights, task_dir.dataset)}


def test_evaluation_survives_a_failure_of_each_operation(
    bare_study: StudyDir, copy_of: CopyOf, mnist_assets: Path
) -> None:
    study_dir = copy_of(bare_study)
    cells = study_dir.read_study().cells[:1]

    def evaluate() -> None:
        before = torch.get_num_threads()
        try:
            done = enter_evaluation(study_dir, ["numerics"], cells, RunOptions(mnist_assets, "cpu"), NeverStop())
        finally:
            torch.set_num_threads(before)
        if done.failed:
            raise OSError(errno.EIO, done.failed[0])

    fail_everywhere(evaluate, study_dir, 1 if os.environ.get("NLLGEN_SOAK") else 3)
    assert study_dir.cell(cells[0].id).extra_metrics("numerics").exists()


def test_a_collection_survives_a_failure_of_each_operation(bare_study: StudyDir, copy_of: CopyOf) -> None:
    study_dir = copy_of(bare_study)
    out = study_dir.path / "study.h5"
    collect(study_dir, out, reference={})
    content = out.read_bytes()
    out.unlink()
    failures = fail_everywhere(lambda: _collect(study_dir, out), study_dir, 1 if os.environ.get("NLLGEN_SOAK") else 2)
    assert failures > 10
    assert out.read_bytes() == content


def _collect(study_dir: StudyDir, out: Path) -> None:
    collect(study_dir, out, reference={})
