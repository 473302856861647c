"""Fixtures that run ``nllgen`` in this process or in its own, and a tiny grid."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.process import NLLGEN, TINY, Run, in_process


@pytest.fixture
def clean_env(tmp_path: Path) -> dict[str, str]:
    """Return this process's environment without nllgen's settings and without a network."""
    refused = "http://127.0.0.1:9"  # the discard port: nobody listens
    env = {name: value for name, value in os.environ.items() if not name.lower().startswith(("nllgen", "npm"))}
    return env | {
        "NLLGEN_ASSETS": str(tmp_path / "assets"), "http_proxy": refused, "https_proxy": refused, "no_proxy": ""
    }  # fmt: skip


@pytest.fixture
def nllgen(tmp_path: Path, clean_env: dict[str, str]) -> Run:
    """Return a function that runs ``nllgen`` in an empty directory, in this process."""

    def run(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
        return in_process([*map(str, arguments)], cwd=tmp_path, env=clean_env | extra)

    return run


@pytest.fixture
def nllgen_process(tmp_path: Path, clean_env: dict[str, str]) -> Run:
    """Return a function that runs the installed ``nllgen`` in an empty directory, as a process of its own.

    At least one test of every command uses it.
    """

    def run(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
        command = [NLLGEN, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=clean_env | extra, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=300)  # fmt: skip

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
