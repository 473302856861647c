"""The best model per minute: validation bits per dimension on MNIST after equal minutes, beside other libraries.

``python -m benchmarks minutes`` goes on where it was ended: it measures the seconds per step of all candidates, in
turns, on all cores and once for each kind of processor, and then trains what ``results/minutes.jsonl`` lacks. Every run
has the same images, dequantisation, α and batch. A run of so many minutes is one of so many minutes' steps of the
measured length, and its schedule ends with them: other work on the machine makes a run longer, but not worse. So runs
have a core each, which takes less time for all of them; the lengths alone have to be measured on an idle machine.

All candidates are trained with one seed for the shortest time, of each library the best three for the next longer one.
Of each library, the settings that are the best at a mark are then trained with the other seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from benchmarks.__main__ import processor
from benchmarks.learners import BATCH, CANDIDATES, CPU, Candidate, Learner
from nllgen.assets import asset_folder, require_images
from nllgen.study.config import Cell, DataConfig, FlowConfig, MetricsConfig
from nllgen.study.hardware import num_cores
from nllgen.worker.factory import CellData, published_data
from nllgen.worker.setup import keep_freed_memory

RECORDS = Path(__file__).with_name("results") / "minutes.jsonl"
STEP_TIMES = Path(__file__).with_name("results") / "minutes_step_times.jsonl"
MARKS = (2, 5, 10)
SEEDS = (0, 1, 2)
NUM_KEPT = 3  # of a library, from one mark to the next
NUM_ROUNDS = 9
NUM_TIMED = 5  # steps of a round
NAMED = {candidate.name: candidate for candidate in CANDIDATES}


@dataclass(frozen=True)
class StepTime:
    """The median seconds of a candidate's steps on an idle machine."""

    name: str
    seconds: float
    processor: str = field(default_factory=processor)


@dataclass(frozen=True)
class Record:
    """The outcome of one run.

    Attributes:
        bits: bits per dimension on MNIST's validation images, of the better of the last and the averaged weights.
    """

    name: str
    minutes: float
    seed: int
    steps: int
    bits: float
    processor: str = field(default_factory=processor)


def measure_step_times(num_rounds: int = NUM_ROUNDS) -> list[StepTime]:
    """Time the steps of all candidates in turns, after a round to warm up."""
    data = _prepare(2, num_cores())
    source = data.make_source(torch.Generator().manual_seed(0), torch.Generator().manual_seed(1))
    x = source.next(BATCH)
    learners = {candidate.name: Learner.of(candidate, data, 10**6, 0) for candidate in CANDIDATES}
    times: dict[str, list[float]] = {name: [] for name in learners}
    for turn in range(num_rounds + 1):
        for name, learner in learners.items():
            started = time.perf_counter()
            for number in range(turn * NUM_TIMED, (turn + 1) * NUM_TIMED):
                learner.step(x, number)
            if turn:
                times[name].append((time.perf_counter() - started) / NUM_TIMED)
    return [StepTime(name, statistics.median(seen)) for name, seen in times.items()]


def run_candidate(candidate: Candidate, minutes: float, seed: int, seconds: float, num_val: int = 10_000) -> Record:
    """Train a candidate for so many minutes' steps of so many seconds, and measure it."""
    data = _prepare(num_val, num_threads=1)
    source = data.make_source(torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1))
    steps = max(1, round(60 * minutes / seconds))
    learner = Learner.of(candidate, data, steps, seed)
    for number in range(steps):
        learner.step(source.next(BATCH), number)
    return Record(candidate.name, minutes, seed, steps, learner.bits(data))


def _prepare(num_val: int, num_threads: int) -> CellData:
    keep_freed_memory()
    torch.set_num_threads(num_threads)
    cell = Cell(data=DataConfig(num_val=num_val), flow=FlowConfig())
    return published_data(cell, MetricsConfig(num_train_eval=2), require_images(asset_folder(), "mnist"), CPU)


def read_step_times() -> dict[str, float]:
    """Return the seconds per step of this kind of processor by name; what was measured last counts."""
    lines = STEP_TIMES.read_text().splitlines() if STEP_TIMES.exists() else []
    step_times = [StepTime(**json.loads(line)) for line in lines]
    return {each.name: each.seconds for each in step_times if each.processor == processor()}


def read_records() -> list[Record]:
    """Return the records of this kind of processor."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    records = [Record(**json.loads(line)) for line in lines]
    return [record for record in records if record.processor == processor() and record.name in NAMED]


def missing(records: list[Record]) -> Iterator[tuple[Candidate, int, int]]:
    """Yield runs without a record that can begin: of each mark, the candidates with the first seed, then the others."""
    done = {(record.name, record.minutes, record.seed) for record in records}
    candidates = list(CANDIDATES)
    for mark in MARKS:
        first = [(each, mark, SEEDS[0]) for each in candidates if (each.name, mark, SEEDS[0]) not in done]
        yield from first
        if first:
            return
        of_mark = [record for record in records if record.minutes == mark]
        best = best_of_libraries(of_mark, 1)
        yield from ((each, mark, seed) for seed in SEEDS for each in best if (each.name, mark, seed) not in done)
        candidates = best_of_libraries(of_mark, NUM_KEPT)


def best_of_libraries(records: list[Record], num: int) -> list[Candidate]:
    """Return so many candidates of each library, those with the fewest bits at the first seed."""
    bits = {record.name: record.bits for record in records if record.seed == SEEDS[0]}
    best: dict[str, list[Candidate]] = {}
    for name in sorted(bits, key=lambda name: bits[name]):
        best.setdefault(NAMED[name].library, []).append(NAMED[name])
    return [each for ranked in best.values() for each in ranked[:num]]


def rows() -> list[tuple[str, str, str]]:
    """Measure and run what is missing; return rows of (work, measured, goal)."""
    if set(NAMED) - set(read_step_times()):
        _append(STEP_TIMES, *measure_step_times())
    with ThreadPoolExecutor(num_cores()) as pool:
        while runs := list(missing(read_records())):
            list(pool.map(_run, runs))
    return table(read_records(), read_step_times())


def _run(run: tuple[Candidate, int, int]) -> None:
    candidate, mark, seed = run
    words = ["--name", candidate.name, "--minutes", str(mark), "--seed", str(seed)]
    subprocess.run([sys.executable, "-m", "benchmarks.minutes", *words], check=True)


def table(records: list[Record], step_times: dict[str, float]) -> list[tuple[str, str, str]]:
    """Return a row for each candidate and mark, the best first; the goal is that nllgen's is the first of each mark."""
    entries = []
    for mark in sorted({record.minutes for record in records}):
        values: dict[str, list[float]] = {}
        for record in records:
            if record.minutes == mark:
                values.setdefault(record.name, []).append(record.bits)
        ranked = sorted(values, key=lambda name: statistics.fmean(values[name]))
        for name in ranked:
            bits = values[name]
            spread = f" ± {statistics.stdev(bits):.4f}" if len(bits) > 1 else ""
            seeds = f"{len(bits)} seeds" if len(bits) > 1 else "1 seed"
            text = f"{statistics.fmean(bits):.4f}{spread} bits/dim, {seeds}; {step_times[name] * 1e3:.0f} ms a step"
            entries.append((f"{mark:g} min: {name}", text, "lowest" if name == ranked[0] else ""))
    return entries


def _append(path: Path, *entries: StepTime | Record) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(entry)) + "\n" for entry in entries)


def main() -> None:
    """Run one candidate and append its record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minutes", description=__doc__)
    parser.add_argument("--name", required=True, choices=list(NAMED))
    parser.add_argument("--minutes", required=True, type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    record = run_candidate(NAMED[options.name], options.minutes, options.seed, read_step_times()[options.name])
    print(json.dumps(asdict(record)), flush=True)
    _append(RECORDS, record)


if __name__ == "__main__":
    main()
