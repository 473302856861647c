"""The lock under which a study is frozen, submitted, resubmitted or cancelled."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from nllgen.errors import MachineError
from nllgen.launch.attempt import renewing
from nllgen.launch.lease import LEASE_S, LeaseManager
from nllgen.storage.study_dir import StudyDir

_PATIENCE_S = LEASE_S + 60.0  # the lease of a submitter that died on another machine expires after LEASE_S
_POLL_S = 0.05


@contextlib.contextmanager
def submission_lock(study_dir: StudyDir) -> Iterator[None]:
    """Hold a study's submission lock for a block.

    Two submitters at once would lose cells of one of them, or send cells twice.

    Raises:
        MachineError: another process holds the lock for longer than a lease lasts.
    """
    leases, path = LeaseManager(), study_dir.path.with_name(f".{study_dir.path.name}.submitting")
    deadline = time.monotonic() + _PATIENCE_S
    while (lease := leases.take(path)) is None:
        if time.monotonic() > deadline:
            raise MachineError(
                f"somebody else is submitting {study_dir.path}",
                f"try again in a minute: a lock whose holder is gone ends by itself; this one is {path}",
            )
        time.sleep(_POLL_S)
    try:
        with renewing(lease):  # sending thousands of cells may take longer than a lease lasts
            yield
    finally:
        lease.release()
