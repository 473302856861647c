"""Steps of a GPU, on which the host must not wait: on a stand-in that defers reading as a GPU does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.guard import Guard
from nllgen.train import loop
from nllgen.train.loop import READ_EVERY, train
from nllgen.train.state import TrainState
from tests.train.interrupted import RUNS, Saved, fingerprint, plain, run_interrupted, weights_only_copy
from tests.train.runs import MakeRun, MakeState, hooks
from tests.train.synchronisation import synchronisations
from tests.train.test_devices import NO_GPU, tensors

IDS = ["-".join((*run[:4], *map(str, run[4].values()))) for run in RUNS]
OWN = [run for run in RUNS if run[4].get("model") != "zuko"]  # what another library does in a step is its own affair
POISONED = [
    ("nll", {}),
    ("nsgan", {}),
    ("nsgan", {"updates": "simultaneous"}),
    ("nsgan", {"disc_steps": 2, "spectral_norm": True, "disc_start": "fresh"}),
    ("wgan_gp", {"disc_steps": 2}),
    ("hybrid", {}),
]


@pytest.fixture
def deferred(monkeypatch: pytest.MonkeyPatch) -> Callable[[MakeState], MakeState]:
    """Return a function that makes a run defer reading as on a GPU."""

    def defer(make: MakeState) -> MakeState:
        def made() -> TrainState:
            with monkeypatch.context() as patch:
                patch.setattr(Guard, "of", lambda device: Guard(torch.zeros((), device=device)))
                return make()

        return made

    return defer


def poisoned(make: MakeState, step: int = 6, value: float = math.nan) -> TrainState:
    """Train a run in which one image of a step is not finite."""
    state = make()
    original = state.source.next

    def poison(n: int) -> Tensor:
        x = original(n)
        if state.step == step:
            x[0] = value
        return x

    state.source.next = poison  # type: ignore[method-assign]
    train(state, hooks())
    return state


def test_the_stand_in_notices_every_way_to_wait() -> None:
    x = torch.ones(2)
    ways: list[Callable[[], Any]] = [
        lambda: x[0].item(), lambda: x.tolist(), lambda: x.numpy(), lambda: x.cpu(), lambda: bool(x[0]),
        lambda: float(x[0]), lambda: int(x[0]), lambda: x[x > 0], lambda: x.nonzero(), lambda: torch.equal(x, x),
        lambda: torch.tensor(1.0),
    ]  # fmt: skip
    for number, way in enumerate(ways):
        with synchronisations() as record:
            way()
        assert record, number


@pytest.mark.parametrize(("paradigm", "source", "precision", "start", "options"), OWN)
def test_no_step_makes_the_host_wait(
    make_run: MakeRun,
    deferred: Callable[[MakeState], MakeState],
    paradigm: str,
    source: str,
    precision: str,
    start: str,
    options: dict[str, Any],
) -> None:
    state = deferred(make_run(paradigm, source, precision, start, ema_decay=0.9, **options))()
    loop._step(state)  # the first makes the optimiser's state
    with synchronisations() as record:
        for _ in range(3):
            loop._step(state)
    assert record == []
    assert len(state.unread) == 4


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize(("paradigm", "source", "precision", "start", "options"), OWN)
def test_no_step_makes_the_host_wait_for_a_gpu(
    make_run: MakeRun, paradigm: str, source: str, precision: str, start: str, options: dict[str, Any]
) -> None:
    state = make_run(paradigm, source, precision, start, device="cuda", ema_decay=0.9, **options)()
    loop._step(state)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(4):  # more than an epoch
            loop._step(state)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_host_waits_once_for_the_numbers_of_many_steps(
    make_run: MakeRun, deferred: Callable[[MakeState], MakeState]
) -> None:
    state = deferred(make_run("nsgan", steps=2 * READ_EVERY + 1, eval_every=1000))()
    with synchronisations() as record:
        train(state, hooks(evaluate=lambda flow, role: {}))
    assert record.count("tolist") == 3
    assert len(state.history) == 2 * READ_EVERY + 1


@pytest.mark.parametrize(("paradigm", "source", "precision", "start", "options"), RUNS, ids=IDS)
def test_numbers_that_are_read_later_are_the_same(
    make_run: MakeRun,
    deferred: Callable[[MakeState], MakeState],
    paradigm: str,
    source: str,
    precision: str,
    start: str,
    options: dict[str, Any],
) -> None:
    make = make_run(paradigm, source, precision, start, ema_decay=0.9, **options)
    state, later = make(), deferred(make)()
    train(state, hooks())
    train(later, hooks())
    assert fingerprint(later) == fingerprint(state)


def test_a_run_that_is_stopped_between_two_readings_resumes_to_the_same_bits(
    make_run: MakeRun, deferred: Callable[[MakeState], MakeState]
) -> None:
    make = make_run("nsgan", ema_decay=0.9)
    undisturbed = make()
    train(undisturbed, hooks())
    assert fingerprint(run_interrupted(deferred(make), 1, 7, 11)) == fingerprint(undisturbed)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("paradigm", "options"), POISONED)
def test_weights_stop_at_the_step_that_diverges(
    make_run: MakeRun,
    deferred: Callable[[MakeState], MakeState],
    paradigm: str,
    options: dict[str, Any],
    value: float,
) -> None:
    make = make_run(paradigm, eval_every=100, ema_decay=0.9, **options)
    state, later = poisoned(make, value=value), poisoned(deferred(make), value=value)
    assert (later.diverged, later.step) == (True, 7)
    a, b = state.state_dict(), later.state_dict()
    for name in ("flow", "ema", "history", "evals", "best"):
        assert plain(b[name]) == plain(a[name]), name
    assert [plain(x) for x in tensors(b["paradigm"])] == [plain(x) for x in tensors(a["paradigm"])]


def test_running_means_stop_with_the_weights(make_run: MakeRun, deferred: Callable[[MakeState], MakeState]) -> None:
    def with_running_mean(make: MakeState) -> MakeState:
        def made() -> TrainState:
            state = make()
            norm = torch.nn.BatchNorm2d(1)
            norm.register_buffer("absent", None)
            state.flow.add_module("norm", norm)
            state.guard.watch(state.paradigm.optimizer, norm)
            log_prob = state.flow.log_prob
            state.flow.log_prob = lambda x: log_prob(x) + 0 * norm(x).sum()  # type: ignore[operator, assignment]
            return state

        return made

    make = with_running_mean(make_run("nll", eval_every=100))
    means = [
        poisoned(each, value=math.inf).flow.get_buffer("norm.num_batches_tracked").item()
        for each in (make, with_running_mean(deferred(make_run("nll", eval_every=100))))
    ]
    assert means == [7, 7]


def test_a_discriminator_that_diverges_alone_is_noticed_when_it_is_read(
    make_run: MakeRun, deferred: Callable[[MakeState], MakeState], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = deferred(make_run("nsgan", disc_start="pretrained", disc_pretrain_steps=3))()
    assert isinstance(state.paradigm, Adversarial)
    before = copy.deepcopy(state.paradigm.disc.state_dict())
    batches = state.paradigm.context.pretrain_batches
    monkeypatch.setattr(batches, "next", lambda n: torch.full((n, 1, 7, 7), math.nan))
    train(state, hooks())
    assert (state.diverged, state.step, state.history) == (True, 0, [])
    assert all(torch.equal(value, before[name]) for name, value in state.paradigm.disc.state_dict().items())


def test_a_checkpoint_by_time_holds_what_was_read(
    make_run: MakeRun, deferred: Callable[[MakeState], MakeState]
) -> None:
    saved, state = Saved(), deferred(make_run("nll"))()
    train(state, replace(hooks(save=saved), checkpoint_s=0.0))
    assert [len(weights_only_copy(each)["history"]) for each in saved.states] == list(range(1, 13))
