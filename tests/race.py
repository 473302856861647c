"""Two processes that do the same at once."""

from __future__ import annotations

import subprocess
import sys


def race(script: str, *arguments: object) -> list[str]:
    """Run a script as two processes that begin at the same time, and return what each printed after that.

    Args:
        script: Python that prints ``ready``, reads a line, and then begins.
        arguments: of both; ``a`` and ``b`` are the last argument of the one and the other.
    """
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pair = [subprocess.Popen([*command, me], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for me in "ab"]
    for one in pair:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in pair:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [one.communicate(timeout=60)[0] for one in pair]
