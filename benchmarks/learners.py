"""Models that are trained for equal minutes, of nllgen and of other libraries, each with its own settings and ours.

nllgen's variants have a warm-up and a cosine from 3e-3 unless they name another. Peers have the settings of their own
documentation and, in another run, ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.peers import deeprob_flow, normflows_glow, torchflows_flow
from nllgen.metrics.exact import bits_per_dim
from nllgen.models import Model
from nllgen.paradigms.base import require_density
from nllgen.paradigms.nll import learning_rate
from nllgen.study.config import Cell, DataConfig, FlowConfig, NLLConfig
from nllgen.study.hardware import auto_precision
from nllgen.train.ema import EMA
from nllgen.worker.factory import CellData, make_state

BATCH = 128
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


def _ours(settings: str, flow: dict[str, Any], training: dict[str, Any]) -> Candidate:
    config = NLLConfig.model_validate({"batch_size": BATCH, **training})
    return Candidate("nllgen", settings, config, FlowConfig.model_validate(flow))


def _peer(
    library: str, settings: str, make: Callable[[], tuple[nn.Module, Callable[[Tensor], Tensor]]],
    training: NLLConfig | None = None, weight_decay: float = 0.0,
) -> Candidate:  # fmt: skip
    constant = NLLConfig(batch_size=BATCH, schedule="constant", lr=1e-3, clip_norm=1e9)
    return Candidate(library, settings, training or constant, None, make, weight_decay)


WARM: dict[str, Any] = {"schedule": "warmup_cosine", "lr": 3e-3}
CANDIDATES = (
    _ours("width 32, 2 blocks, cosine from 1e-3", {}, {}),
    _ours("width 32, 2 blocks", {}, WARM),
    _ours("width 32, 2 blocks, from 5e-3", {}, WARM | {"lr": 5e-3}),
    _ours("width 32, 2 blocks, averaged weights", {}, WARM | {"ema_decay": 0.99}),
    _ours("width 32, 2 blocks, 3 scales", {"scales": 3}, WARM),
    _ours("width 32, 1 block", {"blocks": 1}, WARM),
    _ours("width 16, 2 blocks", {"width": 16}, WARM),
    _ours("width 16, 1 block", {"width": 16, "blocks": 1}, WARM),
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
