"""Unattended steps ask again, search for a job whose sbatch timed out, and send what can be sent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from nllgen.errors import MachineError
from nllgen.launch.freeze import freeze
from nllgen.launch.profile import Profile
from nllgen.launch.slurm import patience
from nllgen.launch.slurm.arrays import COLLECT, ArrayShape
from nllgen.launch.slurm.commands import query_queue, run, submit_script
from nllgen.launch.slurm.patience import unattended
from nllgen.launch.slurm.patient_send import send_patiently
from nllgen.launch.slurm.submission import NotSentError, SubmissionRequest
from nllgen.launch.start import send
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions

AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
REFUSED = "sbatch: error: QOSMaxSubmitJobPerUserLimit"


@dataclass
class StandIn:
    """Programs of Slurm on PATH, each of which fails a number of times."""

    path: Path
    monkeypatch: pytest.MonkeyPatch
    calls: dict[str, Path] = field(default_factory=dict)

    def __call__(self, name: str, does: str, *, fails: int = 0, error: str = AWAY) -> None:
        self.calls[name] = calls = self.path / f"{name}.calls"
        lines = ["#!/bin/bash", f"echo x >> {calls}", f"if (( $(wc -l < {calls}) <= {fails} )); then"]
        lines += [f"echo '{error}' >&2; exit 1", "fi", does]
        (self.path / name).write_text("\n".join(lines))
        (self.path / name).chmod(0o755)

    def num_calls(self, name: str) -> int:
        """Count the calls of a program."""
        return len(self.calls[name].read_text().split()) if self.calls[name].exists() else 0


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Return programs in the place of Slurm's, and shorten all pauses to a tenth."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    sleep = time.sleep
    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=lambda s: sleep(s / 10), monotonic=time.monotonic))
    return StandIn(path, monkeypatch)


def test_a_question_is_asked_again_where_nobody_waits(stand_in: StandIn) -> None:
    stand_in("squeue", "echo '7|nllgen:a|PENDING|(None)|N/A'", fails=2)
    with pytest.raises(MachineError, match="connect failure"):
        query_queue("nllgen:")
    assert stand_in.num_calls("squeue") == 1
    with unattended(60.0):
        assert [job.id for job in query_queue("nllgen:").jobs] == ["7"]
    assert stand_in.num_calls("squeue") == 3


def test_all_questions_share_one_limit(stand_in: StandIn) -> None:
    stand_in("squeue", "", fails=10**6)
    begin = time.monotonic()
    with unattended(1.0):
        for _ in range(3):
            with pytest.raises(MachineError, match="connect failure"):
                query_queue("nllgen:")
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("error", ["slurm_load_jobs error: Invalid job id specified", "Accounting storage is disabled"])
def test_an_answer_that_stays_is_taken(stand_in: StandIn, error: str) -> None:
    stand_in("scontrol", "", fails=10**6, error=error)
    with unattended(60.0), pytest.raises(MachineError):
        run(["scontrol", "show", "job", "7"])
    assert stand_in.num_calls("scontrol") == 1


class Executor:
    """An executor whose sbatch is a program on PATH."""

    clusters = ("",)
    folder = Path("/nonexistent")

    def write(self, delayed: object) -> None:
        """Write nothing."""

    def send(self) -> tuple[str, str]:
        """Run sbatch as the real executor does."""
        job = submit_script(Path("script.sh"))
        assert job is not None
        return job


def sent(name: str = "nllgen:a:b:cells0") -> str:
    number, _ = send_patiently(Executor(), lambda: None, name, lambda text: None)  # type: ignore[arg-type]
    return number


def test_a_job_whose_sbatch_timed_out_is_not_sent_twice(stand_in: StandIn) -> None:
    stand_in("sbatch", "echo 8", fails=1, error=TIMED_OUT)
    stand_in("squeue", "echo '6|nllgen:a:b:cells01'; echo '7|nllgen:a:b:cells0'", fails=2)
    assert (sent(), stand_in.num_calls("sbatch"), stand_in.num_calls("squeue")) == ("7", 1, 3)


def test_a_job_that_the_controller_does_not_have_is_sent_again(stand_in: StandIn) -> None:
    stand_in("sbatch", "echo 8", fails=1, error=TIMED_OUT)
    stand_in("squeue", "echo '6|nllgen:a:b:cells01'")
    assert (sent(), stand_in.num_calls("sbatch")) == ("8", 2)


def test_a_job_is_not_sent_again_while_the_controller_does_not_answer(stand_in: StandIn) -> None:
    stand_in("sbatch", "echo 8", fails=1, error=TIMED_OUT)
    stand_in("squeue", "", fails=10**6)
    with unattended(1.0), pytest.raises(MachineError, match="timed out"):
        sent()
    assert stand_in.num_calls("sbatch") == 1


def test_a_refusal_is_final(stand_in: StandIn) -> None:
    stand_in("sbatch", "echo 8", fails=1, error=REFUSED)
    with unattended(60.0), pytest.raises(MachineError, match="QOSMaxSubmit"):
        sent()
    assert stand_in.num_calls("sbatch") == 1


@pytest.fixture
def study_dir(tiny: Study, tmp_path: Path, stand_in: StandIn) -> StudyDir:
    for name in ("squeue", "srun", "scontrol"):
        stand_in(name, "")
    return freeze(tiny, tmp_path / "root")[0]


def request(study_dir: StudyDir, tiny: Study, told: list[str]) -> SubmissionRequest:
    config = WorkerConfig(RunOptions(study_dir.path))
    profile = Profile(max_array_size=1)
    return SubmissionRequest(study_dir, tiny, profile, config, ArrayShape(), echo=told.append)


def refuses(stage: str) -> str:
    """Return the lines of an sbatch that refuses one stage."""
    refusal = f"{{ echo '{REFUSED}' >&2; exit 1; }}"
    return f'grep -q "job-name=.*:{stage}$" "${{@: -1}}" && {refusal}\necho Submitted batch job $RANDOM'


def stages_sent(told: list[str]) -> list[str]:
    return [line.split()[2].rstrip(",") for line in told if line.startswith("job ")]


def test_a_refused_array_keeps_neither_the_others_nor_the_collection(
    study_dir: StudyDir, tiny: Study, stand_in: StandIn
) -> None:
    stand_in("sbatch", refuses("cells1"))
    told: list[str] = []
    with pytest.raises(NotSentError, match=r"^1 task was not sent: (.|\n)*QOSMaxSubmit") as refused:
        send(request(study_dir, tiny, told))
    assert stages_sent(told) == ["truth", "dataset", "cells0", "cells2", COLLECT]
    assert len(refused.value.refusals) == 1


def test_what_needs_a_refused_stage_is_not_sent(study_dir: StudyDir, tiny: Study, stand_in: StandIn) -> None:
    stand_in("sbatch", refuses("dataset"))
    told: list[str] = []
    with pytest.raises(NotSentError, match="3 tasks were not sent"):
        send(request(study_dir, tiny, told))
    assert stages_sent(told) == ["truth", "cells0", COLLECT]


def test_a_submission_of_which_nothing_is_accepted_is_refused_once(
    study_dir: StudyDir, tiny: Study, stand_in: StandIn
) -> None:
    stand_in("sbatch", "", fails=10**6, error=REFUSED)
    with pytest.raises(MachineError, match="sbatch refused the job") as refused:
        send(request(study_dir, tiny, []))
    assert not isinstance(refused.value, NotSentError)
