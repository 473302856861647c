"""``nllgen check``: wrong files are named, and moved aside on request."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from nllgen.storage.check_results import check_results
from nllgen.storage.result import model_of
from nllgen.storage.study_dir import StudyDir
from tests.cli.process import Run


def test_retry_accepts_what_check_names(
    bare_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir], nllgen: Run
) -> None:
    """Once, weights beside another result could only be mended by removing files by hand."""
    study_dir = copy_of(bare_study)
    one, other, third = (study_dir.cell(cell.id) for cell in study_dir.read_study().cells)
    shutil.copyfile(model_of(other), model_of(one))
    model_of(third).unlink()
    for task_dir in (one, third):
        done = nllgen("retry", study_dir.path, task_dir.path.name, "--dry-run")
        assert done.returncode == 0
        assert f"would try again: {task_dir.path.name}" in done.stdout
        assert task_dir.result.exists()
    assert "nothing to try again" in nllgen("retry", study_dir.path, other.path.name, "--dry-run").stdout


def test_a_retry_keeps_the_result_of_a_run_whose_extra_metrics_are_damaged(
    bare_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir], nllgen: Run
) -> None:
    """Once, it moved the run's result aside and trained again."""
    study_dir = copy_of(bare_study)
    task_dir = study_dir.cell(study_dir.read_study().cells[0].id)
    metrics = task_dir.extra_metrics("kid")
    metrics.write_bytes(b"damaged")
    done = nllgen("retry", study_dir.path, task_dir.path.name, "--trust", "--local")
    assert done.returncode == 0
    assert "to measure it again: nllgen evaluate" in done.stdout
    assert "nothing to try again" in done.stdout
    assert task_dir.result.exists()
    assert (metrics.exists(), metrics.with_name(f"{metrics.name}.damaged").exists()) == (False, True)


def test_repair_moves_what_is_wrong_aside_and_the_study_runs_it_again(
    bare_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir], nllgen: Run
) -> None:
    study_dir = copy_of(bare_study)
    one, other, third = (study_dir.cell(cell.id) for cell in study_dir.read_study().cells)
    overwritten, lost = model_of(one), model_of(third)
    shutil.copyfile(model_of(other), overwritten)
    lost.unlink()
    done = nllgen("check", study_dir.path)
    assert done.returncode == 1
    assert f"{overwritten}: holds other weights" in done.stdout
    assert f"{lost}: is gone" in done.stdout
    assert nllgen("check", study_dir.path, "--repair").returncode == 0
    assert not one.result.exists()
    assert one.result.with_name("result.h5.damaged").exists()
    assert third.result.exists()  # its numbers count
    assert [file.path.name for file in check_results(study_dir, study_dir.read_study())] == [lost.name]
