"""Event files that TensorBoard reads while a cell trains: read here by TensorBoard's own reader."""

from __future__ import annotations

import builtins
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nllgen.launch.freeze import freeze
from nllgen.storage.result import Result, read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.event_log import EventLog
from nllgen.worker.setup import enter

STEPS = 150
GRID = f"""
name: watched
metrics: {{frechet: [], num_samples: 16, num_train_eval: 16, num_kept: 4, every: [], final: []}}
RESOURCES
cells:
  - data: {{source: mnist, image_size: 14, num_train: 500, num_val: 100, num_test: 100}}
    flow: {{width: 2, blocks: 0, scales: 1}}
    paradigm: {{name: nll, steps: {STEPS}, batch_size: 16, eval_every: 50, ema_decay: 0.9}}
    precision: fp32
"""
LOGGED = GRID.replace("RESOURCES", "resources: {log: [tensorboard]}")
SILENT = GRID.replace("RESOURCES", "")
Watched = Callable[[str], StudyDir]


@pytest.fixture
def make_study(tmp_path: Path) -> Watched:
    def make(text: str) -> StudyDir:
        return freeze(parse_study(text, "watched.yaml", precision="fp32"), tmp_path)[0]

    return make


def train(study_dir: StudyDir, assets: Path, attempt: str = "1") -> Result:
    """Train the study's cell in this process and return its result."""
    (cell,) = study_dir.read_study().cells
    before = torch.get_num_threads()
    enter(study_dir, TaskOrder(cell.id, attempt), RunOptions(assets, "cpu", checkpoint_steps=50))
    torch.set_num_threads(before)
    return read_result(study_dir.cell(cell.id).result)


def kill_after_a_checkpoint(study_dir: StudyDir, assets: Path) -> None:
    """Train in a process of its own, which is killed some steps after it has saved a checkpoint."""
    (cell,) = study_dir.read_study().cells
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        enter(study_dir, TaskOrder(cell.id, "1"), RunOptions(assets, "cpu", checkpoint_steps=50))
        os._exit(0)
    deadline = time.monotonic() + 60
    while not study_dir.cell(cell.id).checkpoints() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert study_dir.cell(cell.id).checkpoints()
    assert not study_dir.cell(cell.id).result.exists()


def curves(study_dir: StudyDir) -> EventAccumulator:
    """Return what TensorBoard reads of the one run of a study, all points kept."""
    (run,) = study_dir.events.iterdir()
    reader = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    return reader.Reload()


def points(reader: EventAccumulator, tag: str) -> npt.NDArray[np.float64]:
    """Return steps and values (n, 2) of a curve."""
    return np.array([(point.step, point.value) for point in reader.Scalars(tag)])


def test_curves_are_those_of_the_result(make_study: Watched, mnist_assets: Path) -> None:
    study_dir = make_study(LOGGED)
    result, reader = train(study_dir, mnist_assets), curves(study_dir)
    history = np.stack([result.history["step"], result.history["train_nll_nats"]], axis=1)
    np.testing.assert_allclose(points(reader, "history/train_nll_nats"), history, rtol=1e-6)
    averaged = result.eval["weights"] == "ema"
    evals = np.stack([result.eval["step"][averaged], result.eval["val_nll_nats"][averaged]], axis=1)
    np.testing.assert_allclose(points(reader, "eval_ema/val_nll_nats"), evals, rtol=1e-6)


def test_final_numbers_and_samples_are_shown(make_study: Watched, mnist_assets: Path) -> None:
    study_dir = make_study(LOGGED)
    result, reader = train(study_dir, mnist_assets), curves(study_dir)
    best = list(result.final["weights"]).index("best")
    expected = [[result.final["step"][best], result.final["test_nll_nats"][best]]]
    np.testing.assert_allclose(points(reader, "final_best/test_nll_nats"), expected, rtol=1e-6)
    (picture,) = reader.Images("samples")
    assert (picture.width, picture.height) == (28, 28)  # four samples of 14 × 14


def test_a_run_is_named_by_its_cell_and_its_id(make_study: Watched, mnist_assets: Path) -> None:
    study_dir = make_study(LOGGED)
    result = train(study_dir, mnist_assets)
    assert [run.name for run in study_dir.events.iterdir()] == [f"custom-nll-mnist-500-random-seed-0-{result.cell_id}"]


def test_a_killed_and_resumed_run_has_every_point_once(make_study: Watched, mnist_assets: Path) -> None:
    study_dir = make_study(LOGGED)
    kill_after_a_checkpoint(study_dir, mnist_assets)
    result, reader = train(study_dir, mnist_assets, "2"), curves(study_dir)
    (run,) = study_dir.events.iterdir()
    assert len(list(run.iterdir())) == 2
    assert list(points(reader, "history/lr")[:, 0]) == list(range(1, STEPS + 1))
    assert list(points(reader, "eval/val_nll_nats")[:, 0]) == list(range(0, STEPS + 1, 50))
    assert len(result.history["step"]) == STEPS


def test_points_are_there_while_it_trains(make_study: Watched, mnist_assets: Path) -> None:
    study_dir = make_study(LOGGED)
    kill_after_a_checkpoint(study_dir, mnist_assets)
    assert list(points(curves(study_dir), "eval/val_nll_nats")[:2, 0]) == [0, 50]


def test_logging_changes_neither_the_id_nor_a_bit_of_the_result(
    make_study: Watched, mnist_assets: Path, tmp_path: Path
) -> None:
    logged = train(make_study(LOGGED), mnist_assets)
    silent_dir = freeze(parse_study(SILENT, "watched.yaml", precision="fp32"), tmp_path / "silent")[0]
    silent = train(silent_dir, mnist_assets)
    assert logged.attrs["science_sha256"] == silent.attrs["science_sha256"]
    assert not silent_dir.events.exists()


def test_a_full_disk_ends_the_file_and_not_the_run(
    make_study: Watched, mnist_assets: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_dir = make_study(LOGGED)
    study_dir.events.symlink_to(small_disk)
    (small_disk / "filling").write_bytes(bytes(52 * 1024))
    result = train(study_dir, mnist_assets)
    assert result.attrs["outcome"] == "done"
    assert capsys.readouterr().out.count("no more of this attempt is written for TensorBoard") == 1


def test_a_missing_package_is_named_with_its_extra_and_the_run_goes_on(
    make_study: Watched, mnist_assets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = builtins.__import__

    def refuse(name: str, *arguments: Any, **extra: Any) -> Any:
        if name.startswith("tensorboardX"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="tensorboardX")
        return imported(name, *arguments, **extra)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert train(make_study(LOGGED), mnist_assets).attrs["outcome"] == "done"
    assert "pip install 'nllgen[tensorboard]'" in capsys.readouterr().out


def test_a_log_without_a_directory_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = EventLog(None, "1")
    log.add_history(1, {"lr": 0.1})
    log.close()
    assert list(tmp_path.iterdir()) == []
