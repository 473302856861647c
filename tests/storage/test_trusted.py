"""The record of what this user accepts: private, and worth nothing where others may write it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nllgen.storage.trusted import is_trusted, record_dir, record_trust
from tests.users import as_root


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    record_trust("a" * 64, "a study")
    return record_dir() / ("a" * 64)


def test_the_record_is_private(state: Path) -> None:
    assert is_trusted("a" * 64)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("opened", ["the file", "the directory"])
def test_a_record_that_others_may_write_counts_for_nothing(state: Path, opened: str) -> None:
    (state if opened == "the file" else state.parent).chmod(0o777)
    assert not is_trusted("a" * 64)


def test_a_link_is_no_record(state: Path) -> None:
    (state.parent / ("b" * 64)).symlink_to(state)
    assert not is_trusted("b" * 64)
    record_trust("b" * 64, "another study")
    assert is_trusted("b" * 64)


@as_root
def test_a_record_of_another_user_counts_for_nothing(state: Path) -> None:
    os.chown(state, 54_321, -1)
    assert not is_trusted("a" * 64)
