"""Jobs that ended before the first attempt on a task: Slurm's record and their output are all that explains them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nllgen.errors import NllgenError
from nllgen.launch.attempt import modified_ns
from nllgen.launch.retry_policy import FailureKind, array_of, failure_kind_of_state
from nllgen.launch.slurm.commands import HINT_S
from nllgen.launch.slurm.ends import Ends, ends_of
from nllgen.launch.slurm.job_env import current_job
from nllgen.launch.slurm.job_script import ENDED_EARLY
from nllgen.launch.slurm.queue_lines import is_ended
from nllgen.launch.slurm.sent_jobs import SentAs, sent_jobs
from nllgen.launch.tasks import read_attempts, record
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task
from nllgen.storage.untrusted import escape_controls
from nllgen.storage.visibility import is_seen
from nllgen.study.untrusted_files import open_regular

_TAIL_BYTES = 8192
_TAIL_LINES = 3
_MAX_TAIL = 400  # characters
_MAX_ERROR = 300


@dataclass(frozen=True)
class EarlyEnd:
    """The end of a job that left no attempt."""

    job: str
    kind: FailureKind
    reason: str  # the job, its state and exit code, and the last lines that it printed


@dataclass
class EarlyEnds:
    """Finds the ends of jobs without an attempt. The scheduler is asked once for each array."""

    study_dir: StudyDir
    charged_to: str | None = None  # submission that failures are charged to; None for all
    patience_s: float = HINT_S
    _ends: dict[str, Ends] = field(default_factory=dict, init=False)
    _errors: dict[str, str] | None = field(default=None, init=False)  # job → error of its supervisor

    @cached_property
    def jobs(self) -> dict[str, SentAs]:
        """Return task → the job that it was last sent as."""
        return sent_jobs(self.study_dir, self.charged_to)

    def end_of(self, task: Task) -> EarlyEnd | None:
        """Return the end of a task's last job, which is gone, if it left no attempt and was not cancelled."""
        sent = self.jobs.get(task.name)
        if sent is None or is_seen(task.stop) or _has_attempt(task, sent):
            return None
        return self.end_of_job(sent)

    def end_of_job(self, sent: SentAs, when: str = " before its first attempt") -> EarlyEnd | None:
        """Return the end of a job that is gone, and when it came; None if it was cancelled or is not over."""
        for job in (sent.job, *(job for job in self._supervisor_errors() if job.partition("_")[0] == sent.job)):
            if error := self._supervisor_errors().get(job):
                return EarlyEnd(job, FailureKind.SUPERVISOR, f"job {job}: {error}")
        job, state = self._last_state(sent)
        if state and (state.startswith("CANCELLED") or not is_ended(state)):
            return None
        code, _, killed_by = self._ends[sent.array].exits.get(job, "").partition(":")
        outputs = sent.outputs()
        tail = last_lines(outputs[-1]) if outputs else ""
        reason = f"job {job} ended{f' {state}' * bool(state)}{when}"
        if code not in ("", "0"):
            reason += f", exit code {code}"
        if killed_by not in ("", "0"):
            reason += f", killed by signal {killed_by}"
        is_refused = state == "FAILED" and code not in ("", "0") and killed_by in ("", "0")
        if is_refused or (not state and ENDED_EARLY.strip() in tail):
            kind = FailureKind.ENVIRONMENT
        else:
            kind = failure_kind_of_state(state)
        return EarlyEnd(job, kind, reason + (f": {tail}" if tail else ""))

    def _last_state(self, sent: SentAs) -> tuple[str, str]:
        """Return the element that explains an end, and its state; the state is empty if nobody remembers it."""
        if sent.array not in self._ends:
            self._ends[sent.array] = ends_of(sent.array, self.patience_s, sent.cluster)
        ends = self._ends[sent.array]
        if "_" in sent.job:
            # an element that is cancelled while it waits is forgotten at once, other elements of its array are not
            return sent.job, ends.states.get(sent.job, "CANCELLED" if ends.are_all else "")
        by_weight = sorted(ends.states.items(), key=lambda item: _weight(item[1]))
        return by_weight[0] if by_weight else (sent.job, "")

    def _supervisor_errors(self) -> dict[str, str]:
        if self._errors is None:
            lines = read_attempts(_errors_path(self.study_dir))
            self._errors = {str(line.get("job")): str(line.get("error")) for line in lines}
        return self._errors


def _weight(state: str) -> int:
    """Order the ends of elements that share their tasks: one that lives or was cancelled decides, then a failure."""
    if not is_ended(state):
        return 0
    return 1 if state.startswith("CANCELLED") else 3 if state.startswith("COMPLETED") else 2


def _has_attempt(task: Task, sent: SentAs) -> bool:
    """Return True if a job of the array has recorded an attempt, or if one was made after its end without a job."""
    lines = read_attempts(task.attempts)
    if any(array_of(line) == sent.array for line in lines):
        return True
    outputs = sent.outputs() if lines and "job" not in lines[-1] else []
    return bool(outputs) and modified_ns(task.attempts) > modified_ns(outputs[-1])


def last_lines(path: Path) -> str:
    """Return the last lines of a job's output in one line, without what a terminal would obey; empty if unreadable."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _shortened(" / ".join(map(escape_controls, lines[-_TAIL_LINES:])))


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TAIL else f"…{text[-_MAX_TAIL:]}"


def record_supervisor_error(study_dir: StudyDir, error: Exception) -> None:
    """Record an error outside of a worker under the job of this process; nothing outside Slurm."""
    job = current_job()
    message = error.message if isinstance(error, NllgenError) else f"{type(error).__name__}: {error}"
    with contextlib.suppress(NllgenError, OSError):
        if job:
            record(_errors_path(study_dir), job=job, error=escape_controls(message)[:_MAX_ERROR])


def _errors_path(study_dir: StudyDir) -> Path:
    return study_dir.submitit / "supervisor_errors.jsonl"
