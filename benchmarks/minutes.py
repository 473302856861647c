"""The best model per minute: validation bits per dimension on MNIST after equal minutes, beside other libraries.

``python -m benchmarks minutes`` runs what ``results/minutes.jsonl`` lacks for this kind of processor, each run in a
process of its own on all cores, and writes the table of what is there. It can be ended at any time and goes on later.
Every run has the same images, dequantisation, α and batch. A run is trained for its minutes of wall time, evaluations
not counted; a schedule ends with them. Peers have the settings of their own documentation and, in another run, ours.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.__main__ import processor
from benchmarks.peers import deeprob_flow, normflows_glow, torchflows_flow
from nllgen.assets import asset_folder, require_mnist
from nllgen.metrics.exact import bits_per_dim
from nllgen.models import Model
from nllgen.paradigms.base import require_density
from nllgen.paradigms.nll import learning_rate
from nllgen.study.config import Cell, DataConfig, FlowConfig, MetricsConfig, NLLConfig
from nllgen.study.hardware import auto_precision
from nllgen.train.ema import EMA
from nllgen.worker.factory import CellData, make_state, mnist_data
from nllgen.worker.setup import keep_freed_memory

RECORDS = Path(__file__).with_name("results") / "minutes.jsonl"
MARKS = (2, 5, 10)
SEEDS = (0, 1, 2)
BATCH = 128
NUM_TIMED = 20  # steps that are timed to choose the length of a schedule, after as many to warm up
CPU = torch.device("cpu")
OURS = NLLConfig(batch_size=BATCH, schedule="warmup_cosine", lr=3e-3)


@dataclass(frozen=True)
class Candidate:
    """A model with its training.

    Attributes:
        library: its name.
        settings: how it is trained, for the table.
        training: batch, rate and schedule; its number of steps is chosen by the time.
        flow: of nllgen; None of another library, whose model ``make`` returns.
        weight_decay: of the optimiser.
    """

    library: str
    settings: str
    training: NLLConfig
    flow: FlowConfig | None = None
    make: Callable[[], tuple[nn.Module, Callable[[Tensor], Tensor]]] | None = None
    weight_decay: float = 0.0

    @property
    def name(self) -> str:
        """Return the name in records and on the command line."""
        return f"{self.library}: {self.settings}"


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


def _ours(settings: str, flow: dict[str, Any], training: dict[str, Any]) -> Candidate:
    config = NLLConfig.model_validate({"batch_size": BATCH, **training})
    return Candidate("nllgen", settings, config, FlowConfig.model_validate(flow))


def _peer(
    library: str, settings: str, make: Callable[[], tuple[nn.Module, Callable[[Tensor], Tensor]]],
    training: NLLConfig | None = None, weight_decay: float = 0.0,
) -> Candidate:  # fmt: skip
    constant = NLLConfig(batch_size=BATCH, schedule="constant", lr=1e-3, clip_norm=1e9)
    return Candidate(library, settings, training or constant, None, make, weight_decay)


WARM = {"schedule": "warmup_cosine"}
CANDIDATES = (
    _ours("width 32, 2 blocks, cosine from 1e-3", {}, {}),
    _ours("width 32, 2 blocks, warm-up, cosine from 3e-3", {}, WARM | {"lr": 3e-3}),
    _ours("width 16, 1 block, warm-up, cosine from 3e-3", {"width": 16, "blocks": 1}, WARM | {"lr": 3e-3}),
    _peer("deeprob-kit", "Adam 1e-3", lambda: _density(deeprob_flow(32, 2))),
    _peer("deeprob-kit", "our schedule", lambda: _density(deeprob_flow(32, 2)), OURS),
    _peer("torchflows", "Adam 1e-3", lambda: _with_log_prob(torchflows_flow((1, 28, 28)))),
    _peer("torchflows", "our schedule", lambda: _with_log_prob(torchflows_flow((1, 28, 28))), OURS),
    _peer("normflows' Glow", "Adam 1e-3, decay 1e-5", lambda: _glow(normflows_glow(32, 28)), None, 1e-5),
    _peer("normflows' Glow", "our schedule", lambda: _glow(normflows_glow(32, 28)), OURS),
)  # fmt: skip


def _density(flow: Any) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    return flow, lambda x: flow(x).flatten()


def _with_log_prob(flow: Any) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    return flow, flow.log_prob


def _glow(flow: Any) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    return flow, lambda x: flow.log_prob(x, None)  # without classes


class Learner:
    """A model in training."""

    def __init__(self, model: nn.Module, log_prob: Callable[[Tensor], Tensor], step: Callable[[Tensor, int], None]):
        self.model, self.log_prob, self.step = model, log_prob, step
        self.average: EMA | None = None

    @classmethod
    def of(cls, candidate: Candidate, data: CellData, steps: int, seed: int) -> Learner:
        """Create the learner of a candidate with a schedule of so many steps."""
        torch.manual_seed(seed)
        training = candidate.training.model_copy(update={"steps": steps})
        if candidate.make is None:
            return cls._of_cell(_cell(candidate, training, seed), data)
        model, log_prob = candidate.make()
        optimizer = torch.optim.Adam(model.parameters(), training.lr, weight_decay=candidate.weight_decay)

        def step(x: Tensor, number: int) -> None:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(training, number)
            optimizer.zero_grad()
            (-log_prob(x).mean()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()

        return cls(model, log_prob, step)

    @classmethod
    def _of_cell(cls, cell: Cell, data: CellData) -> Learner:
        state = make_state(cell, data, None, CPU)

        def step(x: Tensor, number: int) -> None:
            state.guard.run(lambda: state.paradigm.step(lambda n: x, number))
            if state.ema is not None:
                state.ema.update(state.flow, number + 1)

        flow: Any = state.flow
        learner = cls(flow, flow.log_prob, step)
        learner.average = state.ema
        return learner

    @torch.no_grad()
    def bits(self, data: CellData) -> float:
        """Return the bits per dimension on validation, infinite where the model has broken down."""
        held_out = data.sets["val"]
        assert held_out.log_det is not None
        models = [self.log_prob]
        if self.average is not None:
            models.append(require_density(cast("Model", self.average.flow), "nll").log_prob)
        self.model.eval()
        values = []
        for log_prob in models:
            nll = -float(torch.cat([log_prob(part).double() for part in held_out.x.split(500)]).mean())
            values.append(bits_per_dim(nll, float(held_out.log_det.mean()), held_out.x[0].numel()))
        best = min(values)
        return best if math.isfinite(best) else math.inf


def _cell(candidate: Candidate, training: NLLConfig, seed: int) -> Cell:
    assert candidate.flow is not None
    return Cell(data=DataConfig(), flow=candidate.flow, paradigm=training, precision=auto_precision(), seed=seed)


def run_candidate(candidate: Candidate, minutes: float, seed: int, num_val: int = 10_000) -> Record:
    """Train a candidate for so many minutes on all cores, and measure it."""
    keep_freed_memory()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    any_cell = Cell(data=DataConfig(num_val=num_val), flow=FlowConfig())
    data = mnist_data(any_cell, MetricsConfig(num_train_eval=2), require_mnist(asset_folder()), CPU)
    source = data.make_source(torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1))
    timed = Learner.of(candidate, data, 10**6, seed)
    started = 0.0
    for number in range(2 * NUM_TIMED):
        if number == NUM_TIMED:
            started = time.monotonic()
        timed.step(source.next(BATCH), number)
    steps = max(1, int(60 * minutes / (time.monotonic() - started) * NUM_TIMED))
    learner, end, number = Learner.of(candidate, data, steps, seed), time.monotonic() + 60 * minutes, 0
    while number < steps and time.monotonic() < end:
        learner.step(source.next(BATCH), number)
        number += 1
    return Record(candidate.name, minutes, seed, number, learner.bits(data))


def read_records() -> list[Record]:
    """Return the records of this kind of processor."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    records = [Record(**json.loads(line)) for line in lines]
    return [record for record in records if record.processor == processor()]


def missing(records: list[Record]) -> Iterator[tuple[Candidate, int, int]]:
    """Yield the runs that are not recorded, all candidates of one mark and seed before the next."""
    done = {(record.name, record.minutes, record.seed) for record in records}
    for seed in SEEDS:
        for mark in MARKS:
            yield from ((each, mark, seed) for each in CANDIDATES if (each.name, mark, seed) not in done)


def rows() -> list[tuple[str, str, str]]:
    """Run what is missing; return rows of (work, measured, goal)."""
    for candidate, mark, seed in missing(read_records()):
        words = ["--name", candidate.name, "--minutes", str(mark), "--seed", str(seed)]
        subprocess.run([sys.executable, "-m", "benchmarks.minutes", *words], check=True)
    return table(read_records())


def table(records: list[Record]) -> list[tuple[str, str, str]]:
    """Return a row for each candidate and mark; the goal is that nllgen's lowest is the lowest of the mark."""
    entries = []
    for mark in sorted({record.minutes for record in records}):
        own = [record for record in records if record.minutes == mark]
        means = {name: _values(own, name) for name in dict.fromkeys(record.name for record in own)}
        lowest = min(means, key=lambda name: statistics.fmean(means[name]))
        for name, values in means.items():
            steps = statistics.fmean(record.steps for record in own if record.name == name)
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            text = f"{statistics.fmean(values):.4f}{spread} bits/dim, {len(values)} seeds, {steps:,.0f} steps"
            entries.append((f"{mark:g} min: {name}", text, "lowest" if name == lowest else ""))
    return entries


def _values(records: list[Record], name: str) -> list[float]:
    return [record.bits for record in records if record.name == name]


def main() -> None:
    """Run one candidate and append its record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minutes", description=__doc__)
    parser.add_argument("--name", required=True, choices=[candidate.name for candidate in CANDIDATES])
    parser.add_argument("--minutes", required=True, type=float)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    (candidate,) = [each for each in CANDIDATES if each.name == options.name]
    line = json.dumps(asdict(run_candidate(candidate, options.minutes, options.seed)))
    print(line, flush=True)
    with RECORDS.open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
