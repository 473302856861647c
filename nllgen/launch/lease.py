"""Leases on tasks. They save compute; correctness rests on the publication of results alone.

A lease is a file that is created exclusively and renewed by touching it. It is stale if its process is gone (on the
same host), if the scheduler has restarted its job (the node failed or was cut off), or if an observer has seen it
unchanged for the duration of a lease. Observers measure that by their own monotonic clock, so wrong clocks do no harm.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import platform
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from nllgen.errors import MachineError
from nllgen.storage.atomic import locked, make_folder, raise_os_error
from nllgen.study.untrusted_files import read_regular

LEASE_S = 300.0
RENEW_S = 30.0
_MAX_BYTES = 1 << 16


def process_identity(pid: int) -> str | None:
    """Return the pid and the start time of a live process; None if it is gone or a zombie (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{pid}:{fields[19]}"


@cache
def _host() -> str:
    """Identify the scope of a pid: this boot of this machine, and this container."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    return platform.node()


@dataclass
class Lease:
    """A lease that this process holds."""

    path: Path
    content: str  # content of the file while the lease is held; unique

    def is_mine(self) -> bool:
        """Return True if the file still has this lease's content."""
        return _read(self.path) == self.content

    def is_lost(self) -> bool:
        """Return True if another process has taken the lease over, even if it has released it since.

        A file that cannot be read proves nothing.
        """
        try:
            return read_regular(self.path, _MAX_BYTES).decode(errors="replace") != self.content
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def renew(self) -> bool:
        """Touch the file to show that the holder is alive; return False if the lease was taken over."""
        if not self.is_mine():
            return False
        with contextlib.suppress(OSError):
            os.utime(self.path)
        return True

    def release(self) -> None:
        """Remove the file, unless another process has taken the lease over."""
        if not self.is_mine():
            return
        try:
            with contextlib.suppress(FileNotFoundError), locked(self.path.parent):
                if self.is_mine():  # this process may have been suspended since the first check
                    self.path.unlink(missing_ok=True)
        except MachineError:  # there is no lock to be had now: in the way that needs none
            _remove_stale(self.path, self.content)


class _Observation(NamedTuple):
    """A lease of another host, as it was first seen in its present state."""

    content: str
    modified_ns: int
    since: float  # by the monotonic clock


@dataclass
class LeaseManager:
    """Takes leases, and remembers the leases of others to see whether they are renewed."""

    lease_s: float = LEASE_S  # seconds without renewal after which a lease of another host is stale
    job: str = ""  # the scheduler's job that this process runs in; empty without one
    restarts: int = 0  # number of times that the job was restarted
    cluster: str = ""  # of the job; numbers of jobs are unique within one
    _observed: dict[Path, _Observation] = field(default_factory=dict)

    def take(self, path: Path) -> Lease | None:
        """Take a lease; return None if another process holds it.

        Raises:
            MachineError: the disk is full, or the folder is read-only or gone.
        """
        make_folder(path.parent)
        content = self._new_content()
        if self._create(path, content):
            return Lease(path, content)
        others = _read(path)
        if others is None or not self._is_stale(path, others):
            return None
        with locked(path.parent):
            is_taken = _remove_stale(path, others) and self._create(path, content)
        return Lease(path, content) if is_taken else None

    def drop_of_gone_job(self, path: Path) -> None:
        """Remove the lease of a job that the caller knows to be gone from the scheduler.

        Jobs that meet a held lease end at once instead of waiting until it is stale.
        """
        content = _read(path)
        if content is not None and _parse(content).get("job"):
            with locked(path.parent):
                _remove_stale(path, content)

    def is_of_job(self, path: Path) -> bool:
        """Return True if a job of a scheduler holds or held a lease."""
        return bool(self.job_of(path)[0])

    def job_of(self, path: Path) -> tuple[str, str]:
        """Return the job that holds or held a lease, and its cluster; empty where none is named."""
        holder = _parse(_read(path) or "")
        return str(holder.get("job") or ""), str(holder.get("cluster") or "")

    def age_s(self, path: Path) -> float:
        """Return the seconds since a lease was renewed, by the clock of its file system; infinite without a lease."""
        try:
            renewed_s = path.stat().st_mtime
        except OSError:
            return math.inf
        try:
            with tempfile.TemporaryFile(dir=path.parent) as now:
                return os.fstat(now.fileno()).st_mtime - renewed_s
        except OSError:  # the folder cannot be written
            return time.time() - renewed_s

    def is_held(self, path: Path) -> bool:
        """Return True if a lease exists that is not known to be stale."""
        content = _read(path)
        return content is not None and not self._is_stale(path, content)

    def _new_content(self) -> str:
        holder = {"host": _host(), "process": process_identity(os.getpid()), "nonce": uuid.uuid4().hex}
        job = {"job": self.job, "restarts": self.restarts, "cluster": self.cluster} if self.job else {}
        return json.dumps(holder | job)

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
        holder = _parse(content)
        if self._is_of_earlier_start(holder):
            return True  # even if its process lives on where the scheduler cannot see it
        if holder.get("host") == _host():
            return not is_alive(str(holder.get("process")))
        return self._is_expired(path, content)

    def _is_of_earlier_start(self, holder: dict[str, Any]) -> bool:
        if not self.job or holder.get("cluster", self.cluster) != self.cluster:
            return False
        with contextlib.suppress(ValueError, TypeError):
            return bool(holder.get("job") == self.job) and int(holder.get("restarts", "")) < self.restarts
        return False

    def _is_expired(self, path: Path, content: str) -> bool:
        """Return True if a lease has not changed for the duration of a lease while this manager watched it."""
        try:
            modified_ns = path.stat().st_mtime_ns
        except OSError:
            return False
        now = time.monotonic()
        before = self._observed.get(path)
        if before is None or before[:2] != (content, modified_ns):
            self._observed[path] = _Observation(content, modified_ns, now)
            return False
        return now - before.since > self.lease_s


def _parse(content: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(content)
        if isinstance(value, dict):
            return value
    return {}


def is_alive(identity: str) -> bool:
    """Return True if the process of a :func:`process_identity` still lives."""
    with contextlib.suppress(ValueError):
        return process_identity(int(identity.partition(":")[0])) == identity
    return False


def _read(path: Path) -> str | None:
    """Return the content of a lease file; None if it cannot be read now, empty if it is no lease file."""
    try:
        return read_regular(path, _MAX_BYTES).decode(errors="replace")
    except OSError as error:
        return "" if error.errno in (errno.EINVAL, errno.EFBIG) else None


def _remove_stale(path: Path, content: str) -> bool:
    """Remove a stale lease; put it back if another process took it over in between, on file systems without locks."""
    if _read(path) != content:
        return False
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}.stale")
    try:
        path.rename(aside)
    except OSError:
        return False
    is_stale = _read(aside) == content
    if not is_stale:
        with contextlib.suppress(OSError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return is_stale
