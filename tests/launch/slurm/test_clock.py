"""The end of a job by a node's clock that is minutes off."""

from __future__ import annotations

import pytest

from nllgen.launch.slurm.clock import STARTED_VARIABLE, job_end

BEGUN = 1_800_000_000


@pytest.mark.parametrize(
    ("start", "end", "at", "words"),
    [
        (None, None, 600, ""),
        (None, 580, 580, ""),
        (-20, 580, 580, ""),
        (10, 610, 610, ""),
        (-90, 510, 510, ""),  # a slow prolog
        (-240, 360, 600, "ahead"),
        (-900, -300, 600, "began 900 s after Slurm had started it"),
        (None, -300, 600, "this job began 300 s after its end"),
        (300, 900, 600, "300 s behind Slurm's"),
        (300, 1500, 1200, "300 s behind Slurm's"),  # Slurm's limit, not the requested one
    ],
)
def test_the_limit_counts_from_the_start_where_clocks_differ(
    start: int | None, end: int | None, at: int, words: str
) -> None:
    times = {"SLURM_JOB_START_TIME": start, "SLURM_JOB_END_TIME": end, STARTED_VARIABLE: 0}
    environ = {name: str(BEGUN + time) for name, time in times.items() if time is not None}
    ended = job_end(environ, 10)
    assert ended.at == BEGUN + at
    assert bool(ended.clock_problem) == bool(words)
    assert words in ended.clock_problem
