"""The whole way of a plain user on a real cluster in a real container, from the doctor to the report."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from nllgen.container import Container
from nllgen.launch.tasks import read_attempts
from nllgen.storage.head import read_head
from nllgen.storage.study_dir import StudyDir
from tests.cluster.devcluster import Cluster, PlainUser, python_for, wait_for
from tests.container.on_cluster import GRID, prepared

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Account:
    """A plain user's directory on the login node, to which the user logs in for one command at a time."""

    cluster: Cluster
    home: Path
    user: PlainUser
    python: str

    @property
    def study(self) -> StudyDir:
        return StudyDir(self.home / "runs" / "contained")

    def nllgen(self, *words: object) -> str:
        """Log in, run a command, and log out: whatever it has left running here is killed. Return its output."""
        places = (f"NLLGEN_ASSETS={self.home / 'assets'}", f"XDG_CONFIG_HOME={self.home / 'config'}")
        command = [*places, self.python, "-m", "nllgen", *map(str, words)]
        with subprocess.Popen(
            self.user.command(*command),
            env=self.cluster.env,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            output, _ = process.communicate(timeout=500)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, output
        return output

    def write_grid(self, seeds: int) -> None:
        grid = GRID.replace("steps: 3_000", "steps: 6_000").replace("seed: 0", f"seed: {list(range(seeds))}")
        (self.home / "grid.yaml").write_text(grid)

    def cells(self) -> list[str]:
        return [cell.id for cell in self.study.read_study().cells]

    def task(self, name: str) -> dict[str, Any]:
        tasks: list[dict[str, Any]] = json.loads(self.nllgen("status", "--json", self.study.path))["tasks"]
        return next(task for task in tasks if task["name"] == name)

    def wait_training(self, cell: str) -> None:
        path = self.study.cell(cell).progress
        wait_for(path.exists, 300, f"{cell} trains", every_s=0.05)

    def events(self, cell: str) -> Counter[str]:
        return Counter(str(line["event"]) for line in read_attempts(self.study.cell(cell).attempts))

    def science(self) -> dict[str, str]:
        return {cell: read_head(self.study.cell(cell).result)["science_sha256"] for cell in self.cells()}


@pytest.fixture(scope="module")
def account(base: Path, cluster: Cluster, alice: PlainUser) -> Iterator[Account]:
    with python_for(alice) as python:
        assert python
        yield Account(cluster, prepared(base / "journey", alice), alice, python)


def test_a_plain_user_s_journey_ends_with_a_report_of_the_bits_of_a_calm_run(
    account: Account, base: Path, container: Container
) -> None:
    study, sent = account.study.path, ("--grid", "grid.yaml", "--container", container.path, "--profile", "journey")
    # the doctor's profile; a plan and a dry run change nothing
    account.nllgen("doctor", "--partition", "short", "--write", "journey")
    account.write_grid(seeds=1)
    planned = json.loads(account.nllgen("plan", "--grid", "grid.yaml", "--json"))
    assert [row["action"] for row in planned["rows"]] == ["run"] * 3  # truth, data, cell
    assert "3 to run" in account.nllgen("submit", *sent, "--dry-run")
    assert not study.exists()

    # submitted, logged out, cancelled in the middle
    account.nllgen("submit", *sent)
    (first,) = account.cells()
    account.wait_training(first)
    assert first[:8] in account.nllgen("cancel", study)
    wait_for(lambda: account.task(first)["state"] == "stopped", what=f"{first} is stopped", every_s=1)
    assert account.events(first)["done"] == 0

    # grown and submitted again; the node of the new cell crashes
    account.write_grid(seeds=2)
    account.nllgen("submit", *sent)
    second = next(cell for cell in account.cells() if cell != first)
    account.wait_training(second)
    crash_below(account, second)

    # collected by itself; reported
    collected = study / "study.h5"
    wait_for(collected.exists, 400, "the study is collected", every_s=0.5)
    assert (account.events(first)["stopped"], account.events(first)["done"]) == (1, 1)
    assert (account.events(second)["started"], account.events(second)["done"]) == (2, 1)
    account.nllgen("report", collected, "--out", "report")
    assert "contained" in (account.home / "report" / "report.html").read_text("utf-8")
    assert {path.stat().st_uid for path in study.rglob("*")} == {account.user.uid}

    calm = replace(account, home=prepared(base / "calm-journey", account.user))
    calm.write_grid(seeds=2)
    calm.nllgen("submit", *sent[:4], "--local", "--wait")
    assert account.science() == calm.science()


def crash_below(account: Account, cell: str) -> None:
    """Crash the node on which a cell runs; bring it back when the scheduler has given it up."""
    cluster, job = account.cluster, str(account.task(cell)["job"])
    (node,) = cluster.squeue("-j", job, "-o", "%N")
    cluster.crash(node)
    wait_for(lambda: cluster.field(job, "Restarts") != ["0"], what="the scheduler gives the node up")
    cluster.start(node)
    cluster.scontrol("update", f"nodename={node}", "state=resume", check=False)
