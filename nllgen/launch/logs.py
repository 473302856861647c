"""What tasks and jobs print, read while it is written."""

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

_PART = 2**20


class Follower:
    """Reads what a file has more than at the last time; one that was cut off is read from its start.

    Args:
        path: of the file; it need not be there yet.
    """

    def __init__(self, path: Path):
        self._path = path
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self) -> str:
        """The next part; empty where there is none for now."""
        try:
            with open_regular(self._path) as file:
                if file.seek(0, 2) < self._position:
                    self._position = 0
                file.seek(self._position)
                part = file.read(_PART)
        except OSError:
            return ""
        self._position += len(part)
        return self._decoder.decode(part)


def job_log(folder: StudyDir, task: Task) -> Path:
    """The log of the supervisor of the newest attempt.

    Raises:
        ConfigError: no job has run the task, or its log is gone.
    """
    jobs = [str(line.get("job", "")) for line in read_attempts(task.attempts) if line.get("event") == STARTED]
    job = jobs[-1] if jobs else ""
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job):
        what = "was not run by a job of a scheduler" if jobs else "has not been run"
        raise ConfigError(f"{task.label} {what}", f"logs of local supervisors are in {folder.submitit}")
    found = sorted(folder.submitit.glob(f"*/{job}_0_log.out"))
    if not found:
        raise ConfigError(f"the log of job {job} is not in {folder.submitit}", "it was removed, or the job is starting")
    return found[-1]
