"""Lines that say why jobs wait, what to do, and when Slurm expects them to start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nllgen.launch.slurm.arrays import COLLECT
from nllgen.launch.slurm.live_jobs import LiveJobs
from nllgen.launch.slurm.queue_lines import Queued
from nllgen.launch.slurm.wait_reasons import explain

_MAX_JOBS = 5  # named for one reason


@dataclass(frozen=True)
class Wait:
    """A task's wait for its job to start."""

    reason: str  # in Slurm's word
    job: str  # ``7``, ``7_3`` or ``7_3;alpha``
    starts_at: str  # as Slurm expects; empty where it does not

    @property
    def array(self) -> tuple[str, str]:
        """Return the number of the job or array, and its cluster."""
        element, _, cluster = self.job.partition(";")
        return element.partition("_")[0], cluster


def collection_wait(live: LiveJobs | None) -> Wait | None:
    """Return why the collection waits; None unless it waits for something else than the jobs before it."""
    line = live.lines.get(COLLECT) if live else None
    if line is None or not line.is_waiting or line.reason in ("", "Dependency"):
        return None
    return Wait(line.reason, line.job, line.starts_at)


def why_waiting(line: Queued) -> str:
    """Return Slurm's reason for which a job waits, in words, with what to do and the expected start."""
    words = _words(line.reason, line.number, line.cluster)
    return f"{words}; expected to start {start_time(line.starts_at)}" if line.starts_at else words


def _words(reason: str, job: str, cluster: str) -> str:
    return ": ".join(filter(None, [reason, str(explain(reason, job, cluster))]))


def start_time(starts_at: str) -> str:
    """Return for example ``2026-12-01 08:00`` for a time that Slurm prints."""
    return starts_at.replace("T", " ")[:16]


def wait_lines(waits: Iterable[Wait]) -> list[str]:
    """Return a line for each reason on each cluster, the most frequent first: how many wait, their jobs, the words."""
    groups: dict[tuple[str, str], list[Wait]] = {}
    for wait in waits:
        groups.setdefault((wait.reason, wait.array[1]), []).append(wait)
    return [_line(reason, cluster, group) for (reason, cluster), group in sorted(groups.items(), key=_frequency)]


def _frequency(item: tuple[tuple[str, str], list[Wait]]) -> tuple[int, tuple[str, str]]:
    return -len(item[1]), item[0]


def _line(reason: str, cluster: str, waits: list[Wait]) -> str:
    jobs = [*dict.fromkeys(wait.array[0] for wait in waits)]
    if len(waits) == 1:
        jobs = [waits[0].job.partition(";")[0]]
    more = f" and {len(jobs) - _MAX_JOBS} more" if len(jobs) > _MAX_JOBS else ""
    shown = ", ".join(jobs[:_MAX_JOBS]) + more + (f" on {cluster}" if cluster else "")
    starts = min((wait.starts_at for wait in waits if wait.starts_at), default="")
    start = f"; {'the first is ' if len(waits) > 1 else ''}expected to start {start_time(starts)}" if starts else ""
    num = "1 waits" if len(waits) == 1 else f"{len(waits)} wait"
    return f"{num} (job {shown}): {_words(reason, ','.join(jobs), cluster)}{start}"
