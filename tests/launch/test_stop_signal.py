"""Requests to stop, in real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Literal

import pytest

PROGRAM = """
import sys, time
from nllgen.errors import StoppedError
from nllgen.launch.stop_signal import StopRequest
stop = StopRequest(watch_stdin="stdin" in sys.argv)

def nap(seconds):
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(end - time.monotonic())

try:
    BODY
except StoppedError:
    print("stopped")
"""
INSIDE = """
    with stop.interruptible():
        nap(60)
    print("finished")
"""
NESTED = """
    with stop.interruptible():
        with stop.interruptible():
            pass
        nap(60)
"""
UNWINDING = """
    with stop.interruptible():
        try:
            nap(60)
        finally:
            nap(1)
            print("unwound", flush=True)
"""
OUTSIDE = """
    nap(1)
    print("finished", stop(), flush=True)
    with stop.interruptible():
        print("entered")
"""
AFTERWARDS = """
    with stop.interruptible():
        pass
    nap(1)
    print("finished", stop())
"""


def start(body: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM.replace("    BODY", body.strip("\n")), *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str], how: How) -> tuple[str, float]:
    """Stop a process; return its output, which has no traceback, and the seconds until it ended."""
    assert process.stdin is not None
    started = time.monotonic()
    if isinstance(how, str):
        process.stdin.close()
        process.stdin = None
    else:
        process.send_signal(how)
    output, errors = process.communicate(timeout=50)
    assert "Traceback" not in errors
    assert process.returncode == 0
    return output, time.monotonic() - started


How = signal.Signals | Literal["stdin"]
HOW = pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, "stdin"])


@HOW
@pytest.mark.parametrize("body", [INSIDE, NESTED])
def test_a_stop_ends_an_interruptible_block_at_once(how: How, body: str) -> None:
    output, seconds = end(start(body, str(how)), how)
    assert output == "stopped\n"
    assert seconds < 20


@HOW
def test_a_stop_outside_an_interruptible_block_waits_for_the_next_one(how: How) -> None:
    assert end(start(OUTSIDE, str(how)), how)[0] == "finished True\nstopped\n"


@HOW
def test_a_late_stop_does_not_raise(how: How) -> None:
    assert end(start(AFTERWARDS, str(how)), how)[0] == "finished True\n"


def test_cleanup_is_not_interrupted_by_a_second_stop() -> None:
    process = start(UNWINDING)
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert end(process, signal.SIGTERM)[0] == "unwound\nstopped\n"


@pytest.mark.parametrize("body", [OUTSIDE, UNWINDING])
def test_a_second_ctrl_c_ends_the_process(body: str) -> None:
    process = start(body)
    process.send_signal(signal.SIGINT)
    if body == UNWINDING:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=50)[1]
    assert process.returncode != 0
