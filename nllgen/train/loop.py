"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nllgen.errors import StoppedError
from nllgen.paradigms.guard import Scalars, read_numbers
from nllgen.study.paradigms import GeneratorConfig, ParadigmConfig
from nllgen.train.state import TrainState, clone_weights

MAX_HISTORY = 2_000  # rows of the history of a run, evenly spaced
_DISTANCE = "frechet_choice"  # chooses the best weights of a game, where it can be measured
_WORTH_SAVING_S = 30.0  # training after the last checkpoint
READ_EVERY = 16  # steps whose numbers a GPU keeps until they are read at once; so many may follow a divergence, in vain


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
    _prepare(state, hooks)
    saved_at = time.monotonic()
    _evaluate_if_due(state, hooks)
    while state.step < config.steps and not state.diverged:
        _stop_if_requested(state, hooks, f"step {state.step} of {config.steps}")
        started = time.perf_counter()
        _step(state)
        state.train_s += time.perf_counter() - started
        if _is_buffer_full(state) or state.step == config.steps or state.step % config.eval_every == 0:
            _read(state, hooks)
        _evaluate_if_due(state, hooks)
        due = hooks.checkpoint_steps and state.step % hooks.checkpoint_steps == 0
        if due or time.monotonic() - saved_at > hooks.checkpoint_s:
            _save(state, hooks)
            saved_at = time.monotonic()
    if time.monotonic() - saved_at > _WORTH_SAVING_S:
        hooks.save(state)  # the final measurements may take long


def _prepare(state: TrainState, hooks: Hooks) -> None:
    """Run the paradigm's preparation, such as training a discriminator alone. It can be stopped and resumed."""
    saved_at = time.monotonic()
    while not state.diverged and (left := state.paradigm.num_preparation_steps):
        _stop_if_requested(state, hooks, f"step 0, with {left} steps of preparation left")
        state.unread.append(state.guard.run(state.paradigm.prepare))
        if _is_buffer_full(state) or not state.paradigm.num_preparation_steps:
            _read(state, hooks)
        due = hooks.checkpoint_steps and left % hooks.checkpoint_steps == 0
        if due or time.monotonic() - saved_at > hooks.checkpoint_s:
            _save(state, hooks)
            saved_at = time.monotonic()


def _stop_if_requested(state: TrainState, hooks: Hooks, position: str) -> None:
    if hooks.should_stop():
        _save(state, hooks)
        raise StoppedError(f"stopped at {position}", "the checkpoint is kept: run it again")


def _save(state: TrainState, hooks: Hooks) -> None:
    _read(state, hooks)
    hooks.save(state)


def _step(state: TrainState) -> None:
    """Take one step, whose numbers are read later. ``state.step`` counts it even if it diverges."""
    if not state.unread:
        state.unread_since_s = state.train_s
    numbers = state.guard.run(lambda: state.paradigm.step(state.source.next, state.step))
    state.unread.append(numbers)
    state.step += 1
    if state.ema and not numbers.ended_early:
        state.ema.update(state.flow, state.step, state.guard.stopped)


def _is_buffer_full(state: TrainState) -> bool:
    return state.guard.stopped is None or len(state.unread) >= READ_EVERY


def _read(state: TrainState, hooks: Hooks) -> None:
    """Read the numbers of the latest steps: append their rows to the history, and note whether training has diverged.

    Steps after the one that diverged have changed nothing, and do not count. On a GPU, which does not wait for the
    host, each of the steps is said to have taken the same time.
    """
    started = time.perf_counter()
    unread, state.unread = state.unread, []
    rows, has_diverged = read_numbers(unread)
    state.diverged |= has_diverged
    if state.step == 0 or not unread:
        return  # the preparation has no history
    state.train_s += time.perf_counter() - started
    seconds = (state.train_s - state.unread_since_s) / len(rows)
    before = state.step - len(unread)
    state.step = before + len(rows)
    num_steps = state.cell.paradigm.steps
    log_every = max(1, math.ceil(num_steps / MAX_HISTORY))
    for number, scalars in enumerate(rows, 1):
        step = before + number
        if step % log_every == 0 or step == num_steps or (has_diverged and number == len(rows)):
            time_s = state.unread_since_s + number * seconds
            state.history.append({"step": step, **scalars, "time_s": time_s})
            hooks.progress(step, scalars)


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
