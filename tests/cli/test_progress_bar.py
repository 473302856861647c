"""The progress of one task: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.cli.process import shown_on_terminal

PROGRAM = """
from nllgen.cli.progress import task_display
with task_display()("[W] cell", 4) as update:
    update(1, "loss [1]")
    print("an evaluation")
    update(4, "loss [2]")
"""


def test_a_log_gets_lines() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["an evaluation", "[W] cell  4/4  0 s  loss [2]"]


def test_a_terminal_gets_a_bar_below_what_is_printed() -> None:
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    text = shown_on_terminal([sys.executable, "-c", PROGRAM], environment)
    assert "an evaluation" in text
    assert "[W] cell" in text
    assert "loss [2]" in text
    assert "4/4" in text
