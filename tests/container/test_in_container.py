"""Programs in the real container: the files they see, and a training run as root and as a plain user."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from nllgen.container import Bind, Container, container_python
from nllgen.launch.freeze import freeze
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from nllgen.study.run_options import RunOptions, TaskOrder
from nllgen.worker.setup import enter

Run = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Path]
User = pwd.struct_passwd
STOPPED = 75
GRID = """
name: contained
metrics: {frechet: [lenet], num_samples: 64, num_train_eval: 64, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 14, num_train: 500, num_val: 100, num_test: 100}
    flow: {width: 4, blocks: 1}
    paradigm: {name: nll, steps: 6, batch_size: 32, eval_every: 3}
    precision: fp32
    seed: 0
"""


def frozen(root: Path, owner: User | None = None) -> tuple[StudyDir, str]:
    """A study folder in which nothing has run, and its cell."""
    study = parse_study(GRID, "contained.yaml", precision="fp32")
    folder, _, _ = freeze(study, root)
    if owner is not None:
        for path in (root, *root.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    return folder, study.cells[0].id


def worker(folder: StudyDir, assets: Path) -> list[str]:
    """The command that a supervisor gives."""
    return [*container_python(), "worker", str(folder.path), "--options", RunOptions(assets, "cpu").to_json()]


def order(folder: StudyDir, cell: str, attempt: str) -> str:
    """What it writes to the worker."""
    return TaskOrder(cell, attempt, log=str(folder.path / "log.txt")).to_json() + "\n"


@pytest.fixture(scope="session")
def undisturbed(mnist_assets: Path, open_folder: Path) -> str:
    """Digest of the science of the cell, run on the host."""
    folder, cell = frozen(open_folder / "host")
    enter(folder, TaskOrder(cell, "host"), RunOptions(mnist_assets, "cpu"))
    return str(read_result(folder.cell(cell).result).attrs["science_sha256"])


@pytest.fixture(scope="session")
def assets(mnist_assets: Path, open_folder: Path) -> Path:
    """MNIST where a plain user can read it."""
    shutil.copytree(mnist_assets / "mnist", open_folder / "assets" / "mnist")
    return open_folder / "assets"


# training, without a network


@pytest.mark.parametrize("who", ["root", "user"])
def test_a_cell_stopped_by_the_end_of_its_input_goes_on_offline_and_equals_the_hosts(
    inside: Run, folder: Make, open_folder: Path, user: User, assets: Path, undisturbed: str, who: str
) -> None:
    owner = user if who == "user" else None
    study, cell = frozen(folder(open_folder / f"runs-{who}", owner), owner)
    binds = [Bind(study.path, writable=True), Bind(assets)]
    offline = partial(inside, binds=binds, environment={"OMP_NUM_THREADS": "1"}, owner=owner, network=False)
    stopped = offline(worker(study, assets), stdin=order(study, cell, "1-a"))
    assert stopped.returncode == STOPPED, stopped.stdout + stopped.stderr
    assert not study.cell(cell).result.exists()
    done = offline(worker(study, assets), order=order(study, cell, "2-a"))
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_result(study.cell(cell).result)
    assert result.attrs["outcome"] == "done"
    assert result.attrs["science_sha256"] == undisturbed
    assert study.cell(cell).result.stat().st_uid == (user.pw_uid if owner else os.geteuid())


@pytest.mark.parametrize("who", ["root", "user"])
def test_the_network_is_gone(inside: Run, user: User, who: str) -> None:
    done = inside(["cat", "/proc/net/dev"], owner=user if who == "user" else None, network=False)
    names = re.findall(r"^\s*(\w+):", done.stdout, re.MULTILINE)
    assert done.returncode == 0, done.stderr
    assert names == ["lo"]


# what is seen


PLACES = [
    "/tmp/nllgen place",
    "/home/nllgen-place/x",
    "/opt/nllgen-place",
    "/opt/nllgen/runs",
    "/usr/lib/python3.11/place",
    "/srv/a/b",
]


@pytest.mark.parametrize("who", ["root", "user"])
@pytest.mark.parametrize("place", PLACES)
def test_a_study_may_lie_anywhere(inside: Run, folder: Make, user: User, place: str, who: str) -> None:
    path = Path(f"{place}-{who}-{os.getpid()}")
    owner = user if who == "user" else None
    if owner is None and os.geteuid() != 0:
        pytest.skip("NOT TESTED: needs root")
    folder(path, owner)
    done = inside(["sh", "-c", 'echo hello > "$0/made"', str(path)], binds=[Bind(path, writable=True)], owner=owner)
    assert done.returncode == 0, done.stderr
    assert (path / "made").read_text() == "hello\n"
    refused = ["sh", "-c", '! echo hello > "$0/refused" && "$@"', str(path)]
    done = inside([*refused, *container_python(), "--help"], binds=[Bind(path)], owner=owner)
    assert (done.returncode, "Usage: " in done.stdout) == (0, True), done.stderr
    assert not (path / "refused").exists()


def test_nothing_else_of_the_host_is_seen(inside: Run, folder: Make, user: User, open_folder: Path) -> None:
    secret = folder(open_folder / "not bound", user)
    done = inside(["ls", str(secret)], owner=user)
    assert done.returncode != 0
    assert inside(["ls", "-A", user.pw_dir], owner=user).stdout == ""


@pytest.mark.parametrize("how", ["PYTHONPATH", "APPTAINERENV_PYTHONPATH", "~/.local"])
def test_modules_of_the_user_do_not_shadow_the_containers(inside: Run, user: User, how: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: needs root, for a user of the test's own")
    site = Path(user.pw_dir) / ".local/lib/python3.11/site-packages"
    for name in ("nllgen", "torch"):
        (site / name).mkdir(parents=True, exist_ok=True)
        (site / name / "__init__.py").write_text("raise SystemExit('the shadow')")
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", Path(user.pw_dir) / ".local"], check=True)
    host = {how: str(site)} if how != "~/.local" else {}
    code = "import nllgen, importlib.util as u; print(nllgen.__file__, u.find_spec('torch').origin)"
    words = [*container_python()[:-2], "-c", code]
    # the home folder is bound as well, which a job's never is
    done = inside(words, owner=user, host=host, binds=[Bind(Path(user.pw_dir))])
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.startswith("/opt/nllgen/") for path in done.stdout.split())


def test_variables_pass_by_name_and_no_others(inside: Run) -> None:
    value = 'a,b c=$(id) `id` "q"'
    done = inside(["sh", "-c", 'echo "$LIST|$HOST_ONLY"'], environment={"LIST": value}, host={"HOST_ONLY": "seen"})
    assert done.stdout == f"{value}|\n"


def test_exit_codes_and_standard_input_pass(inside: Run) -> None:
    done = inside(["sh", "-c", "cat; exit 7"], stdin="through")
    assert (done.returncode, done.stdout) == (7, "through")


def test_a_worker_of_a_pack_reaches_its_gpu_and_the_multi_process_service(
    container: Container, open_folder: Path, mnist_assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU ``--nv`` finds nothing to show, and the container starts all the same."""
    study, _ = frozen(open_folder / "packed")
    pipes = open_folder / "mps"
    pipes.mkdir()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(pipes))
    config = WorkerConfig(RunOptions(mnist_assets, "cuda")).with_container(container.path)
    words, variables = config.command(study.path, 1, (5,))
    before_program = words[: words.index(str(config.container)) + 1]
    script = 'echo "$CUDA_VISIBLE_DEVICES"; touch "$CUDA_MPS_PIPE_DIRECTORY/reached"'
    done = subprocess.run(
        [*before_program, "sh", "-c", script], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert "--nv" in before_program
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
    assert (pipes / "reached").exists()


def test_the_shell_shows_what_a_job_sees(
    nllgen: Run, container: Container, open_folder: Path, mnist_assets: Path
) -> None:
    study, _ = frozen(open_folder / "shell")
    done = nllgen("shell", "--container", container.path, "--study", study.path, "--", "nllgen", "status", study.path)
    assert done.returncode == 0, done.stderr
    assert "1 waiting" in done.stdout
    done = nllgen("shell", "--container", container.path, "--", "nllgen", "assets", "list", "mnist")
    assert str(mnist_assets) in done.stdout
    assert done.stdout.count("present  md5:") == 4
