"""Output that nobody reads, that cannot be written as it is, and homes that are not there; as real processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nllgen.assets import asset_folder
from nllgen.study.user_directories import user_directory
from tests.cli.process import NLLGEN, Run, frozen

PLAN = ["plan", "--grid", "smoke"]


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(tmp_path: Path, redirection: str) -> None:
    study = frozen(tmp_path / "runs")
    command = f"{NLLGEN} status {study} {redirection}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("2 waiting" in done.stdout) == (redirection == "2>&-")


def run_into_broken_pipe(stream: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``nllgen`` with a stream that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    try:
        return subprocess.run([NLLGEN, *words], text=True, timeout=60, **streams)  # type: ignore[call-overload,no-any-return]  # streams by name
    finally:
        os.close(writer)


@pytest.mark.parametrize("words", [PLAN, [*PLAN, "--json"], ["--help"]], ids=["table", "json", "help"])
def test_output_that_nobody_reads_is_no_error(words: list[str]) -> None:
    done = run_into_broken_pipe("stdout", *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_plan_stops_at_head(tmp_path: Path) -> None:
    command = f'{NLLGEN} plan --grid misspec | head -1; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("id ")


@pytest.mark.parametrize("words", [["nosuch"], ["plan", "--grid", "nosuch"]], ids=["usage", "study"])
def test_an_error_that_nobody_reads_keeps_its_exit_code(words: list[str]) -> None:
    assert run_into_broken_pipe("stderr", *words).returncode == 2


@pytest.mark.parametrize(
    "encoding",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
    ids=["ascii", "C"],
)
def test_characters_that_cannot_be_shown_are_replaced(nllgen_process: Run, encoding: dict[str, str]) -> None:
    done = nllgen_process("plan", "--grid", "misspec", **encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^\? and [0-9]+ more", done.stdout, re.MULTILINE)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Yield a directory that every user can read; each session of pytest closes all of pytest's own."""
    with tempfile.TemporaryDirectory(prefix="nllgen-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("user", [[], ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]])
def test_commands_need_no_home_and_no_user_name(open_directory: Path, user: list[str]) -> None:
    if user and (os.geteuid() != 0 or not shutil.which("setpriv") or not other_users_can_run_nllgen(user)):
        pytest.skip("NOT TESTED: needs root, setpriv, and an installation that other users can read")
    study = frozen(open_directory / "runs")
    (open_directory / "out").mkdir()
    (open_directory / "out").chmod(0o777)  # the user of the process writes there
    for words in (
        ["plan", "--grid", "smoke"],
        ["submit", "--grid", "smoke", "--local", "--dry-run"],
        ["status", str(study)],
        ["collect", str(study), "--allow-missing", "-o", "out/study.h5"],
        ["report", "out/study.h5", "--out", "out/report"],
        ["export", str(study), "--format", "csv", "--out", "out/csv"],
    ):
        done = subprocess.run(
            ["env", "-i", *user, NLLGEN, *words], cwd=open_directory, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == (1 if words[0] == "collect" else 0), done.stderr  # no cell has a result
        assert "error" not in done.stderr


def other_users_can_run_nllgen(user: list[str]) -> bool:
    return subprocess.run([*user, NLLGEN, "--version"], capture_output=True).returncode == 0


def test_a_tilde_is_the_home_directory(nllgen: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen(tmp_path / "home" / "runs")
    home = str(tmp_path / "home")
    assert "2 waiting" in nllgen("status", "tiny", "--root", "~/runs", HOME=home).stdout
    assert "2 waiting" in nllgen("status", "tiny", NLLGEN_ROOT="~/runs", HOME=home).stdout
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("NLLGEN_ASSETS", "~/assets")
    assert asset_folder() == tmp_path / "home" / "assets"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert user_directory("CACHE") == tmp_path / "home" / "cache" / "nllgen"
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert user_directory("STATE") == tmp_path / "home" / ".local" / "state" / "nllgen"
