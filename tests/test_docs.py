"""What README and docs show is there: command lines, options, links, studies, keys, columns."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from nllgen import errors
from nllgen.cli import cli
from nllgen.errors import ConfigError
from nllgen.launch.retry_policy import FailureKind
from nllgen.storage.schema import METRIC_COLUMNS
from nllgen.study.config import DatasetConfig, MetricsConfig, Resources, Study
from nllgen.study.load import parse_study
from nllgen.study.sweep import KEYS
from tests.cli.pages import CHECKOUT, FENCE, PAGES, TUTORIAL, blocks


def shell_lines() -> Iterator[str]:
    """Every command line that a reader may paste."""
    for page in PAGES:
        for block in blocks(page, ""):
            yield from (line for line in block.splitlines() if line.startswith(("nllgen ", "make ")))


def inline() -> Iterator[str]:
    """Every `nllgen …` and `make …` within a sentence or table."""
    for page in PAGES:
        yield from re.findall(r"`((?:nllgen|make) [^`]+)`", FENCE.sub("", page.read_text("utf-8")))


COMMANDS = sorted({line for line in shell_lines() if line.startswith("nllgen ")})
MENTIONS = sorted({line for line in inline() if line.startswith("nllgen ")})
TARGETS = sorted({line.split()[1] for line in (*shell_lines(), *inline()) if line.startswith("make ")})


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words open, and what is left of them."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert words, f"{command.name} needs a command"
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def unknown_options(line: str) -> list[str]:
    """Options in a line, placeholders and brackets included, that its command does not have."""
    command, words = command_of(line.translate(str.maketrans("[]|", "   ")).split()[1:])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in words if word.startswith("-") and word not in known | {"--help", "-h"}]


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 5
    assert len(MENTIONS) > 5
    assert {"demo", "test"} <= set(TARGETS)
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "tutorial.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_parses(line: str) -> None:
    command, words = command_of(shlex.split(line, comments=True)[1:])
    with command.make_context(command.name, words):  # raises what a user would see; runs nothing
        pass


@pytest.mark.parametrize("line", MENTIONS)
def test_a_mentioned_command_has_its_options(line: str) -> None:
    assert unknown_options(line) == []


def test_a_wrong_command_line_is_found() -> None:
    assert unknown_options("nllgen plan --grid G [--rot R]") == ["--rot"]
    with pytest.raises(AssertionError, match="no command evolve"):
        command_of(["evolve", "runs/smoke"])


def test_every_command_is_in_the_reference() -> None:
    text = (CHECKOUT / "docs" / "reference.md").read_text("utf-8")
    for name, command in cli.commands.items():
        commands = [f"{name} {inner}" for inner in command.commands] if isinstance(command, click.Group) else [name]
        for words in commands if not command.hidden else []:
            assert re.search(rf"`nllgen {words}[ `]", text), words


@pytest.mark.parametrize("target", TARGETS)
def test_a_mentioned_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


@cache
def generated() -> dict[str, str]:
    """What docs/generate.py would write."""
    spec = importlib.util.spec_from_file_location("generate", CHECKOUT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize("name", ["commands.md", "keys.md", "schema.md"])
def test_pages_made_from_the_code_are_up_to_date(name: str) -> None:
    assert (CHECKOUT / "docs" / name).read_text("utf-8") == generated()[name], "make docs"


def test_every_key_of_a_grid_has_its_line_and_a_meaning() -> None:
    text = generated()["keys.md"]
    for key in (key for key in KEYS if key not in ("precision", "paradigm.name")):
        (row, *_) = re.findall(rf"^\| `{re.escape(key)}` \|.*$", text, re.MULTILINE)
        assert not row.rstrip(" |").endswith("`"), f"{key} has no meaning in its model's docstring"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_studies_are_studies(page: Path) -> None:
    for text in blocks(page, "yaml"):
        assert parse_study(text, page.name, precision="fp32").cells


def test_what_the_tutorial_lets_grow_grows() -> None:
    from nllgen.study.extend import extend_study

    (text,) = blocks(TUTORIAL, "yaml")
    grown = text.replace("seed: [0, 1]", "seed: {range: [0, 4]}").replace("{num_train: 2_000,", "{num_train: 4_000,")
    before, after = (parse_study(each, "first.yaml", precision="fp32") for each in (text, grown))
    assert [len(study.cells) for study in (before, after)] == [4, 8]
    assert len(extend_study(before, after).cells) == 8
    with pytest.raises(ConfigError, match=r"needs dataset\.num_train ≥ 4000"):
        parse_study(text.replace("seed: [0, 1]", "seed: {range: [0, 4]}"), "first.yaml", precision="fp32")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page: Path) -> None:
    for text in blocks(page, "python"):
        exec(compile(text, page.name, "exec"), {})


def test_the_reference_has_every_key_of_a_study() -> None:
    text = (CHECKOUT / "docs" / "reference.md").read_text("utf-8")
    models = {"dataset": DatasetConfig, "metrics": MetricsConfig, "resources": Resources}
    nested = (f"{name}.{key}" for name, model in models.items() for key in model.model_fields)
    for key in (*Study.model_fields, *KEYS, *nested):
        assert f"`{key}`" in text or f"`{key.split('.')[-1]}`" in text, key


def test_science_explains_every_metric() -> None:
    text = (CHECKOUT / "docs" / "science.md").read_text("utf-8")
    for column in METRIC_COLUMNS:
        family = re.sub(r"(?<!frechet)_(lenet|inception)$", "_*", re.sub(r"\w+_floor_\w+", "*_floor_*", column))
        assert f"`{family}`" in text, column


def test_every_test_that_the_page_of_faults_names_is_there() -> None:
    text = (CHECKOUT / "docs" / "faults.md").read_text("utf-8")
    sources = "".join(path.read_text("utf-8") for path in (CHECKOUT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


def test_the_page_of_faults_has_every_kind_of_failure_and_exit_code() -> None:
    text = (CHECKOUT / "docs" / "faults.md").read_text("utf-8")
    assert [kind for kind in FailureKind if kind is not FailureKind.CONFIG and f"`{kind}`" not in text] == []
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == codes


@pytest.mark.slow
def test_the_tutorials_own_paradigm_trains(mnist_assets: Path, tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "nllgen", tmp_path / "nllgen")
    (diff,) = blocks(TUTORIAL, "diff")
    subprocess.run(["git", "apply"], input=diff, cwd=tmp_path, text=True, check=True)
    (study,) = blocks(TUTORIAL, "yaml")
    study = study.replace("name: nll, steps: 200", "name: [nsgan, lsgan], steps: 4").replace("300", "4")
    study = study.replace("_000", "00").replace(": 500", ": 50")  # a tenth of the images
    study = study.replace("image_size: 14}", "image_size: 14, num_val: 100, num_test: 100}")
    (tmp_path / "first.yaml").write_text(study.replace("degree: [U1, W]", "degree: U1").replace("[0, 1]", "0"))
    command = [sys.executable, "-m", "nllgen", "submit", "--grid", "first.yaml", "--local", "--wait", "--root", "runs"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "NLLGEN_ASSETS": str(mnist_assets)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\[4/4\]  done .* lsgan", done.stdout + done.stderr), done.stdout
