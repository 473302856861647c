"""Doubling memory stops at what a partition's nodes and limits allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from nllgen.launch.profile import Profile
from nllgen.launch.slurm.memory_limit import MemoryLimit, memory_limit
from nllgen.study.config import Resources

ONE = Resources(time_min=30, memory_gb=2.0, cpus=2, gpus=0)
SINFO = "short*|4000\nshort*|8192\nlong|1024"
PARTITION = "PartitionName={name} AllowGroups=ALL MaxMemPerNode={per_node} MaxMemPerCPU={per_cpu} State=UP"


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def answer(answers: Path, per_node: str = "UNLIMITED", per_cpu: str = "UNLIMITED") -> None:
    partitions = "\n".join(
        PARTITION.format(name=name, per_node=per_node, per_cpu=per_cpu) for name in ("short", "long")
    )
    for program, text in (("sinfo", SINFO), ("scontrol", partitions)):
        (answers / program).write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        (answers / program).chmod(0o755)


@pytest.mark.parametrize(
    ("partition", "limits", "num_cells", "factor", "words"),
    [
        (None, {}, 1, 4.0, "no node of partition short has more than 8192 MB"),
        (None, {}, 2, 2.0, "no node of partition short"),
        ("long", {}, 1, 0.5, "no node of partition long has more than 1024 MB"),
        ("long,short", {}, 1, 4.0, "no node of partition short"),
        ("short", {"per_node": "4096"}, 1, 2.0, "partition short allows 4096 MB a node"),
        ("short", {"per_cpu": "3072"}, 1, 3.0, "partition short allows 3072 MB a processor"),
    ],
)
def test_the_limit_is_that_of_the_partition(
    answers: Path, partition: str | None, limits: dict[str, str], num_cells: int, factor: float, words: str
) -> None:
    answer(answers, **limits)
    limit = memory_limit(Profile(partition=partition), ONE, num_cells)
    assert limit is not None
    assert limit.factor == factor
    assert words in limit.reason


def test_a_profile_that_asks_for_no_memory_gains_nothing_by_more() -> None:
    limit = memory_limit(Profile(memory_option="none"), ONE, 1)
    assert limit is not None
    assert limit.cap(1.0, 2.0) == 0
    assert "asks for no memory" in limit.reason


def test_without_an_answer_there_is_no_limit(answers: Path) -> None:
    assert memory_limit(Profile(), ONE, 1) is None


@pytest.mark.parametrize(
    ("previous", "wanted", "capped"), [(1.0, 2.0, 2.0), (2.0, 4.0, 3.0), (3.0, 6.0, 0.0), (4.0, 4.0, 4.0)]
)
def test_a_doubling_is_capped_and_ends_where_nothing_is_gained(previous: float, wanted: float, capped: float) -> None:
    assert MemoryLimit(3.0, "because").cap(previous, wanted) == capped
