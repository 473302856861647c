"""A study is prepared, previewed and started."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nllgen.errors import ConfigError
from nllgen.launch import follow, gpus, start
from nllgen.launch.freeze import freeze
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import Stage, Submission
from nllgen.launch.slurm.submission import SubmitResult
from nllgen.launch.start import PreparedStudy, StartOptions, prepare
from nllgen.launch.worker_process import WorkerConfig
from nllgen.planning.plan import make_plan
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions
from tests.launch.conftest import grid_text


class Silent:
    """A line of progress that is not shown."""

    def echo(self, text: str) -> None: ...

    def update(self, num_done: int, num_tasks: int, share: float, seconds_left: float | None) -> None: ...


@pytest.fixture
def options(tmp_path: Path) -> StartOptions:
    """A local run of a tiny study."""
    (tmp_path / "tiny.yaml").write_text(grid_text())
    return StartOptions(str(tmp_path / "tiny.yaml"), tmp_path, tmp_path, local=True, workers=1, device="cpu")


def prepared(options: StartOptions) -> PreparedStudy:
    return prepare(options, lambda source: True)


def test_a_dry_run_tells_the_budget_of_packed_elements(tiny: Study, options: StartOptions) -> None:
    profile = Profile(partition="short", time_min=30, cpus=2)
    plan = make_plan(tiny, {})
    packed = PreparedStudy(replace(options, pack=4), tiny, plan, profile, WorkerConfig(RunOptions(options.root)))
    elements = (("a", "b", "c", "d"), ("e", "f", "g", "h"))
    sent = SubmitResult(Submission("x", (Stage("cells0", elements),)), {}, 0)
    # two elements of half an hour, in which four cells have two processors each
    assert "2 elements of at most 30 min reserve 8 core-hours at most" in start._budget(packed, sent)


def test_the_budget_has_every_gpu_of_packed_elements(tiny: Study, options: StartOptions) -> None:
    profile = Profile(time_min=60, gpus="a100:1", cells_per_gpu=2)
    plan = make_plan(tiny, {})
    packed = PreparedStudy(replace(options, pack=4), tiny, plan, profile, WorkerConfig(RunOptions(options.root)))
    sent = SubmitResult(Submission("x", (Stage("cells0", (("a", "b", "c", "d"),)),)), {}, 0)
    assert "4 core-hours, 2 GPU-hours at most" in start._budget(packed, sent)


@pytest.mark.parametrize(("typed", "of_profile", "expected"), [(0, 3, 3), (5, 3, 5), (0, None, 0)])
def test_the_profile_has_the_default_number_of_workers(
    tiny: Study, options: StartOptions, typed: int, of_profile: int | None, expected: int
) -> None:
    config, profile = WorkerConfig(RunOptions(options.root)), Profile(workers=of_profile)
    study = PreparedStudy(replace(options, workers=typed), tiny, make_plan(tiny, {}), profile, config)
    assert study.shape.workers == expected


def test_a_local_run_without_a_gpu_packs_nothing(options: StartOptions) -> None:
    with pytest.raises(ConfigError, match="--pack puts several cells on a GPU, and this run uses none"):
        prepared(replace(options, pack=2, workers=0))


def test_a_local_run_has_one_number_of_cells_at_once(options: StartOptions) -> None:
    with pytest.raises(ConfigError, match="--pack and --workers both set the number"):
        prepared(replace(options, pack=2, workers=3))


@pytest.mark.parametrize(
    ("device", "workers", "pack", "expected"),
    [("auto", 0, 1, 2), ("cuda", 0, 3, 5), ("cuda:1", 0, 2, 2), ("cuda", 3, 1, 3), ("auto", 0, 2, 4)],
)
def test_a_local_run_starts_a_pack_of_workers_for_each_gpu_but_no_more_than_tasks(
    options: StartOptions, monkeypatch: pytest.MonkeyPatch, device: str, workers: int, pack: int, expected: int
) -> None:
    monkeypatch.setattr(gpus, "_num_device_files", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    started: list[int] = []

    def start_local(study_dir: StudyDir, config: WorkerConfig, num_workers: int) -> list[object]:
        started.append(num_workers)
        return []

    monkeypatch.setattr(start, "start_local", start_local)
    packed = prepared(replace(options, device=device, workers=workers, pack=pack))
    start.start(packed, echo=lambda text: None, warn=print, progress=None)
    assert started == [expected]


def test_a_strict_container_needs_a_container(options: StartOptions) -> None:
    with pytest.raises(ConfigError, match="none is named"):
        prepared(replace(options, strict_container=True))


def test_a_submission_tells_that_the_rules_have_changed(options: StartOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    study = parse_study(grid_text(), "g", precision="fp32").model_copy(update={"claims_sha256": "a" * 64})
    freeze(study, options.root)
    monkeypatch.setattr(start, "start_local", lambda *_: [])
    lines: list[str] = []
    study_dir, _ = start.start(prepared(options), echo=lines.append, warn=lines.append, progress=None)
    assert "the rules of the claims have changed since tiny was first submitted" in "\n".join(lines)
    assert study_dir.read_study().claims_sha256 == "a" * 64


def test_a_lost_supervisor_is_a_failure(options: StartOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    job = SimpleNamespace(
        done=lambda: True, paths=SimpleNamespace(result_pickle=Path("/nowhere"), stderr=Path("/log.err"))
    )
    monkeypatch.setattr(start, "start_local", lambda *_: [job])
    monkeypatch.setattr(follow, "num_missing", lambda *_: 0)
    warnings: list[str] = []
    progress = contextlib.nullcontext(Silent())
    _, num_failed = start.start(prepared(options), echo=lambda text: None, warn=warnings.append, progress=progress)
    assert num_failed == 1
    assert "/log.err" in warnings[0]
