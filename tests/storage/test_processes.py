"""Processes that work for another one: they end with it, and one that is killed is an error in words."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

POOL = """
import os, sys, time
from nllgen.storage.processes import completed
def die(item): os.kill(os.getpid(), 9)
def sleep(item):
    print(os.getpid(), flush=True)
    time.sleep(600)
if __name__ == "__main__":
    list(completed(globals()[sys.argv[1]], list(range(200)), 2, "reads results", start=sys.argv[2]))
"""

pytestmark = pytest.mark.parametrize("start", ["spawn", "fork"])


def test_they_end_with_the_one_that_started_them(tmp_path: Path, start: str) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    command = [sys.executable, str(tmp_path / "pool.py"), "sleep", start]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_killed_one_is_an_error_in_words(tmp_path: Path, start: str) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    done = subprocess.run([sys.executable, tmp_path / "pool.py", "die", start], capture_output=True, text=True)
    assert "MachineError: a process that reads results was killed" in done.stderr
