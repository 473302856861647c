"""The notification at the end of a submission, whose last job may be requeued or run twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from nllgen.errors import MachineError
from nllgen.launch.attempt import renewing
from nllgen.launch.lease import LeaseManager
from nllgen.launch.notification import notify_here
from nllgen.launch.slurm.job_env import Job
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.visibility import refresh

_POLL_S = 1.0


def notify_once(study_dir: StudyDir, submission: str, command: str) -> None:
    """Notify, unless this has been done for a submission; one job at a time.

    The mark is made afterwards: a job that is killed meanwhile notifies when it is requeued, perhaps again.
    """
    place = study_dir.submitit / submission
    mark = place / "notified"
    with _turn(place / "notifying"):
        refresh(place)  # another node may have made the mark just now
        if not mark.exists():
            notify_here(study_dir, command)
            with contextlib.suppress(OSError):  # on a full disk, twice is better than never
                mark.touch()


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Hold a lease for a block, or none where none can be written."""
    job = Job.current()
    leases = LeaseManager(job=job.id, restarts=job.restarts, cluster=job.cluster)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(MachineError):
            while (lease := leases.take(path)) is None:
                time.sleep(_POLL_S)
            stack.callback(lease.release)
            stack.enter_context(renewing(lease))  # the user's command may take longer than a lease lasts
        yield
