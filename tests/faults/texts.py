"""Texts of users and supervisors: grids, profiles, frozen studies, attempts, leases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from nllgen.launch.attempt import progress_of, record_lost
from nllgen.launch.lease import LeaseManager
from nllgen.launch.profile import parse_profile
from nllgen.launch.retry_policy import FailureKind, exhausted_kind, last_end
from nllgen.launch.tasks import read_attempts
from nllgen.planning.plan import make_plan
from nllgen.storage.study_dir import TaskDir
from nllgen.storage.tasks import Task, TaskKind
from nllgen.study.config import Study
from nllgen.study.load import parse_study
from nllgen.study.manifest import header_text, manifest_text, parse_frozen
from tests.faults.mutants import PLACES, Edit, Target

GRID = """
name: fuzzed
truth:
  data: {source: mnist, image_size: 7}
  flow: {width: 2, blocks: 0, scales: 1}
  paradigm: {steps: 10, batch_size: 4, eval_every: 5}
dataset: {num_train: 200}
cells:
  - data: {source: synthetic, num_train: [100, fresh]}
    degree: [W, U1]
    paradigm: {name: nll, steps: 4, batch_size: 4, eval_every: 2}
    seed: {range: [0, 2]}
    exclude: [{degree: U1, seed: 1}]
  - flow: {width: 2, blocks: 0, scales: 1}
    data: {image_size: 7}
    zip: {paradigm.lr: [1e-3, 1e-4], seed: [3, 4]}
    paradigm: {name: nsgan, steps: 4, batch_size: 4, eval_every: 2, disc_width: 1, ema_decay: 0.9}
"""
PROFILE = """
partition: short
account: me
time_min: 10
environment: {A: b}
setup: [module load x]
sbatch: {hold: true}
"""

_TOKENS = [
    *(
        "../../etc/passwd",
        "$(reboot)",
        "`reboot`",
        "; reboot",
        "'" + "x" * 300 + "'",
        '"\\u0000"',
        "\n",
        "\n  ",
        "\t",
        "\0",
    ),
    *("\ud800", "&a [*a, *a]", "*a", "&a", "[" * 40, "{a: " * 40, "]", "}", ":", "- ", "? ", "---", "...", "%YAML 1.2"),
    *("!!python/object/apply:os.system [reboot]", "!!binary x", "<<: *a", "{range: [0, 999999999999]}", "{}", "[]"),
    *("{range: [0, 1000000000000000000000000000000]}", "{range: [0, 9, -1]}", "1e400", "9" * 50, "-1", "0", "0.5"),
    *(
        ".nan",
        "1e-320",
        "null",
        "true",
        "''",
        "|\n  a\n",
        "name",
        "truth",
        "cells",
        "seed",
        "degree",
        "O2",
        "fresh",
        "all",
    ),
    *("zip: {seed: [1, 2]}", "include: [{seed: 1}]", "exclude: [{seed: 0}]", "dcgan: {}", "[1, 2, 3]"),
    *("model: {factory: 'os:system'}", "'" + "x" * 300 + "'", '"\\u0000"'),
]
TEXT_EDITS: st.SearchStrategy[list[Edit]] = st.lists(
    st.one_of(
        st.tuples(st.just("word"), PLACES, st.sampled_from(_TOKENS) | st.text(max_size=6)),
        st.tuples(st.just("word insert"), PLACES, st.sampled_from(_TOKENS)),
        st.tuples(st.just("line drop"), PLACES),
        st.tuples(st.just("line copy"), PLACES, PLACES),
        st.tuples(st.just("indent"), PLACES, st.integers(0, 9)),
    ),
    min_size=1,
    max_size=6,
)


def with_text_edited(text: str, edits: list[Edit]) -> str:
    """Return the text after all edits of its words and lines."""
    for what, place, *more in edits:
        by = "\n" if what in ("line drop", "line copy", "indent") else " "
        parts = text.split(by)
        at = int(place * len(parts))
        if what == "word":
            parts[at] = more[0]
        elif what == "word insert":
            parts.insert(at, more[0])
        elif what == "line drop":
            del parts[at]
        elif what == "line copy":
            parts.insert(int(more[0] * len(parts)), parts[at])
        else:
            parts[at] = " " * more[0] + parts[at].lstrip()
        text = by.join(parts)
    return text


def texts(directory: Path, study: Study) -> dict[str, Target]:
    """Return the targets by name; their files are written into a directory."""
    header, manifest = header_text(study), manifest_text(study)

    def grid(edits: list[Edit]) -> None:
        make_plan(parse_study(with_text_edited(GRID, edits), "g.yaml", precision="fp32"), {})

    lines = "\n".join(json.dumps(line) for line in _attempt_lines())
    task = Task("cell", "cell", TaskDir(directory), TaskKind.CELL, study.cells[0])

    def small_files(edits: list[Edit]) -> None:
        """Read a supervisor's small files, none of which may stop a command."""
        text = with_text_edited(lines, edits).encode(errors="replace")
        for path in (task.attempts, task.task_dir.progress, task.lease):
            path.write_bytes(text)
        lines_read = read_attempts(task.attempts)
        last_end(lines_read)
        exhausted_kind(lines_read, "s")
        progress_of(task)
        LeaseManager().is_held(task.lease)
        LeaseManager().is_of_job(task.lease)
        record_lost(task, FailureKind.LOST, "")
        for path in (task.attempts, task.task_dir.progress, task.lease):
            path.unlink()

    return {
        "grids": Target(TEXT_EDITS, grid),
        "frozen studies": Target(
            st.tuples(TEXT_EDITS, TEXT_EDITS),
            lambda edits: parse_frozen(with_text_edited(header, edits[0]), with_text_edited(manifest, edits[1]), "x"),
        ),
        "profiles": Target(TEXT_EDITS, lambda edits: parse_profile(with_text_edited(PROFILE, edits), "p.yaml")),
        "attempts, progress and leases": Target(TEXT_EDITS, small_files),
    }


def _attempt_lines() -> Iterator[dict[str, Any]]:
    yield {"event": "started", "attempt": "1-a", "submission": "s", "host": "h", "job": "7_0"}
    yield {"event": "failed", "attempt": "1-a", "submission": "s", "kind": "crash", "saved": 3, "exit_code": 1}
    yield {"host": "elsewhere", "process": "1:1", "nonce": "x", "job": "7_0", "restarts": 0}
    yield {"done": 1, "total": 2, "saved": 1, "event": "started", "attempt": "2-b", "submission": "s"}
