"""A real Slurm for the tests of this folder, and plain users for it.

Where it cannot be had, they skip with the reason; with NLLGEN_REQUIRE_CLUSTER=1 they fail instead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import nllgen
from tests.cluster.devcluster import Cluster, PlainUser, python_for, why_not
from tests.cluster.scenarios import SCENARIOS, Early
from tests.cluster.studies import REAL, STEPS, OnCluster

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
    """Start the devcluster and set the environment to reach it; it is left running for the next session."""
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
    """Remove the jobs and dead nodes of a test before the next one."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").tidy()


@pytest.fixture(scope="session")
def plain_user() -> PlainUser:
    """Return a user without root's rights."""
    if reason := why_not():
        missing(reason)
    return PlainUser.made("nllgen-alice")


@pytest.fixture(scope="session")
def plain_python(plain_user: PlainUser) -> Iterator[str]:
    """Yield a Python with nllgen that the plain user can run, on the login node and in jobs."""
    with python_for(plain_user) as found:
        if not found:
            missing(f"there is no system Python like {sys.executable} for {plain_user.name}")
        yield found


@pytest.fixture(scope="session")
def other_user() -> PlainUser:
    """Return another user without root's rights."""
    if reason := why_not():
        missing(reason)
    return PlainUser.made("nllgen-bob")


def studies_in(cluster: Cluster, assets: Path, factory: pytest.TempPathFactory) -> Iterator[Callable[..., OnCluster]]:
    """Yield a function that makes studies on the cluster; their jobs are cancelled at the end."""
    made: list[OnCluster] = []

    def make(name: str, *, at: str = "", sbatch: dict[str, Any] | None = None, **how: Any) -> OnCluster:
        profile = how.pop("profile", {}) | ({"sbatch": sbatch} if sbatch else {})
        base = factory.mktemp(at or name)
        made.append(OnCluster(cluster, base, how.pop("assets", assets), name, profile=profile, **how))
        return made[-1]

    yield make
    for study in made:
        study.cancel()


@pytest.fixture(scope="module")
def make_study(
    cluster: Cluster, mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., OnCluster]]:
    """Make studies on the cluster; their jobs are cancelled at the end of the module."""
    yield from studies_in(cluster, mnist_assets, tmp_path_factory)


@pytest.fixture(scope="package")
def early(
    request: pytest.FixtureRequest, cluster: Cluster, mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Early]:
    """Yield studies that do not disturb the cluster. All are sent with the first; a test waits for its own."""
    files = {item.path.name for item in request.session.items}
    wanted = {name: run for file, several in SCENARIOS.items() if file in files for name, run in several.items()}
    package = copy_of_the_package(tmp_path_factory.mktemp("copy"))
    with contextlib.contextmanager(studies_in)(cluster, mnist_assets, tmp_path_factory) as make:
        given = arguments(make, package, without_assets=tmp_path_factory.mktemp("no-assets"))
        with ThreadPoolExecutor(len(wanted)) as pool:
            yield {name: pool.submit(run, *given[name]) for name, run in wanted.items()}


def arguments(make: Callable[..., OnCluster], package: Path, without_assets: Path) -> dict[str, tuple[Any, ...]]:
    """Return the arguments of each scenario."""
    turns = {"array_parallelism": 2, "max_array_size": 2}
    alone = {"array_parallelism": 1, "signal_s": 60}
    from_copy = {"sbatch": {"hold": True}, "environ": {"PYTHONPATH": str(package)}, "cwd": package}
    return {
        "smoke": (make("smoke", seeds=2),),
        "changed": (make("changed", **from_copy), package),
        "turns": (make("turns", text=REAL, seeds=4, profile=turns),),
        "always": (make("always", text=REAL, steps=STEPS),),
        "once": (make("once", text=REAL, steps=STEPS, seeds=2),),
        "assetless": (make("assetless", text=REAL, assets=without_assets),),
        "gone": (make("gone", text=REAL, steps=STEPS),),
        "watched": (make("watched", text=REAL, steps=200_000, seeds=3, profile=alone),),
        "retried": (make("retried", text=REAL, steps=STEPS, profile=alone),),
    }


@pytest.fixture(scope="package")
def calm(cluster: Cluster, mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory) -> OnCluster:
    """Return an undisturbed run of one cell on this machine."""
    study = OnCluster(cluster, tmp_path_factory.mktemp("calm"), mnist_assets, "calm", text=REAL, steps=STEPS)
    study.run_locally()
    return study


def copy_of_the_package(folder: Path) -> Path:
    """Copy the package to a folder for PYTHONPATH."""
    source = Path(nllgen.__file__).parent
    shutil.copytree(source, folder / "nllgen", ignore=shutil.ignore_patterns("__pycache__"))
    return folder
