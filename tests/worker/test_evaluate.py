"""Metrics that are measured on finished cells; no metric changes the training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nllgen.cli.measure_commands import evaluate_study
from nllgen.data.truth import load_tensors, to_bytes
from nllgen.errors import CellsFailedError, ConfigError
from nllgen.storage.atomic import set_aside
from nllgen.storage.collect import collect
from nllgen.storage.extra_metrics import read_extra_metrics
from nllgen.storage.result import Result, model_of, read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.study_file import read_study
from nllgen.study.config import Cell, Study
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.evaluate import evaluate
from nllgen.worker.settings import Settings


@pytest.fixture(scope="module")
def settings(mnist_assets: Path) -> Settings:
    return Settings(torch.device("cpu"), RunOptions(mnist_assets), TaskOrder("evaluation", "a"))


WithStudy = tuple[StudyDir, Study]


def require_truth(study: Study) -> Cell:
    assert study.truth is not None
    return study.truth


def with_study(folder: StudyDir) -> WithStudy:
    return folder, folder.read_study()


@pytest.fixture(scope="module")
def bare(bare_study: StudyDir, tmp_path_factory: pytest.TempPathFactory) -> WithStudy:
    """Nothing but likelihoods was measured; extra metrics may be added to it."""
    path = tmp_path_factory.mktemp("bare") / bare_study.path.name
    return with_study(StudyDir(shutil.copytree(bare_study.path, path)))


@pytest.fixture(scope="module")
def full(measured_study: StudyDir) -> WithStudy:
    """Everything that there is was measured, at every evaluation."""
    return with_study(measured_study)


def results(folder: StudyDir, study: Study) -> list[Result]:
    return [read_result(folder.cell(cell.id).result) for cell in study.cells]


def same(one: np.ndarray, two: np.ndarray) -> bool:
    return np.array_equal(one, two, equal_nan=True)


def test_a_runs_weights_do_not_depend_on_what_is_measured(bare: WithStudy, full: WithStudy) -> None:
    for one, two in zip(results(*bare), results(*full), strict=True):
        assert one.attrs["model_sha256"] == two.attrs["model_sha256"]
        assert one.attrs["science_sha256"] != two.attrs["science_sha256"]
        assert one.history.keys() == two.history.keys()
        for column in ("loss_gen", "train_nll_nats"):
            assert column not in one.history or same(one.history[column], two.history[column])


def test_only_what_was_asked_for_is_measured(bare: WithStudy, full: WithStudy) -> None:
    (one, *_), (two, *_) = results(*bare), results(*full)
    for table in ("eval", "final"):
        assert "kl_nats" not in getattr(one, table)
        assert np.isfinite(getattr(two, table)["kl_nats"]).all()
        assert np.isfinite(getattr(two, table)["coverage_lenet"]).all()
    assert np.isfinite(one.final["test_nll_nats"]).all()


def test_a_metric_added_later_is_what_the_run_would_have_measured(
    bare: WithStudy, full: WithStudy, settings: Settings, tmp_path: Path
) -> None:
    folder, study = bare
    digests = [path.read_bytes() for path in sorted(folder.path.glob("cells/*/result.h5"))]
    done = evaluate(folder, ["kid", "divergence"], study.cells, settings)
    assert (done.measured, done.failed) == (6, [])
    collect(folder, tmp_path / "bare.h5", reference={})
    collect(full[0], tmp_path / "full.h5", reference={})
    one, two = (read_study(tmp_path / f"{name}.h5") for name in ("bare", "full"))
    cells = one.final["cell"] > 0  # the truth's are not in it
    for column in ("kid_lenet", "kid_se_lenet", "kid_floor_lenet", "kl_nats", "kl_reference_nats", "jsd_se_nats"):
        assert same(one.final[column][cells], two.final[column][cells]), column
        assert np.isfinite(one.final[column][cells]).any()
    assert np.isnan(one.final["kid_lenet"][~cells]).all()
    assert [path.read_bytes() for path in sorted(folder.path.glob("cells/*/result.h5"))] == digests
    about = json.loads(one.cells["extra_metrics"][1])
    assert set(about) == {"kid", "divergence"}
    assert about["kid"]["code_sha256"] == one.cells["code_sha256"][1]


def test_measuring_again_does_nothing(bare: WithStudy, settings: Settings) -> None:
    folder, study = bare
    evaluate(folder, ["frechet"], study.cells, settings)
    path = folder.cell(study.cells[0].id).extra_metrics("frechet")
    before = path.stat().st_mtime_ns, path.read_bytes()
    done = evaluate(folder, ["frechet"], study.cells, settings)
    assert (done.measured, done.there) == (0, 3)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_what_the_run_measured_is_not_measured_again(full: WithStudy, settings: Settings) -> None:
    folder, study = full
    done = evaluate(folder, ["frechet", "prdc"], study.cells, settings)
    assert (done.measured, done.there) == (0, 6)
    assert not list(folder.path.glob("cells/*/metrics.*"))


def test_a_cell_that_lacks_what_a_group_needs_is_named_and_skipped(
    bare: WithStudy, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, study = bare
    done = evaluate(folder, ["memorisation"], study.cells, settings)
    assert (done.measured, done.unmeasurable) == (2, 1)
    assert "memorisation needs extractor and training" in capsys.readouterr().out


def test_the_truth_can_be_measured_too(bare: WithStudy, settings: Settings) -> None:
    folder, study = bare
    assert evaluate(folder, ["numerics"], [require_truth(study)], settings).measured == 1
    found = read_extra_metrics(folder.truth(require_truth(study).id).extra_metrics("numerics"))
    assert (found.final["fp_error_nats"] < 1e-2).all()


def test_every_column_of_extra_metrics_has_a_unit(bare: WithStudy, settings: Settings) -> None:
    folder, study = bare
    evaluate(folder, ["pareto"], study.cells[:1], settings)
    with h5py.File(folder.cell(study.cells[0].id).extra_metrics("pareto")) as file:
        assert file.attrs["schema"] == 3
        assert json.loads(file["final"].attrs["units"]) == {
            "weights": "name", "step": "steps", "pareto_k": "1", "reverse_pareto_k": "1", "time_s": "s"
        }  # fmt: skip


# what can go wrong


@pytest.fixture
def one(bare_study: StudyDir, copy_of: Callable[[StudyDir], StudyDir]) -> tuple[StudyDir, Study, Cell]:
    """A copy that a test may damage."""
    folder, study = with_study(copy_of(bare_study))
    return folder, study, study.cells[0]


def test_an_unknown_metric_names_the_nearest(bare: WithStudy) -> None:
    with pytest.raises(ConfigError, match="did you mean kid") as caught:
        evaluate_study(bare[0], ["kidd"], [], 1, "cpu")
    assert "frechet_inf" in caught.value.message


def test_an_unknown_cell_is_refused(bare: WithStudy) -> None:
    with pytest.raises(ConfigError, match="has no cell"):
        evaluate_study(bare[0], ["kid"], ["0" * 16], 1, "cpu")


def test_a_named_cell_without_a_result_is_refused(one: tuple[StudyDir, Study, Cell]) -> None:
    folder, _, cell = one
    folder.cell(cell.id).result.unlink()
    with pytest.raises(ConfigError, match="no result yet"):
        evaluate_study(folder, ["kid"], [cell.id], 1, "cpu")


def test_missing_weights_fail_that_cell_alone(
    one: tuple[StudyDir, Study, Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nllgen.launch.stop_signal.SIGNALS", ())
    folder, study, cell = one
    model_of(folder.cell(cell.id)).unlink()
    with pytest.raises(CellsFailedError, match=r"model\.\w+\.pt: no such file"):
        evaluate_study(folder, ["kid"], [], 1, "cpu")
    assert not folder.cell(cell.id).extra_metrics("kid").exists()
    assert folder.cell(study.cells[1].id).extra_metrics("kid").exists()


def test_weights_that_were_changed_are_refused(one: tuple[StudyDir, Study, Cell], settings: Settings) -> None:
    folder, _, cell = one
    model = model_of(folder.cell(cell.id))
    content = load_tensors(model)
    next(iter(content["weights"]["last"].values())).add_(1)
    model.write_bytes(to_bytes(content))
    (why,) = evaluate(folder, ["kid"], [cell], settings).failed
    assert "not those that result.h5 was measured on" in why


def test_a_truth_pt_of_other_weights_measures_nothing(one: tuple[StudyDir, Study, Cell], settings: Settings) -> None:
    folder, study, cell = one
    path = folder.truth_weights(require_truth(study).id)
    content = load_tensors(path)
    next(iter(content["weights"].values())).add_(0.1)
    path.write_bytes(to_bytes(content))
    (why,) = evaluate(folder, ["kid"], [cell], settings).failed
    assert "truth.pt holds other weights" in why


def test_damaged_extra_metrics_are_named_by_collect_and_measured_again(
    one: tuple[StudyDir, Study, Cell], settings: Settings, tmp_path: Path
) -> None:
    folder, study, cell = one
    evaluate(folder, ["kid"], study.cells, settings)
    path = folder.cell(cell.id).extra_metrics("kid")
    path.write_bytes(path.read_bytes()[:-5])
    found = collect(folder, tmp_path / "study.h5", reference={}, allow_missing=True)
    assert (found.num_done, len(found.holes)) == (3, 1)
    assert "metrics.kid.h5" in found.holes[0]
    assert evaluate(folder, ["kid"], study.cells, settings).measured == 1
    assert path.with_name("metrics.kid.h5.damaged").exists()
    assert collect(folder, tmp_path / "study.h5", reference={}).holes == []


def test_damaged_extra_metrics_that_another_evaluate_has_moved_are_measured_all_the_same(
    one: tuple[StudyDir, Study, Cell], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, the second of two ended with a bare FileNotFoundError, and all remaining cells with it."""
    folder, study, cell = one
    evaluate(folder, ["kid"], study.cells, settings)
    path = folder.cell(cell.id).extra_metrics("kid")
    path.write_bytes(path.read_bytes()[:-5])

    def second(damaged: Path) -> Path | None:
        assert set_aside(damaged) is not None  # by the first
        return set_aside(damaged)

    monkeypatch.setattr("nllgen.worker.settings.set_aside", second)
    done = evaluate(folder, ["kid"], study.cells, settings)
    assert (done.measured, done.failed) == (1, [])
    assert [aside.name for aside in path.parent.glob("*.damaged*")] == ["metrics.kid.h5.damaged"]


def test_extra_metrics_of_other_weights_are_not_merged(
    one: tuple[StudyDir, Study, Cell], settings: Settings, tmp_path: Path
) -> None:
    folder, study, cell = one
    evaluate(folder, ["kid"], study.cells, settings)
    other = folder.cell(study.cells[1].id).extra_metrics("kid")
    folder.cell(cell.id).extra_metrics("kid").write_bytes(other.read_bytes())
    found = collect(folder, tmp_path / "study.h5", reference={}, allow_missing=True)
    assert "other weights or another truth" in found.holes[0]
    assert np.isnan(read_study(tmp_path / "study.h5").final["kid_lenet"][:4]).all()
