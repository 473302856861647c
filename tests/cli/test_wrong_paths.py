"""A path of the wrong kind is named as what it is, by every command, with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nllgen.storage.study_dir import StudyDir
from tests.cli.process import TINY, USAGE, Run, frozen, refused

STUDY_COMMANDS = ["status", "cancel", "retry", "check", "collect", "evaluate --metric kid", "logs {0} truth"]
STUDY_OPTIONS = ["shell --study"]
GRID_COMMANDS = ["plan", "submit --local", "run --cell truth", "submit --dry-run --json"]


def with_path(command: str, path: object) -> list[str]:
    """Return the words of a command with a path, at its place or at the end."""
    return (command if "{0}" in command else f"{command} {{0}}").format(path).split()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = frozen(tmp_path / "runs")
    (folder / "study.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return folder


@pytest.mark.parametrize("command", STUDY_COMMANDS + STUDY_OPTIONS)
@pytest.mark.parametrize(
    ("name", "kind"),
    [("runs/tiny/study.h5", "a study.h5"), ("tiny.yaml", "the YAML file of a study"), ("runs", "a folder of studies")],
)
def test_where_a_study_is_wanted(
    nllgen: Run, study: Path, tiny: Path, tmp_path: Path, command: str, name: str, kind: str
) -> None:
    done = nllgen(*with_path(command, name))
    refused(done, USAGE, f"{tmp_path / name} is not a study folder: it is {kind}", f"did you mean {study}?")


@pytest.mark.parametrize("command", GRID_COMMANDS)
@pytest.mark.parametrize("name", ["runs/tiny", "runs/tiny/study.yaml", "runs/tiny/study.h5", "tiny"])
def test_where_a_grid_is_wanted(nllgen: Run, study: Path, tiny: Path, command: str, name: str) -> None:
    refused(nllgen(*with_path(command, name)), USAGE, "is not the YAML file of a study", "did you mean tiny.yaml?")


@pytest.mark.parametrize("command", GRID_COMMANDS)
def test_weights_are_no_grid(nllgen: Run, tmp_path: Path, command: str) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "model.pt")
    refused(nllgen(*with_path(command, "model.pt")), USAGE, "model.pt", "it is a file of weights")


def test_a_profile_is_no_grid(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("partition: short\n")
    refused(nllgen("plan", "mine.yaml"), USAGE, "it is the profile of a cluster")


def test_a_grid_is_no_profile(nllgen: Run, tiny: Path) -> None:
    done = nllgen("submit", "tiny.yaml", "--profile", "tiny.yaml", "--dry-run")
    refused(done, USAGE, "is not the profile of a cluster: it is the YAML file of a study")


def test_a_grid_is_no_container(nllgen: Run, tiny: Path) -> None:
    done = nllgen("submit", "tiny.yaml", "--profile", "cpu", "--container", "tiny.yaml", "--dry-run")
    refused(done, USAGE, "is not an Apptainer container (SIF): it is the YAML file of a study")


@pytest.mark.parametrize("command", ["draw", "score --samples x.npz --truth"])
def test_a_grid_is_no_truth(nllgen: Run, tiny: Path, command: str) -> None:
    refused(nllgen(*with_path(command, "tiny.yaml")), USAGE, "is not a truth: it is the YAML file of a study")


def test_the_weights_of_a_cell_are_no_truth(nllgen: Run, study: Path) -> None:
    path = study / "model.0123abcd.pt"
    torch.save({"x": torch.zeros(1)}, path)
    refused(nllgen("draw", path), USAGE, "is not a truth: it is the weights of one cell", f"did you mean {study}?")


@pytest.mark.parametrize("name", ["tiny.yaml", "runs", "runs/tiny"])
@pytest.mark.parametrize("option", ["--samples", "--log-probs"])
def test_where_arrays_are_wanted(
    nllgen: Run, bare_study: StudyDir, study: Path, tiny: Path, option: str, name: str
) -> None:
    truth = next(bare_study.path.glob("truths/*"))
    refused(nllgen("score", "--truth", truth, option, name), USAGE, f"{name} is not a file of arrays: it is")


@pytest.mark.parametrize("name", ["tiny.yaml", "runs/tiny/study.yaml"])
def test_where_a_collected_study_is_wanted(nllgen: Run, study: Path, tiny: Path, name: str) -> None:
    done = nllgen("report", name, "--out", "report")
    refused(done, USAGE, "is not a study.h5", f"did you mean {study / 'study.h5'}?")


def test_a_study_is_no_root(nllgen: Run, study: Path, tiny: Path) -> None:
    done = nllgen("plan", "tiny.yaml", "--root", "runs/tiny")
    refused(done, USAGE, "is a study folder, not the folder of all studies", f"did you mean --root {study.parent}?")


# paths as they are printed


@pytest.mark.parametrize("command", ["status ../here/runs/nosuch", "plan ../here/nosuch.yaml", "draw ../here/nosuch"])
def test_paths_are_printed_without_steps_back(nllgen: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "here").mkdir()
    done = nllgen(*command.replace("../here", "here/../here").split())
    refused(done, USAGE, str(tmp_path / "here"))
    assert ".." not in done.stderr


def test_a_root_is_printed_without_steps_back(nllgen: Run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    frozen(tmp_path / "runs")
    done = nllgen("status", "tiny", "--root", "here/../runs", "--json")
    assert done.returncode == 0, done.stderr
    assert ".." not in done.stdout
    done = nllgen("cancel", "tiny", NLLGEN_ROOT="here/../runs")
    assert f"see: nllgen status {tmp_path / 'runs' / 'tiny'};" in done.stdout


# the grid as an argument


@pytest.mark.parametrize("words", [["tiny.yaml"], ["--grid", "tiny.yaml"], ["-g", "tiny.yaml"]])
def test_a_grid_is_an_argument_or_an_option(nllgen: Run, tiny: Path, words: list[str]) -> None:
    assert "study tiny: 2 to run" in nllgen("plan", *words).stdout


def test_two_grids_are_refused(nllgen: Run, tiny: Path) -> None:
    refused(nllgen("plan", "tiny.yaml", "--grid", "smoke"), USAGE, "named twice, tiny.yaml and --grid smoke")


def test_a_missing_grid_is_named_as_an_argument(nllgen: Run) -> None:
    refused(nllgen("plan"), USAGE, "Missing argument 'GRID'")


def test_a_name_of_a_file_goes_before_that_of_a_study(nllgen: Run, tmp_path: Path) -> None:
    frozen(tmp_path / "runs")
    (tmp_path / "tiny").write_text(TINY)
    assert "study tiny: 2 to run" in nllgen("plan", "tiny").stdout


def test_a_study_of_a_truth_is_named(nllgen: Run, study: Path) -> None:
    refused(nllgen("draw", "tiny"), USAGE, "study tiny has no truth")


def test_a_study_that_is_called_as_the_default_root_is_no_wrong_root(nllgen: Run, tmp_path: Path) -> None:
    study = frozen(tmp_path, TINY.replace("name: tiny", "name: runs"))
    assert nllgen("status", study).returncode == 0
