"""Messages between a supervisor and its worker: read as they were written, or refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nllgen.errors import ConfigError
from nllgen.study.run_options import RunOptions, TaskAnswer, TaskOrder

OPTIONS = RunOptions(Path("/assets"), "cuda:1", 4, 60.0, 10, "0" * 64, True, "1" * 64)
MESSAGES = [OPTIONS, TaskOrder("truth", "1-a", 2, 3, "/log.txt"), TaskAnswer(75, "stopped", "1-a")]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line_and_read_as_it_was_written(message: RunOptions | TaskOrder | TaskAnswer) -> None:
    text = message.to_json()
    assert "\n" not in text
    assert type(message).from_json(text) == message


def test_a_path_that_is_no_utf8_is_kept() -> None:
    options = RunOptions(Path("/assets\udce9"))
    assert RunOptions.from_json(options.to_json().encode()) == options


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": "red"}, "RunOptions: colour"),
        ({"device": "gpu"}, "RunOptions: device"),
        ({"threads": 0}, "RunOptions: threads"),
        ({"checkpoint_s": -1}, "RunOptions: checkpoint_s"),
        ({"assets": None}, "RunOptions: assets"),
    ],
)
def test_wrong_options_are_refused_by_name(changes: dict[str, object], reason: str) -> None:
    values = json.loads(OPTIONS.to_json()) | changes
    with pytest.raises(ConfigError, match=reason):
        RunOptions.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000])
def test_a_text_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="TaskAnswer"):
        TaskAnswer.from_json(text)


def test_only_strict_options_require_a_container() -> None:
    assert OPTIONS.required_container == "0" * 64
    assert dataclasses.replace(OPTIONS, strict_container=False).required_container is None
