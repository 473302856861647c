"""What sbatch gets, to the letter: options, quoting, and the lines before the supervisor."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from nllgen.launch.profile import Profile, parse_profile
from nllgen.launch.slurm import Order, executor_for, resources_of
from nllgen.launch.stages import COLLECT, Stage
from nllgen.study.config import Resources

STAGE = Stage("cells0", (("a",), ("b",), ("c",)), ("dataset",))
RESOURCES = Resources(time_min=30, memory_gb=1.5, cpus=2)


@pytest.fixture(autouse=True)
def _slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit looks for srun, and starts nothing here."""
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def script(profile: Profile, folder: Path = Path("/studies/a/submitit/s"), **how: object) -> str:
    order = Order("nllgen:a:s:cells0", 3, RESOURCES, **how)  # type: ignore[arg-type]
    return executor_for(folder, STAGE, order, profile, Path("/studies/a/code/c")).script()


def options(text: str) -> dict[str, str]:
    found = [re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(.*))?", line) for line in text.splitlines()]
    return {match[1]: " ".join(shlex.split(match[2] or "")) for match in found if match}


def test_the_options_are_these_and_no_others() -> None:
    assert options(script(Profile(), after_ok=("7", "8"))) == {
        "array": "0-2%3",
        "cpus-per-task": "2",
        "dependency": "afterok:7:8",
        "job-name": "nllgen:a:s:cells0",
        "kill-on-invalid-dep": "yes",
        "mem": "1536M",
        "nodes": "1",
        "open-mode": "append",
        "output": "/studies/a/submitit/s/%A_%a_0_log.out",
        "requeue": "",
        "signal": "B:USR2@90",
        "time": "30",
    }


def test_a_profile_s_options_reach_sbatch() -> None:
    profile = parse_profile(
        "partition: p\naccount: a\nqos: q\nconstraint: c&d\narray_parallelism: 2\nsignal_s: 33\n"
        "sbatch: {mail-type: FAIL, exclusive: true, contiguous: false, nice: 100}",
        "p.yaml",
    )
    found = options(script(profile))
    expected = {"partition": "p", "account": "a", "qos": "q", "constraint": "c&d", "array": "0-2%2"}
    expected |= {"signal": "B:USR2@33", "mail-type": "FAIL", "exclusive": "", "nice": "100"}
    assert found.items() >= expected.items()
    assert "contiguous" not in found


def test_jobs_that_end_any_way_are_awaited_too() -> None:
    assert options(script(Profile(), after_any=("7",)))["dependency"] == "afterany:7"


def test_only_the_supervisor_hears_signals() -> None:
    text = script(Profile())
    assert "srun " not in text
    last = [line for line in text.splitlines() if line][-1]
    assert last.startswith("exec ")


def test_a_failing_line_of_setup_ends_the_job() -> None:
    lines = script(parse_profile("setup: [module load x]", "p.yaml")).split("# setup\n")[1].splitlines()
    assert lines[:2] == ["set -euo pipefail", "module load x"]
    assert "# teardown" not in lines


def test_the_number_of_processors_reaches_srun() -> None:
    assert 'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"' in script(Profile())


def test_the_lines_before_the_supervisor_are_a_shell_s_and_link_the_one_pickle(tmp_path: Path) -> None:
    folder = tmp_path / "a study's $HOME; rm -rf x"
    folder.mkdir()
    (folder / "cells0.pkl").write_text("supervisor")
    profile = Profile(environment={"LANG": "C; touch bad", "B": "$(touch bad)"})
    text = script(profile, folder).split("# setup\n")[1].split("# command")[0]
    text += '\nprintf "%s|%s|%s" "$LANG" "$B" "$PYTHONPATH"'
    job = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "PATH": "/usr/bin:/bin", "PYTHONPATH": "/x"}
    done = subprocess.run(["bash", "-c", text], env=job, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (folder / "12_3_submitted.pkl").read_text() == "supervisor"
    assert done.stdout == "C; touch bad|$(touch bad)|/studies/a/code/c:/x"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([folder.name, "srun"])


def test_a_job_whose_study_was_removed_ends_at_once(tmp_path: Path) -> None:
    text = script(Profile(), tmp_path / "gone").split("# setup\n")[1].split("# command")[0]
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, "moved or removed" in done.stderr) == (75, True)


def test_an_element_that_runs_several_cells_asks_for_as_much() -> None:
    found = resources_of(STAGE, Profile(), RESOURCES, at_once=4)
    assert (found.cpus, found.memory_gb, found.time_min) == (8, 6.0, 30)


def test_a_cell_that_ran_out_of_memory_gets_more() -> None:
    stage = Stage("cells1", (("a",),), memory_factor=2.0)
    assert resources_of(stage, Profile(), RESOURCES, at_once=1).memory_gb == 3.0


def test_collecting_needs_no_gpu() -> None:
    found = resources_of(Stage(COLLECT, ()), Profile(gpus=4, cpus=8), RESOURCES, at_once=8)
    assert (found.gpus, found.cpus) == (0, 1)
