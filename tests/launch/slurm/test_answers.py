"""Answers of Slurm's programs among text of the site, and refusals of sbatch."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch.freeze import freeze
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import ArrayShape, submissions
from nllgen.launch.slurm.ends import ends_of, sacct_state
from nllgen.launch.slurm.refusals import refusal
from nllgen.launch.slurm.submission import SubmissionRequest, SubmitResult
from nllgen.launch.start import send
from nllgen.launch.status import query_scheduler
from nllgen.launch.worker_process import WorkerConfig
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions
from tests.launch.slurm.recorded import RECORDED
from tests.launch.slurm.stand_in import StandIn

BANNER = "*** job 7: Gru\xdfe | quota 100|x|y\n2026\n".encode("latin-1")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn.made(tmp_path / "bin")
    monkeypatch.setenv("PATH", made.path)
    return made


@pytest.fixture
def folder(tiny: Study, tmp_path: Path, slurm: StandIn) -> StudyDir:
    return freeze(tiny, tmp_path)[0]


def submit(folder: StudyDir, study: Study) -> SubmitResult:
    return send(SubmissionRequest(folder, study, Profile(), WorkerConfig(RunOptions(folder.path)), ArrayShape()))


def test_a_banner_in_another_encoding_changes_nothing(tiny: Study, folder: StudyDir, slurm: StandIn) -> None:
    (slurm.folder / "banner").write_bytes(BANNER)
    submit(folder, tiny)
    ((submission_dir, _),) = submissions(folder)
    assert sorted(submission_dir.job_ids().values()) == ["40", "41", "42", "43", "44"]
    live, trouble = query_scheduler(folder, tiny)
    assert live is not None
    assert (trouble, sorted(live.ids), live.num_unread) == ("", ["40", "41", "42", "43", "44"], 2)
    assert submit(folder, tiny).submission is None


def test_a_job_that_was_accepted_without_a_number_is_found_by_its_name(
    tiny: Study, folder: StudyDir, slurm: StandIn
) -> None:
    """Let sbatch print no number, although it accepts the job."""
    real = (
        (slurm.folder / "sbatch").read_text().replace('print(f"{number};{name}" if named else number)', "print('ok')")
    )
    (slurm.folder / "sbatch").write_text(real)
    submit(folder, tiny)
    ((submission_dir, _),) = submissions(folder)
    assert sorted(submission_dir.job_ids().values()) == [str(job["id"]) for job in slurm.jobs("own")]


@pytest.mark.parametrize("version", ["22.05", "23.11", "24.05", "25.05"])
def test_the_ends_of_an_array_are_read_from_every_version(version: str, slurm: StandIn) -> None:
    array = "2789" if version == "22.05" else "41"
    slurm.replace("sacct", f"echo 'Usage of this month: 7|8'; cat {RECORDED}/sacct-{version}.txt")
    slurm.replace("scontrol", "exit 1")
    ends = ends_of(array)
    assert ends.states[f"{array}_0"] == "COMPLETED"
    assert {state.split()[0] for job, state in ends.states.items() if job != f"{array}_0"} == {"CANCELLED"}
    assert len(ends.states) == 8
    assert ends.are_all


def test_a_banner_is_no_state_of_a_job(slurm: StandIn) -> None:
    slurm.replace("sacct", "echo 'WELCOME 7 USERS'; echo NODE_FAIL")
    assert sacct_state({"job": "7_0", "restarts": 0}) == "NODE_FAIL"
    slurm.replace("sacct", "echo 'no such job'")
    assert sacct_state({"job": "7_0", "restarts": 0}) == ""


FAILED = "sbatch: error: Batch job submission failed: "
CASES = [
    (FAILED + "Unable to contact slurm controller (connect failure)", "does not answer", "try again in some minutes"),
    (FAILED + "Socket timed out on send/recv operation", "does not answer", "not at fault"),
    (FAILED + "Invalid partition name specified", "no such partition", "sinfo -s"),
    (
        "sbatch: error: invalid partition specified: gpu\n" + FAILED + "Invalid partition name specified",
        "partition",
        "",
    ),
    (FAILED + "Invalid account or account/partition combination specified", "account is wrong", "sacctmgr"),
    (FAILED + "Invalid qos specification", "QOS is wrong", "profile's qos"),
    (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", "time", "lower time_min"),
    (
        "sbatch: error: Memory specification can not be satisfied\n"
        + FAILED
        + "Requested node configuration is not available",
        "memory",
        "memory_gb",
    ),
    (
        "sbatch: error: CPU count per node can not be satisfied\n"
        + FAILED
        + "Requested node configuration is not available",
        "no node has",
        "cpus",
    ),
    (FAILED + "Invalid generic resource (gres) specification", "GPUs", "gpus"),
    (
        FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "a limit",
        "--workers N",
    ),
    (
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
        + FAILED
        + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "the limit of the QOS per user on jobs that may be queued is reached",
        "--workers N",
    ),
    ("sbatch: error: AssocMaxWallDurationPerJobLimit\n" + FAILED + "x", "more time than the account", "time_min"),
    (FAILED + "Invalid feature specification", "no node has", "constraint"),
    (FAILED + "Requested reservation is invalid", "reservation", "scontrol show reservation"),
    (
        "sbatch: unrecognized option '--nonsense'\nTry \"sbatch --help\" for more information",
        "unknown",
        "sbatch options",
    ),
    (FAILED + "User's group not permitted to use this partition", "partition", ""),
    (FAILED + "Something new", "Something new", "nllgen doctor"),
]


@pytest.mark.parametrize(("text", "cause", "advice"), CASES)
def test_a_refusal_has_its_cause_and_advice_that_fits(text: str, cause: str, advice: str) -> None:
    error = refusal(text)
    assert cause in error.message
    assert advice in error.hint
    assert "sbatch: error" not in error.message


def test_a_refusal_is_printed_once_and_without_the_sites_banner(
    tiny: Study, folder: StudyDir, slurm: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    reason = "sbatch: error: Batch job submission failed: Invalid qos specification"
    slurm.replace("sbatch", f"echo 'Please read http://site' >&2; echo '{reason}' >&2; echo '{reason}' >&2; exit 1")
    with pytest.raises(MachineError) as caught:
        submit(folder, tiny)
    assert str(caught.value).count("Invalid qos specification") == 1
    assert "http" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_job_has_the_locale_of_its_user(
    tiny: Study, folder: StudyDir, slurm: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    slurm.replace("sbatch", f'echo "$LC_ALL|$SLURM_JOB_ID" > {slurm.folder}/seen; echo 41')
    submit(folder, tiny)
    assert (slurm.folder / "seen").read_text() == "C.UTF-8|\n"
