from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nllgen.errors import MachineError
from nllgen.storage.atomic import (
    create_bytes,
    make_folder,
    part_file,
    publish,
    set_aside,
    write_bytes,
    write_part,
)
from tests.race import race


def test_a_write_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_write_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def fail_while_writing(directory: Path, error: Any) -> None:
    with part_file(directory / "a") as part:
        part.write_bytes(b"half")
        raise error


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_while_writing(tmp_path, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_two_parts_of_one_target_have_two_names(tmp_path: Path) -> None:
    with part_file(tmp_path / "a") as one, part_file(tmp_path / "a") as other:
        assert one != other


def test_a_part_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / "a.part").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        write_part(tmp_path / "a.part", b"yours")
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"


def test_create_never_replaces(tmp_path: Path) -> None:
    assert create_bytes(tmp_path / "a", b"first")
    assert not create_bytes(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"


def test_create_that_came_second_leaves_nothing_behind(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        create_bytes(tmp_path / "a", data)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_publisher_whose_part_was_cleared_up_by_the_winner_has_lost(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    assert not publish(tmp_path / "gone.part", tmp_path / "a")


def test_a_part_that_vanished_without_a_winner_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError), part_file(tmp_path / "a") as part:
        publish(part, tmp_path / "a")


RACE = """
import sys
from pathlib import Path
from nllgen.storage.atomic import create_bytes
directory, me = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(sum(create_bytes(directory / str(i), me.encode() * 1000) for i in range(50)))
"""


def test_of_two_creators_exactly_one_wins_each_file(tmp_path: Path) -> None:
    won = list(map(int, race(RACE, tmp_path)))
    content = [(tmp_path / str(i)).read_bytes() for i in range(50)]
    assert won == [content.count(b"a" * 1000), content.count(b"b" * 1000)]
    assert sum(won) == 50


@pytest.mark.parametrize("umask", [0o002, 0o000])
def test_others_may_not_write_a_folder_whatever_the_umask(tmp_path: Path, umask: Any) -> None:
    before = os.umask(umask)
    try:
        made = make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (made, made.parent)] == [0o755, 0o755]


def test_a_private_umask_stays_private(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert make_folder(tmp_path / "a").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert make_folder(tmp_path).stat().st_mode & 0o777 == 0o700


def test_a_link_to_a_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert make_folder(tmp_path / "link" / "sub").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below", "dangling"])
def test_a_file_where_a_folder_should_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(MachineError, match="a file stands where a folder should be"):
        make_folder(tmp_path / name)
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_full_disk_names_a_hint_and_leaves_the_old_file(mount: Callable[..., Path]) -> None:
    directory = mount("size=64k")
    write_bytes(directory / "a", b"old")
    with pytest.raises(MachineError, match="the disk is full: free some space"):
        write_bytes(directory / "a", bytes(200_000))
    assert [(path.name, path.read_bytes()) for path in directory.iterdir()] == [("a", b"old")]


def test_a_disk_without_room_for_a_name_is_full(mount: Callable[..., Path]) -> None:
    directory = mount("nr_inodes=2")
    write_bytes(directory / "a", b"old")
    with pytest.raises(MachineError, match="the disk is full"):
        write_bytes(directory / "b", b"new")
    assert [path.name for path in directory.iterdir()] == ["a"]


def test_a_file_larger_than_allowed_leaves_the_old_one(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from nllgen.storage.atomic import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_bytes(Path(sys.argv[1]), bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True)
    assert "MachineError: cannot write" in done.stderr
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize("write", [write_bytes, create_bytes])
def test_a_read_only_file_system_says_so(mount: Callable[..., Path], write: Any) -> None:
    with pytest.raises(MachineError, match="read-only: choose another folder"):
        write(mount("ro") / "a", b"new")


def test_a_folder_that_is_there_needs_no_write_permission(mount: Callable[..., Path]) -> None:
    directory = mount("size=64k")
    (directory / "sub").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
    assert make_folder(directory / "sub").is_dir()


def write_after_the_folder_went(directory: Path) -> None:
    directory.mkdir()
    with part_file(directory / "a") as part:
        directory.rmdir()
        write_part(part, b"new")


def test_a_folder_that_vanishes_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"gone/a.*\n.*was removed"):
        write_after_the_folder_went(tmp_path / "gone")


def test_a_part_lies_in_its_targets_folder(tmp_path: Path) -> None:
    with part_file(tmp_path / "a.h5", "3-x") as part:
        assert part == tmp_path / "a.h5.3-x.part"


def test_a_file_that_another_process_moved_aside_is_no_error(tmp_path: Path) -> None:
    """Two evaluations meet one damaged file: the second has nothing to move, and goes on."""
    path = tmp_path / "metrics.prdc.h5"
    path.write_text("damaged")
    assert set_aside(path) == tmp_path / "metrics.prdc.h5.damaged"
    assert set_aside(path) is None
    path.write_text("damaged again")
    assert set_aside(path) == tmp_path / "metrics.prdc.h5.damaged.2"


def test_a_name_that_another_process_takes_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, touch = tmp_path / "result.h5", Path.touch
    path.write_text("damaged")

    def after_another(aside: Path, **options: bool) -> None:
        if aside.name == "result.h5.damaged":
            aside.write_text("of another process")
        touch(aside, **options)

    monkeypatch.setattr(Path, "touch", after_another)
    assert set_aside(path) == tmp_path / "result.h5.damaged.2"
    assert (tmp_path / "result.h5.damaged").read_text() == "of another process"
