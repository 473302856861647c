"""Whole studies as real processes: killed, stopped, damaged, and finished by the same command with the same bits."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nllgen.launch.tasks import read_attempts
from tests.local_run import PATIENCE_S, Run, send, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 400  # of a cell that something happens to while it trains: most of a second


@pytest.fixture(scope="module")
def calm(mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory, tiny_grid: Callable[[int], str]) -> Run:
    """Return an undisturbed run."""
    base = tmp_path_factory.mktemp("calm")
    (base / "tiny.yaml").write_text(tiny_grid(STEPS))
    run = Run(base / "runs", base / "tiny.yaml", mnist_assets)
    code, output = run.submit()
    assert code == 0, output
    return run


@pytest.fixture
def copy(calm: Run, tmp_path: Path) -> Iterator[Run]:
    """Yield a copy of the undisturbed run."""
    shutil.copytree(calm.root, tmp_path / "runs")
    run = Run(tmp_path / "runs", calm.grid, calm.assets)
    yield run
    send(signal.SIGKILL, run.pids())  # of a test that failed


@pytest.fixture
def fresh(copy: Run) -> Run:
    """Return a copy with the truth and the data set, in which no cell has run."""
    shutil.rmtree(copy.folder.path / "cells")
    return copy


def resumed(run: Run) -> list[str]:
    return [path.parent.name for path in run.folder.path.glob("cells/*/log.txt") if "resuming at" in path.read_text()]


def test_an_undisturbed_study_is_done_at_the_first_attempt(calm: Run) -> None:
    assert {(row["state"], row["attempts"]) for row in calm.states().values()} == {("done", 1)}
    assert len(calm.science()) == 4


def test_submitting_again_runs_nothing(calm: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in calm.folder.path.rglob("*")}
    code, output = calm.submit()
    assert (code, "nothing to run" in output) == (0, True)
    assert {path: path.stat().st_mtime_ns for path in calm.folder.path.rglob("*")} == before


def test_others_may_not_write_the_files_of_a_run(calm: Run) -> None:
    assert [path for path in calm.folder.path.rglob("*") if path.stat().st_mode & 0o022] == []


def kill_its_worker(run: Run, cell: str, attempt: int) -> None:
    """Kill the worker of this attempt; a worker is kept, so it is identified by the cell that it ran last."""
    task = run.folder.cell(cell)
    wait_for(lambda: task.log.exists() and task.log.read_text().count("step 0 raw") >= 1, "it trains")
    wait_for(lambda: run.starts(cell) == attempt, f"attempt {attempt} begins")
    wait_for(lambda: run.workers_of(cell), "its worker is up")
    send(signal.SIGKILL, run.workers_of(cell))
    wait_for(lambda: read_attempts(task.attempts)[-1]["event"] != "started" or not run.workers_of(cell), "it is dead")


def test_a_worker_that_is_killed_once_is_started_once_more(calm: Run, fresh: Run) -> None:
    process = fresh.start("--wait", workers=1)
    (victim,), _ = fresh.hold()
    kill_its_worker(fresh, victim, 1)
    output, _ = process.communicate(timeout=PATIENCE_S)
    events = [(line["event"], line.get("kind")) for line in read_attempts(fresh.folder.cell(victim).attempts)]
    assert (process.returncode, events) == (
        0,
        [("started", None), ("failed", "crash"), ("started", None), ("done", None)],
    ), output
    assert fresh.science() == calm.science()


def test_a_worker_killed_twice_fails_only_its_cell_and_the_next_submission_finishes_it(calm: Run, fresh: Run) -> None:
    process = fresh.start("--wait")
    (victim, *_), held = fresh.hold()
    send(signal.SIGCONT, [pid for pid in held if pid not in fresh.workers_of(victim)])
    for attempt in (1, 2):
        kill_its_worker(fresh, victim, attempt)
    output, _ = process.communicate(timeout=PATIENCE_S)
    states = fresh.states()
    assert (process.returncode, states[victim]["state"], states[victim]["kind"]) == (1, "failed", "crash"), (
        output,
        fresh.folder.cell(victim).attempts.read_text(),
    )
    assert [row["state"] for name, row in states.items() if name != victim] == ["done"] * 4
    assert fresh.submit()[0] == 0
    assert fresh.science() == calm.science()


def test_submit_without_wait_closes_its_pipe_while_its_workers_run(fresh: Run) -> None:
    code, output = fresh.submit(wait=False, workers=1)  # read to the end of the pipe
    assert (code, "run in the background" in output) == (0, True), output
    assert fresh.pids("submitit")
    fresh.folder.stop.touch()
    wait_for(lambda: not fresh.pids(), "they were stopped by the stop file")


def test_killed_supervisors_lose_nothing(calm: Run, fresh: Run) -> None:
    fresh.submit(wait=False)
    _, held = fresh.hold()
    send(signal.SIGKILL, fresh.pids("submitit"))
    send(signal.SIGCONT, held)
    wait_for(lambda: not fresh.pids(), "the workers end by themselves")
    assert list(fresh.folder.path.glob("cells/*/checkpoint.*"))
    assert fresh.submit()[0] == 0
    assert fresh.science() == calm.science()
    assert resumed(fresh)


def test_a_submission_beside_workers_of_killed_supervisors_gives_the_same_bits(calm: Run, fresh: Run) -> None:
    fresh.submit(wait=False)
    _, held = fresh.hold()
    send(signal.SIGKILL, fresh.pids("submitit"))
    send(signal.SIGCONT, held)
    code, output = fresh.submit()  # the old workers still save their state
    assert code == 0, output
    assert fresh.science() == calm.science()


@pytest.fixture
def interrupted(fresh: Run) -> tuple[Run, int, str]:
    """Send Ctrl-C while cells train."""
    process = fresh.start("--wait")
    _, held = fresh.hold()
    os.killpg(process.pid, signal.SIGINT)
    wait_for(fresh.folder.stop.exists, "they are asked to stop")
    send(signal.SIGCONT, held)
    output, _ = process.communicate(timeout=PATIENCE_S)
    return fresh, process.returncode, output


def test_ctrl_c_stops_and_the_same_command_finishes(calm: Run, interrupted: tuple[Run, int, str]) -> None:
    run, code, output = interrupted
    assert (code, "run the same command again" in output, "Traceback" in output) == (75, True, False)
    assert run.pids() == []
    assert run.folder.stop.exists()
    assert {row["state"] for row in run.states().values()} <= {"done", "stopped", "waiting"}
    code, output = run.submit()
    assert code == 0, output
    assert not run.folder.stop.exists()
    assert run.science() == calm.science()
    assert resumed(run)


def test_two_submissions_at_once_run_nothing_twice(calm: Run, fresh: Run) -> None:
    pair = [fresh.start("--wait"), fresh.start("--wait")]
    for process in pair:
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, output
    assert {row["attempts"] for row in fresh.states().values()} == {1}
    assert fresh.science() == calm.science()


def test_a_damaged_result_is_run_again_and_kept_aside(calm: Run, copy: Run) -> None:
    path = next(copy.folder.path.glob("cells/*/result.h5"))
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    assert copy.states()[path.parent.name]["state"] == "damaged"
    assert copy.submit()[0] == 0
    assert path.with_name("result.h5.damaged").read_bytes() == content
    assert copy.science() == calm.science()


def test_a_damaged_truth_is_trained_again_before_the_cells_that_need_it(calm: Run, fresh: Run) -> None:
    weights = next(fresh.folder.path.glob("truths/*/truth.pt"))
    weights.write_bytes(weights.read_bytes()[:1000])
    code, output = fresh.submit(workers=1)
    assert (code, "damaged   truth" in output) == (0, True), output
    assert [row["state"] for row in fresh.states().values()] == ["done"] * 5
    assert fresh.science() == calm.science()


def test_a_study_that_is_taken_away_ends_and_does_not_come_back(fresh: Run) -> None:
    fresh.submit(wait=False, workers=1)
    _, held = fresh.hold()
    attempts = {path: len(read_attempts(path)) for path in fresh.folder.path.glob("cells/*/attempts.jsonl")}
    assert attempts
    fresh.folder.path.rename(fresh.root / "moved")
    send(signal.SIGCONT, held)
    wait_for(lambda: not fresh.pids(), "everybody has noticed")
    assert not fresh.folder.path.exists()
