"""The choice of the best weights on validation: by likelihood, and of a game by its Fréchet distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import nn

from nllgen.paradigms.guard import Scalars
from nllgen.train.loop import train
from tests.train.runs import MakeRun, hooks

# of the evaluations at steps 0, 5, 10 and 12
NLL = (4.0, 3.0, 1.0, 2.0)
DISTANCES = (9.0, 2.0, 3.0, math.nan)


def measured(*columns: str) -> Callable[[nn.Module, str], Scalars]:
    """Return an evaluation with the next values of some columns, for the raw weights."""
    values: dict[str, Iterator[float]] = {"val_nll_nats": iter(NLL), "frechet_choice": iter(DISTANCES)}
    values["frechet_lenet"] = iter(reversed(DISTANCES))

    def evaluate(flow: nn.Module, role: str) -> Scalars:
        del flow
        return {name: next(values[name]) for name in columns} if role == "raw" else {}

    return evaluate


@pytest.mark.parametrize(
    ("paradigm", "options", "columns", "best"),
    [
        ("nll", {}, ("val_nll_nats", "frechet_choice"), (10, 1.0)),
        ("nsgan", {}, ("val_nll_nats", "frechet_choice"), (5, 2.0)),
        ("nsgan", {}, ("val_nll_nats", "frechet_lenet", "frechet_choice"), (5, 2.0)),
        ("nsgan", {}, ("val_nll_nats", "frechet_lenet"), (10, 1.0)),
        ("nsgan", {"best_by": "val_nll"}, ("val_nll_nats", "frechet_choice"), (10, 1.0)),
        ("nsgan", {}, ("val_nll_nats",), (10, 1.0)),
        ("nsgan", {"model": "dcgan"}, ("frechet_choice",), (5, 2.0)),
        ("r3gan", {}, ("val_nll_nats", "frechet_choice"), (5, 2.0)),
        ("noise", {}, ("val_nll_nats", "frechet_choice"), (5, 2.0)),
    ],
)
def test_each_paradigm_has_its_own_choice(
    make_run: MakeRun, paradigm: str, options: dict[str, Any], columns: tuple[str, ...], best: tuple[int, float]
) -> None:
    state = make_run(paradigm, **options)()
    train(state, hooks(evaluate=measured(*columns)))
    assert (state.best["step"], state.best["value"]) == best
