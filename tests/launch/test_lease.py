from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch import lease
from nllgen.launch.lease import Lease, LeaseManager, process_identity

HOLDER = """
import sys
from pathlib import Path
from nllgen.launch.lease import LeaseManager
assert LeaseManager().take(Path(sys.argv[1]))
print("taken", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell" / "lease"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a live process that holds the lease."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replace the monotonic clock; return the function that advances it."""
    now = [1000.0]
    monkeypatch.setattr("nllgen.launch.lease.time.monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def take(path: Path, job: str = "", restarts: int = 0) -> Lease:
    lease = LeaseManager(job=job, restarts=restarts).take(path)
    assert lease is not None
    return lease


def foreign(path: Path) -> None:
    """Write a lease as another machine would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": "elsewhere", "process": "1:1", "nonce": "x"}))


def test_a_lease_is_exclusive(path: Path) -> None:
    assert LeaseManager().take(path)
    assert LeaseManager().take(path) is None


def test_a_released_lease_can_be_taken(path: Path) -> None:
    take(path).release()
    assert not path.exists()
    assert LeaseManager().take(path)


def test_a_held_lease_is_held(path: Path) -> None:
    lease = take(path)
    assert LeaseManager().is_held(path)
    lease.release()
    assert not LeaseManager().is_held(path)


def test_a_live_process_keeps_its_lease(path: Path, holder: subprocess.Popen[str]) -> None:
    assert LeaseManager(lease_s=0).take(path) is None
    assert LeaseManager(lease_s=0).take(path) is None


def test_a_killed_process_loses_its_lease_at_once(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()
    assert not LeaseManager().is_held(path)
    assert LeaseManager().take(path)


def test_a_zombie_loses_its_lease(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
    assert LeaseManager().take(path)


def test_a_recycled_pid_is_another_process(path: Path) -> None:
    LeaseManager().take(path)
    who = json.loads(path.read_text())
    path.write_text(json.dumps(who | {"process": f"{os.getpid()}:1"}))
    assert LeaseManager().take(path)


def test_a_process_identity_ends_with_the_process(holder: subprocess.Popen[str]) -> None:
    assert (process_identity(holder.pid) or "").startswith(f"{holder.pid}:")
    holder.kill()
    holder.communicate()
    assert process_identity(holder.pid) is None


def test_the_same_pid_in_another_container_is_another_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distinguish containers with the same host name, whose pids are unrelated."""
    monkeypatch.setattr(lease, "_host", lambda: "this-host boot pid:[1]")
    LeaseManager().take(path)
    monkeypatch.setattr(lease, "_host", lambda: "this-host boot pid:[2]")
    who = json.loads(path.read_text())
    path.write_text(json.dumps(who | {"process": "999999999:1"}))
    assert LeaseManager().is_held(path)


# other machines: only time tells


def test_a_foreign_lease_is_not_stale_at_first_sight(path: Path, clock: Callable[[float], None]) -> None:
    foreign(path)
    os.utime(path, (0, 0))  # whatever its clock says
    assert LeaseManager(lease_s=10).take(path) is None


def test_a_foreign_lease_is_stale_after_a_lease_without_change(path: Path, clock: Callable[[float], None]) -> None:
    foreign(path)
    mine = LeaseManager(lease_s=10)
    assert mine.take(path) is None
    clock(9)
    assert mine.take(path) is None
    clock(2)
    assert mine.take(path)


def test_a_renewed_foreign_lease_is_not_stale(path: Path, clock: Callable[[float], None]) -> None:
    foreign(path)
    mine = LeaseManager(lease_s=10)
    for renewed in range(1, 5):
        assert mine.take(path) is None
        clock(9)
        os.utime(path, (renewed, renewed))
    assert mine.take(path) is None


def test_a_foreign_lease_that_went_to_another_is_not_stale(path: Path, clock: Callable[[float], None]) -> None:
    foreign(path)
    mine = LeaseManager(lease_s=10)
    mine.take(path)
    before = path.stat()
    path.write_text(path.read_text().replace("elsewhere", "somewhere"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock(11)
    assert mine.take(path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b'{"host": 3}', b"[" * 10**5])
def test_a_lease_without_valid_content_expires(path: Path, clock: Callable[[float], None], content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    mine = LeaseManager(lease_s=10)
    assert mine.take(path) is None
    clock(11)
    assert mine.take(path)


# the lease of another is never touched


def overtaken(path: Path) -> Lease:
    """Return a lease that another process has taken over."""
    lease = take(path)
    foreign(path)
    os.utime(path, (5, 5))
    return lease


def test_renewing_shows_life(path: Path) -> None:
    lease = take(path)
    os.utime(path, (5, 5))
    assert lease.renew()
    assert path.stat().st_mtime > 5


def test_renewing_does_not_touch_anothers(path: Path) -> None:
    assert not overtaken(path).renew()
    assert path.stat().st_mtime == 5


def test_releasing_does_not_touch_anothers(path: Path) -> None:
    overtaken(path).release()
    assert "elsewhere" in path.read_text()


def test_renewing_does_not_bring_a_lease_back(path: Path) -> None:
    lease = take(path)
    path.unlink()
    assert not lease.renew()
    assert not path.exists()


def test_taking_over_leaves_nothing_behind(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.communicate()
    LeaseManager().take(path)
    assert [file.name for file in path.parent.iterdir()] == ["lease"]


def test_a_lease_is_not_written_through_a_link(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    assert LeaseManager().take(path) is None
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_no_lease(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "cell").mkdir()
    (small_disk / "filler").write_bytes(bytes(64 * 1024))
    with pytest.raises(MachineError, match="the disk is full"):
        LeaseManager().take(small_disk / "cell" / "lease")
    assert list((small_disk / "cell").iterdir()) == []


def test_a_restarted_job_takes_over_the_lease_of_its_earlier_start(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    old = take(path, "7_0")
    assert LeaseManager(job="7_0", restarts=0).take(path) is None
    assert LeaseManager(job="7_1", restarts=1).take(path) is None
    assert LeaseManager(job="7_0", restarts=1).take(path) is not None
    assert (old.is_lost(), old.renew()) == (True, False)


def test_a_lease_that_was_taken_over_and_released_is_lost_and_an_unreadable_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    old = take(path, "7_0")
    assert not old.is_lost()
    take(path, "7_0", 1).release()
    assert old.is_lost()
    path.mkdir()
    assert not old.is_lost()


def test_the_lease_of_a_gone_job_is_dropped_and_a_local_one_stays(tmp_path: Path) -> None:
    LeaseManager(job="7_0").take(tmp_path / "lease")
    LeaseManager().drop_of_gone_job(tmp_path / "lease")
    assert LeaseManager().take(tmp_path / "lease") is not None
    LeaseManager().drop_of_gone_job(tmp_path / "lease")
    assert (tmp_path / "lease").exists()


def test_no_lease_is_taken_over_without_its_lock(
    path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, a process with too many open files went on without."""
    holder.kill()
    holder.communicate()
    content = path.read_text()

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("nllgen.storage.atomic.fcntl.flock", refuse)
    with pytest.raises(MachineError, match="too many open files"):
        LeaseManager().take(path)
    assert path.read_text() == content


def test_a_lease_is_released_where_its_lock_cannot_be_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = take(path)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("nllgen.storage.atomic.fcntl.flock", refuse)
    lease.release()
    assert list(path.parent.glob("lease*")) == []
