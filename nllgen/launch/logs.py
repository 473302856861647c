"""Logs of tasks and jobs, read while they are written."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from nllgen.errors import ConfigError
from nllgen.launch.retry_policy import STARTED
from nllgen.launch.tasks import read_attempts
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.storage.untrusted import open_regular

_PART_BYTES = 2**20


class Follower:
    """Reads what was appended to a file since the last read; a truncated file is read from its start.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path):
        self._path = path
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """Return the next part of the file; empty if there is none yet."""
        try:
            with open_regular(self._path) as file:
                if file.seek(0, 2) < self._position:
                    self._position = 0
                file.seek(self._position)
                part = file.read(_PART_BYTES)
        except OSError:
            return ""
        self._position += len(part)
        return self._decoder.decode(part)


def job_log(study_dir: StudyDir, task: Task) -> Path:
    """Return the path of the supervisor's log of a task's newest attempt.

    Raises:
        ConfigError: no job has run the task, or its log is gone.
    """
    jobs = [str(line.get("job", "")) for line in read_attempts(task.attempts) if line.get("event") == STARTED]
    job = jobs[-1] if jobs else ""
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job):
        reason = "was not run by a job of a scheduler" if jobs else "has not been run"
        raise ConfigError(f"{task.label} {reason}", f"logs of local supervisors are in {study_dir.submitit}")
    logs = sorted(study_dir.submitit.glob(f"*/{job}_0_log.out"))
    if not logs:
        reason = "it was removed, or the job is starting"
        raise ConfigError(f"the log of job {job} is not in {study_dir.submitit}", reason)
    return logs[-1]
