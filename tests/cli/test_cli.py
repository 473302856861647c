"""The commands, run outside the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.process import ENVIRONMENT, NLLGEN, TEN_THOUSAND, TINY, USAGE, Run, frozen, refused

# what works


def test_help_answers_at_once(nllgen_process: Run) -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert nllgen_process("--help").returncode == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5  # 0.1 s on an idle machine


@pytest.mark.parametrize(
    "command",
    [
        "assets digest",
        "assets fetch",
        "assets list",
        "plan",
        "submit",
        "run",
        "status",
        "evaluate",
        "score",
        "collect",
        "report",
        "compare",
        "export",
        "worker",
    ],
)
def test_every_command_has_help(nllgen: Run, command: str) -> None:
    done = nllgen(*command.split(), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: nllgen {command}")


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nllgen", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "nllgen" in done.stdout


@pytest.mark.parametrize("grid", ["smoke", "smoke.yaml", "misspec", "misspec.yaml"])
def test_a_built_in_study_plans_anywhere(nllgen_process: Run, grid: str) -> None:
    done = nllgen_process("plan", "--grid", grid)
    assert done.returncode == 0, done.stderr
    assert f"study {grid.removesuffix('.yaml')}: " in done.stdout
    assert "core-hours" in done.stdout


def test_a_file_in_the_folder_goes_before_a_built_in_study(nllgen: Run, tiny: Path) -> None:
    (tiny.parent / "smoke.yaml").write_text(TINY)
    assert "study tiny: " in nllgen("plan", "--grid", "smoke.yaml").stdout


def test_a_plan_changes_nothing(nllgen_process: Run, tiny: Path) -> None:
    before = set(tiny.parent.rglob("*"))
    assert nllgen_process("plan", "--grid", tiny).returncode == 0
    assert nllgen_process("submit", "--grid", tiny, "--dry-run").returncode == 0
    assert set(tiny.parent.rglob("*")) == before


def test_a_plan_is_json_too(nllgen: Run) -> None:
    plan = json.loads(nllgen("plan", "--grid", "smoke", "--json").stdout)
    assert plan["study"] == "smoke"
    assert [row["kind"] for row in plan["rows"][:3]] == ["truth", "dataset", "cell"]
    assert {row["action"] for row in plan["rows"]} == {"run"}


def test_ten_thousand_cells_plan(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(TEN_THOUSAND)
    done = nllgen("plan", "--grid", "many.yaml")
    assert done.returncode == 0, done.stderr
    assert "10000 to run" in done.stdout
    rows = json.loads(nllgen("plan", "--grid", "many.yaml", "--json").stdout)["rows"]
    assert len({row["id"] for row in rows}) == 10_000


def test_a_closed_pipe_is_no_error(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(TEN_THOUSAND)
    command = [NLLGEN, "plan", "--grid", "many.yaml", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_the_root_comes_from_the_environment(nllgen: Run, tiny: Path, tmp_path: Path) -> None:
    frozen(tmp_path / "elsewhere")
    done = nllgen("submit", "--grid", tiny, "--dry-run", "--json", NLLGEN_ROOT=str(tmp_path / "elsewhere"))
    assert json.loads(done.stdout)["plan"]["num_run"] == 2


def test_status_of_a_study_that_has_not_run(nllgen: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    assert "2 waiting" in nllgen("status", folder).stdout
    status = json.loads(nllgen("status", folder, "--json").stdout)
    assert status["counts"]["waiting"] == len(status["tasks"]) == 2


# bad studies


@pytest.mark.parametrize("command", ["plan", "submit --local", "run --cell 0123456789abcdef"])
def test_a_missing_grid(nllgen: Run, command: str) -> None:
    refused(nllgen(*command.split(), "--grid", "nosuch.yaml"), USAGE, "nosuch.yaml", "does not exist")


def test_a_misspelt_built_in_study(nllgen: Run) -> None:
    refused(nllgen("plan", "--grid", "mispec"), USAGE, "did you mean misspec?")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seed: {range: [0, 2]}", "sead: 0"), ["tiny.yaml:9:", "sead", "did you mean seed?"]),
        (("flow: {width: 2, blocks: 0, scales: 1}", "degree: U9"), ["tiny.yaml:6:", "U9", "U3, U2, U1, W, W*, O1, O2"]),
        (("seed: {range: [0, 2]}", "seed: {range: [0, 1000000000]}"), ["tiny.yaml:5:", "1,000,000,000 cells"]),
        (("steps: 2", "steps: two"), ["tiny.yaml:7:", "steps", "two"]),
        (("name: tiny", "name: a/b"), ["tiny.yaml:2:", "a/b"]),
        (("image_size: 14", "image_size: 14, image_size: 28"), ["tiny.yaml:5:", "image_size"]),
        (("cells:", "cells: ["), ["tiny.yaml:", "not YAML"]),
    ],
    ids=["unknown key", "bad degree", "a billion cells", "wrong type", "bad name", "key twice", "not YAML"],
)
def test_a_bad_study_is_refused_with_its_line(
    nllgen: Run, tiny: Path, change: tuple[str, str], words: list[str]
) -> None:
    assert change[0] in TINY
    tiny.write_text(TINY.replace(*change))
    started = time.perf_counter()
    refused(nllgen("plan", "--grid", tiny), USAGE, *words)
    assert time.perf_counter() - started < 20  # a billion cells are not expanded


@pytest.mark.parametrize("text", ["name: empty\ncells: []\n", "", "# nothing\n"], ids=["no cells", "empty", "comment"])
def test_an_empty_grid(nllgen: Run, tiny: Path, text: str) -> None:
    tiny.write_text(text)
    refused(nllgen("plan", "--grid", tiny), USAGE, "tiny.yaml:", "empty")


def test_a_folder_is_no_grid(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(nllgen("plan", "--grid", "folder"), USAGE, "folder")


# usage


@pytest.mark.parametrize(
    "line",
    [
        "nosuch",
        "plan",
        "plan --grid smoke --nosuch",
        "submit --grid smoke --local --workers 0",
        "submit --grid smoke --local --device cuda:x",
        "assets fetch cifar",
        "report study.h5",
        "status",
    ],
)
def test_wrong_usage_has_exit_code_2(nllgen: Run, line: str) -> None:
    refused(nllgen(*line.split()), USAGE)


@pytest.mark.parametrize("command", ["submit --local", "run --cell truth"])
@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "CPU", "cuda:0\n"])
def test_a_device_is_checked_before_anything_is_frozen(nllgen: Run, tiny: Path, command: str, device: str) -> None:
    refused(nllgen(*command.split(), "--grid", tiny, "--device", device), USAGE, "auto, cpu, cuda, cuda:N")
    assert not (tiny.parent / "runs").exists()


def test_a_missing_gpu_is_refused_before_anything_is_frozen(nllgen: Run, tiny: Path) -> None:
    done = nllgen("submit", "--local", "--grid", tiny, "--device", "cuda:1", CUDA_VISIBLE_DEVICES="0")
    refused(done, ENVIRONMENT, "1 GPU to be had")
    assert not (tiny.parent / "runs").exists()


def test_submitting_without_profile_or_local_is_refused(nllgen: Run, tiny: Path) -> None:
    refused(nllgen("submit", "--grid", tiny), USAGE, "--profile NAME, or --local")
    assert not (tiny.parent / "runs").exists()


def test_a_cell_that_the_study_lacks(nllgen: Run, tiny: Path) -> None:
    refused(nllgen("run", "--grid", tiny, "--cell", "0123456789abcdef"), USAGE, "0123456789abcdef", "nllgen plan")


def test_a_profile_of_a_local_run_is_refused(nllgen: Run, tiny: Path) -> None:
    refused(nllgen("submit", "--grid", tiny, "--local", "--profile", "cpu"), USAGE, "exclude each other")
    assert not (tiny.parent / "runs").exists()
