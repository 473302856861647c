"""README and docs agree with the code: command lines, options, links, studies, keys, columns; and the site builds."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import nllgen
from nllgen import errors
from nllgen.cli import cli
from nllgen.errors import ConfigError
from nllgen.launch.retry_policy import FailureKind
from nllgen.storage.schema import METRIC_COLUMNS
from nllgen.study.load import parse_study
from tests.cli.pages import CHECKOUT, DOCS, FENCE, GENERATED, NEW_PARADIGM, PAGES, TUTORIAL, blocks, generated


def shell_lines() -> Iterator[str]:
    """Yield every command line that a reader may paste, examples of ``--help`` included."""
    for page in PAGES:
        examples = (block for block in blocks(page, "text") if block.startswith("Example"))
        for block in (*blocks(page, ""), *examples):
            yield from (line.strip() for line in block.splitlines() if line.strip().startswith(("nllgen ", "make ")))


def inline() -> Iterator[str]:
    """Yield every `nllgen …` and `make …` within a sentence or table."""
    for page in PAGES:
        yield from re.findall(r"`((?:nllgen|make) [^`]+)`", FENCE.sub("", page.read_text("utf-8")))


COMMANDS = sorted({line for line in shell_lines() if line.startswith("nllgen ")})
MENTIONS = sorted({line for line in inline() if line.startswith("nllgen ")})
TARGETS = sorted({line.split()[1] for line in (*shell_lines(), *inline()) if line.startswith("make ")})


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """Split words into the command that they begin with and its arguments."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        assert words, f"{command.name} needs a command"
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def unknown_options(line: str) -> list[str]:
    """List the options in a line, placeholders and brackets included, that its command does not have."""
    command, words = command_of(line.translate(str.maketrans("[]|", "   ")).split()[1:])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in words if word.startswith("-") and word not in known | {"--help", "-h"}]


def public_commands(group: click.Group = cli, prefix: str = "nllgen") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from public_commands(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}"


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 5
    assert len(MENTIONS) > 5
    assert {"demo", "test"} <= set(TARGETS)
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "tutorial.md"} <= {page.name for page in PAGES}


# commands


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_parses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, words = command_of(shlex.split(line, comments=True)[1:])
    for parameter in command.params:
        if "study" in str(parameter.name):
            monkeypatch.setattr(parameter, "callback", None)  # the study of a page does not exist here
    parent = click.Context(cli, **cli.context_settings)  # without it, click would remember that -h is no option
    with command.make_context(command.name, words, parent=parent):  # raises what a user would see; runs nothing
        pass


@pytest.mark.parametrize("line", MENTIONS)
def test_a_mentioned_command_has_its_options(line: str) -> None:
    assert unknown_options(line) == []


def test_a_wrong_command_line_is_found() -> None:
    assert unknown_options("nllgen plan --grid G [--rot R]") == ["--rot"]
    with pytest.raises(AssertionError, match="no command evolve"):
        command_of(["evolve", "runs/smoke"])


@pytest.mark.parametrize("command", sorted(public_commands()))
def test_every_command_is_in_the_reference_and_used_on_another_page(command: str) -> None:
    assert f"\n## {command}\n" in generated()["commands.md"]
    used = re.compile(rf"(^|`){command}\b", re.MULTILINE)
    assert any(used.search(page.read_text("utf-8")) for page in PAGES if page.name not in GENERATED)


def test_every_option_is_in_the_reference() -> None:
    text = generated()["commands.md"]
    for command in public_commands():
        (section,) = re.findall(rf"^## {command}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        for parameter in command_of(command.split()[1:])[0].params:
            if isinstance(parameter, click.Option) and not parameter.hidden and "--help" not in parameter.opts:
                assert re.search(rf"{parameter.opts[0]}\b", section), f"{command} {parameter.opts[0]}"


@pytest.mark.parametrize("target", TARGETS)
def test_a_mentioned_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_make_alone_shows_its_targets_and_starts_nothing() -> None:
    done = subprocess.run(["make", "--no-print-directory"], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("make ")
    assert {"make demo", "make test"} <= {" ".join(line.split()[:2]) for line in lines}
    assert len(lines) < 25


# pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_mentioned_files_exist(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    for name in re.findall(r"`((?:benchmarks|docs|tests|jobs|containers|slurm|nllgen|analysis)/[\w./-]+)`", text):
        assert (CHECKOUT / name).exists() or page.name == "CHANGELOG.md", name


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    options = ["-W", "--keep-going", "--quiet", "-d", str(tmp_path / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in PAGES if path.is_relative_to(DOCS)}
    assert [page for page in pages if not (tmp_path / "html" / page).is_file()] == []


def test_the_readme_is_two_screens() -> None:
    assert len((CHECKOUT / "README.md").read_text("utf-8").splitlines()) <= 100


def test_contributing_has_every_package() -> None:
    text = (CHECKOUT / "CONTRIBUTING.md").read_text("utf-8")
    packages = sorted(path.parent.relative_to(CHECKOUT) for path in (CHECKOUT / "nllgen").glob("*/__init__.py"))
    assert [package for package in packages if f"| `{package}` |" not in text] == []


def test_the_version_is_the_same_everywhere() -> None:
    assert (CHECKOUT / "CHANGELOG.md").read_text("utf-8").partition("\n## ")[2].startswith(nllgen.__version__)
    assert f"\nversion: {nllgen.__version__}\n" in (CHECKOUT / "CITATION.cff").read_text("utf-8")
    assert "version" in tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]["dynamic"]


# what pages let a reader run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_studies_are_studies(page: Path) -> None:
    for text in blocks(page, "yaml"):
        assert parse_study(text, page.name, precision="fp32").cells


def test_the_tutorials_study_grows() -> None:
    from nllgen.study.extend import extend_study

    (text,) = blocks(TUTORIAL, "yaml")
    grown = text.replace("seed: [0, 1]", "seed: {range: [0, 4]}").replace("{num_train: 2_000,", "{num_train: 4_000,")
    before, after = (parse_study(each, "first.yaml", precision="fp32") for each in (text, grown))
    assert [len(study.cells) for study in (before, after)] == [4, 8]
    assert len(extend_study(before, after).cells) == 8
    with pytest.raises(ConfigError, match=r"needs dataset\.num_train ≥ 4000"):
        parse_study(text.replace("seed: [0, 1]", "seed: {range: [0, 4]}"), "first.yaml", precision="fp32")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_python_runs(page: Path) -> None:
    for text in blocks(page, "python"):
        exec(compile(text, page.name, "exec"), {})


def test_the_diff_of_the_new_paradigm_applies() -> None:
    (diff,) = blocks(NEW_PARADIGM, "diff")
    done = subprocess.run(["git", "apply", "--check"], input=diff, cwd=CHECKOUT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_new_paradigm_trains(mnist_assets: Path, tmp_path: Path) -> None:
    shutil.copytree(CHECKOUT / "nllgen", tmp_path / "nllgen")
    (diff,) = blocks(NEW_PARADIGM, "diff")
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
    assert re.search(r"\[\d/4\]  done .* lsgan", done.stdout + done.stderr), done.stdout


# explanations


def test_science_explains_every_metric() -> None:
    text = (DOCS / "science.md").read_text("utf-8")
    for column in METRIC_COLUMNS:
        one_of = re.sub(r"^pr_alpha_\d", "pr_alpha", re.sub(r"\w+_floor_\w+", "*_floor_*", column))
        family = re.sub(r"(?<!frechet)_(lenet|inception)$", "_*", one_of)
        assert f"`{family}`" in text, column


def test_every_test_that_the_page_of_faults_names_exists() -> None:
    text = (DOCS / "faults.md").read_text("utf-8")
    sources = "".join(path.read_text("utf-8") for path in (CHECKOUT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


def test_the_page_of_states_has_every_exit_code() -> None:
    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    text = (DOCS / "states.md").read_text("utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)} == codes


def test_the_pages_of_failures_have_every_failure_kind() -> None:
    faults, states = ((DOCS / name).read_text("utf-8") for name in ("faults.md", "states.md"))
    assert [kind for kind in FailureKind if kind is not FailureKind.CONFIG and f"`{kind}`" not in faults] == []
    assert [kind for kind in FailureKind if f"`{kind}`" not in states] == []
