"""Several users share a cluster and a folder of studies; a study is its owner's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nllgen.storage.study_dir import StudyDir
from tests.cluster.devcluster import Cluster, PlainUser
from tests.cluster.studies import REAL, OnCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def shared(plain_user: PlainUser, mnist_assets: Path) -> Iterator[Path]:
    """Return a folder that everybody may write, as groups use for studies, with readable assets in it."""
    with tempfile.TemporaryDirectory(dir=plain_user.home) as name:
        folder = Path(name)
        shutil.copytree(mnist_assets, folder / "assets")
        for path in (folder / "assets").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / "assets").chmod(0o755)
        (folder / "runs").mkdir()
        for path in (folder, folder / "runs"):
            path.chmod(0o1777)
        yield folder


@pytest.fixture(scope="module")
def alices(cluster: Cluster, shared: Path, plain_user: PlainUser, plain_python: str) -> Iterator[OnCluster]:
    """Return a plain user's study that the cluster has run; its jobs leave a file that names who ran them."""
    profile = {"setup": [f"touch {shared}/ran-by-$(id -un)"]}
    assets = shared / "assets"
    study = OnCluster(
        cluster, shared, assets, "alices", text=REAL, profile=profile, user=plain_user, python=plain_python
    )
    study.submit("--wait")
    yield study
    study.cancel()


def test_a_plain_user_finishes_a_study_below_a_folder_that_all_may_write(
    alices: OnCluster, plain_user: PlainUser
) -> None:
    assert (alices.folder.path / "study.h5").exists()
    assert {path.stat().st_uid for path in alices.folder.path.rglob("*")} == {plain_user.uid}


def test_others_may_not_write_the_files_of_jobs(alices: OnCluster) -> None:
    paths = [path for path in alices.folder.path.rglob("*") if not path.is_symlink()]
    assert [path for path in paths if path.stat().st_mode & 0o022] == []


def test_another_user_cannot_add_to_it(alices: OnCluster, other_user: PlainUser) -> None:
    theirs = replace(alices, base=alices.base, user=other_user, seeds=2)
    process = theirs.start()
    output, _ = process.communicate(timeout=500)
    assert process.returncode not in (0, 1), output
    assert "Traceback" not in output
    assert len(alices.cells()) == 1
    assert theirs.queue() == []


def test_a_study_that_others_may_write_is_refused(alices: OnCluster) -> None:
    alices.folder.path.chmod(0o777)
    try:
        process = alices.start()
        output, _ = process.communicate(timeout=500)
    finally:
        alices.folder.path.chmod(0o755)
    assert process.returncode == 3, output
    assert "writ" in output


def test_another_user_sees_the_queue(alices: OnCluster, other_user: PlainUser) -> None:
    held = replace(alices, name="held", profile={"sbatch": {"hold": True}})
    held.submit()
    try:
        command = [alices.python, "-m", "nllgen", "status", "--json", str(held.folder.path)]
        told = json.loads(held.cluster.run(*command, user=other_user).stdout)
        states = [row["state"] for row in told["tasks"]]
    finally:
        held.cancel()
    assert (states, told["scheduler"]) == (["queued"], "")


@pytest.fixture
def received(alices: OnCluster, other_user: PlainUser) -> StudyDir:
    """Return a copy of the study that belongs to another user whole, as after ``tar -x`` or ``rsync``."""
    root = alices.base / "received"
    shutil.copytree(alices.folder.path, root / alices.name)
    for path in (root, *root.rglob("*")):
        os.chown(path, other_user.uid, -1, follow_symlinks=False)
    return StudyDir(root / alices.name)


def test_a_study_that_another_user_submitted_is_data_until_it_is_accepted(
    alices: OnCluster, received: StudyDir, other_user: PlainUser
) -> None:
    def nllgen(*words: object) -> subprocess.CompletedProcess[str]:
        command = [alices.python, "-m", "nllgen", *map(str, words)]
        return alices.cluster.run(*command, user=other_user, check=False)

    assert (alices.base / "ran-by-nllgen-alice").exists()
    again = ("submit", "--grid", alices.grid, "--root", received.path.parent, "--profile", alices.profile_file)
    for reading in (("status", received.path), ("collect", received.path), ("retry", received.path, "--dry-run")):
        done = nllgen(*reading)
        assert done.returncode == 0, done.stderr
    for running in (("retry", received.path), again):
        done = nllgen(*running)
        assert done.returncode == 2, done.stdout + done.stderr
        assert f"setup: touch {alices.base}/ran-by-$(id -un)" in done.stderr
        assert "--trust" in done.stderr
    for accepted in (("retry", received.path, "--trust"), ("retry", received.path)):
        done = nllgen(*accepted)
        assert done.returncode == 0, done.stderr
    assert not (alices.base / "ran-by-nllgen-bob").exists()
