"""A file system on which nothing could be published is refused before anything is trained."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch.freeze import freeze
from nllgen.storage.capabilities import require_publishing
from nllgen.study.load import parse_study

GRID = "name: tiny\ncells: [{data: {image_size: 7}, flow: {width: 2, scales: 1}, paradigm: {name: nll, steps: 2}}]"


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))  # what exFAT answers


def creates_twice(path: Path, flags: int, mode: int = 0o777, **more: object) -> int:
    return real_open(path, flags & ~os.O_EXCL, mode)


real_open = os.open
LACKS: dict[str, tuple[str, Callable[..., object]]] = {
    "hard links": ("link", no_links),
    "exclusive creation": ("open", creates_twice),
}


def test_this_file_system_has_it_all_and_nothing_is_left(tmp_path: Path) -> None:
    require_publishing(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lack", LACKS)
def test_what_is_lacking_is_named_before_anything_is_frozen(
    lack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, *LACKS[lack])
    with pytest.raises(MachineError, match=f"no {lack}") as refused:
        freeze(parse_study(GRID, "tiny.yaml", precision="fp32"), tmp_path)
    assert "--root" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_modes_that_stay_as_they_are_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a mount whose option fixes them."""
    before = os.umask(0)
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    try:
        with pytest.raises(MachineError, match="no modes that can be set"):
            require_publishing(tmp_path)
    finally:
        os.umask(before)
