"""``nllgen init``: a study that can be planned, with its comments and the schema for editors."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import jsonschema
import pytest

from nllgen.study.builtin import builtin_names
from nllgen.study.json_schema import SCHEMA_PATH, study_schema
from nllgen.study.load import load_study
from nllgen.study.yaml_documents import read_text, read_yaml
from tests.cli.process import USAGE, Run, refused


@pytest.mark.parametrize("origin", builtin_names("jobs"))
def test_it_is_the_built_in_study_under_another_name(nllgen: Run, tmp_path: Path, origin: str) -> None:
    done = nllgen("init", "mine", "--from", origin)
    assert done.returncode == 0, done.stderr
    study = load_study(tmp_path / "mine.yaml", precision="fp32")
    assert study == load_study(origin, precision="fp32").model_copy(update={"name": "mine"})


def test_its_first_line_names_the_schema_that_ships(nllgen: Run, tmp_path: Path) -> None:
    nllgen("init")
    text = read_text(tmp_path / "first.yaml")
    key, _, uri = text.splitlines()[0].partition("=")
    assert key == "# yaml-language-server: $schema"
    assert Path(url2pathname(urlsplit(uri).path)) == SCHEMA_PATH
    jsonschema.Draft7Validator(study_schema()).validate(read_yaml(text, "first.yaml").value)


def test_its_comments_name_its_file(nllgen: Run, tmp_path: Path) -> None:
    nllgen("init", "mine.yaml", "--from", "nash")
    text = read_text(tmp_path / "mine.yaml")
    assert "#   nllgen plan mine.yaml " in text
    assert "nllgen plan nash" not in text
    assert "# The Nash equilibrium" in text


def test_the_next_command_works(nllgen_process: Run) -> None:
    done = nllgen_process("init", "mine", "--from", "smoke")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("next: "))
    command = line.removeprefix("next: nllgen ").split("   ")[0].split()
    assert nllgen_process(*command).returncode == 0


def test_a_file_is_never_replaced(nllgen: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    done = nllgen("init", "mine")
    refused(done, USAGE, "mine.yaml is there already and is not replaced")
    assert "remove" not in done.stderr
    assert path.read_text() == "mine"


def test_a_link_to_nowhere_is_not_replaced(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").symlink_to("nowhere")
    refused(nllgen("init", "mine"), USAGE, "is there already")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--from", "mispec"], "did you mean misspec?"),
        (["a b"], 'NAME: "a b" is not allowed'),
        (["--from", "../jobs/demo"], "allowed: demo"),
        (["."], "has no name of a study"),
        (["/"], "has no name of a study"),
    ],
)
def test_a_wrong_name_is_refused(nllgen: Run, tmp_path: Path, arguments: list[str], word: str) -> None:
    refused(nllgen("init", *arguments), USAGE, word)
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.parametrize("name", ["2024", "null", "true", "1e5"])
def test_a_name_that_yaml_reads_as_something_else_is_quoted(nllgen: Run, name: str) -> None:
    assert nllgen("init", name).returncode == 0
    assert f"study {name}:" in nllgen("plan", f"{name}.yaml").stdout
