"""Jobs of a real cluster in a real container, as root and as a plain user, preempted, with the same bits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nllgen.container import Container
from nllgen.launch.tasks import read_attempts
from nllgen.storage.head import read_head
from nllgen.storage.result import read_attrs
from nllgen.storage.study_dir import StudyDir
from tests.cluster.devcluster import Cluster, PlainUser, python_for, wait_for
from tests.container.on_cluster import GRID, prepared

pytestmark = pytest.mark.cluster


@dataclass
class Study:
    """A study under a root of its own, and the command on it."""

    root: Path
    container: Container
    user: PlainUser | None = None
    python: str = sys.executable

    @property
    def folder(self) -> StudyDir:
        return StudyDir(self.root / "runs" / "contained")

    def submit(self, env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
        (self.root / "grid.yaml").write_text(GRID)
        words = [
            "submit",
            "--grid",
            "grid.yaml",
            "--root",
            str(self.root / "runs"),
            "--container",
            str(self.container.path),
        ]
        command = [self.python, "-m", "nllgen", *words, *options]
        variables = {"NLLGEN_ASSETS": str(self.root / "assets")}
        if self.user:
            command = self.user.command(*(f"{name}={value}" for name, value in variables.items()), *command)
        return subprocess.run(
            command, env=env | variables, cwd=self.root, capture_output=True, text=True, timeout=400, check=False
        )

    def cells(self) -> list[Path]:
        return sorted((self.folder.path / "cells").glob("*"))

    def science(self) -> dict[str, str]:
        return {path.name: read_head(path / "result.h5")["science_sha256"] for path in self.cells()}

    def is_done(self) -> bool:
        return (self.folder.path / "study.h5").exists()


@dataclass
class Runs:
    """The same grid three times, all at once: the cluster runs two of them while this machine runs one itself."""

    undisturbed: Study
    preempted: Study
    plain: Study


@pytest.fixture(scope="module")
def runs(base: Path, container: Container, cluster: Cluster, alice: PlainUser) -> Iterator[Runs]:
    with python_for(alice) as python:
        assert python
        found = Runs(
            Study(prepared(base / "calm"), container),
            Study(prepared(base / "root"), container),
            Study(prepared(base / "alice", alice), container, alice, python),
        )
        sent(found.preempted, cluster, "./preempt.yaml")
        # driven out of all nodes while its cells train
        training = lambda: any((path / "progress.json").exists() for path in found.preempted.cells())  # noqa: E731
        wait_for(training, 200, "a cell trains")
        cluster.sbatch("-p", "urgent", "--nodes=4", "--exclusive", script="sleep 5")
        sent(found.plain, cluster, "./short.yaml")
        done = found.undisturbed.submit(cluster.env, "--local", "--wait")
        assert done.returncode == 0, done.stdout + done.stderr
        for study in (found.plain, found.preempted):
            wait_for(study.is_done, 300, f"{study.root} is collected")
        yield found


def sent(study: Study, cluster: Cluster, profile: str) -> None:
    done = study.submit(cluster.env, "--profile", profile)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_contained_job_that_is_preempted_ends_with_the_same_bits(runs: Runs) -> None:
    assert runs.preempted.science() == runs.undisturbed.science()


def test_it_was_preempted_and_went_on_from_its_checkpoint(runs: Runs) -> None:
    kinds = [[line.get("kind") for line in read_attempts(path / "attempts.jsonl")] for path in runs.preempted.cells()]
    assert any("preempted" in found for found in kinds), kinds
    logs = [(path / "log.txt").read_text() for path in runs.preempted.cells()]
    assert any("resuming at step" in log for log in logs)


def test_a_plain_user_s_jobs_run_in_the_container_with_the_same_bits(runs: Runs, alice: PlainUser) -> None:
    assert runs.plain.science() == runs.undisturbed.science()
    assert {path.stat().st_uid for path in runs.plain.folder.path.rglob("result.h5")} == {alice.uid}


def test_every_result_names_its_container(runs: Runs, container: Container) -> None:
    for study in (runs.preempted, runs.plain):
        assert {read_attrs(path / "result.h5")["container_sha256"] for path in study.cells()} == {container.sha256}


def test_a_result_of_another_container_is_shown_and_counts_unless_it_is_strict(
    runs: Runs, copy: Path, cluster: Cluster
) -> None:
    with copy.open("ab") as file:  # the same programs, other bytes
        file.write(b"\0" * 4096)
    other = Study(runs.undisturbed.root, Container(copy, "", {}))
    lax, strict = (other.submit(cluster.env, "--local", "--dry-run", *more) for more in ((), ("--strict-container",)))
    assert (lax.stdout.count("but made in container"), "0 to run" in lax.stdout) == (2, True), lax.stdout + lax.stderr
    assert strict.stdout.count("does not count, runs again") == 2, strict.stdout + strict.stderr


@pytest.mark.parametrize("spoil", ["truncated", "no container"])
def test_a_container_that_cannot_be_used_is_refused_at_submission(
    base: Path, copy: Path, cluster: Cluster, spoil: str
) -> None:
    copy.write_bytes(copy.read_bytes()[:100_000] if spoil == "truncated" else b"hello")
    study = Study(prepared(base / spoil.replace(" ", "-")), Container(copy, "", {}))
    done = study.submit(cluster.env, "--profile", "./short.yaml")
    assert (done.returncode, "→" in done.stderr, study.folder.path.exists()) == (3, True, False), done.stderr
