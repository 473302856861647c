"""Who works on a task. Claims save compute; correctness rests on the publication of results alone.

A lease is a file created exclusively, renewed by touching it. It is stale when its process is gone (same host), when
the scheduler has started its job anew (the node failed, or was cut off), or when an observer has seen it unchanged for
a whole lease by its own monotonic clock, so that wrong clocks do no harm.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from nllgen.storage.atomic import locked, make_folder, raise_os_error
from nllgen.storage.untrusted import read_regular

LEASE_S = 300.0
_CLAIM_BYTES = 1 << 16
RENEW_S = 30.0


def process_identity(pid: int) -> str | None:
    """Pid and start time of a live process, None for one that is gone or a zombie (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{pid}:{fields[19]}"


@cache
def _host() -> str:
    """Where a pid means something: this boot of this machine, this container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


@dataclass
class Lease:
    """A lease that is held."""

    path: Path
    content: str

    def is_mine(self) -> bool:
        """Whether it still stands, and is not another's."""
        return _read(self.path) == self.content

    def is_lost(self) -> bool:
        """Whether somebody has taken it over, and may have let it go since; what cannot be read says nothing."""
        try:
            return self.path.read_text("utf-8", errors="replace") != self.content
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def renew(self) -> bool:
        """Show that the holder is alive; False if the lease was taken over."""
        if not self.is_mine():
            return False
        with contextlib.suppress(OSError):
            os.utime(self.path)
        return True

    def release(self) -> None:
        """Let it go, unless it is another's by now, also where this process was held up between look and deed."""
        if not self.is_mine():
            return
        with contextlib.suppress(FileNotFoundError), locked(self.path.parent):
            if self.is_mine():
                self.path.unlink(missing_ok=True)


@dataclass
class LeaseManager:
    """Takes leases and remembers what it has seen of others'.

    Attributes:
        lease_s: seconds without a sign of life after which a lease of another host is stale.
        job, restarts: of the scheduler's job that this process runs in, and how often it was started before.
    """

    lease_s: float = LEASE_S
    job: str = ""
    restarts: int = 0
    _seen: dict[Path, tuple[str, int, float]] = field(default_factory=dict)

    def take(self, path: Path) -> Lease | None:
        """Lease a task; None where another holds it.

        Raises:
            MachineError: the disk is full, the folder read-only or gone.
        """
        make_folder(path.parent)
        content = self._content()
        if self._create(path, content):
            return Lease(path, content)
        seen = _read(path)
        if seen is None or not self._is_stale(path, seen):
            return None
        with locked(path.parent):
            taken = _remove_stale(path, seen) and self._create(path, content)
        return Lease(path, content) if taken else None

    def drop_of_gone_job(self, path: Path) -> None:
        """Remove the lease of a job that the scheduler does not have any more, as the caller knows.

        On a cluster nobody waits out the lease of a killed supervisor: jobs that find a lease held end at once.
        """
        content = _read(path)
        if content is not None and _job_in(content):
            with locked(path.parent):
                _remove_stale(path, content)

    def is_of_job(self, path: Path) -> bool:
        """Whether a job of a scheduler holds a lease, or held it last."""
        return bool(_job_in(_read(path) or ""))

    def is_held(self, path: Path) -> bool:
        """Whether somebody holds a lease that is not known to be stale."""
        content = _read(path)
        return content is not None and not self._is_stale(path, content)

    def _content(self) -> str:
        who = {"host": _host(), "process": process_identity(os.getpid()), "nonce": uuid.uuid4().hex}
        return json.dumps(who | ({"job": self.job, "restarts": self.restarts} if self.job else {}))

    def _create(self, path: Path, content: str) -> bool:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            file = os.fdopen(os.open(path, flags, 0o644), "w")
        except FileExistsError:
            return False
        except OSError as error:
            raise_os_error("write", path, error)
        try:
            with file:
                file.write(content)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise_os_error("write", path, error)
        return True

    def _is_stale(self, path: Path, content: str) -> bool:
        with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
            who = json.loads(content)
            if self.job and who.get("job") == self.job and int(who.get("restarts")) < self.restarts:
                return True  # also where its process lives on, out of the scheduler's sight
            if who.get("host") == _host():
                pid = str(who.get("process")).partition(":")[0]
                return not pid.isdigit() or process_identity(int(pid)) != who.get("process")
        try:
            touched = path.stat().st_mtime_ns
        except OSError:
            return False
        now = time.monotonic()
        before = self._seen.get(path)
        if before is None or before[:2] != (content, touched):
            self._seen[path] = (content, touched, now)
            return False
        return now - before[2] > self.lease_s


def _job_in(content: str) -> str:
    """The job that a lease names; empty without one, or where it cannot be read."""
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        return str(json.loads(content).get("job") or "")
    return ""


def _read(path: Path) -> str | None:
    try:
        return read_regular(path, _CLAIM_BYTES).decode(errors="replace")
    except OSError as error:
        return "" if error.errno in (errno.EINVAL, errno.EFBIG) else None  # what is no lease says nothing


def _remove_stale(path: Path, content: str) -> bool:
    """Move a stale lease away; put it back where another took over in between (which only a lock rules out)."""
    if _read(path) != content:
        return False
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.stale")
    try:
        path.rename(aside)
    except OSError:
        return False
    mine = _read(aside) == content
    if not mine:
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return mine
