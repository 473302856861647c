"""Jobs that die before their first attempt, a last step that is patient, and clocks, memory and files that differ."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nllgen.launch.slurm.arrays import submissions
from nllgen.launch.tasks import read_attempts
from nllgen.storage.study_file import read_study
from tests.cluster.scenarios import command
from tests.cluster.studies import GRID, REAL, OnCluster
from tests.cluster.test_limits import HUNGRY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
Make = Callable[..., OnCluster]
AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


def with_setup(study: OnCluster, *lines: str) -> OnCluster:
    """Give the study's profile lines of setup, which may name its directories."""
    profile = json.loads(study.profile_file.read_text())
    study.profile_file.write_text(json.dumps(profile | {"setup": lines}))
    return study


def shell(study: OnCluster, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``nllgen`` with any exit code."""
    return subprocess.run(
        [study.python, "-m", "nllgen", *words],
        env=study.cluster.env | {"NLLGEN_ASSETS": str(study.assets)},
        cwd=study.base,
        capture_output=True,
        text=True,
        timeout=500,
    )


def status_of(study: OnCluster) -> dict[str, object]:
    answer: dict[str, object] = json.loads(shell(study, "status", "--json", str(study.folder.path)).stdout)
    return answer


def ends_by_itself(study: OnCluster) -> dict[str, object]:
    """Submit a study and wait; return what ``status --json`` prints then."""
    study.submit()
    study.wait_end()
    return status_of(study)


def early(study: OnCluster) -> dict[str, object]:
    """Die in a site's file; then mend the file and send the cell again by ``retry``."""
    site = study.base / "site.sh"
    site.write_text('echo "$NOT_SET"\nmodule load nothing\n')
    with_setup(study, "true", f"source {site}")
    answer = ends_by_itself(study)
    (cell,) = study.cells()
    answer["log"] = command(study, "logs", "--job", str(study.folder.path), cell)
    site.write_text('false\necho "$NOT_SET"\n')
    answer["retry"] = command(study, "retry", str(study.folder.path))
    study.wait_end()
    return answer


def patient(study: OnCluster) -> dict[str, object]:
    """Lose a job, whose last step meets a squeue that fails and an sbatch that times out after it was accepted."""
    programs = study.base / "programs"
    programs.mkdir()
    squeue, sbatch = shutil.which("squeue"), shutil.which("sbatch")
    calls, once = study.base / "squeue.calls", study.base / "timed-out"
    (programs / "squeue").write_text(
        f"#!/bin/sh\necho asked >> {calls}\n"
        f"if [ $(wc -l < {calls}) -le 2 ]; then echo '{AWAY}' >&2; exit 1; fi\n"
        f'exec {squeue} "$@"\n'
    )
    (programs / "sbatch").write_text(
        f'#!/bin/sh\nanswer=$({sbatch} "$@") || exit 1\n'
        f"if mkdir {once} 2> /dev/null; then echo '{TIMED_OUT}' >&2; exit 1; fi\n"
        'echo "$answer"\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    die = f'[ "$SLURM_ARRAY_TASK_ID" != 0 ] || ! mkdir {study.base}/died 2> /dev/null || kill -KILL $$'
    with_setup(study, f"export PATH={programs}:$PATH", die)
    answer = ends_by_itself(study)
    answer["calls"] = len(calls.read_text().split())
    (study.folder.path / "study.h5").unlink()
    answer["uncollected"] = status_of(study)["uncollected"]
    answer["again"] = study.submit()
    study.wait_end()
    return answer


def hidden(study: OnCluster) -> dict[str, object]:
    """Hide the truth from the cell's job for some seconds, as a file server does."""
    truths = study.folder.path / "truths"
    hide = f"for file in {truths}/*/truth.pt; do mv $file $file.hidden; (sleep 4; mv $file.hidden $file) & done"
    with_setup(study, 'case "$SLURM_JOB_NAME" in', f"*:cells0) {hide} ;;", "esac")
    return ends_by_itself(study)


def clock(study: OnCluster) -> dict[str, object]:
    """Give jobs the times that newer versions of Slurm export, by a clock that is 20 minutes behind the node's."""
    times = ("SLURM_JOB_START_TIME=$(($(date +%s) - 1200))", "SLURM_JOB_END_TIME=$(($(date +%s) - 600))")
    with_setup(study, f"export {' '.join(times)}")
    return ends_by_itself(study)


def incomplete(study: OnCluster) -> dict[str, object]:
    """Fail one of two cells in its setup."""
    return ends_by_itself(with_setup(study, '[ "$SLURM_ARRAY_TASK_ID:${SLURM_JOB_NAME##*:}" != 0:cells0 ] || exit 5'))


def supervisor(study: OnCluster) -> dict[str, object]:
    return ends_by_itself(with_setup(study, "export CUDA_VISIBLE_DEVICES=nonsense"))


def uuid(study: OnCluster) -> dict[str, object]:
    return ends_by_itself(with_setup(study, "export CUDA_VISIBLE_DEVICES=GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"))


def hungry(study: OnCluster) -> dict[str, object]:
    """Run out of memory where no node seems to have more than 300 MB, as ``sinfo`` says in the last step."""
    programs = study.base / "programs"
    programs.mkdir()
    (programs / "sinfo").write_text("#!/bin/sh\necho 'short*|300'\n")
    (programs / "sinfo").chmod(0o755)
    return ends_by_itself(with_setup(study, f"export PATH={programs}:$PATH"))


RUNS = (early, patient, hidden, clock, incomplete, supervisor, uuid, hungry)


@pytest.fixture(scope="module")
def studies(make_study: Make) -> dict[str, OnCluster]:
    small = {"memory_gb": 0.6}
    made = {
        run.__name__: make_study(run.__name__, text=REAL, seeds=1, profile=small) for run in (early, supervisor, uuid)
    }
    made |= {name: make_study(name, text=REAL, seeds=2, profile=small) for name in ("patient", "incomplete")}
    made["hidden"] = make_study("hidden", text=GRID, profile=small)
    made["clock"] = make_study("clock", text=REAL, profile=small)
    made["hungry"] = make_study("narrowed", text=HUNGRY, profile={"memory_gb": 224 / 1024})
    return made


@pytest.fixture(scope="module")
def answers(studies: dict[str, OnCluster]) -> dict[str, dict[str, object]]:
    """Run the studies at once; return what each function returns."""
    with ThreadPoolExecutor() as pool:
        runs = {run.__name__: pool.submit(run, studies[run.__name__]) for run in RUNS}
        return {name: run.result() for name, run in runs.items()}


Answers = dict[str, dict[str, object]]
Studies = dict[str, OnCluster]


def rows(answer: dict[str, object]) -> list[dict[str, str]]:
    tasks = answer["tasks"]
    assert isinstance(tasks, list)
    return tasks


def test_a_job_that_dies_in_its_setup_is_shown_printed_and_sent_again(studies: Studies, answers: Answers) -> None:
    study, answer = studies["early"], answers["early"]
    (row,) = rows(answer)
    (cell,) = study.cells()
    first, *_ = study.attempts(cell)
    assert (row["state"], row["kind"]) == ("failed", "environment")
    job = first["job"]
    assert f"job {job} ended FAILED before its first attempt, exit code 127" in row["detail"]
    assert f"line 2 of the setup of its profile ended with exit code 127: source {study.base}/site.sh" in row["detail"]
    assert "module: command not found" in str(answer["log"])
    assert cell in str(answer["retry"])
    assert study.ends(cell) == ["environment", "done"]
    assert len(study.job_states()) == 4


def test_the_last_step_asks_again_and_sends_nothing_twice(studies: Studies, answers: Answers) -> None:
    study, answer = studies["patient"], answers["patient"]
    assert sorted(study.ends(cell) for cell in study.cells()) == [["done"], ["lost", "done"]]
    assert isinstance(answer["calls"], int)
    assert answer["calls"] > 3
    own = {submission.name for _, submission in submissions(study.folder)}
    names = [name.strip() for name in study.cluster.sacct("-X", "--format=JobName%60")]
    names = [name for name in names if name.split(":")[2:3] and name.split(":")[2] in own]
    assert len(names) == len(set(names)) + 1, "two elements of the first array, and one job of every other name"


def test_a_study_whose_results_are_not_collected_says_so_and_submit_sends_the_collection(
    studies: Studies, answers: Answers
) -> None:
    study, answer = studies["patient"], answers["patient"]
    assert "all tasks have a result, and study.h5 is not there" in str(answer["uncollected"])
    assert "the collection is sent" in str(answer["again"])
    assert (study.folder.path / "study.h5").exists()
    newest = submissions(study.folder)[-1][0]
    assert [line["stage"] for line in read_attempts(newest.jobs)] == ["collect"]


def test_a_truth_that_a_file_server_shows_late_is_waited_for(studies: Studies, answers: Answers) -> None:
    study = studies["hidden"]
    assert {row["state"] for row in rows(answers["hidden"])} == {"done"}
    assert [study.ends(cell) for cell in study.cells()] == [["done"]]


def test_a_node_whose_clock_is_off_is_named_and_runs_its_cells(studies: Studies, answers: Answers) -> None:
    study = studies["clock"]
    (cell,) = study.cells()
    start, end = study.attempts(cell)
    assert (end["event"], start["restarts"]) == ("done", 0)
    assert "by the clock of node" in start["clock"]
    assert "1200 s after Slurm had started it" in command(study, "logs", "--job", str(study.folder.path), cell)


def test_the_collection_has_what_there_is_and_names_what_is_missing(studies: Studies, answers: Answers) -> None:
    study = studies["incomplete"]
    collected = read_study(study.folder.path / "study.h5")
    assert sorted(collected.cells["outcome"]) == ["done", "missing"]
    missing = next(row["name"] for row in rows(answers["incomplete"]) if row["state"] == "failed")
    logs = "".join(path.read_text() for path in study.folder.submitit.glob("*/*_log.out"))
    assert missing in logs
    assert list(study.job_states().values())[1:] == [{"FAILED"}]


def test_an_error_of_the_supervisor_is_tried_twice(studies: Studies, answers: Answers) -> None:
    study = studies["supervisor"]
    (row,) = rows(answers["supervisor"])
    assert (row["state"], row["kind"]) == ("failed", "supervisor")
    assert "CUDA_VISIBLE_DEVICES names GPU 'nonsense'" in row["detail"]
    assert study.ends(study.cells()[0]) == ["supervisor"] * 2
    assert len(study.job_states()) == 4


def test_a_gpu_that_is_named_by_its_uuid_is_used(studies: Studies, answers: Answers) -> None:
    (start, end) = studies["uuid"].attempts(studies["uuid"].cells()[0])
    assert (start["gpus"], end["event"]) == (1, "done")


def test_memory_grows_up_to_what_the_partition_allows(studies: Studies, answers: Answers) -> None:
    study = studies["hungry"]
    (row,) = rows(answers["hungry"])
    assert (row["state"], row["kind"]) == ("failed", "out of memory")
    assert "it needs more, and no node of partition short has more than 300 MB" in row["detail"]
    (cell,) = study.cells()
    jobs = sorted({str(line["job"]).partition("_")[0] for line in study.attempts(cell) if "job" in line}, key=int)
    assert [study.cluster.field(job, "MinMemoryNode") for job in jobs] == [["224M"], ["300M"]]
