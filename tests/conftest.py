"""Fixtures that tests of several packages share. How processes share the tests is in ``tests/sharing.py``."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there: the other cores have tests of their own

pytest_plugins = ["tests.sharing", "tests.tiny_studies"]


@pytest.fixture(scope="session")
def mnist_assets() -> Path:
    """The asset folder with real MNIST in it, fetched by nllgen itself where it is missing; without it a test fails."""
    from nllgen import assets
    from nllgen.data.mnist import mirrors

    folder = assets.asset_folder()
    assets.fetch_mnist(folder, source=None, mirrors=mirrors(), echo=print)
    return folder


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a file system in memory with the options it is given."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"mounted{len(mounted)}"
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("NOT TESTED: needs the mount command")
        if done.returncode:
            pytest.skip(f"NOT TESTED: needs root to mount a small disk ({done.stderr.strip()})")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(mount: Callable[..., Path]) -> Path:
    """A file system of 64 KiB."""
    return mount("size=64k")
