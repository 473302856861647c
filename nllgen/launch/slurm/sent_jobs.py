"""The jobs that the tasks of a study were last sent as, by the records of its submissions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nllgen.launch.attempt import modified_ns
from nllgen.launch.slurm.arrays import COLLECT, Submission, SubmissionDir, is_copy, submissions
from nllgen.storage.study_dir import StudyDir


@dataclass(frozen=True)
class SentAs:
    """The job that a task was last sent as."""

    job: str  # ``<array>_<index>``, or the number of the array if its elements share their tasks
    submission_dir: SubmissionDir
    cluster: str = ""  # empty for the machine's own

    @property
    def array(self) -> str:
        """Return the number of its array."""
        return self.job.partition("_")[0]

    def outputs(self) -> list[Path]:
        """Return the files of what the job has printed, the newest last: one of each element that it may be."""
        pattern = f"{self.job}_0_log.out" if "_" in self.job else f"{self.job}_*_log.out"
        return sorted(self.submission_dir.path.glob(pattern), key=modified_ns)


def sent_jobs(study_dir: StudyDir, charged_to: str | None = None) -> dict[str, SentAs]:
    """Return task → the job that it was last sent as, and ``collect`` → that of the newest collection.

    Only submissions that are charged to one count, or all of them if None. Jobs that were not noted are left out, and
    so are the jobs of the original of a copied folder.
    """
    jobs: dict[str, SentAs] = {}
    for submission_dir, submission in submissions(study_dir):  # newer ones replace older ones
        if charged_to in (None, submission.charged_to) and not is_copy(study_dir, submission):
            jobs |= _jobs_of(submission_dir, submission)
    return jobs


def _jobs_of(submission_dir: SubmissionDir, submission: Submission) -> dict[str, SentAs]:
    numbers, clusters = submission_dir.job_ids(), submission_dir.job_clusters()
    collection = numbers.get(COLLECT, "")
    jobs = {COLLECT: SentAs(f"{collection}_0", submission_dir, clusters.get(collection, ""))} if collection else {}
    for stage in submission.stages:
        if not (number := numbers.get(stage.name, "")):
            continue
        for index, names in enumerate(stage.elements):
            job = number if stage.workers else f"{number}_{index}"
            sent = SentAs(job, submission_dir, clusters.get(number, ""))
            jobs |= dict.fromkeys(names, sent)
    return jobs
