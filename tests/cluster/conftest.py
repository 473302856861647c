"""A real Slurm for the tests of this folder, and plain users for it.

Where it cannot be had, they skip with the reason; with NLLGEN_REQUIRE_CLUSTER=1 they fail instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster import Cluster, PlainUser, python_for, why_not

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
