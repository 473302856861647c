from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.errors import MachineError
from nllgen.launch.tasks import read_attempts, record
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.tasks import Task, tasks_of
from nllgen.study.config import Study
from nllgen.study.load import parse_study
from tests.race import race

START_AT_TRUTH = """
name: starts
truth: {flow: {width: 2}, paradigm: {steps: 10}}
cells:
  - {data: {source: mnist}, degree: W, start: truth, paradigm: {name: nll, steps: 10}}
"""


@pytest.fixture
def tasks(tiny: Study, tmp_path: Path) -> list[Task]:
    return tasks_of(tiny, StudyDir(tmp_path))


def test_the_order_is_truth_dataset_cells(tasks: list[Task], tiny: Study) -> None:
    assert [task.name for task in tasks] == ["truth", "dataset", *(cell.id for cell in tiny.cells)]


def test_every_task_comes_after_those_that_it_needs(tasks: list[Task]) -> None:
    names = [task.name for task in tasks]
    assert all(names.index(need) < i for i, task in enumerate(tasks) for need in task.needs)


def test_real_data_need_nothing_and_synthetic_ones_the_data_set(tasks: list[Task]) -> None:
    assert [task.needs for task in tasks] == [(), ("truth",), (), ("dataset",), ("dataset",)]


def test_a_start_at_the_truth_needs_the_truth(tmp_path: Path) -> None:
    study = parse_study(START_AT_TRUTH, "g.yaml", precision="fp32")
    assert tasks_of(study, StudyDir(tmp_path))[-1].needs == ("truth",)


def test_real_data_alone_have_neither_truth_nor_data_set(tmp_path: Path) -> None:
    text = "name: real\ncells: [{data: {source: mnist}, flow: {width: 2}, paradigm: {name: nll}}]"
    study = parse_study(text, "g.yaml", precision="fp32")
    assert [task.name for task in tasks_of(study, StudyDir(tmp_path))] == [study.cells[0].id]


@pytest.mark.parametrize("what", ["lease", "log", "attempts"])
def test_no_two_tasks_share_a_file(tasks: list[Task], what: str) -> None:
    paths = [getattr(task, what) for task in tasks]
    assert len(set(paths)) == len(paths)


# attempts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "attempts.jsonl"


def test_recorded_lines_are_read_back(path: Path) -> None:
    record(path, event="started", pid=3)
    record(path, event="done", exit_code=0)
    assert read_attempts(path) == [{"event": "started", "pid": 3}, {"event": "done", "exit_code": 0}]


def test_without_a_record_there_are_no_attempts(path: Path) -> None:
    assert read_attempts(path) == []


def test_a_torn_last_line_is_left_out(path: Path) -> None:
    record(path, event="started")
    with path.open("a") as file:
        file.write('{"event": "do')
    assert read_attempts(path) == [{"event": "started"}]


def test_a_torn_line_does_not_spoil_the_next(path: Path) -> None:
    path.write_text('{"event": "do')
    record(path, event="started")
    assert read_attempts(path) == [{"event": "started"}]


def test_lines_that_are_no_records_are_left_out(path: Path) -> None:
    deep = b"[" * 100_000
    path.write_bytes(b'\xff\xfe\n3\n[]\n\n{"event": "done"}\nnull\n{"event": "done", "attempt": [1]}\n' + deep + b"\n")
    assert read_attempts(path) == [{"event": "done"}]


def test_a_record_is_not_written_through_a_link(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError):
        record(path, event="started")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_named_with_a_hint(small_disk: Path) -> None:
    path = small_disk / "attempts.jsonl"
    record(path, event="started")
    (small_disk / "filler").write_bytes(bytes(60 * 1024))
    with pytest.raises(MachineError, match="the disk is full: free some space"):
        record(path, event="done", detail="x" * 5000)
    assert read_attempts(path) == [{"event": "started"}]


def test_after_a_full_disk_records_go_on(small_disk: Path) -> None:
    path, filler = small_disk / "attempts.jsonl", small_disk / "filler"
    filler.write_bytes(bytes(60 * 1024))
    with pytest.raises(MachineError):
        record(path, event="started", detail="x" * 5000)
    filler.unlink()
    record(path, event="done")
    assert read_attempts(path) == [{"event": "done"}]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"gone/attempts\.jsonl"):
        record(tmp_path / "gone" / "attempts.jsonl", event="started")


WRITER = """
import sys
from pathlib import Path
from nllgen.launch.tasks import record
print("ready", flush=True)
sys.stdin.readline()
for i in range(200):
    record(Path(sys.argv[1]), writer=sys.argv[2], i=i, padding="x" * 300)
"""


def test_lines_of_writers_at_once_do_not_mix(path: Path) -> None:
    race(WRITER, path)
    lines = read_attempts(path)
    assert [[line["i"] for line in lines if line["writer"] == me] for me in "ab"] == [list(range(200))] * 2
