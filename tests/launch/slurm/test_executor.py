"""The exact text for sbatch."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from nllgen.errors import ConfigError
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.arrays import COLLECT, COLLECT_STAGE, Stage
from nllgen.launch.slurm.executor import check_submittable, executor_for, resources_of
from nllgen.study.config import Resources

ONE = Resources(time_min=30, memory_gb=2.0, cpus=2, gpus=0)
CELLS = Stage("cells0", (("a",), ("b",)))


@pytest.fixture(autouse=True)
def _has_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a dummy srun on the path: submitit only checks that it exists."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")


def text(
    tmp_path: Path, profile: Profile, stage: Stage = CELLS, at_once: int = 1, **after: tuple[str, ...]
) -> list[str]:
    resources = resources_of(stage, profile, ONE, at_once)
    name, code = "nllgen:s:x:cells0", tmp_path / "code"
    executor = executor_for(tmp_path / "a b", stage, name, resources, profile, code, at_once=at_once, **after)
    return executor.script().splitlines()


def options(lines: list[str]) -> dict[str, str]:
    pairs = (line.removeprefix("#SBATCH --").partition("=") for line in lines if line.startswith("#SBATCH --"))
    return {name: value for name, _, value in pairs}


def test_the_options_are_those_of_the_profile_and_the_study(tmp_path: Path) -> None:
    profile = Profile(partition="p", account="a", qos="q", constraint="c", array_parallelism=1, signal_s=60)
    found = options(text(tmp_path, profile))
    expected = {"partition": "p", "account": "a", "qos": "q", "constraint": "c", "time": "30", "mem": "2048M"}
    expected |= {"cpus-per-task": "2", "signal": "B:USR2@60", "array": "0-1%1", "job-name": "nllgen:s:x:cells0"}
    assert {name: found[name] for name in expected} == expected
    assert "requeue" in found
    assert not {"wckey", "gpus-per-node", "dependency", "kill-on-invalid-dep"} & set(found)


def test_stages_wait_for_each_other(tmp_path: Path) -> None:
    found = options(text(tmp_path, Profile(), after_ok=("3", "4"), after_any=("5",)))
    assert found["dependency"] == "afterok:3:4,afterany:5"
    assert found["kill-on-invalid-dep"] == "yes"


def test_a_stage_that_is_to_wait_begins_later(tmp_path: Path) -> None:
    assert "begin" not in options(text(tmp_path, Profile()))
    assert options(text(tmp_path, Profile(), Stage("cells0", (("a",),), delay_s=60)))["begin"] == "now+60"


def test_further_options_go_through_and_false_leaves_one_out(tmp_path: Path) -> None:
    found = options(text(tmp_path, Profile(sbatch={"hold": True, "exclusive": False, "reservation": "r"})))
    assert ("hold" in found, found["reservation"], "exclusive" in found) == (True, "r", False)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"mem": "2048M"}),
        ({"memory_option": "none"}, {}),
        ({"memory_option": "mem-per-cpu"}, {"mem-per-cpu": "1024M"}),
        ({"memory_option": "mem-per-gpu", "gpus": 2}, {"mem-per-gpu": "1024M"}),
        ({"memory_option": "mem-per-gpu"}, {"mem-per-cpu": "1024M"}),
    ],
)
def test_memory_is_asked_for_as_the_site_wants_it(
    tmp_path: Path, keys: dict[str, Any], expected: dict[str, str]
) -> None:
    found = options(text(tmp_path, Profile(**keys)))
    assert {name: value for name, value in found.items() if name.startswith("mem")} == expected


@pytest.mark.parametrize(
    ("keys", "pack", "expected"),
    [
        ({"gpus": 1}, 1, {"gpus-per-node": "1"}),
        ({"gpus": "a100:2"}, 1, {"gpus-per-node": "a100:2"}),
        ({"gpus": "1g.10gb:1", "gpu_option": "gres"}, 1, {"gres": "gpu:1g.10gb:1"}),
        ({"gpus": 2, "gpu_option": "gres"}, 1, {"gres": "gpu:2"}),
        ({"gpus": "a100:1"}, 4, {"gpus-per-node": "a100:1"}),  # they share it
        ({"gpus": "a100:1", "cells_per_gpu": 1}, 4, {"gpus-per-node": "a100:4"}),
        ({"gpus": "a100:1", "cells_per_gpu": 3, "gpu_option": "gres"}, 4, {"gres": "gpu:a100:2"}),
        ({"sbatch": {"gres": "nvme:100G,shard,tmp:2"}}, 4, {"gres": "nvme:400G,shard:4,tmp:8"}),
        (
            {"gpus": 1, "gpu_option": "gres", "cells_per_gpu": 2, "sbatch": {"gres": "nvme:9"}},
            4,
            {"gres": "nvme:36,gpu:2"},
        ),
    ],
)
def test_a_job_asks_for_the_gpus_and_other_resources_that_its_cells_need(
    tmp_path: Path, keys: dict[str, Any], pack: int, expected: dict[str, str]
) -> None:
    found = options(text(tmp_path, Profile(**keys), at_once=pack))
    assert {name: value for name, value in found.items() if name in ("gpus-per-node", "gres")} == expected


def test_a_collection_asks_for_no_gpu(tmp_path: Path) -> None:
    sbatch: Any = {"gres": "nvme:9", "gpu-bind": "closest", "gres-flags": "enforce-binding", "comment": "x"}
    for option in ("gres", "gpus-per-node"):
        profile = Profile(gpus="a100:1", gpu_option=option, memory_option="mem-per-gpu", sbatch=sbatch)
        found = options(text(tmp_path, profile, COLLECT_STAGE, at_once=4))
        assert (found["gres"], found["comment"], found["mem-per-cpu"]) == ("nvme:9", "x", "2048M")
        assert not {"gpus-per-node", "gpu-bind", "gres-flags", "mem-per-gpu", "mem"} & set(found)


def test_a_failing_setup_ends_the_job_before_the_program_replaces_the_shell(tmp_path: Path) -> None:
    lines = text(tmp_path, Profile(setup=("module load x",), environment={"A": "b c"}))
    words = ("trap 'nllgen_ended $?' EXIT", "module load x", "trap - ERR DEBUG", "set -euo pipefail")
    at = [lines.index(word) for word in words]
    at.append(next(i for i, line in enumerate(lines) if line.startswith("exec ")))
    assert at == sorted(at)
    assert "export A='b c'" in lines
    assert not any(line.startswith("srun") for line in lines)


def test_an_early_warning_does_not_end_the_shell_and_the_start_is_known(tmp_path: Path) -> None:
    """Run as it stands up to the supervisor: bash, a signal, and what the program would see."""
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "cells0.pkl").touch()
    lines = text(tmp_path, Profile(setup=("kill -USR2 $$",)))
    end = next(i for i, line in enumerate(lines) if "exec " in line)
    script = "\n".join([*lines[:end], "exec sh -c 'echo $NLLGEN_JOB_STARTED'"])
    env = os.environ | {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0"}
    before = int(time.time())
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert before <= int(done.stdout) <= time.time()


@pytest.mark.parametrize(("pack", "factor", "memory", "cpus"), [(1, 1.0, 2.0, 2), (3, 1.0, 6.0, 6), (1, 4.0, 8.0, 2)])
def test_memory_grows_with_packed_cells_and_with_retries(pack: int, factor: float, memory: float, cpus: int) -> None:
    found = resources_of(Stage("cells0", (("a",),), memory_factor=factor), Profile(), ONE, pack)
    assert (found.memory_gb, found.cpus, found.time_min) == (memory, cpus, 30)


def test_the_truth_is_never_packed() -> None:
    assert resources_of(Stage("truth", (("truth",),)), Profile(), ONE, 3) == ONE


def test_a_collection_takes_no_more_time_than_the_partition_gives() -> None:
    found = resources_of(Stage(COLLECT, ((COLLECT,),)), Profile(time_min=10), ONE, 3)
    assert (found.time_min, found.cpus, found.gpus) == (10, 1, 0)


@pytest.mark.parametrize("name", ["a\nreboot", "a\rb", "a%j", "a\\b", "a\x7f"])
def test_a_folder_that_a_script_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a batch script cannot hold"):
        check_submittable(tmp_path / name, Profile(), ONE)


HOSTILE = "a b; touch STRUCK $(touch STRUCK) `touch STRUCK` 'touch STRUCK' \"touch STRUCK\" && touch STRUCK | x * ~ #"


def test_nothing_that_a_user_writes_is_run_by_the_script_of_a_job(tmp_path: Path) -> None:
    """Run the script with a program that only exits in place of Python. ``setup`` is shell and is left out."""
    profile = Profile(
        partition=HOSTILE,
        account=HOSTILE,
        qos=HOSTILE,
        constraint=HOSTILE,
        environment={"A": HOSTILE},
        sbatch={"comment": HOSTILE},
        python=shutil.which("true"),
    )
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    (folder / "cells0.pkl").touch()
    script = executor_for(folder, CELLS, "nllgen:s:x:cells0", ONE, profile, tmp_path / HOSTILE).script()
    variables = {"PATH": os.environ["PATH"], "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "1_0_submitted.pkl").is_symlink()
    assert list(tmp_path.rglob("STRUCK")) == []
    told_sbatch = [shlex.split(line, comments=False) for line in script.splitlines() if line.startswith("#SBATCH")]
    assert ["#SBATCH", f"--comment={HOSTILE}"] in told_sbatch


def test_mail_is_asked_for_as_the_profile_says(tmp_path: Path) -> None:
    found = options(text(tmp_path, Profile(mail_type=("END", "FAIL"), mail_user="me@example.org")))
    assert (found["mail-type"], found["mail-user"]) == ("END,FAIL", "me@example.org")
    found = options(text(tmp_path, Profile(sbatch={"mail-user": "me@example.org,you"})))
    assert (found["mail-user"], "mail-type" in found) == ("me@example.org,you", False)
