"""``nllgen`` as a process, and a tiny grid."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from process import NLLGEN, TINY, Run


@pytest.fixture
def nllgen(tmp_path: Path) -> Run:
    """Run ``nllgen`` in an empty folder; nothing of the caller's nllgen settings and no network gets in."""
    refused = "http://127.0.0.1:9"  # the discard port: nobody listens
    env = {name: value for name, value in os.environ.items() if not name.lower().startswith(("nllgen", "npm"))}
    env |= {"NLLGEN_ASSETS": str(tmp_path / "assets"), "http_proxy": refused, "https_proxy": refused, "no_proxy": ""}

    def run(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
        command = [NLLGEN, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=env | extra, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)  # fmt: skip

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
