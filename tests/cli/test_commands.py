"""What the commands do, called in this process."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from nllgen.cli import common, following, foreground, launching, machine
from nllgen.data import mnist
from nllgen.errors import MachineError, StoppedError
from nllgen.launch.freeze import freeze
from nllgen.launch.local import failure_of_supervisor
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import Stage, Submission
from nllgen.launch.slurm.submission import SubmitResult
from nllgen.launch.stop_signal import StopRequest
from nllgen.launch.tasks import read_attempts
from nllgen.launch.worker_process import WorkerConfig
from nllgen.metrics import inception
from nllgen.planning.plan import make_plan
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from nllgen.worker import setup

GRID = """
name: tiny
truth:
  data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
dataset: {num_train: 300, num_val: 50, num_test: 50, num_entropy: 50}
metrics: {frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: synthetic, num_train: 100, num_val: 50, num_test: 50}
    degree: W
    paradigm: {name: nll, steps: 10, batch_size: 16, eval_every: 5}
    precision: CELLS
    seed: [0, 1]
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(GRID.replace("CELLS", "fp32"))
    return path


def frozen(grid: Path, precision: str) -> StudyDir:
    return freeze(parse_study(grid.read_text(), "g", precision=precision), grid.parent)[0]


def test_a_dry_run_says_what_packed_elements_reserve(grid: Path) -> None:
    request = replace(local(grid), pack=4)
    study = parse_study(grid.read_text(), "g", precision="fp32")
    profile = Profile(partition="short", time_min=30, cpus=2)
    prepared = launching.Prepared(request, study, make_plan(study, {}), profile, WorkerConfig(grid.parent))
    elements = (("a", "b", "c", "d"), ("e", "f", "g", "h"))
    sent = SubmitResult(Submission("x", (Stage("cells0", elements),)), {}, {}, 0)
    # two elements of half an hour, in which four cells have two processors each
    told = launching._budget(prepared, sent)
    assert "2 elements of at most 30 min reserve 8 core-hours at most" in told


# rules of the claims


def local(grid):
    """What `nllgen submit --local` asks for."""
    return launching.Request(
        str(grid), grid.parent, profile=None, local=True, container=None, strict_container=False, pack=1, workers=1,
        device="cpu", quiet=False,
    )  # fmt: skip


def test_a_submission_says_that_the_rules_have_changed(grid, monkeypatch, capsys):
    before = parse_study(grid.read_text(), "g", precision="fp32").model_copy(update={"claims_sha256": "a" * 64})
    freeze(before, grid.parent)
    monkeypatch.setattr(launching, "start_local", lambda *_: [])
    folder, _ = launching.submit(launching.prepare(local(grid)), wait=False)
    assert "the rules of the claims have changed since tiny was first submitted" in capsys.readouterr().out
    assert folder.read_study().claims_sha256 == "a" * 64


# precision


@pytest.mark.parametrize("cells", ["fp32", "bf16", "auto"])
@pytest.mark.parametrize("then", ["fp32", "bf16"])
@pytest.mark.parametrize("now", ["fp32", "bf16"])
def test_an_unchanged_grid_is_its_own_frozen_study_on_any_machine(grid, monkeypatch, cells, then, now):
    grid.write_text(GRID.replace("CELLS", cells))
    folder = frozen(grid, then)
    monkeypatch.setattr(common, "auto_precision", lambda: now)
    assert common.load(str(grid), grid.parent) == folder.read_study()


@pytest.mark.parametrize("now", ["fp32", "bf16"])
def test_a_grid_that_grew_keeps_the_precision_it_had(grid, monkeypatch, now):
    frozen(grid, "bf16")
    monkeypatch.setattr(common, "auto_precision", lambda: now)
    grid.write_text(grid.read_text().replace("[0, 1]", "[0, 1, 2]"))
    study = common.load(str(grid), grid.parent)
    assert (study.truth.precision, len(study.cells)) == ("bf16", 3)


def test_a_grid_that_has_no_other_precision_is_this_machines(grid, monkeypatch):
    """With bf16 its cells would come out the same."""
    frozen(grid, "fp32")
    monkeypatch.setattr(common, "auto_precision", lambda: "fp32")
    grid.write_text(GRID.replace("CELLS", "[auto, bf16]").replace("num_samples: 50", "num_samples: 60"))
    assert common.load(str(grid), grid.parent).truth.precision == "fp32"


# plans


def test_a_data_set_that_cannot_be_read_is_damaged(grid):
    folder = frozen(grid, "fp32")
    study = folder.read_study()
    path = folder.dataset(study.truth.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"hello")
    row = next(row for row in common.plan_of(study, grid.parent).rows if row.kind == "dataset")
    assert (row.action, "damaged" in row.reason, "grows" in row.reason) == ("run", True, False)
    assert str(path) in row.reason


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        common.print_json({"x": float("nan")})


# assets


def test_other_sources_are_asked_where_torchvision_cannot_be_imported(monkeypatch):
    def unfit():
        raise MachineError("torchvision does not fit torch")

    monkeypatch.setattr(mnist, "mirrors", unfit)
    monkeypatch.setattr(inception, "weights_url", unfit)
    assert (machine._mirrors(), machine._inception_url()) == ((), None)


# supervisors


def fails() -> None:
    raise MachineError("the disk is full", "free some space")


def killed() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def ends() -> None:
    pass


@pytest.fixture
def jobs(tmp_path):
    """Jobs of submitit that have ended: well, with an exception, killed."""
    executor = submitit.LocalExecutor(folder=tmp_path / "submitit")
    executor.update_parameters(timeout_min=1)
    started = [executor.submit(work) for work in (ends, fails, killed)]
    end = time.monotonic() + 60
    while not all(job.done() for job in started):
        assert time.monotonic() < end
        time.sleep(0.05)
    return started


def test_a_supervisor_that_was_lost_is_told_with_its_log(jobs, capsys):
    assert failure_of_supervisor(jobs[0]) is None
    reason = "nllgen.errors.MachineError: the disk is full"
    assert failure_of_supervisor(jobs[1]) == f"a supervisor failed: {reason}: {jobs[1].paths.stderr}"
    assert failure_of_supervisor(jobs[2]) == f"a supervisor was killed: {jobs[2].paths.stderr}"
    assert following.tell_lost(jobs) == 2
    assert capsys.readouterr().err.count("a supervisor ") == 2


def test_a_lost_supervisor_is_a_failure(grid, monkeypatch, capsys):
    job = SimpleNamespace(
        done=lambda: True, paths=SimpleNamespace(result_pickle=Path("/nowhere"), stderr=Path("/log.err"))
    )
    monkeypatch.setattr(launching, "start_local", lambda *_: [job])
    monkeypatch.setattr(launching, "count_failed", lambda *_: 0)
    assert launching.submit(launching.prepare(local(grid)), wait=True)[1] == 1
    assert "/log.err" in capsys.readouterr().err


# in the foreground


@pytest.mark.parametrize(
    ("error", "outcome"), [(None, "done"), (StoppedError("x"), "stopped"), (MachineError("x"), "failed")]
)
def test_a_run_in_the_foreground_is_recorded_and_its_lease_renewed(grid, monkeypatch, error, outcome):
    """What it ran is not the matter here."""
    monkeypatch.setattr("nllgen.launch.attempt.RENEW_S", 0.01)
    monkeypatch.setattr("nllgen.launch.stop_signal.SIGNALS", ())
    calls = []

    def enter(folder, task, threads, device, assets, stop, *, attempt, attempts):
        lease = next(folder.path.glob("truths/*/lease"))
        before = lease.stat().st_mtime_ns
        end = time.monotonic() + 20
        while lease.stat().st_mtime_ns == before:
            assert time.monotonic() < end
            time.sleep(0.01)
        calls.append((type(stop), attempt[:2], attempts))
        if error:
            raise error

    monkeypatch.setattr(setup, "enter", enter)
    study = parse_study(grid.read_text(), "g", precision="fp32")
    if error:
        with pytest.raises(type(error)):
            foreground.run_in_foreground(study, grid.parent, "truth", 1, "cpu")
    else:
        foreground.run_in_foreground(study, grid.parent, "truth", 1, "cpu")
    folder = StudyDir(grid.parent / "tiny")
    lines = read_attempts(next(folder.path.glob("truths/*/attempts.jsonl")))
    assert [line["event"] for line in lines] == ["started", outcome]
    assert calls == [(StopRequest, "1-", 1)]
    assert not list(folder.path.glob("truths/*/lease"))
