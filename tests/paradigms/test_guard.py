"""The guard, with paradigms of a user's own: numbers without a device, and divergence for reasons of their own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nllgen.paradigms.guard import Columns, Diverged, Guard, Scalars, StepNumbers, read_numbers

FINITE = StepNumbers({"loss": 1.0})


@pytest.fixture(params=["read at once", "read later"])
def guard(request: pytest.FixtureRequest) -> Guard:
    """Return the guard of the CPU, and that of a GPU on the CPU."""
    return Guard(None if request.param == "read at once" else torch.zeros(()))


@pytest.mark.parametrize(
    ("scalars", "row"),
    [({"loss": 1e30}, {"loss": 1e30}), ({}, {"first": 2.0}), ({"loss": math.nan}, {"loss": math.nan})],
)
def test_a_paradigm_may_diverge_for_a_reason_of_its_own(guard: Guard, scalars: Scalars, row: Scalars) -> None:
    def step() -> Columns:
        guard.check({"first": torch.tensor(2.0)})
        raise Diverged(scalars)

    numbers = guard.run(step)
    assert numbers.ended_early
    rows, has_diverged = read_numbers([FINITE, numbers, FINITE])
    assert has_diverged
    assert str(rows) == str([{"loss": 1.0}, row])
    assert guard.stopped is None or guard.stopped == 1  # so that later steps change nothing


def test_a_paradigm_may_diverge_without_any_number(guard: Guard) -> None:
    def step() -> Columns:
        raise Diverged({})

    assert read_numbers([guard.run(step)]) == ([{}], True)


def test_the_buffers_that_led_to_a_divergence_stay(guard: Guard) -> None:
    norm = nn.BatchNorm1d(1)
    guard.watch(torch.optim.Adam(norm.parameters(), fused=True), norm)

    def step() -> Columns:
        norm(torch.ones(4, 1))
        raise Diverged({})

    guard.run(step)
    assert norm.num_batches_tracked == 1


def test_a_step_without_columns_has_not_diverged(guard: Guard) -> None:
    numbers = guard.run(dict)
    assert not numbers.ended_early
    assert read_numbers([numbers]) == ([{}], False)


def test_plain_numbers_are_checked(guard: Guard) -> None:
    numbers = guard.run(lambda: guard.check({"loss": 1.0}))
    assert read_numbers([numbers]) == ([{"loss": 1.0}], False)
    assert guard.stopped is None or guard.stopped == 0


def test_a_plain_number_beside_tensors_is_checked(guard: Guard) -> None:
    numbers = guard.run(lambda: guard.check({"norm": torch.tensor(2.0), "loss": math.inf}))
    assert read_numbers([numbers]) == ([{"norm": 2.0, "loss": math.inf}], True)
    assert guard.stopped is None or guard.stopped == 1
