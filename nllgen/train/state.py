"""State of a training run: all that resuming needs, as one dictionary of tensors and plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nllgen.data.sources import Source
from nllgen.errors import CorruptFileError
from nllgen.paradigms.base import Paradigm
from nllgen.paradigms.guard import Guard, StepNumbers
from nllgen.study.config import SCHEMA, Cell
from nllgen.train.ema import EMA
from nllgen.train.streams import RandomStreams

Row = dict[str, Any]
_OWN_TYPES = {"step": int, "history": list, "evals": list, "best": dict, "diverged": bool, "train_s": float}
# keys of a checkpoint that are not another object's state
_PLAIN_TYPES = {"schema": int, "cell_id": str, "truth_sha256": str, "num_threads": int, **_OWN_TYPES}


def clone_weights(flow: nn.Module) -> dict[str, Tensor]:
    """Copy the weights to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in flow.state_dict().items()}


@dataclass
class TrainState:
    """State of a run between two steps.

    Attributes:
        cell: the cell that is trained.
        truth_sha256: digest of the weights of the truth that it needs; empty if it needs none.
        flow, paradigm, source, streams, ema: objects with a state of their own.
        step: optimiser steps taken.
        history, evals: rows so far.
        best: weights with the lowest validation NLL of all evaluations, with their step and value.
        diverged: whether the run ended with a number that is not finite.
        train_s: seconds spent in training steps, over all attempts.
        unread: numbers of the latest steps, which are still on the device; none are left when a state is saved.
        unread_since_s: ``train_s`` before the first of these steps.
    """

    cell: Cell
    truth_sha256: str
    flow: nn.Module
    paradigm: Paradigm
    source: Source
    streams: RandomStreams
    ema: EMA | None
    step: int = 0
    history: list[Row] = field(default_factory=list)
    evals: list[Row] = field(default_factory=list)
    best: Row = field(default_factory=dict)
    diverged: bool = False
    train_s: float = 0.0
    unread: list[StepNumbers] = field(default_factory=list)
    unread_since_s: float = 0.0

    @property
    def guard(self) -> Guard:
        """Return the guard of the run's steps."""
        return self.paradigm.context.guard

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, ready for ``torch.save`` and ``weights_only=True``."""
        assert not self.unread
        return {
            "schema": SCHEMA,
            "cell_id": self.cell.id,
            "truth_sha256": self.truth_sha256,
            "num_threads": torch.get_num_threads(),
            "flow": self.flow.state_dict(),
            "ema": self.ema.flow.state_dict() if self.ema else None,
            "paradigm": self.paradigm.state_dict(),
            "source": self.source.state_dict(),
            "streams": self.streams.state_dict(),
            **{name: getattr(self, name) for name in _OWN_TYPES},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state and its number of threads. The tensors of ``state`` are not copied.

        Raises:
            CorruptFileError: it is damaged, or belongs to another cell, truth or schema.
        """
        wrong = [name for name, kind in _PLAIN_TYPES.items() if type(state.get(name)) is not kind]
        if wrong:
            raise CorruptFileError(f"a damaged checkpoint: {', '.join(wrong)} missing or of another type")
        if (state["schema"], state["cell_id"]) != (SCHEMA, self.cell.id):
            raise CorruptFileError(f"a checkpoint of cell {state['cell_id']}, schema {state['schema']}")
        if state["truth_sha256"] != self.truth_sha256:
            raise CorruptFileError("a checkpoint of training on another truth's images")
        try:
            self.flow.load_state_dict(state["flow"])
            if self.ema:
                self.ema.flow.load_state_dict(state["ema"])
            self.paradigm.load_state_dict(state["paradigm"])
            self.source.load_state_dict(state["source"])
            self.streams.load_state_dict(state["streams"])
            for name in _OWN_TYPES:
                setattr(self, name, state[name])
            torch.set_num_threads(state["num_threads"])
        except MemoryError:
            raise
        except Exception as error:  # torch raises many types on a wrong state
            raise CorruptFileError(f"a damaged checkpoint: {error}") from error

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights to keep after training: last, best and, if there is one, EMA."""
        weights = {"last": clone_weights(self.flow)}
        if self.best:
            weights["best"] = self.best["weights"]
        if self.ema:
            weights["ema"] = clone_weights(self.ema.flow)
        return weights
