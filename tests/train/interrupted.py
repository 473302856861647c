"""Runs that are stopped and resumed, and states that compare to the bit."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch

from nllgen.errors import StoppedError
from nllgen.train.loop import train
from nllgen.train.state import TrainState
from tests.train.runs import MakeState, hooks


def weights_only_copy(value: Any) -> Any:
    """Copy by torch.save and torch.load with ``weights_only``, as a checkpoint does."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def plain(value: Any) -> Any:
    """Convert nested tensors to (dtype, shape, bytes), which compare to the bit, NaN included."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in ("train_s", "time_s")}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return repr(value)


def fingerprint(state: TrainState) -> Any:
    """Return the whole state without times, for comparisons to the bit."""
    return plain(state.state_dict())


class Saved:
    """Copies of the states that were saved."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []

    def __call__(self, state: TrainState) -> None:
        self.states.append(weights_only_copy(state.state_dict()))


def run_interrupted(make: MakeState, *stops: int) -> TrainState:
    """Train with a stop, a checkpoint and a new state at each of the steps."""
    saved = Saved()
    for stop in (*stops, None):
        state = make()
        if saved.states:
            state.load_state_dict(weights_only_copy(saved.states[-1]))
        with contextlib.suppress(StoppedError):
            train(state, hooks(stop, state=state, save=saved))
    return state


RUNS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("nll", "mnist", "fp32", "random", {}),
    ("nll", "finite", "bf16", "random", {}),
    ("nll", "fresh", "fp32", "truth", {"optimizer": "sgd"}),
    ("nll", "finite", "fp32", "random", {"model": "student_t"}),
    ("nll", "finite", "fp32", "random", {"model": "zuko"}),
    ("nsgan", "mnist", "fp32", "random", {}),
    ("nsgan", "fresh", "bf16", "truth", {"r1_gamma": 1.0, "disc_steps": 2}),
    ("nsgan", "fresh", "fp32", "truth", {"optimizer": "sgd", "updates": "simultaneous"}),
    ("nsgan", "mnist", "fp32", "random", {"model": "dcgan", "instance_noise": 0.1}),
    ("nsgan", "finite", "fp32", "random", {"spectral_norm": True, "disc_start": "fresh", "r2_gamma": 1.0}),
    ("r3gan", "mnist", "bf16", "random", {"disc_steps": 2}),
    ("noise", "finite", "fp32", "truth", {}),
    ("wgan_gp", "finite", "fp32", "random", {"disc_steps": 2, "disc_start": "fresh"}),
    ("hybrid", "finite", "bf16", "random", {"nll_weight": 0.5}),
    ("nsgan_oracle", "finite", "bf16", "random", {}),
    ("nsgan_oracle", "fresh", "fp32", "random", {"model": "student_t"}),
]
