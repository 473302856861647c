"""``--set`` of plan and submit: it is printed what it reaches, and a frozen study keeps what was set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nllgen.launch.freeze import freeze
from nllgen.storage.result import read_result
from nllgen.storage.study_dir import StudyDir
from nllgen.study.load import parse_study
from tests.cli.process import TINY, USAGE, Run, refused

SET = "paradigm.steps=3"


@pytest.fixture
def frozen_with_set(tiny: Path, tmp_path: Path) -> Path:
    study_dir, _, _ = freeze(
        parse_study(tiny.read_text(), "tiny.yaml", precision="fp32", overrides=[SET]), tmp_path / "runs"
    )
    return study_dir.path


def test_plan_says_what_is_reached(nllgen: Run, tiny: Path) -> None:
    done = nllgen("plan", "--grid", tiny, "--set", SET)
    assert done.stdout.startswith(f"--set {SET}: reaches all sweeps: cells[0]\n")


def test_a_plan_as_json_is_json_alone(nllgen: Run, tiny: Path) -> None:
    rows = json.loads(nllgen("plan", "--grid", tiny, "--json", "--set", "seed=[4]").stdout)["rows"]
    assert [row["label"].split()[-1] for row in rows] == ["4"]


def test_an_option_that_reaches_nothing_is_a_usage_error(nllgen: Run, tiny: Path) -> None:
    refused(
        nllgen("plan", "--grid", tiny, "--set", "dcgan.width=3"), USAGE, "--set dcgan.width=3: none of the 1 sweeps"
    )


def test_submitting_again_needs_the_same_options(nllgen: Run, tiny: Path, frozen_with_set: Path) -> None:
    assert nllgen("submit", "--grid", tiny, "--set", SET, "--local", "--dry-run").returncode == 0
    done = nllgen("submit", "--grid", tiny, "--local", "--dry-run")
    refused(done, USAGE, "paradigm.steps: was 3, is 2", f"made with --set {SET}; give the same")


@pytest.mark.parametrize("command", [["status"], ["retry", "--dry-run", "--local"], ["collect"], ["check"]])
def test_commands_on_a_study_read_what_was_set(nllgen: Run, frozen_with_set: Path, command: list[str]) -> None:
    name, *options = command
    done = nllgen(name, frozen_with_set, *options)
    assert "contradicts" not in done.stderr
    assert "damaged" not in done.stderr


def test_run_trains_what_was_set(nllgen_process: Run, tiny: Path, tmp_path: Path, mnist_assets: Path) -> None:
    assert "steps: 2" in TINY
    cell = parse_study(TINY, "t.yaml", precision="fp32", overrides=[SET]).cells[0]
    done = nllgen_process(
        "run", "--grid", tiny, "--set", SET, "--cell", cell.id, "--threads", "1", NLLGEN_ASSETS=str(mnist_assets)
    )
    assert done.returncode == 0, done.stderr
    assert read_result(StudyDir(tmp_path / "runs" / "tiny").cell(cell.id).result).eval["step"][-1] == 3
