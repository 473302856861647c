"""Scenarios of studies that do not disturb the cluster or each other, and so run at the same time.

Each function takes a study from its submission to its end, and returns its observations.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nllgen.launch.status import query_scheduler, status
from tests.cluster.studies import OnCluster, go_on, kill, wait

Early = dict[str, "Future[Any]"]


# ---- failures


def killed_always(study: OnCluster) -> OnCluster:
    """Kill every worker that trains."""
    study.submit()
    (cell,) = study.cells()
    for attempt in (1, 2):
        kill(study.hold(cell, attempt))
    study.wait_end()
    return study


def killed_once(study: OnCluster) -> OnCluster:
    """Kill one of two workers in one element."""
    study.submit("--pack", "2")
    first, second = study.hold_all(study.cells())
    assert (len(first), len(second)) == (1, 1)
    kill(first)
    go_on(second)
    study.wait_end()
    return study


def ends_by_itself(study: OnCluster) -> OnCluster:
    study.submit()
    study.wait_end()
    return study


def folder_gone(study: OnCluster) -> OnCluster:
    """Move the study away while its cell trains."""
    study.submit()
    (cell,) = study.cells()
    held = study.hold(cell)
    study.folder.path.rename(study.base / "moved")
    go_on(held)
    wait(lambda: not study.queue() and not study.workers(), "everybody has noticed", every_s=0.5)
    return study


# ---- submissions


def waited_for(study: OnCluster) -> OnCluster:
    """Check that ``submit --wait`` reports no failure."""
    output = study.submit("--wait")
    assert "failed" not in output
    return study


def changed_while_it_waits(study: OnCluster, package: Path) -> OnCluster:
    """Hold the jobs until the package that submitted them has been overwritten."""
    study.submit()
    for path in (package / "nllgen").rglob("*.py"):
        path.write_text("raise SystemExit('this is not what was submitted')\n")
    numbers = sorted({row[0].partition("_")[0] for row in study.queue()})
    study.cluster.scontrol("release", ",".join(numbers))
    study.wait_end()
    return study


def in_turns(study: OnCluster) -> tuple[OnCluster, int]:
    """Return the study and the largest number of its elements that ran at the same time."""
    study.submit()
    at_once = 0
    while rows := study.queue():
        at_once = max(at_once, sum("cells" in row[1] and row[2] == "RUNNING" for row in rows))
        time.sleep(0.3)
    return study, at_once


# ---- cancelling and retrying


@dataclass(frozen=True)
class Watched:
    """A study of three cells, one at a time, of which one that runs and one that waits are cancelled, then the whole.

    Attributes:
        study: it.
        running, queued: names by state while the first cell trained.
        without_sacct: states by name that ``status`` gave then where sacct fails.
        told: what was printed when the study was cancelled, while ``next_one`` trained.
    """

    study: OnCluster
    running: list[str]
    queued: list[str]
    without_sacct: dict[str, str]
    stopped: list[str]
    next_one: str
    told: str


def watched(study: OnCluster) -> Watched:
    study.submit()
    first, held = _at_work(study, study.cells())
    before = _by_state(_status(study))
    without_sacct = _states(_status(study, PATH=f"{_broken_sacct(study.base)}{os.pathsep}{os.environ['PATH']}"))
    command(study, "cancel", str(study.folder.path), first, before["queued"][0])
    go_on(held)
    next_one, held = _at_work(study, before["queued"][1:])
    stopped = _by_state(_status(study))["stopped"]
    told = command(study, "cancel", str(study.folder.path))
    go_on(held)
    study.wait_end()
    return Watched(study, before["running"], before["queued"], without_sacct, stopped, next_one, told)


@dataclass(frozen=True)
class Retried:
    """A study of one cell that is cancelled, and sent again; what the commands printed."""

    study: OnCluster
    other_kind: str
    retry: str
    followed: str
    states: dict[str, str]
    job_log: str


def retried(study: OnCluster) -> Retried:
    study.submit()
    (cell,) = study.cells()
    folder = str(study.folder.path)
    wait(lambda: _looked_up(study)[cell] in ("running", "queued"), "it is there")
    command(study, "cancel", folder, cell)
    wait(lambda: _looked_up(study)[cell] == "stopped" and not study.queue(), "it stops", every_s=0.5)
    other_kind = command(study, "retry", folder, "--kind", "node-failure")
    retry = command(study, "retry", folder, "--kind", "asked")
    followed = command(study, "logs", "-f", folder, cell[:8])
    states = _states(_status(study))
    return Retried(study, other_kind, retry, followed, states, command(study, "logs", "--job", folder, cell))


def command(study: OnCluster, *words: str) -> str:
    """Run ``nllgen`` in the study's environment and return its output."""
    done = _process(study, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _process(study: OnCluster, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environ = study.cluster.env | {"NLLGEN_ASSETS": str(study.assets)} | extra
    return subprocess.run(
        [study.python, "-m", "nllgen", *words], env=environ, cwd=study.base, capture_output=True, text=True, timeout=500
    )


def _status(study: OnCluster, **extra: str) -> list[dict[str, Any]]:
    """Return the rows of ``nllgen status``."""
    rows: list[dict[str, Any]] = json.loads(
        _process(study, "status", "--json", str(study.folder.path), **extra).stdout
    )["tasks"]
    return rows


def _states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {str(row["name"]): str(row["state"]) for row in rows}


def _by_state(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    states = _states(rows)
    return {wanted: [name for name in states if states[name] == wanted] for wanted in ("running", "queued", "stopped")}


def _looked_up(study: OnCluster) -> dict[str, str]:
    """Return states by name, without starting a process."""
    frozen = study.folder.read_study()
    return {row.name: str(row.status) for row in status(study.folder, frozen, query_scheduler(study.folder, frozen)[0])}


def _at_work(study: OnCluster, cells: list[str]) -> tuple[str, list[int]]:
    """Return the cell that trains, after some steps, and its held worker."""

    def steps_are_done() -> list[str]:
        return [cell for cell in cells if study.is_training(cell) and _done(study, cell) and study.workers_of(cell)]

    wait(steps_are_done, "a cell trains")
    (cell,) = steps_are_done()
    return cell, study.hold(cell)


def _done(study: OnCluster, cell: str) -> int:
    path = study.folder.cell(cell).progress
    return int(json.loads(path.read_text())["done"]) if path.exists() else 0


def _broken_sacct(base: Path) -> Path:
    folder = base / "bin"
    folder.mkdir()
    (folder / "sacct").write_text("#!/bin/sh\nexit 1\n")
    (folder / "sacct").chmod(0o755)
    return folder


# what the tests of a file want
SCENARIOS: dict[str, dict[str, Callable[..., Any]]] = {
    "test_submission.py": {"smoke": waited_for, "changed": changed_while_it_waits, "turns": in_turns},
    "test_failures.py": {
        "always": killed_always,
        "once": killed_once,
        "assetless": ends_by_itself,
        "gone": folder_gone,
    },
    "test_watching.py": {"watched": watched, "retried": retried},
}
