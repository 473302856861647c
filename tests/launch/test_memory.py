"""Memory of workers as their supervisor measures it, with real processes and the real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nllgen.launch.slurm.job_env import oom_kills, peak_memory_bytes


def test_memory_of_a_process_and_its_children_is_seen() -> None:
    code = "import subprocess, sys; x = bytearray(60_000_000); subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "x = bytearray(80_000_000); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert 140e6 < peak_memory_bytes(process.pid) < 400e6
        process.communicate(b"\n")
    assert peak_memory_bytes(process.pid) == 0


def test_each_memory_kill_is_assigned_to_one_worker(tmp_path: Path) -> None:
    """Use a control group of its own, if this machine allows one."""
    group = Path("/sys/fs/cgroup/memory") / f"nllgen-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"NOT TESTED: no control group of memory can be made here: {error}")
    try:
        (group / "memory.limit_in_bytes").write_text("60000000")
        script = (
            f"import os, subprocess, sys; open('{group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
            "from nllgen.launch.slurm.job_env import MemoryKills, oom_kills\n"
            "before, kills = oom_kills(), MemoryKills()\n"
            "code = subprocess.run([sys.executable, '-c', 'x = bytearray(90_000_000)']).returncode\n"
            "print(code, oom_kills() - before, kills.take(), kills.take())"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["-9", "1", "True", "False"]
    finally:
        group.rmdir()
    assert oom_kills() >= 0
