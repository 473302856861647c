"""A real container, built by `nllgen build` and cached by the digest of its inputs; a plain user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from nllgen.container import Bind, Container, exec_command, verify_container
from tests.cluster.devcluster import Cluster, PlainUser, why_not

NLLGEN = str(Path(sys.executable).with_name("nllgen"))
USER = "nllgen-test"
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Apptainer; the first such test may have to build the container."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and "apptainer" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.container)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(1500))


def missing(what: str) -> None:
    """Skip, or fail where NLLGEN_REQUIRE_CONTAINER is set."""
    if os.environ.get("NLLGEN_REQUIRE_CONTAINER") == "1":
        pytest.fail(f"{what}, and NLLGEN_REQUIRE_CONTAINER=1 requires it")
    pytest.skip(f"NOT TESTED: {what}")


@pytest.fixture(scope="session")
def nllgen() -> Run:
    """``nllgen`` on the host."""

    def run(*words: object, **extra: str) -> Done:
        command = [NLLGEN, *map(str, words)]
        env = os.environ | extra
        return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1200)

    return run


@pytest.fixture(scope="session")
def apptainer() -> str:
    found = shutil.which("apptainer")
    if found is None:
        missing("Apptainer is not installed (`make apptainer`)")
    assert found is not None
    return found


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are their owner's alone."""
    with tempfile.TemporaryDirectory(prefix="nllgen-container-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def built(apptainer: str, nllgen: Run, open_folder: Path) -> tuple[Path, str]:
    """The container, and the output of `nllgen build`."""
    if shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        missing("debootstrap is not installed (`make apptainer`)")
    out, canary = open_folder / "nllgen.sif", open_folder / "canary"
    canary.touch()  # in the host's temporary folder, which Apptainer shows to a build
    done = nllgen("build", "--base", "debootstrap", "-o", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "retrieving inrelease" in done.stdout or "built before" in done.stdout  # debootstrap's milestones are told
    assert canary.exists()
    return out, done.stdout


@pytest.fixture(scope="session")
def container(built: tuple[Path, str]) -> Container:
    return verify_container(built[0])


@pytest.fixture
def copy(built: tuple[Path, str], open_folder: Path) -> Iterator[Path]:
    """A copy of the container that a test may spoil."""
    path = open_folder / "copy.sif"
    shutil.copyfile(built[0], path)
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    if reason := why_not():
        required = os.environ.get("NLLGEN_REQUIRE_CLUSTER") == "1"
        pytest.fail(reason) if required else pytest.skip(f"NOT TESTED: no devcluster: {reason}")
    found = Cluster()
    done = found.up()
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="session")
def alice() -> PlainUser:
    return PlainUser.made("nllgen-alice")


@pytest.fixture(scope="session")
def base(alice: PlainUser) -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory(dir=alice.home, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def user() -> Iterator[pwd.struct_passwd]:
    """A plain user; made for the tests, and removed after them, where there is none of the name."""
    if os.geteuid() != 0:
        yield pwd.getpwuid(os.geteuid())
        return
    made = False
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--create-home", USER], check=True)
        made = True
    yield pwd.getpwnam(USER)
    if made:
        subprocess.run(["userdel", "--remove", USER], check=True, capture_output=True)


@pytest.fixture
def folder() -> Iterator[Callable[..., Path]]:
    """Makes folders anywhere, for any owner; removed with their new parents at the end."""
    made: list[Path] = []

    def make(path: Path, owner: pwd.struct_passwd | None = None) -> Path:
        first = path
        while not first.parent.exists():
            first = first.parent
        if not first.exists():
            made.append(first)
        path.mkdir(parents=True, exist_ok=True)
        if owner is not None:
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return path

    yield make
    for path in made:
        shutil.rmtree(path)


def send_order(words: Sequence[str], order: str, env: Mapping[str, str], ids: tuple[int, int] | None) -> Done:
    """Run a worker on one order. Its standard input stays open until it has answered."""
    with subprocess.Popen(
        words, env=env, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        user=ids and ids[0], group=ids and ids[1], extra_groups=None if ids is None else [],
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(order)
        process.stdin.flush()
        answer = process.stdout.readline()
        output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(list(words), process.returncode, answer + output, errors)


@pytest.fixture
def inside(container: Container) -> Run:
    """Run a command in the container, as root or as a plain user; with ``order`` it is a worker."""

    def run(
        command: Sequence[str],
        *,
        binds: Sequence[Bind] = (),
        environment: Mapping[str, str] | None = None,
        owner: pwd.struct_passwd | None = None,
        host: Mapping[str, str] | None = None,
        network: bool = True,
        stdin: str = "",
        order: str = "",
    ) -> Done:
        words, variables = exec_command(container, command, binds=binds, environment=environment or {}, network=network)
        env = {**os.environ, **(host or {}), **variables}
        ids = None
        if owner is not None and os.geteuid() != owner.pw_uid:
            ids = owner.pw_uid, owner.pw_gid
            env |= {"HOME": owner.pw_dir, "USER": owner.pw_name, "LOGNAME": owner.pw_name}
        if order:
            return send_order(words, order, env, ids)
        return subprocess.run(
            words, env=env, cwd="/", input=stdin, capture_output=True, text=True, timeout=600,
            user=ids and ids[0], group=ids and ids[1], extra_groups=None if ids is None else [],
        )  # fmt: skip

    return run
