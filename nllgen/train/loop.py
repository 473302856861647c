"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nllgen.errors import StoppedError
from nllgen.paradigms.base import Diverged, Scalars
from nllgen.study.paradigms import GeneratorConfig, ParadigmConfig
from nllgen.train.state import TrainState, clone_weights

MAX_HISTORY = 2_000  # rows of the history of a run, evenly spaced
_DISTANCE = "frechet_choice"  # chooses the best weights of a game, where it can be measured
_WORTH_SAVING_S = 30.0  # training after the last checkpoint


@dataclass(frozen=True)
class Hooks:
    """Functions that the loop calls.

    Attributes:
        evaluate: maps (flow, role) to metric columns, with role ``raw`` or ``ema``. It uses none of the training's
            random streams, and may raise StoppedError.
        progress: called with (step, scalars) after every logged step.
        checkpoint_s: seconds between checkpoints.
        checkpoint_steps: steps between checkpoints; 0 to save by time only.
    """

    evaluate: Callable[[nn.Module, str], Scalars]
    save: Callable[[TrainState], None]
    should_stop: Callable[[], bool]
    progress: Callable[[int, Scalars], None]
    checkpoint_s: float = 300.0
    checkpoint_steps: int = 0


def train(state: TrainState, hooks: Hooks) -> None:
    """Train until the last step or until divergence, which is an outcome.

    Raises:
        StoppedError: a stop was requested; the state is saved.
    """
    config = state.cell.paradigm
    log_every = max(1, math.ceil(config.steps / MAX_HISTORY))
    _prepare(state, hooks)
    saved_at = time.monotonic()
    _evaluate_if_due(state, hooks)
    while state.step < config.steps and not state.diverged:
        _stop_if_requested(state, hooks, f"step {state.step} of {config.steps}")
        started = time.perf_counter()
        scalars = _step(state)
        state.train_s += time.perf_counter() - started
        if state.step % log_every == 0 or state.step == config.steps or state.diverged:
            state.history.append({"step": state.step, **scalars, "time_s": state.train_s})
            hooks.progress(state.step, scalars)
        _evaluate_if_due(state, hooks)
        due = hooks.checkpoint_steps and state.step % hooks.checkpoint_steps == 0
        if due or time.monotonic() - saved_at > hooks.checkpoint_s:
            hooks.save(state)
            saved_at = time.monotonic()
    if time.monotonic() - saved_at > _WORTH_SAVING_S:
        hooks.save(state)  # the final measurements may take long


def _prepare(state: TrainState, hooks: Hooks) -> None:
    """Run the paradigm's preparation, such as training a discriminator alone. It can be stopped and resumed."""
    saved_at = time.monotonic()
    while not state.diverged and (left := state.paradigm.num_preparation_steps):
        _stop_if_requested(state, hooks, f"step 0, with {left} steps of preparation left")
        try:
            state.paradigm.prepare()
        except Diverged:
            state.diverged = True
        due = hooks.checkpoint_steps and left % hooks.checkpoint_steps == 0
        if due or time.monotonic() - saved_at > hooks.checkpoint_s:
            hooks.save(state)
            saved_at = time.monotonic()


def _stop_if_requested(state: TrainState, hooks: Hooks, position: str) -> None:
    if hooks.should_stop():
        hooks.save(state)
        raise StoppedError(f"stopped at {position}", "the checkpoint is kept: run it again")


def _step(state: TrainState) -> Scalars:
    """Take one step. ``state.step`` counts it even if it diverges."""
    try:
        scalars = state.paradigm.step(state.source.next, state.step)
    except Diverged as divergence:
        state.diverged = True
        scalars = divergence.scalars
    state.step += 1
    if state.ema and not state.diverged:
        state.ema.update(state.flow, state.step)
    return scalars


def _evaluate_if_due(state: TrainState, hooks: Hooks) -> None:
    config = state.cell.paradigm
    at_end = state.step == config.steps or state.diverged
    if state.step % config.eval_every and not at_end:
        return
    if state.evals and state.evals[-1]["step"] == state.step:
        return  # resumed after this evaluation
    images = state.source.num_images
    epoch = state.step * config.images_per_step / images if images else math.nan
    roles = {"raw": state.flow} | ({"ema": state.ema.flow} if state.ema else {})
    rows = []
    for role, flow in roles.items():
        started = time.perf_counter()
        try:
            row = hooks.evaluate(flow, role)
        except StoppedError:
            hooks.save(state)  # without this evaluation, which is repeated on resuming
            raise
        _keep_best(state, flow, role, row)
        elapsed = time.perf_counter() - started
        rows.append({"step": state.step, "epoch": epoch, "weights": role, **row, "time_s": elapsed})
    state.evals += rows


def _chosen_by(config: ParadigmConfig, row: Scalars) -> str:
    """Return the column that chooses the best weights."""
    is_by_distance = isinstance(config, GeneratorConfig) and config.best_by == "frechet" and _DISTANCE in row
    return _DISTANCE if is_by_distance else "val_nll_nats"


def _keep_best(state: TrainState, flow: nn.Module, role: str, row: Scalars) -> None:
    """Keep the raw weights with the lowest validation NLL, or of a game the lowest Fréchet distance.

    The first finite value always counts. There are no best weights where neither is measured.
    """
    value = row.get(_chosen_by(state.cell.paradigm, row), math.nan)
    if role == "raw" and math.isfinite(value) and value < state.best.get("value", math.inf):
        state.best = {"step": state.step, "value": value, "weights": clone_weights(flow)}
