"""Conventions of all commands, and of those that fetch."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from nllgen.cli import cli, machine_commands, output, study_commands
from nllgen.data import published
from nllgen.errors import EXIT_ENVIRONMENT, EXIT_SOFTWARE, MachineError
from nllgen.metrics import inception
from tests.cli.process import USAGE, Run, frozen, refused


def all_commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Name and object of every command that is shown."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*words, name))
        elif not command.hidden:
            yield " ".join((*words, name)), command


COMMANDS = dict(all_commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_ends_with_an_example(nllgen: Run, name: str) -> None:
    done = nllgen(*name.split(), "-h")
    lines = done.stdout.rstrip().splitlines()
    starts = [number for number, line in enumerate(lines) if line in ("Example:", "Examples:")]
    assert starts, done
    start = starts[-1]
    assert lines[start + 1 :]
    assert all(line.startswith(f"  nllgen {name}") for line in lines[start + 1 :])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", None)] == []


def test_help_has_sections_with_the_first_steps_first(nllgen: Run) -> None:
    lines = nllgen("--help").stdout.splitlines()
    sections = ["First steps:", "Run a study:", "Watch and control a study:", "Results:", "Measure trained models:"]
    assert [line for line in lines if line in sections or line == "Other commands:"] == sections
    listed = {line.split()[0] for line in lines[lines.index(sections[0]) :] if line[:2] == "  " and line[2] != " "}
    assert {name.split()[0] for name in COMMANDS} <= listed
    assert "worker" not in listed


@pytest.mark.parametrize("name", ["submit", "shell"])
def test_a_container_can_be_called_image(name: str) -> None:
    (option,) = [parameter for parameter in COMMANDS[name].params if parameter.name == "container"]
    assert option.opts == ["--container", "--image"]


# a study by name or directory

STUDY_COMMANDS = {
    "status": 0,
    "logs": USAGE,  # nothing has been printed yet
    "cancel": 0,
    "retry": 0,
    "check": 0,
    "collect": 1,  # nothing is complete
    "evaluate": 0,
    "report": 1,  # there is nothing to collect
    "export": 0,
}
_REST = {
    "logs": ["truth"],
    "evaluate": ["--metric", "kid"],
    "report": ["--out", "report"],
    "export": ["--format", "csv", "--force"],
}


@pytest.mark.parametrize("command", STUDY_COMMANDS)
def test_a_study_is_named_or_its_directory_is(nllgen: Run, tmp_path: Path, command: str) -> None:
    frozen(tmp_path / "runs")
    rest = _REST.get(command, [])
    if command == "logs":
        rest = [next(iter((tmp_path / "runs" / "tiny" / "manifest.jsonl").read_text().split('"')[3:4]))]
    for words in (["tiny"], ["runs/tiny"], ["--root", "runs", "tiny"], [tmp_path / "runs" / "tiny"]):
        done = nllgen(command, *words, *rest)
        assert done.returncode == STUDY_COMMANDS[command], done.stderr
        assert "there is no study" not in done.stderr
        assert "not a study folder" not in done.stderr


def test_a_directory_here_is_preferred_to_a_name_under_the_root(nllgen: Run, tmp_path: Path) -> None:
    frozen(tmp_path / "runs")
    frozen(tmp_path)
    assert nllgen("cancel", "tiny").returncode == 0
    assert (tmp_path / "tiny" / "stop").exists()
    assert not (tmp_path / "runs" / "tiny" / "stop").exists()


def test_a_directory_without_a_study_does_not_hide_a_name(nllgen: Run, tmp_path: Path) -> None:
    frozen(tmp_path / "runs")
    (tmp_path / "tiny").mkdir()
    assert nllgen("status", "tiny").returncode == 0


def test_a_misspelt_study_is_refused_with_the_nearest(nllgen: Run, tmp_path: Path) -> None:
    frozen(tmp_path / "runs")
    refused(nllgen("status", "tinny"), USAGE, "there is no study tinny", "did you mean tiny?", "--root DIR")


# unexpected exceptions


def break_down(*_: object) -> None:
    raise KeyError("a\nbug")


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_lack_of_memory_is_the_machines(nllgen: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(*_: object) -> None:
        np.empty(2**60, np.uint8)

    monkeypatch.setattr(study_commands, "print_plan", take)
    done = nllgen("plan", "--grid", "smoke")
    refused(done, EXIT_ENVIRONMENT, "error: not enough memory: Unable to allocate", "a machine with more memory")


@pytest.mark.parametrize("has_state", [True, False])
def test_an_unexpected_exception_is_one_line_with_its_log(
    nllgen: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_state: bool
) -> None:
    monkeypatch.setattr(study_commands, "print_plan", break_down)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    state = tmp_path / "state"
    if not has_state:
        state.write_text("a file")
    done = nllgen("plan", "--grid", "smoke", XDG_STATE_HOME=str(state))
    refused(done, EXIT_SOFTWARE, "error: unexpected KeyError: 'a\\nbug'; please report it", "`nllgen doctor`")
    assert len(done.stderr.splitlines()) == 1
    (log,) = (state / "nllgen" if has_state else tmp_path).glob("nllgen-crash-*.log")
    assert str(log) in done.stderr
    assert "Traceback" in log.read_text()
    assert "'plan', '--grid', 'smoke'" in log.read_text()


def test_an_unexpected_exception_is_one_line_without_its_log(
    nllgen: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_commands, "print_plan", break_down)
    monkeypatch.setattr("tempfile.mkstemp", no_space)
    done = nllgen("plan", "--grid", "smoke", XDG_STATE_HOME=str(tmp_path))
    refused(done, EXIT_SOFTWARE, "no log could be written: No space left on device")


# output


def test_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        output.print_json({"x": float("nan")})


# assets


def test_other_sources_are_asked_where_torchvision_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfit(*_: object) -> None:
        raise MachineError("torchvision does not fit torch")

    monkeypatch.setattr(published, "mirrors", unfit)
    monkeypatch.setattr(inception, "weights_url", unfit)
    assert (machine_commands._mirrors("mnist"), machine_commands._inception_url()) == ((), None)
