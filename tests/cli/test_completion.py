"""Completion in real shells: each runs on a terminal, and what it shows after a tab is read."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.process import NLLGEN, Run, frozen

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(nllgen completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(nllgen completion zsh)"'),
}
PATIENCE_S = 30.0
_STYLES = re.compile(r"\x1b\[[0-9;]*[mKJ]|\x1b\(B|\x0f")


class Shell:
    """A shell on a terminal."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def wait_for(self, *words: str) -> str:
        """Return what was shown since the last call, once it has all the words."""
        end = time.monotonic() + PATIENCE_S
        while not all(word in _STYLES.sub("", self._shown) for word in words):
            assert time.monotonic() < end, f"waited in vain for {words} in: {self._shown!r}"
            if select.select([self._descriptor], [], [], 0.2)[0]:
                self._shown += os.read(self._descriptor, 65536).decode(errors="replace")
        shown, self._shown = self._shown, ""
        return shown


@contextmanager
def on_terminal(name: str, cwd: Path, env: Mapping[str, str]) -> Iterator[Shell]:
    """Start a shell with the completion of nllgen."""
    if shutil.which(name) is None:
        pytest.skip(f"NOT TESTED: {name} is not installed")
    command, setup = SHELLS[name]
    ours, theirs = pty.openpty()
    paths = f"{Path(NLLGEN).parent}:{os.environ['PATH']}"
    variables = {**env, "PATH": paths, "TERM": "xterm", "COLUMNS": "200", "HOME": str(cwd), "PS1": "> "}
    with subprocess.Popen(
        command, cwd=cwd, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        shell = Shell(ours)
        try:
            shell.type(f"{setup}; echo rea''dy\n")
            shell.wait_for("ready")
            yield shell
        finally:
            process.kill()
            os.close(ours)


@pytest.fixture
def study(tmp_path: Path, tiny: Path) -> Path:
    return frozen(tmp_path / "runs")


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_a_command(name: str, study: Path, tmp_path: Path, clean_env: dict[str, str]) -> None:
    with on_terminal(name, tmp_path, clean_env) as shell:
        shell.type("nllgen eval\t")
        shell.wait_for("evaluate ")


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_a_study(name: str, study: Path, tmp_path: Path, clean_env: dict[str, str]) -> None:
    with on_terminal(name, tmp_path, clean_env) as shell:
        shell.type("nllgen status ti\t")
        shell.wait_for("status tiny")


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_shows_several_metrics(name: str, study: Path, tmp_path: Path, clean_env: dict[str, str]) -> None:
    with on_terminal(name, tmp_path, clean_env) as shell:
        shell.type("nllgen evaluate tiny --metric frechet\t\t")
        shell.wait_for("frechet_inf")


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_a_path(name: str, study: Path, tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "grid.yaml").touch()
    with on_terminal(name, tmp_path, clean_env) as shell:
        shell.type("nllgen plan elsewhere/gr\t")
        shell.wait_for("elsewhere/grid.yaml")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("nllgen eval", "evaluate"),
        ("nllgen status ti", "tiny"),
        ("nllgen evaluate tiny --metric frechet_", "frechet_inf"),
        ("nllgen plan tin", "tiny.yaml"),
    ],
)
def test_fish_completes(study: Path, tmp_path: Path, clean_env: dict[str, str], line: str, word: str) -> None:
    if shutil.which("fish") is None:
        pytest.skip("NOT TESTED: fish is not installed")
    command = ["fish", "-c", f"nllgen completion fish | source; complete --do-complete '{line}'"]
    env = clean_env | {"PATH": f"{Path(NLLGEN).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert word in [offer.partition("\t")[0] for offer in done.stdout.splitlines()], done.stderr


# what is offered, by the protocol that the scripts speak


def asked(nllgen: Run, line: str, shell: str, **extra: str) -> list[str]:
    """Return the lines with which a shell is answered at the end of a line."""
    number = len(line.split()) - (not line.endswith(" "))
    done = nllgen(COMP_WORDS=line, COMP_CWORD=str(number), _NLLGEN_COMPLETE=f"{shell}_complete", **extra)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def offered(nllgen: Run, line: str, **extra: str) -> list[str]:
    """Return the words that bash is offered at the end of a line."""
    lines = asked(nllgen, line, "bash", **extra)
    return [line.partition(",")[2] for line in lines if line.startswith("plain,")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nllgen sub", ["submit"]),
        ("nllgen plan mis", ["misspec"]),
        ("nllgen plan tin", ["tiny.yaml"]),
        ("nllgen submit --grid mis", ["misspec"]),
        ("nllgen submit tiny.yaml --pro", ["--profile"]),
        ("nllgen submit tiny.yaml --profile gp", ["gpu"]),
        ("nllgen status ", ["tiny"]),
        ("nllgen status --root elsewhere se", ["second"]),
        ("nllgen report ti", ["tiny"]),
        ("nllgen draw ti", ["tiny"]),
        ("nllgen logs tiny tr", ["truth"]),
        ("nllgen run tiny.yaml --cell tr", ["truth"]),
        ("nllgen evaluate tiny --metric frechet_", ["frechet_inf"]),
        ("nllgen evaluate tiny --cell tr", ["truth"]),
        ("nllgen retry tiny --kind out", ["out\\ of\\ memory"]),
        ("nllgen run tiny.yaml --device cu", ["cuda"]),
        ("nllgen completion fi", ["fish"]),
        ("nllgen logs nosuch tr", []),
    ],
)
def test_words_are_offered(nllgen: Run, study: Path, tmp_path: Path, line: str, words: list[str]) -> None:
    frozen(tmp_path / "elsewhere").rename(tmp_path / "elsewhere" / "second")
    assert offered(nllgen, line) == words


def test_the_cells_of_a_study_are_offered_with_their_configuration(nllgen: Run, study: Path) -> None:
    lines = asked(nllgen, "nllgen logs tiny ", "zsh")
    ids = [line.split('"')[3] for line in (study / "manifest.jsonl").read_text().splitlines()]
    assert [line for line in lines if line in ids] == ids
    assert "custom nll mnist seed 1" in lines


def test_the_profiles_of_a_user_are_offered(nllgen: Run, tmp_path: Path) -> None:
    profiles = tmp_path / "config" / "nllgen" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "mycluster.yaml").write_text("partition: short\n")
    config = str(tmp_path / "config")
    assert offered(nllgen, "nllgen submit smoke --profile my", XDG_CONFIG_HOME=config) == ["mycluster"]


def test_a_tab_answers_at_once(nllgen_process: Run, study: Path) -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        nllgen_process(COMP_WORDS="nllgen logs tiny ", COMP_CWORD="3", _NLLGEN_COMPLETE="bash_complete")
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5  # 0.1 s on an idle machine


@pytest.mark.parametrize("line", ["nllgen logs tiny ", "nllgen plan ", "nllgen submit smoke --profile "])
def test_a_tab_imports_nothing_heavy(study: Path, tmp_path: Path, clean_env: dict[str, str], line: str) -> None:
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split())), "_NLLGEN_COMPLETE": "bash_complete"}
    command = [str(Path(NLLGEN).with_name("python")), "-X", "importtime", "-m", "nllgen"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_env | env, capture_output=True, text=True, check=True)
    imported = {text.rsplit("|", 1)[-1].strip() for text in done.stderr.splitlines()}
    assert "click" in imported
    assert imported & {"torch", "h5py", "numpy", "pydantic", "yaml", "rich", "submitit"} == set()
