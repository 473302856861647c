"""The loop: resume to the bit, divergence as an outcome, metrics that disturb nothing."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nllgen.errors import StoppedError
from nllgen.models import RealNVP
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.guard import Scalars
from nllgen.train.loop import MAX_HISTORY, train
from nllgen.train.state import TrainState
from tests.train.interrupted import RUNS, Saved, fingerprint, run_interrupted, weights_only_copy
from tests.train.runs import MakeRun, hooks


class Recorded:
    """A source of batches that remembers them."""

    def __init__(self, source: Callable[[int], Tensor]) -> None:
        self.source, self.batches = source, list[Tensor]()

    def __call__(self, n: int) -> Tensor:
        self.batches.append(self.source(n))
        return self.batches[-1]


def first_weight(state: TrainState) -> Tensor:
    """Return the weights of a convolution, which are drawn from the seed."""
    return state.flow.get_parameter("final.couplings.0.net.first.weight")


@pytest.mark.parametrize(
    ("paradigm", "source", "precision", "start", "options"),
    RUNS,
    ids=["-".join((*run[:4], *map(str, run[4].values()))) for run in RUNS],
)
def test_a_run_resumed_at_any_step_equals_an_undisturbed_one_to_the_bit(
    make_run: MakeRun, paradigm: str, source: str, precision: str, start: str, options: dict[str, Any]
) -> None:
    make = make_run(paradigm, source, precision, start, **options)
    undisturbed = make()
    train(undisturbed, hooks())
    assert undisturbed.step == 12
    assert fingerprint(run_interrupted(make, 0, 1, 5, 7, 11)) == fingerprint(undisturbed)


@pytest.mark.parametrize("source", ["mnist", "finite"])
def test_a_run_stopped_while_its_discriminator_trains_alone_ends_with_the_same_bits(
    make_run: MakeRun, source: str
) -> None:
    make = make_run("nsgan", source, disc_start="pretrained", disc_pretrain_steps=7, instance_noise=0.1)
    undisturbed = make()
    train(undisturbed, hooks())
    saved = Saved()
    for num_calls, left in ((3, 4), (2, 2)):
        state, calls = make(), iter([False] * num_calls)
        if saved.states:
            state.load_state_dict(weights_only_copy(saved.states[-1]))
        with pytest.raises(StoppedError, match=f"{left} steps of preparation"):
            train(state, replace(hooks(save=saved), should_stop=functools.partial(next, calls, True)))
    state = make()
    state.load_state_dict(weights_only_copy(saved.states[-1]))
    train(state, hooks())
    assert fingerprint(state) == fingerprint(undisturbed)


def test_a_pretrained_discriminator_leaves_the_generators_batches_as_they_are(make_run: MakeRun) -> None:
    """The images of the steps do not depend on pretraining."""
    batches = []
    for start in ("zero", "pretrained"):
        state = make_run("nsgan", "mnist", disc_start=start, disc_pretrain_steps=3)()
        with pytest.MonkeyPatch.context() as patch:
            record = Recorded(state.source.next)
            patch.setattr(state.source, "next", record)
            train(state, hooks())
        batches.append(record.batches)
    assert len(batches[0]) == 12
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))


def test_a_discriminator_that_diverges_alone_ends_the_run_as_diverged(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_run("nsgan", disc_start="pretrained", disc_pretrain_steps=3)()
    assert isinstance(state.paradigm, Adversarial)
    batches = state.paradigm.context.pretrain_batches
    monkeypatch.setattr(batches, "next", lambda n: torch.full((n, 1, 7, 7), math.nan))
    train(state, hooks())
    assert (state.diverged, state.step, len(state.evals)) == (True, 0, 2)


def test_a_model_without_a_density_and_a_distance_has_no_best_weights(make_run: MakeRun) -> None:
    state = make_run("nsgan", model="dcgan", ema_decay=0.9)()
    train(state, hooks(evaluate=lambda flow, role: {"frechet_choice": math.nan}))
    assert set(state.weights()) == {"last", "ema"}


def test_the_oracle_looks_at_no_training_image(make_run: MakeRun) -> None:
    state = make_run("nsgan_oracle", "finite")()
    before = state.source.state_dict()
    train(state, hooks())
    assert state.source.state_dict() == before
    assert state.evals[-1]["epoch"] == 0


def test_metrics_leave_the_training_as_it_is(make_run: MakeRun) -> None:
    make = make_run("nsgan", "mnist")

    def greedy(flow: nn.Module, role: str) -> Scalars:
        torch.randn(100)
        assert isinstance(flow, RealNVP)
        with torch.no_grad():
            flow.sample(7, torch.Generator().manual_seed(1))
        return {"val_nll_nats": 1.0}

    plain, measured = make(), make()
    train(plain, hooks(evaluate=lambda flow, role: {"val_nll_nats": 1.0}))
    train(measured, hooks(evaluate=greedy))
    for a, b in zip(plain.flow.parameters(), measured.flow.parameters(), strict=True):
        assert torch.equal(a, b)


def test_both_paradigms_start_from_the_same_bits(make_run: MakeRun) -> None:
    nll, nsgan = make_run("nll", batch_size=16)(), make_run("nsgan", batch_size=8)()
    for (name, a), b in zip(nll.flow.state_dict().items(), nsgan.flow.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_seeds_start_from_different_weights(make_run: MakeRun) -> None:
    a, b = make_run(seed=0)(), make_run(seed=1)()
    assert not torch.equal(first_weight(a), first_weight(b))


def test_evaluations_come_at_the_start_on_schedule_and_at_the_end(make_run: MakeRun) -> None:
    state = make_run("nll")()
    train(state, hooks())
    assert [row["step"] for row in state.evals] == [0, 5, 10, 12]


def test_the_average_is_evaluated_beside_the_raw_weights(make_run: MakeRun) -> None:
    state = make_run("nsgan", ema_decay=0.9)()
    train(state, hooks())
    assert [row["weights"] for row in state.evals[:2]] == ["raw", "ema"]


def test_a_student_of_the_truths_seed_does_not_start_from_the_truths_own_start(make_run: MakeRun) -> None:
    """The same architecture and seed give different weights on MNIST and on synthetic data."""
    real, student = make_run(source="mnist")(), make_run(source="fresh")()
    assert not torch.equal(first_weight(real), first_weight(student))


def test_an_epoch_counts_every_batch_of_the_discriminator(make_run: MakeRun) -> None:
    state = make_run("nsgan", disc_steps=5)()
    train(state, hooks())
    assert state.evals[-1]["epoch"] == pytest.approx(12 * 16 * 5 / 50)


def test_a_stop_during_an_evaluation_saves_and_the_evaluation_comes_again(make_run: MakeRun) -> None:
    make = make_run("nsgan")
    state, saved, asked = make(), Saved(), []

    def stopping(flow: nn.Module, role: str) -> Scalars:
        if role == "ema" and state.step == 5:
            asked.append(role)
            raise StoppedError("stopped")
        return {"val_nll_nats": 1.0}

    with pytest.raises(StoppedError):
        train(state, hooks(evaluate=stopping, save=saved))
    assert asked
    again = make()
    again.load_state_dict(saved.states[-1])
    train(again, hooks(evaluate=lambda flow, role: {"val_nll_nats": 1.0}))
    assert [(row["step"], row["weights"]) for row in again.evals if row["step"] == 5] == [(5, "raw"), (5, "ema")]


def test_zero_steps_measure_the_start_once(make_run: MakeRun) -> None:
    state = make_run("nll", steps=0)()
    train(state, hooks())
    assert (len(state.evals), state.history) == (1, [])


@pytest.mark.parametrize("paradigm", ["nll", "nsgan"])
def test_a_loss_that_is_not_finite_ends_the_run_as_diverged_with_its_history(
    make_run: MakeRun, paradigm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = make_run(paradigm)()
    original, poisoned = state.source.next, []

    def poison(n: int) -> Tensor:
        x = original(n)
        if state.step == 6:
            poisoned.append(True)
            x[0] = math.nan
        return x

    monkeypatch.setattr(state.source, "next", poison)
    train(state, hooks())
    assert poisoned
    assert state.diverged
    assert state.step == 7
    assert [row["step"] for row in state.history] == [1, 2, 3, 4, 5, 6, 7]
    assert all(p.isfinite().all() for p in state.flow.parameters())


def test_a_diverged_run_resumes_as_diverged(make_run: MakeRun) -> None:
    make = make_run("nll")
    state = make()
    state.diverged, state.step = True, 4
    state.evals = [{"step": 4}]
    other = make()
    other.load_state_dict(weights_only_copy(state.state_dict()))
    train(other, hooks())
    assert (other.step, other.diverged) == (4, True)


def test_a_stop_saves_the_state_before_it_ends(make_run: MakeRun) -> None:
    state = make_run("nll")()
    saved = []
    with pytest.raises(StoppedError, match="step 4 of 12"):
        train(state, hooks(4, state=state, save=lambda s: saved.append(s.step)))
    assert saved == [4]


def test_checkpoints_come_by_steps(make_run: MakeRun) -> None:
    state = make_run("nll")()
    saved = []
    every = hooks(save=lambda s: saved.append(s.step))
    train(state, replace(every, checkpoint_steps=5))
    assert saved == [5, 10]


def test_checkpoints_come_by_time(make_run: MakeRun) -> None:
    state = make_run("nll")()
    saved = []
    every = hooks(save=lambda s: saved.append(s.step))
    train(state, replace(every, checkpoint_s=0.0))
    assert saved == list(range(1, 13))


def test_history_is_thinned_evenly_in_long_runs(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nllgen.train.loop.MAX_HISTORY", 4)
    assert MAX_HISTORY > 4
    state = make_run("nll")()
    train(state, hooks())
    assert [row["step"] for row in state.history] == [3, 6, 9, 12]


def test_the_thread_count_comes_back_with_the_checkpoint(make_run: MakeRun) -> None:
    make = make_run("nll")
    saved = make().state_dict() | {"num_threads": 2}
    make().load_state_dict(saved)
    assert torch.get_num_threads() == 2
