"""Train a cell, measure it, publish its result."""

from __future__ import annotations

import contextlib
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nllgen.data.truth import Truth, load_tensors, to_bytes, weights_sha256
from nllgen.errors import MADE_ANEW, CorruptFileError, StoppedError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.exact import draw
from nllgen.metrics.play import Opponent, dead_step
from nllgen.models import Model, make_model
from nllgen.paradigms.adversarial import Adversarial
from nllgen.paradigms.guard import Scalars
from nllgen.paradigms.nsgan import NSGAN
from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.storage.provenance import code_sha256, nllgen_version
from nllgen.storage.result import Result, model_of, read_attrs, write_result
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS, HISTORY_COLUMNS, METRIC_COLUMNS
from nllgen.storage.study_dir import TaskDir
from nllgen.storage.tables import make_table
from nllgen.study.config import SCHEMA, Cell, GeneratorConfig, MetricsConfig
from nllgen.study.hardware import num_cores
from nllgen.study.stored import parse_cell_json
from nllgen.train.checkpoint import resume, save_checkpoint
from nllgen.train.loop import Hooks, train
from nllgen.train.precision import require_precision
from nllgen.train.state import TrainState
from nllgen.worker.equilibrium import predict_critical_step
from nllgen.worker.event_log import EventLog
from nllgen.worker.factory import CellData, make_state
from nllgen.worker.progress import TaskProgress
from nllgen.worker.settings import Settings, echo

_SHOWN = ("val_nll_nats", "val_bits_per_dim", "kl_nats", "frechet_lenet")  # of an evaluation, in the log

Weights = dict[str, dict[str, torch.Tensor]]  # last, best, ema → state dict


@dataclass(frozen=True)
class CellRun:
    """A cell with everything that its training and its measurements need.

    Attributes:
        cell: the cell.
        study: name of its study.
        task_dir: directory of its files.
        data: its images.
        truth: truth of its data or its start; None where it has none.
        evaluator: measures its models.
        metrics: configuration of the measurements.
        settings: settings of the run.
        events: directory of its event files for TensorBoard; None writes none.
    """

    cell: Cell
    study: str
    task_dir: TaskDir
    data: CellData
    truth: Truth | None
    evaluator: Evaluator
    metrics: MetricsConfig
    settings: Settings
    events: Path | None = None


def run_cell(run: CellRun) -> bool:
    """Train a cell from its newest checkpoint to its end and publish model.<digest>.pt and result.h5.

    Returns:
        True if this attempt's result was published, False if another was published first.

    Raises:
        StoppedError: a stop was asked for; the checkpoint is kept.
        MachineError: the machine lacks the cell's precision, or the disk is full.
    """
    cell, task_dir, settings = run.cell, run.task_dir, run.settings
    require_precision(cell.precision, settings.device)
    make_folder(task_dir.path)
    state = resume(lambda: make_state(cell, run.data, run.truth, settings.device), task_dir.checkpoints(), echo)
    echo(f"{cell.label}: {state.flow.num_parameters:,} parameters, {cell.precision}, step {state.step}")
    with contextlib.closing(EventLog(run.events, settings.order.attempt)) as log:
        result, weights = _train_and_measure(run, state, log)
    model = task_dir.model(result.attrs["model_sha256"])
    published = write_result(task_dir.result, result, settings.order.attempt, lambda: write_bytes(model, weights))
    task_dir.remove_leftovers(model_of(task_dir))
    echo(f"{'published' if published else 'already there'}: {task_dir.result}")
    return published


def _train_and_measure(run: CellRun, state: TrainState, log: EventLog) -> tuple[Result, bytes]:
    """Train to the last step and measure; return the result, and the weights as the bytes of their file.

    Raises:
        StoppedError: a stop was asked for; the checkpoint is kept.
    """
    cell, task_dir, settings = run.cell, run.task_dir, run.settings
    num_steps = cell.paradigm.steps
    log.start(state)
    with settings.display(cell.label, num_steps) as update:
        train(state, _hooks(run, state, TaskProgress(update, num_steps, task_dir.progress, state.step), log))
    try:
        with settings.stop.interruptible():
            result, weights = _measure(run, state)
    except StoppedError:
        save_checkpoint(task_dir.checkpoint(settings.order.attempt), state, write_bytes)
        raise
    log.add_result(result)
    return result, weights


def _hooks(run: CellRun, state: TrainState, progress: TaskProgress, log: EventLog) -> Hooks:
    settings = run.settings
    checkpoint = run.task_dir.checkpoint(settings.order.attempt)

    def evaluate(flow: nn.Module, role: str) -> Scalars:
        assert isinstance(flow, Model)
        with settings.stop.interruptible():
            row = _evaluate(run, state, flow, role)
        note = "  ".join(f"{name} {row[name]:.4g}" for name in _SHOWN if name in row)
        echo(f"step {state.step} {role}: {note}{_dead_note([row])}")
        log.add_evaluation(state.step, role, row)
        if role == "raw":
            progress.set_measured(row)
        return row

    def report(step: int, scalars: Scalars) -> None:
        note = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items() if name != "lr")
        progress.set(step, f"{note}{_dead_note(state.evals[-2:])}")
        log.add_history(step, scalars)

    def save(current: TrainState) -> None:
        save_checkpoint(checkpoint, current, write_bytes)
        run.task_dir.remove_checkpoints(keep=checkpoint)
        progress.set_saved(current.step)

    for row in state.evals[-2:]:  # of the step that it resumes from, with averaged weights or without
        if row["weights"] == "raw":
            progress.set_measured({name: value for name, value in row.items() if name in METRIC_COLUMNS})
    return Hooks(
        evaluate=evaluate,
        save=save,
        should_stop=settings.stop,
        progress=report,
        checkpoint_s=settings.options.checkpoint_s,
        checkpoint_steps=settings.options.checkpoint_steps,
    )


def _evaluate(run: CellRun, state: TrainState, model: Model, role: str) -> Scalars:
    """Measure a model during training; the raw weights are measured together with their discriminator."""
    evaluator = run.evaluator
    choice = evaluator.choice(model) if role == "raw" and _is_chosen_by_distance(run.cell) else {}
    return choice | _measure_now(run, state, model, role)


def _is_chosen_by_distance(cell: Cell) -> bool:
    return isinstance(cell.paradigm, GeneratorConfig) and cell.paradigm.best_by == "frechet"


def _measure_now(run: CellRun, state: TrainState, model: Model, role: str) -> Scalars:
    evaluator, paradigm = run.evaluator, state.paradigm
    if role != "raw" or not isinstance(paradigm, Adversarial):
        return evaluator.measure(model)
    row = evaluator.measure(model, _opponent(paradigm))
    row["dead_step"] = dead_step([*state.evals, {"step": state.step, **row}])
    num_latents = run.metrics.num_equilibrium
    if state.step == 0 and not state.diverged and num_latents and run.cell.has_prediction:
        row |= predict_critical_step(state, num_latents, evaluator.references.generator("equilibrium"))
    return row


def _dead_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a note where the generator's gradient is dead; it goes on, since it may come back."""
    steps = [row["dead_step"] for row in rows if math.isfinite(row.get("dead_step", math.nan))]
    return f"  dead since step {steps[-1]:.0f}" if steps else ""


def _opponent(paradigm: Adversarial) -> Opponent:
    logit = paradigm.logit if isinstance(paradigm, NSGAN) else None
    return Opponent(paradigm.generator_gradient, paradigm.game.batch_size, paradigm.context.max_logit, logit)


def _measure(run: CellRun, state: TrainState) -> tuple[Result, bytes]:
    """Measure the final weights on the test split; return the result, and the weights as the bytes of their file."""
    cell = run.cell
    flow = make_model(cell).to(run.settings.device)
    kept = state.weights()
    rows = []
    for name, weights in kept.items():
        started = time.perf_counter()
        flow.load_state_dict(weights)
        row = run.evaluator.measure_final(flow)
        step = state.best["step"] if name == "best" else state.step
        rows.append({"weights": name, "step": step, **row, "time_s": time.perf_counter() - started})
    flow.load_state_dict(kept["last"])
    result = Result(
        attrs=_attrs(run, state, kept),
        history=make_table(state.history, HISTORY_COLUMNS),
        eval=make_table(state.evals, EVAL_COLUMNS),
        final=make_table(rows, FINAL_COLUMNS),
        samples=_kept_samples(run, flow).cpu().numpy(),
    )
    return result, to_bytes({"schema": SCHEMA, "cell": cell.model_dump_json(), "weights": kept})


def _kept_samples(run: CellRun, flow: Model) -> torch.Tensor:
    """Draw the samples that the result keeps, pixels (num_kept, C, H, W)."""
    references, num_kept = run.evaluator.references, run.metrics.num_kept
    if not num_kept:
        return torch.zeros((0, *run.cell.data.shape))
    return references.to_pixels(draw(flow, num_kept, references.generator("kept")))


def _attrs(run: CellRun, state: TrainState, kept: Weights) -> dict[str, Any]:
    cell, settings = run.cell, run.settings
    assert isinstance(state.flow, Model)
    return {
        "cell_id": cell.id,
        "cell": cell.model_dump_json(),
        "study": run.study,
        "outcome": "diverged" if state.diverged else "done",
        "version": nllgen_version(),
        "code_sha256": code_sha256(),
        "container_sha256": settings.options.container_sha256,
        "started_at": settings.started_at,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "device": device_name(settings.device),
        "num_threads": torch.get_num_threads(),
        "num_cpus": num_cores(),
        "num_parameters": state.flow.num_parameters,
        "seconds_per_step": state.train_s / state.step if state.step else float("nan"),
        "attempts": settings.order.attempts,
        "assets": json.dumps(asset_digests(run.evaluator) | state.flow.provenance),
        "torch_version": str(torch.__version__),
        "precision": cell.precision,
        "truth_sha256": run.truth.sha256 if run.truth else "",
        "model_sha256": _model_sha256(kept),
        "dead_step": dead_step(state.evals),
    }


def _model_sha256(kept: Weights) -> str:
    return weights_sha256({f"{kind}/{name}": tensor for kind, part in kept.items() for name, tensor in part.items()})


def asset_digests(evaluator: Evaluator) -> dict[str, str]:
    """Return the digest of each extractor's weights, by its name."""
    return {extractor.name: extractor.sha256 for extractor in evaluator.references.extractors}


def device_name(device: torch.device) -> str:
    """Return the name of a device for a result's attributes: the GPU's model, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def load_model(task_dir: TaskDir, cell: Cell) -> Weights:
    """Load the weights that result.h5 was measured on.

    Returns:
        last, best or ema → state dict.

    Raises:
        CorruptFileError: the file is damaged, another cell's, or not the weights that result.h5 was measured on.
    """
    measured = read_attrs(task_dir.result)["model_sha256"]
    path = task_dir.model(measured)
    content = load_tensors(path)
    try:
        if parse_cell_json(content["cell"], str(path)).id != cell.id:
            raise ValueError("it is another cell's")
        weights: Weights = content["weights"]
        if _model_sha256(weights) != measured:
            raise ValueError("its weights are not those that result.h5 was measured on")
        return weights
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFileError(f"{path}: {error}", MADE_ANEW) from error
