"""A plain user of a site that enforces tight limits: the doctor's profile carries a whole study."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nllgen.launch.profile import Profile, load_profile
from tests.cluster.conftest import missing
from tests.cluster.devcluster import Cluster, PlainUser, python_for
from tests.cluster.studies import GRID, OnCluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
MAX_SUBMIT = 6
GRID_OF_12 = GRID.replace("dataset: {num_train: 200", "dataset: {num_train: 1200")
ACCOUNT, USER_QOS, PARTITION_QOS = "nllgen-group", "nllgen-user", "nllgen-part"
# the limit on queued jobs lives on the account above, that on time on the user's QOS, that on GPUs on the partition's
RULES = (
    ("account", ACCOUNT, f"GrpSubmitJobs={MAX_SUBMIT}"),
    ("qos", USER_QOS, "MaxWall=00:08:00", "MaxTRESPerJob=mem=2G"),
    ("qos", PARTITION_QOS, "MaxTRESPerUser=gres/gpu=3"),
)
QOS = ",".join(("normal", USER_QOS))


@pytest.fixture(scope="module")
def plain_user(cluster: Cluster) -> PlainUser:
    """Return a user of this module alone, whom its limits count for."""
    return PlainUser.made("nllgen-carol")


@pytest.fixture(scope="module")
def plain_python(plain_user: PlainUser) -> Iterator[str]:
    """Yield a Python with nllgen that the user can run."""
    with python_for(plain_user) as found:
        if not found:
            missing(f"there is no system Python for {plain_user.name}")
        yield found


@pytest.fixture(scope="module")
def limited(cluster: Cluster, plain_user: PlainUser) -> Iterator[Cluster]:
    """Enforce limits for the plain user, in accounting and on the default partition."""
    for kind, name, *limits in RULES:
        cluster.run("sacctmgr", "-iQ", "add", kind, name, *limits, check=False)  # it may be left of an earlier run
        cluster.run("sacctmgr", "-iQ", "modify", kind, name, "set", *limits, check=False)
    qos = (f"qos={QOS}", f"defaultqos={USER_QOS}")
    cluster.run("sacctmgr", "-iQ", "add", "user", plain_user.name, f"account={ACCOUNT}", *qos, check=False)
    try:
        assert cluster.up(limits=True).returncode == 0
        cluster.scontrol("update", "PartitionName=short", f"QoS={PARTITION_QOS}")
        yield cluster
    finally:
        cluster.scontrol("update", "PartitionName=short", "QoS=", check=False)
        cluster.run("sacctmgr", "-iQ", "delete", "user", plain_user.name, check=False)
        assert cluster.up().returncode == 0


@pytest.fixture(scope="module")
def place(plain_user: PlainUser, mnist_assets: Path) -> Iterator[Path]:
    """Return a folder of the plain user with readable assets in it."""
    with tempfile.TemporaryDirectory(dir=plain_user.home) as name:
        folder = Path(name)
        shutil.copytree(mnist_assets, folder / "assets")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            shutil.chown(path, plain_user.name)
        yield folder


@pytest.fixture(scope="module")
def profile(limited: Cluster, place: Path, plain_user: PlainUser, plain_python: str) -> Profile:
    """Return the profile that the doctor writes for the user."""
    out = str(place / "mine.yaml")
    limited.run(plain_python, "-m", "nllgen", "doctor", "--root", str(place), "--out", out, user=plain_user)
    return load_profile(out)


def test_the_doctor_finds_limits_where_they_live(profile: Profile, place: Path) -> None:
    assert (profile.workers, profile.max_array_size) == (2, 101)
    assert (profile.time_min, profile.memory_gb, profile.array_parallelism) == (8, 1.8, 3)
    comments = (place / "mine.yaml").read_text()
    for source in (f"account {ACCOUNT} allows {MAX_SUBMIT} queued", f"QOS {USER_QOS} allows 8 min"):
        assert source in comments
    assert f"QOS {PARTITION_QOS} of partition short allows 3 cells by gres/gpu" in comments


def test_a_study_of_more_cells_than_jobs_allowed_is_carried_through(
    limited: Cluster, profile: Profile, place: Path, plain_user: PlainUser, plain_python: str
) -> None:
    keys = profile.model_dump(mode="json", exclude_unset=True) | {"signal_s": 20}
    user: Any = {"user": plain_user, "python": plain_python}
    study = OnCluster(limited, place, place / "assets", "few", text=GRID_OF_12, seeds=12, profile=keys, **user)
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            most[0] = max(most[0], len(study.queue()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output = study.submit("--wait")
    finally:
        ended.set()
        watcher.join()
        study.cancel()
    assert set(study.cells()) < set(study.science()), output  # with the truth's
    assert (study.folder.path / "study.h5").exists()
    assert 0 < most[0] <= MAX_SUBMIT


def test_a_job_for_each_cell_is_refused_there(
    limited: Cluster, profile: Profile, place: Path, plain_user: PlainUser, plain_python: str
) -> None:
    keys = profile.model_dump(mode="json", exclude_unset=True) | {"workers": None, "sbatch": {"hold": True}}
    user: Any = {"user": plain_user, "python": plain_python}
    study = OnCluster(limited, place, place / "assets", "many", text=GRID_OF_12, seeds=12, profile=keys, **user)
    try:
        assert "sbatch refused the job" in study.submit(code=3)
    finally:
        study.cancel()
