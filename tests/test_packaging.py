"""The wheel, built from the sdist and installed in new environments outside the checkout."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nllgen import __version__
from nllgen.launch.freeze import freeze
from nllgen.storage.study_file import write_study
from nllgen.study.builtin import SHIPPED_DIRECTORIES
from nllgen.study.load import load_study

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[1]
BUILT = ("build", "dist", "*.egg-info", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "runs", ".git")
REFUSED = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}


class Environment:
    """A virtual environment with the wheel and its dependencies alone, and a directory that its programs run in."""

    def __init__(self, directory: Path, requirement: str):
        self.bin = directory / "venv" / "bin"
        self.directory = directory
        _check([sys.executable, "-m", "venv", "--without-pip", directory / "venv"])
        pip = [sys.executable, "-m", "pip", "--python", self.bin / "python"]  # no bytecode: most modules are not run
        _check([*pip, "install", "-qq", "--no-compile", "-c", CHECKOUT / "constraints.txt", requirement])

    def run(self, name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, without a network and without this process's Python settings."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("NLLGEN", "PYTHON"))} | REFUSED
        command = [str(self.bin / name), *map(str, arguments)]
        return subprocess.run(command, cwd=self.directory, env=env, capture_output=True, text=True, timeout=300)


def _check(command: list[Any], cwd: Path | None = None) -> None:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy, since a build leaves directories behind and uses those of an earlier one.
    source = tmp_path_factory.mktemp("source") / "nllgen"
    shutil.copytree(CHECKOUT, source, ignore=shutil.ignore_patterns(*BUILT))
    _check([sys.executable, "-m", "build", "--outdir", source / "dist"], cwd=source)
    (path,) = (source / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def login_node(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("login"), str(wheel))


@pytest.fixture(scope="module")
def laptop(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("laptop"), f"{wheel}[analysis]")


def _known_study() -> ModuleType:
    """Load the builder of a study with known numbers from the tests of the analysis."""
    spec = importlib.util.spec_from_file_location("known_study", CHECKOUT / "tests" / "analysis" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_wheel_has_every_file_that_is_read_at_run_time(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = (path for path in (CHECKOUT / "jobs").rglob("*") if path.is_file())
    jobs = {f"nllgen/share/{path.relative_to(CHECKOUT)}" for path in files}
    assert jobs >= {f"nllgen/share/jobs/{name}" for name in ("smoke.yaml", "misspec.yaml", "tuning/thesis.json")}
    packaged = {
        str(path.relative_to(directory))
        for directory in (CHECKOUT, CHECKOUT / "analysis")
        for package in ("nllgen", "nllgen_analysis")
        for path in (directory / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packaged >= {
        "nllgen/metrics/lenet.pt",
        "nllgen/metrics/lenet14.pt",
        "nllgen/metrics/lenet_fashion.pt",
        "nllgen/metrics/lenet_fashion14.pt",
        "nllgen/study/claims.toml",
        "nllgen/study/claims_v1.toml",
        "nllgen_analysis/report.html.j2",
        "nllgen_analysis/uplot/uPlot.iife.min.js",
        "nllgen/py.typed",
    }
    recipe = {f"nllgen/share/containers/{path.name}" for path in (CHECKOUT / "containers").iterdir()}
    assert recipe >= {f"nllgen/share/containers/{name}" for name in ("nllgen.def", "requirements.lock")}
    assert names >= jobs | packaged | recipe


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"nllgen", "nllgen_analysis", f"nllgen-{__version__}.dist-info"}
    shared = {name.split("/")[2] for name in zipfile.ZipFile(wheel).namelist() if name.startswith("nllgen/share/")}
    assert shared == set(SHIPPED_DIRECTORIES) == {"jobs", "containers", "profiles"}


def test_the_installed_version_is_the_programs(login_node: Environment) -> None:
    code = "import nllgen; from importlib.metadata import version; print(nllgen.__version__, version('nllgen'))"
    assert login_node.run("python", "-c", code).stdout.split() == [__version__, __version__]
    assert login_node.run("nllgen", "--version").stdout.split()[-1] == __version__


def test_a_plain_install_brings_no_torch_and_no_plots(login_node: Environment) -> None:
    for name in ("torch", "torchvision", "matplotlib", "pandas"):
        assert login_node.run("python", "-c", f"import {name}").returncode != 0


@pytest.mark.parametrize("grid", ["misspec", "misspec.yaml", "smoke"])
def test_a_plain_install_plans_built_in_studies(login_node: Environment, grid: str) -> None:
    done = login_node.run("nllgen", "plan", "--grid", grid)
    assert done.returncode == 0, done.stderr
    assert "core-hours" in done.stdout


def test_a_plain_install_prints_the_status_of_a_study(login_node: Environment) -> None:
    study_dir, study, _ = freeze(load_study("smoke", precision="fp32"), login_node.directory / "runs")
    done = login_node.run("nllgen", "status", study_dir.path)
    assert done.returncode == 0, done.stderr
    assert f"{len(study.cells) + 2} waiting" in done.stdout


def test_a_plain_install_packs_itself_again_for_a_container(login_node: Environment, wheel: Path) -> None:
    code = "import pathlib, nllgen.container.package as package; print(package.find_source(None).write(pathlib.Path()))"
    done = login_node.run("python", "-I", "-c", code)
    assert done.returncode == 0, done.stderr
    packed, original = zipfile.ZipFile(login_node.directory / done.stdout.strip()), zipfile.ZipFile(wheel)
    names = [name for name in original.namelist() if not name.endswith("/RECORD")]
    assert {name: packed.read(name) for name in names} == {name: original.read(name) for name in names}


def test_a_plain_install_says_that_apptainer_is_missing(login_node: Environment) -> None:
    done = login_node.run(
        "python", "-c", "import os; os.environ['PATH'] = ''; from nllgen.cli import main; main()", "build"
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Apptainer is not installed here" in done.stderr


def test_a_plain_install_lists_assets(login_node: Environment) -> None:
    assert login_node.run("nllgen", "assets", "list").returncode == 0


@pytest.mark.parametrize(
    "line", ["run --grid smoke --cell truth --root here", "submit --grid smoke --local --wait --root there"]
)
def test_training_without_torch_says_what_to_install(login_node: Environment, line: str) -> None:
    done = login_node.run("nllgen", *line.split())
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "nllgen[train]" in done.stderr


def test_a_report_without_the_analysis_says_what_to_install(login_node: Environment) -> None:
    done = login_node.run("nllgen", "report", "study.h5", "--out", "report")
    assert done.returncode == 3
    assert "nllgen[analysis]" in done.stderr


def test_the_analysis_alone_makes_a_report(laptop: Environment) -> None:
    known = _known_study()
    started = (("nll", "random"), ("nsgan", "random"), ("nll", "truth"), ("nsgan", "truth"))  # for every figure
    cells = [known.make_cell("W", paradigm, start=start) for paradigm, start in started]
    write_study(laptop.directory / "study.h5", known.build_study(cells))
    done = laptop.run("nllgen", "report", "study.h5", "--out", "report")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = laptop.directory / "report"
    assert (report / "report.html").stat().st_size > 100_000  # the figures are embedded
    assert {path.suffix for path in (report / "figures").iterdir()} == {".pdf", ".png", ".csv", ".txt"}
    assert laptop.run("python", "-c", "import torch").returncode != 0
