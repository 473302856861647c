"""Full, read-only and vanishing disks: a typed error names the cause, no file is half written, and a retry succeeds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.errors import NllgenError
from nllgen.storage.study_dir import StudyDir
from tests.faults.disks import DISK_BYTES, WRITERS, fill_at_every_page

STRIDES = {"the program's copy": 40, "a checkpoint": 2, "a result and its weights": 3, "a data set": 4, "study.h5": 9}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_at_any_page_of_a_write(mount: Callable[[str], Path], writer: str) -> None:
    failed, done = fill_at_every_page(mount(f"size={DISK_BYTES}"), writer, stride=STRIDES.get(writer, 1))
    assert failed > 1
    assert done == 2


@pytest.mark.parametrize("writer", WRITERS)
def test_a_read_only_disk(mount: Callable[[str], Path], writer: str) -> None:
    disk = mount(f"size={DISK_BYTES}")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(NllgenError, match="read-only"):
        WRITERS[writer](StudyDir(disk / "study"))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_directory_that_vanishes_under_a_writer(tmp_path: Path, writer: str) -> None:
    """A writer makes the directory again or fails; it neither hangs nor writes elsewhere."""
    pid = os.fork()
    if pid == 0:
        while True:
            shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    try:
        for _ in range(20):
            try:
                WRITERS[writer](StudyDir(tmp_path / "runs" / "study"))
            except (NllgenError, AssertionError):
                continue
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert {path.name for path in tmp_path.iterdir()} <= {"runs"}


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("size_kib", [64, 1400])
def test_a_study_on_a_full_disk_ends_and_resumes_on_a_larger_one(
    mount: Callable[[str], Path], size_kib: int, tmp_path: Path, mnist_assets: Path, tiny_grid: str
) -> None:
    disk = mount(f"size={size_kib}k")
    (tmp_path / "tiny.yaml").write_text(tiny_grid)
    command = [sys.executable, "-m", "nllgen", "submit", "--grid", str(tmp_path / "tiny.yaml"), "--root", str(disk)]
    command += ["--local", "--workers", "1", "--wait"]
    environ = os.environ | {"NLLGEN_ASSETS": str(mnist_assets)}
    full = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert full.returncode in (1, 3), full.stdout + full.stderr
    assert "Traceback" not in full.stdout + full.stderr
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(disk.rglob("cells/*/*.part")) == []


@pytest.fixture
def tiny_grid() -> str:
    return """
name: tiny
metrics: {frechet: [], num_samples: 50, num_train_eval: 50, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 7, num_val: 50, num_test: 50}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: 5, batch_size: 16, eval_every: 5}
    seed: [0, 1]
"""
