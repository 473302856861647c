"""Finished tiny studies, made once for all tests, all processes and all runs of the same code.

They are in pytest's cache under a digest of all their inputs. Tests use them in place and must not change them: this is
checked at the end. A test that changes a study takes a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol

import pytest
from filelock import FileLock

from nllgen.storage.study_dir import StudyDir


class MakeStudy(Protocol):
    """The fixture's function from a grid's text to its finished study."""

    def __call__(self, text: str, *, with_quick_critic: bool = False) -> StudyDir: ...


_TRUTH = """
truth:
  data: {source: mnist, image_size: 14, num_train: 500, num_val: 120, num_test: 120}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {name: nll, steps: 3, batch_size: 32, eval_every: 3}
dataset: {num_train: 240, num_val: 120, num_test: 120, num_entropy: 500}
"""
_METRICS = """
metrics: {frechet: [lenet], num_samples: 120, num_train_eval: 50, num_kept: 4, every: [GROUPS], final: [GROUPS]}
"""
_STUDENTS = """
cells:
  - data: {source: synthetic, num_train: 120}
    degree: W
    paradigm: {name: nsgan, steps: 4, batch_size: 16, eval_every: 2}
    seed: [0, 1]
  - data: {source: synthetic, num_train: fresh}
    degree: W
    paradigm: {name: nll, steps: 2, batch_size: 16, eval_every: 1}
"""
_MIXED = """
cells:
  - data: {source: mnist, image_size: 14, num_train: 500, num_val: 120, num_test: 120}
    degree: W
    paradigm: {name: nll, steps: 3, batch_size: 16, eval_every: 3}
  - data: {source: synthetic, num_train: 120}
    degree: [U1, W, W*]
    paradigm: {name: nll, steps: 3, batch_size: 16, eval_every: 3}
  - data: {source: synthetic, num_train: 120}
    degree: W
    paradigm: {name: nsgan, steps: 3, batch_size: 16, eval_every: 3, disc_width: 2}
"""
EVERYTHING = "divergence, pareto, frechet, frechet_inf, kid, prdc, memorisation, critic, resampling, numerics"

# grids: MIXED has a cell of each common sort; BARE and MEASURED differ only in their metrics
MIXED = "name: tiny" + _TRUTH + _METRICS.replace("GROUPS", "divergence") + _MIXED
BARE = "name: tiny" + _TRUTH + _METRICS.replace("GROUPS", "") + _STUDENTS
MEASURED = "name: tiny" + _TRUTH + _METRICS.replace("GROUPS", EVERYTHING) + _STUDENTS

_KEPT_S = 24 * 3600.0  # studies of other code that were not used for this time are removed


@cache
def _program() -> str:
    """Return a digest over all inputs of the studies apart from their grids."""
    import h5py
    import numpy as np
    import torch

    import nllgen

    package = Path(nllgen.__file__).parent
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    versions = (platform.python_version(), torch.__version__, np.__version__, h5py.__version__)
    machine = (platform.node(), torch.backends.cpu.get_cpu_capability())  # another machine may sum in another order
    digest.update(repr((versions, machine)).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def quick_critic() -> Iterator[None]:
    """Train critics for 20 steps instead of 300 in this process; they take most of the time of all metrics."""
    from nllgen.metrics import critic

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(critic, "STEPS", 20)  # the bound is evaluated once, after them
        yield


def run_study(text: str, root: Path, assets: Path) -> StudyDir:
    """Freeze a study and run its tasks one by one in this process, on the CPU with one thread of torch."""
    import torch

    from nllgen.launch.freeze import freeze
    from nllgen.study.load import parse_study
    from nllgen.study.run_options import RunOptions, TaskOrder
    from nllgen.worker.setup import enter

    before = torch.get_num_threads()
    study_dir, study, _ = freeze(parse_study(text, "tiny.yaml", precision="fp32"), root)
    prepare = ["truth"] * (study.truth is not None) + ["dataset"] * study.needs_dataset
    for number, task in enumerate((*prepare, *(cell.id for cell in study.cells))):
        enter(study_dir, TaskOrder(task, f"a{number}"), RunOptions(assets, "cpu"))
    torch.set_num_threads(before)
    return study_dir


def _listing(directory: Path) -> dict[str, tuple[int, int]]:
    """Return every file with its size and time."""
    stats = {path: path.stat() for path in directory.rglob("*") if path.is_file()}
    return {str(path.relative_to(directory)): (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}


def _remove_unused(cache: Path, keep: Path) -> None:
    for root in cache.iterdir():
        if root.is_dir() and root != keep and time.time() - root.stat().st_mtime > _KEPT_S:
            shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def finished_study(
    pytestconfig: pytest.Config, mnist_assets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeStudy]:
    """Return a function from a grid's text to its finished study, which is shared and must not be changed.

    ``with_quick_critic`` is for tests that do not read the critic's metrics.
    """
    pytest_cache = getattr(pytestconfig, "cache", None)  # None with -p no:cacheprovider
    cache = (
        Path(pytest_cache.mkdir("tiny-studies"))
        if pytest_cache is not None
        else tmp_path_factory.mktemp("tiny-studies")
    )
    used: dict[Path, dict[str, tuple[int, int]]] = {}

    def find(text: str, *, with_quick_critic: bool = False) -> StudyDir:
        key = hashlib.sha256(f"{_program()}\0{with_quick_critic}\0{text}".encode()).hexdigest()[:16]
        root = cache / key
        with FileLock(cache / f"{key}.lock"):
            if not root.exists():
                making = cache / f"{key}.making"  # perhaps left by a killed process
                shutil.rmtree(making, ignore_errors=True)
                with quick_critic() if with_quick_critic else contextlib.nullcontext():
                    run_study(text, making, mnist_assets)
                making.rename(root)
        os.utime(root)
        (directory,) = (path for path in root.iterdir() if path.is_dir())
        used.setdefault(directory, _listing(directory))
        return StudyDir(directory)

    yield find
    for directory, before in used.items():
        if _listing(directory) != before:
            shutil.rmtree(directory.parent)
            pytest.fail(f"a test changed the shared study {directory}: let it take a copy")
    for root in {directory.parent for directory in used}:
        _remove_unused(root.parent, root)


@pytest.fixture(scope="session")
def mixed_study(finished_study: MakeStudy) -> StudyDir:
    """Return a study with a truth and cells: NLL on MNIST; NLL at U1, W and W*, and NSGAN, on the truth's images."""
    return finished_study(MIXED)


@pytest.fixture(scope="session")
def bare_study(finished_study: MakeStudy) -> StudyDir:
    """Return a study of NSGAN with two seeds and NLL on fresh images, with likelihoods only."""
    return finished_study(BARE)


@pytest.fixture(scope="session")
def measured_study(finished_study: MakeStudy) -> StudyDir:
    """Return a study of the bare study's cells with all metrics at every evaluation."""
    return finished_study(MEASURED, with_quick_critic=True)


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[StudyDir], StudyDir]:
    """Return a function from a shared study to a copy that a test may change."""

    def copy(study: StudyDir) -> StudyDir:
        target = tmp_path / "copied" / study.path.name
        shutil.copytree(study.path, target)
        return StudyDir(target)

    return copy
