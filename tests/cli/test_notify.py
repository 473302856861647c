"""``--notify`` of ``submit`` and ``retry`` on this machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cli.process import TINY, USAGE, Run, refused

pytestmark = pytest.mark.slow
TELL = 'echo "$NLLGEN_STATE $NLLGEN_NUM_DONE of $NLLGEN_NUM_TASKS; $NLLGEN_VERDICTS" >> told'


@pytest.fixture
def with_mnist(mnist_assets: Path) -> dict[str, str]:
    return {"NLLGEN_ASSETS": str(mnist_assets)}


def _told(directory: Path) -> str:
    told, end = directory / "told", time.monotonic() + 300
    while not told.exists() or not told.read_text():
        assert time.monotonic() < end, (directory / "runs/tiny/submitit/notify.log").read_text()
        time.sleep(0.2)
    return told.read_text()


def test_a_study_that_is_waited_for_tells_once(
    nllgen_process: Run, tiny: Path, tmp_path: Path, with_mnist: dict[str, str]
) -> None:
    words = ("submit", "tiny.yaml", "--local", "--wait", "--json", "--notify", f"{TELL}; echo said; exit 3")
    done = nllgen_process(*words, **with_mnist)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "told").read_text() == "done 2 of 2; 9 undecided\n"
    assert "the command of --notify ended with exit code 3" in done.stderr
    assert json.loads(done.stdout)["plan"]["num_run"] == 2  # what the command prints does not disturb it


def test_a_study_in_the_background_tells_at_its_end(
    nllgen_process: Run, tiny: Path, tmp_path: Path, with_mnist: dict[str, str]
) -> None:
    done = nllgen_process("submit", "tiny.yaml", "--local", "--notify", TELL, **with_mnist)
    assert done.returncode == 0, done.stderr
    assert _told(tmp_path) == "done 2 of 2; 9 undecided\n"


def test_a_study_with_failures_tells_of_them_and_its_retry_of_what_became_of_them(
    nllgen_process: Run, tiny: Path, tmp_path: Path, with_mnist: dict[str, str]
) -> None:
    tiny.write_text(TINY.replace("[0, 2]", "[0, 1]"))
    empty = tmp_path / "empty"
    empty.mkdir()
    done = nllgen_process("submit", "tiny.yaml", "--local", "--wait", "--notify", TELL, NLLGEN_ASSETS=str(empty))
    assert done.returncode == 1
    assert (tmp_path / "told").read_text().startswith("failed 0 of 1;")
    (tmp_path / "told").unlink()
    refused(nllgen_process("retry", "tiny", "--notify", "TOKEN=x curl y"), USAGE, "TOKEN looks like a secret")
    again = nllgen_process("retry", "tiny", "--notify", TELL, **with_mnist)
    assert again.returncode == 0, again.stderr
    assert _told(tmp_path).startswith("done 1 of 1;")


def test_a_secret_is_refused_before_anything_is_frozen(nllgen: Run, tiny: Path, tmp_path: Path) -> None:
    refused(nllgen("submit", "tiny.yaml", "--local", "--notify", "TOKEN=x curl y"), USAGE, "TOKEN looks like a secret")
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_tells_nobody(nllgen: Run, tiny: Path, tmp_path: Path) -> None:
    assert nllgen("submit", "tiny.yaml", "--local", "--dry-run", "--notify", TELL).returncode == 0
    assert not (tmp_path / "told").exists()
