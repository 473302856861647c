"""Fixtures of several packages. ``tests/sharing.py`` distributes the tests over processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the other cores run other tests
# the record of trusted studies: one for all processes of the tests, and not the developer's
os.environ["NLLGEN_CALIBRATION"] = "off"  # no plan measures this machine, and all have the same times
os.environ["XDG_STATE_HOME"] = str(Path(__file__).parents[1] / ".pytest_cache" / "state")

pytest_plugins = ["tests.sharing", "tests.tiny_studies"]


@pytest.fixture(scope="session")
def mnist_assets() -> Path:
    """Return the asset directory with real MNIST, which is fetched where it is missing; without it the tests fail."""
    from nllgen import assets
    from nllgen.data.published import mirrors

    directory = assets.asset_folder()
    assets.fetch_images(directory, "mnist", source=None, mirrors=mirrors(), echo=print)
    return directory


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a file system in memory with options of ``mount``."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        directory = tmp_path / f"mounted{len(mounted)}"
        directory.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("NOT TESTED: needs the mount command")
        if done.returncode:
            pytest.skip(f"NOT TESTED: needs root to mount a small disk ({done.stderr.strip()})")
        mounted.append(directory)
        return directory

    yield make
    for directory in mounted:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def small_disk(mount: Callable[[str], Path]) -> Path:
    """Return a mounted file system of 64 KiB."""
    return mount("size=64k")
