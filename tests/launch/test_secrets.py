"""Secrets reach the jobs, and stand in no file of a study and on no command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nllgen.container import Container
from nllgen.errors import ConfigError, MachineError
from nllgen.launch import worker_process
from nllgen.launch.freeze import freeze
from nllgen.launch.profile import Profile, parse_profile
from nllgen.launch.slurm.arrays import ArrayShape
from nllgen.launch.slurm.submission import SubmissionRequest
from nllgen.launch.start import send
from nllgen.launch.worker_process import WorkerConfig, WorkerProcess
from nllgen.study.config import Study
from nllgen.study.run_options import RunOptions

VALUE = "s3cr3t-of-this-test"
PASSED = Profile(pass_environment=("WANDB_API_KEY",))


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", VALUE)


@pytest.mark.parametrize(
    "text",
    [
        f"environment: {{WANDB_API_KEY: {VALUE}}}",
        f"environment: {{hf_token: {VALUE}}}",
        f"environment: {{AWS_SECRET_ACCESS_KEY: {VALUE}}}",
        f"environment: {{DB_PASSWORD: {VALUE}}}",
        f"environment: {{HTTPS_PROXY: 'http://me:{VALUE}@proxy:80'}}",
        f"setup: ['export HF_TOKEN={VALUE}']",
        f"setup: ['module load x; HF_TOKEN=\"{VALUE}\" true']",
        f"setup: ['git clone https://me:{VALUE}@host/x']",
    ],
)
def test_a_secret_in_a_profile_is_refused_with_the_way_to_pass_it(text: str) -> None:
    with pytest.raises(ConfigError, match="pass_environment") as refused:
        parse_profile(text, "p.yaml")
    assert VALUE not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "environment: {TOKENIZERS_PARALLELISM: 'false', HF_TOKEN_PATH: /home/me/token, MONKEY: x, KEYBOARD: us}",
        "environment: {HTTPS_PROXY: 'http://proxy:80'}",
        "setup: ['export HF_TOKEN=$(cat ~/.token)', 'module load python/3.11', 'A=b ./run']",
        "pass_environment: [WANDB_API_KEY, HF_TOKEN]",
    ],
)
def test_what_is_no_secret_is_accepted(text: str) -> None:
    parse_profile(text, "p.yaml")


def test_a_worker_gets_the_variable_of_its_job(tmp_path: Path) -> None:
    program = (sys.executable, "-c", "import os, sys; sys.stderr.write(os.environ['WANDB_API_KEY'])")
    config = WorkerConfig(RunOptions(tmp_path), program=program).with_profile(PASSED)
    words, variables = config.command(tmp_path, 1, ())
    assert VALUE not in " ".join(words)
    worker = WorkerProcess(words, variables, tmp_path / "log")
    worker.process.wait(60)
    worker.close(1)
    assert (tmp_path / "log").read_text() == VALUE


def test_a_container_gets_it_by_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "verify_container", lambda path: Container(path, "0" * 64, {}))
    config = WorkerConfig(RunOptions(tmp_path), container=tmp_path / "a.sif").with_profile(PASSED)
    words, variables = config.command(tmp_path, 1, ())
    assert VALUE not in " ".join(words)
    assert variables["APPTAINERENV_WANDB_API_KEY"] == VALUE


def test_a_variable_that_did_not_arrive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = WorkerConfig(RunOptions(tmp_path)).with_profile(PASSED)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(MachineError, match="WANDB_API_KEY is not set in this job"):
        config.command(tmp_path, 1, ())


@pytest.fixture
def request_(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SubmissionRequest:
    """Return a request to a cluster whose sbatch keeps the environment that it gets."""
    programs = {
        "sbatch": f"env > {tmp_path}/environment; cat \"$@\" > {tmp_path}/words 2>&1; echo Submitted batch job 7",
        "squeue": "true", "sacct": "true", "scontrol": "true",
    }  # fmt: skip
    (tmp_path / "bin").mkdir()
    for name, line in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    folder = freeze(tiny, tmp_path / "runs")[0]
    config = WorkerConfig(RunOptions(tmp_path)).with_profile(PASSED)
    return SubmissionRequest(folder, tiny, PASSED, config, ArrayShape())


def test_no_file_of_a_submission_holds_a_passed_value(request_: SubmissionRequest, tmp_path: Path) -> None:
    """Neither the record, nor pickles, nor scripts, nor logs; sbatch gets it by its environment."""
    done = send(request_)
    assert f"WANDB_API_KEY={VALUE}" in (tmp_path / "environment").read_text()
    assert VALUE not in (tmp_path / "words").read_text()
    assert VALUE not in "".join(done.scripts.values())
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert any(path.suffix == ".pkl" for path in files)
    holds_name = [path for path in files if b"WANDB_API_KEY" in path.read_bytes() and "code" not in path.parts]
    assert holds_name, "the record names the variable"
    assert [path for path in files if VALUE.encode() in path.read_bytes()] == []
    assert [path for path in holds_name if path.stat().st_mode & 0o022] == []


def test_a_variable_that_is_not_set_is_named_before_anything_is_sent(
    request_: SubmissionRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(ConfigError, match="WANDB_API_KEY is not set here"):
        send(request_)
    assert not request_.study_dir.submitit.exists()
