"""The benchmarks run the worker's code: one round of each step at a tiny size."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from nllgen_analysis.frames import load

from benchmarks import arms as arms_part
from benchmarks import gpu, growth, learners, logit_alpha, metrics
from benchmarks import minutes as minutes_part
from benchmarks.__main__ import main, processor, write
from benchmarks.growth import GROWN, SMALL
from benchmarks.memory import GRID
from benchmarks.steps import nll_step, sampling
from benchmarks.studies import finish
from nllgen.launch.freeze import freeze
from nllgen.metrics.registry import GROUPS
from nllgen.planning.calibration import SHIPPED
from nllgen.storage.states import Expected, inspect
from nllgen.storage.tasks import TaskKind, tasks_of
from nllgen.study.load import load_study, parse_study

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    """Restore the number of threads, which benchmarks set for their process."""
    num = torch.get_num_threads()
    yield
    torch.set_num_threads(num)


def test_the_measured_step_trains() -> None:
    torch.manual_seed(0)
    step = nll_step(4, 1, torch.randn(16, 1, 14, 14))
    losses = [step() for _ in range(60)]
    assert math.isfinite(losses[-1])
    assert losses[-1] < losses[0]


def test_the_measured_sampling_draws_images() -> None:
    assert sampling(4, 1, 3)().shape == (3, 1, 28, 28)


def test_every_size_of_the_growth_benchmark_is_valid() -> None:
    for name, values in GROWN.items():
        for value in values:
            change: dict[str, Any] = {name: value}
            run = replace(SMALL, **change)
            assert parse_study(GRID.format(**asdict(run)), "g", precision="fp32").cells[0].paradigm.steps == run.steps


def test_the_dummy_cells_of_the_growth_benchmark_count_as_finished(tmp_path: Path) -> None:
    study_dir, study, _ = freeze(parse_study(growth.grid(20), "many", precision="fp32"), tmp_path)
    assert len(study.cells) == 20
    finish(study.cells, study_dir)
    expected = Expected.of(study, study_dir)
    cells = [task for task in tasks_of(study, study_dir) if task.kind is TaskKind.CELL]
    assert all(inspect(task, expected).state.is_done for task in cells)


def test_every_alpha_is_tried_at_every_rate() -> None:
    cells = parse_study(logit_alpha.grid(), "g", precision="fp32").cells
    assert len({(cell.data.alpha, cell.paradigm.model_dump_json()) for cell in cells}) == 9
    exponential, uniform = math.log2(2 * math.pi / math.e) / 2, math.log2(2 * math.pi * math.e / 12) / 2
    assert [logit_alpha.normal_cost(value) for value in (1e-9, 10 / 256)] == pytest.approx(
        [exponential, uniform], abs=2e-3
    )


def test_the_benchmark_of_a_gpu_is_refused_without_one(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    assert capsys.readouterr().err == "error: this benchmark measures a CUDA device, and torch sees none here\n"


@pytest.mark.slow
def test_every_part_of_the_benchmark_of_a_gpu_runs_with_tiny_models() -> None:
    """Graphs need a GPU; the peers are not installed everywhere."""
    sizes = gpu.Sizes(
        image_size=28, widths=(2,), batches=(4,), blocks=1, small=(14, 2, 1), packs=(1, 2), num_features=4, seconds=0.1,
        precision="fp32", tests="tests/train/test_ema.py",
    )  # fmt: skip
    rows = gpu.rows(torch.device("cpu"), sizes)
    failed = [what for what, measured, _ in rows if measured.startswith("not measured")]
    assert not [what for what in failed if not re.search("captured|deeprob-kit|torchflows", what)]
    assert sum("captured" in what for what in failed) == 4
    measured = {what.partition(":")[0]: measured for what, measured, _ in rows if what not in failed}
    assert len(rows) == 12
    assert " passed" in measured["pytest -m gpu"]
    assert "such convolutions alone" in measured["NLL step, width 2, 1 blocks, batch 4, fp32"]


def test_all_tests_that_need_a_gpu_lie_where_its_benchmark_runs_them() -> None:
    tests = Path(__file__).parent
    marked = [path for path in tests.rglob("*.py") if re.search(r"mark\.gpu\b", path.read_text("utf-8"))]
    assert marked
    assert all(path.is_relative_to(tests.parent / gpu.Sizes().tests) for path in marked if path != Path(__file__))


def test_every_metric_is_timed() -> None:
    timed = metrics.rows(num=120, num_train=150)
    assert len(timed) == len(GROUPS) + 3  # samples, their features, and the sum
    assert all(" s a set of weights" in measured for _, measured, _ in timed)


def test_a_table_replaces_that_of_the_same_processor_alone(tmp_path: Path) -> None:
    path = tmp_path / "part.md"
    path.write_text("`python -m benchmarks part` on 2020-01-01, another one (sse), 1 cores.\n\n| old | 1 | |\n")
    for value in ("2", "3"):
        write(path, f"`python -m benchmarks part` today, {processor()}, 2 cores.", [("new", value, "")])
    text = path.read_text()
    assert "| old | 1 | |" in text
    assert "| new | 3 |  |" in text
    assert "| new | 2 |" not in text


# the best model per minute


def record(name: str, bits: float, minutes: float = 2, seed: int = 0) -> minutes_part.Record:
    return minutes_part.Record(name, minutes, seed, 100, bits)


def test_a_candidate_learns_in_its_minutes(mnist_assets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLLGEN_ASSETS", str(mnist_assets))
    small = learners._ours("small", {"width": 4, "blocks": 1}, learners.WARM | {"ema_decay": 0.9})
    short, longer = (minutes_part.run_candidate(small, minutes, 0, 0.06, num_val=100) for minutes in (0.001, 0.1))
    assert (short.steps, longer.steps) == (1, 100)
    assert longer.bits < short.bits


def test_a_mark_has_its_lowest_mean_first() -> None:
    records = [
        record("b", 1.3),
        record("b", 1.7, seed=1),
        record("a", 1.5),
        record("a", 1.4, seed=1),
        record("a", 1.2, 5),
    ]
    assert minutes_part.table(records, {"a": 0.1, "b": 0.25}) == [
        ("2 min: a", "1.4500 ± 0.0707 bits/dim, 2 seeds; 100 ms a step", "lowest"),
        ("2 min: b", "1.5000 ± 0.2828 bits/dim, 2 seeds; 250 ms a step", ""),
        ("5 min: a", "1.2000 bits/dim, 1 seed; 100 ms a step", "lowest"),
    ]


def test_recorded_runs_are_not_repeated_and_the_best_of_a_library_go_on() -> None:
    names = [candidate.name for candidate in learners.CANDIDATES]
    tried = [record(name, 2.0 - i / 100) for i, name in enumerate(names)]  # the last of each library is its best
    of_library: dict[str, list[str]] = {}
    for candidate in reversed(learners.CANDIDATES):
        of_library.setdefault(candidate.library, []).append(candidate.name)
    left = [(each.name, mark, seed) for each, mark, seed in minutes_part.missing(tried)]
    assert [run for run in left if run[1] == 2] == [
        (ranked[0], 2, seed) for seed in (1, 2) for ranked in of_library.values()
    ]
    kept = [name for ranked in of_library.values() for name in ranked[:3]]
    assert len(kept) < len(names)
    assert [run for run in left if run[1] > 2] == [(name, 5, 0) for name in kept]


def test_longer_runs_wait_for_the_shorter_ones() -> None:
    *tried, _ = [record(candidate.name, 2.0) for candidate in learners.CANDIDATES]
    assert [(each.name, mark, seed) for each, mark, seed in minutes_part.missing(tried)] == [
        (learners.CANDIDATES[-1].name, 2, 0)
    ]


# what was planned for each arm, beside what it took


def test_an_archived_study_took_what_is_planned_for_it() -> None:
    frames = load(arms_part.RESULTS / "laptop" / "study.h5")
    table = arms_part.arms(frames, load_study("laptop", precision="bf16"), SHIPPED).set_index("group")
    *arms, total = table.index
    assert table["planned"].to_numpy() == pytest.approx(table["took"].to_numpy(), rel=0.35)
    assert total == "all, in hours"
    assert table.loc[total, "took"] == pytest.approx((table["cells"] * table["took"])[arms].sum() / 60)
    (cell, *_) = frames.cells.index[frames.cells["group"] == arms[-1]]
    steps = frames.history.loc[frames.history["cell"] == cell, "time_s"].max() / 60
    assert steps < table.loc[arms[-1], "took"] < 2 * steps
    assert f"| {arms[-1]} | 5 | " in arms_part.printed(table.reset_index())
