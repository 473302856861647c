"""A real Slurm for the tests of this folder, and plain users for it.

Where it cannot be had, they skip with the reason; with NLLGEN_REQUIRE_CLUSTER=1 they fail instead.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from devcluster import Cluster, PlainUser, python_for, why_not
from studies import OnCluster

import nllgen

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cluster")


def missing(reason: str) -> None:
    if os.environ.get("NLLGEN_REQUIRE_CLUSTER") == "1":
        pytest.fail(f"NLLGEN_REQUIRE_CLUSTER=1, but there is no devcluster: {reason}", pytrace=False)
    pytest.skip(f"NOT TESTED: no devcluster: {reason}")


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """The devcluster, running, and the environment to reach it; left running afterwards for the next time."""
    if reason := why_not():
        missing(reason)
    found = Cluster()
    done = found.up()
    if done.returncode:
        missing(done.stderr.strip() or f"up ended with {done.returncode}")
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(found.env):
            patch.delenv(name)
        patch.setenv("SLURM_CONF", str(found.slurm_conf))
        yield found


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing of a test's jobs and dead nodes reaches the next."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").tidy()


@pytest.fixture(scope="session")
def plain_user() -> PlainUser:
    """Somebody without root's rights."""
    if reason := why_not():
        missing(reason)
    return PlainUser.made("nllgen-alice")


@pytest.fixture(scope="session")
def plain_python(plain_user: PlainUser) -> Iterator[str]:
    """A Python with nllgen that the plain user can run, on the login node and in jobs."""
    with python_for(plain_user) as found:
        if not found:
            missing(f"there is no system Python like {sys.executable} for {plain_user.name}")
        yield found


@pytest.fixture(scope="session")
def other_user() -> PlainUser:
    """Somebody else without root's rights."""
    if reason := why_not():
        missing(reason)
    return PlainUser.made("nllgen-bob")


@pytest.fixture(scope="module")
def make_study(
    cluster: Cluster, mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., OnCluster]]:
    """Makes studies on the cluster, which lose their jobs at the module's end."""
    made: list[OnCluster] = []

    def make(name: str, *, at: str = "", sbatch: dict[str, Any] | None = None, **how: Any) -> OnCluster:
        profile = how.pop("profile", {}) | ({"sbatch": sbatch} if sbatch else {})
        base = tmp_path_factory.mktemp(at or name)
        made.append(OnCluster(cluster, base, mnist_assets, name, profile=profile, **how))
        return made[-1]

    yield make
    for study in made:
        study.cancel()


@pytest.fixture
def copied_package(tmp_path: Path) -> Path:
    """A folder with a copy of the package, for PYTHONPATH."""
    source = Path(nllgen.__file__).parent
    shutil.copytree(source, tmp_path / "copy" / "nllgen", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"
