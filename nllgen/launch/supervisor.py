"""The host's part of a job: claims tasks one after another and runs a worker for each.

The worker is asked to stop by closing its standard input, which needs no signal (and so passes into a container), and
happens by itself when the supervisor dies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from nllgen.launch.attempt import Attempt, recorded
from nllgen.launch.claims import RENEW_S, Claim, Claims
from nllgen.launch.tasks import FAILED, Task, is_done, longest_first, read_attempts, tasks_of
from nllgen.store.study_dir import StudyDir
from nllgen.study.config import Study

_POLL_S = 0.2
_STOP_S = 600.0  # an evaluation may be under way when a stop is asked for


@dataclass
class Supervisor:
    """Works until no task of the study is left that it could run. Called by submitit.

    Attributes:
        study_dir: a frozen study.
        submission: name of the submission; a task that failed under it is not tried again under it.
        threads: of each worker.
        assets: folder of fetched assets.
        device: for the workers, or ``auto``.
        checkpoint_s: seconds between checkpoints.
    """

    study_dir: Path
    submission: str
    threads: int
    assets: Path
    device: str = "auto"
    checkpoint_s: float = 300.0
    _claims: Claims = field(default_factory=Claims)
    _stopping: bool = False

    def __call__(self) -> dict[str, str]:
        """Run tasks; returns name → outcome of those that this supervisor ran."""
        folder = StudyDir(self.study_dir)
        folder.guard()
        study = folder.read_study()
        waiting = {task.name: task for task in longest_first(tasks_of(study, folder), study)}
        outcomes: dict[str, str] = {}
        while not self._is_asked_to_stop(folder):
            claimed = self._claim_next(waiting, study, folder)
            if claimed is not None:
                task, claim = claimed
                outcomes[task.name] = self._run(task, claim, folder)
            elif all(self._is_lost(task, waiting) for task in waiting.values()):
                break
            else:
                time.sleep(_POLL_S)  # what is left is another's, or waits for another's
        return outcomes

    def _is_asked_to_stop(self, folder: StudyDir) -> bool:
        """Also where the study was taken away; for good, since the next submission removes the stop file."""
        self._stopping = self._stopping or folder.stop.exists() or not folder.is_frozen
        return self._stopping

    def _claim_next(self, waiting: dict[str, Task], study: Study, folder: StudyDir) -> tuple[Task, Claim] | None:
        """Claim the first task that can run; those that are done by now leave ``waiting``."""
        for task in list(waiting.values()):
            if any(name in waiting for name in task.needs):
                continue
            if is_done(task, study, folder):
                del waiting[task.name]
                continue
            if self._failed(task) or (claim := self._claims.take(task.claim)) is None:
                continue
            if is_done(task, study, folder):  # between the look and the claim
                claim.release()
                del waiting[task.name]
                continue
            return task, claim
        return None

    def _failed(self, task: Task) -> bool:
        return any(
            line.get("submission") == self.submission and line.get("event") == FAILED
            for line in read_attempts(task.attempts)
        )

    def _is_lost(self, task: Task, waiting: dict[str, Task]) -> bool:
        """Whether the task cannot be done under this submission any more."""
        if self._failed(task):
            return True
        return any(self._is_lost(waiting[name], waiting) for name in task.needs if name in waiting)

    def _run(self, task: Task, claim: Claim, folder: StudyDir) -> str:
        with recorded(task, claim, self.submission) as attempt:
            attempt.exit_code = self._work(task, attempt, claim, folder)
        return attempt.outcome

    def _work(self, task: Task, attempt: Attempt, claim: Claim, folder: StudyDir) -> int:
        command = [sys.executable, "-m", "nllgen", "worker", str(self.study_dir), task.name]
        command += ["--attempt", attempt.name, "--attempts", str(attempt.number), "--assets", str(self.assets)]
        command += ["--device", self.device, "--threads", str(self.threads), "--checkpoint-s", str(self.checkpoint_s)]
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        log = os.open(task.log, flags, 0o644)
        try:
            worker = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | threads,
                start_new_session=True,  # a Ctrl-C in the terminal is this supervisor's to pass on
            )
        finally:
            os.close(log)
        return self._attend(worker, claim, folder)

    def _attend(self, worker: subprocess.Popen[bytes], claim: Claim, folder: StudyDir) -> int:
        renewed = time.monotonic()
        stop_at: float | None = None
        try:
            while (code := worker.poll()) is None:
                now = time.monotonic()
                if now - renewed > RENEW_S:
                    renewed = now
                    claim.renew()
                if stop_at is None and self._is_asked_to_stop(folder):
                    stop_at = now
                    _ask_to_stop(worker)
                if stop_at is not None and now - stop_at > _STOP_S:
                    worker.kill()
                time.sleep(_POLL_S)
            return code
        finally:
            _ask_to_stop(worker)

    def checkpoint(self) -> None:
        """submitit asks for this by name; local jobs have no time limit, so that it is never called here."""


def _ask_to_stop(worker: subprocess.Popen[bytes]) -> None:
    assert worker.stdin is not None
    worker.stdin.close()
