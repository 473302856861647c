"""Train a cell, measure it, publish its result."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nllgen.data.truth import Truth, load_tensors, to_bytes, weights_sha256
from nllgen.errors import CorruptFileError, StoppedError
from nllgen.metrics.evaluate import Evaluator
from nllgen.metrics.exact import draw
from nllgen.models import Model, make_model
from nllgen.paradigms.base import Scalars
from nllgen.paradigms.nsgan import NSGAN
from nllgen.storage.atomic import make_folder, write_bytes
from nllgen.storage.provenance import code_sha256, nllgen_version
from nllgen.storage.result import Result, read_attrs, write_result
from nllgen.storage.schema import EVAL_COLUMNS, FINAL_COLUMNS, HISTORY_COLUMNS
from nllgen.storage.study_dir import TaskDir
from nllgen.storage.tables import make_table
from nllgen.study.config import SCHEMA, Cell, MetricsConfig
from nllgen.train.checkpoint import resume, save_checkpoint
from nllgen.train.loop import Hooks, train
from nllgen.train.precision import require_precision
from nllgen.train.state import TrainState
from nllgen.worker.equilibrium import prediction
from nllgen.worker.factory import CellData, make_state
from nllgen.worker.progress import TaskProgress


@dataclass(frozen=True)
class Settings:
    """How a task is run, none of it science.

    Attributes:
        device: where.
        assets: folder of fetched assets.
        attempt: name of this attempt, unique among those of the study.
        should_stop: whether a stop was asked for.
        interruptible: makes a context in which a stop raises StoppedError at once, for long work that keeps no state.
        checkpoint_s, checkpoint_steps: how often the state is saved.
        attempts: number of attempts on this task so far, this one included.
        container_sha256: of the container image that this runs in, empty outside one.
        strict_container: a result that another image made does not count.
    """

    device: torch.device
    assets: Path
    attempt: str
    should_stop: Callable[[], bool]
    checkpoint_s: float = 300.0
    checkpoint_steps: int = 0
    attempts: int = 1
    container_sha256: str = ""
    strict_container: bool = False
    interruptible: Callable[[], AbstractContextManager[Any]] = nullcontext
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def echo(text: str) -> None:
    """A plain line in the log."""
    print(text, flush=True)


def move_aside(path: Path, reason: str, then: str = "running again") -> None:
    """Keep a file that does not count under another name, and print why and what follows."""
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except FileNotFoundError:  # somebody else has met it and moved it
        return
    echo(f"{reason}\nmoved to {aside.name}, {then}")


def run_cell(
    cell: Cell,
    study: str,
    folder: TaskDir,
    data: CellData,
    truth: Truth | None,
    evaluator: Evaluator,
    metrics: MetricsConfig,
    settings: Settings,
) -> bool:
    """Train ``cell`` from where it is to its end and publish result.h5 and model.pt.

    Returns:
        Whether this attempt's result was published; False where another was first.

    Raises:
        StoppedError: a stop was asked for; the checkpoint is kept.
        MachineError: the machine lacks the cell's precision, or the disk is full.
    """
    require_precision(cell.precision, settings.device)
    make_folder(folder.path)
    state = resume(lambda: make_state(cell, data, truth, settings.device), folder.checkpoints(), echo)
    echo(f"{cell.label}: {state.flow.num_parameters:,} parameters, {cell.precision}, step {state.step}")
    with TaskProgress(cell.label, cell.paradigm.steps, folder.progress, state.step) as progress:
        train(state, _hooks(state, folder, evaluator, metrics, settings, progress))
    try:
        with settings.interruptible():
            result, weights = _measure(state, study, truth, evaluator, metrics, settings)
    except StoppedError:
        save_checkpoint(folder.checkpoint(settings.attempt), state, write_bytes)
        raise
    published = write_result(folder.result, result, settings.attempt, lambda: write_bytes(folder.model, weights))
    folder.remove_leftovers()
    echo(f"{'published' if published else 'already there'}: {folder.result}")
    return published


def _hooks(
    state: TrainState,
    folder: TaskDir,
    evaluator: Evaluator,
    metrics: MetricsConfig,
    settings: Settings,
    progress: TaskProgress,
) -> Hooks:
    checkpoint = folder.checkpoint(settings.attempt)

    def evaluate(flow: nn.Module, role: str) -> Scalars:
        assert isinstance(flow, Model)
        with settings.interruptible():
            row = _evaluation(state, flow, role, evaluator, metrics)
        shown = ("val_nll_nats", "val_bits_per_dim", "kl_nats", "frechet_lenet")
        note = "  ".join(f"{name} {row[name]:.4g}" for name in shown if name in row)
        echo(f"step {state.step} {role}: {note}")
        return row

    def report(step: int, scalars: Scalars) -> None:
        progress.at(step, "  ".join(f"{name} {value:.4g}" for name, value in scalars.items() if name != "lr"))

    def save(current: TrainState) -> None:
        save_checkpoint(checkpoint, current, write_bytes)
        folder.remove_checkpoints(keep=checkpoint)
        progress.saved(current.step)

    return Hooks(
        evaluate=evaluate,
        save=save,
        should_stop=settings.should_stop,
        progress=report,
        checkpoint_s=settings.checkpoint_s,
        checkpoint_steps=settings.checkpoint_steps,
    )


def _evaluation(state: TrainState, model: Model, role: str, evaluator: Evaluator, metrics: MetricsConfig) -> Scalars:
    """The columns of one model; the raw weights stand in their game."""
    paradigm = state.paradigm
    if role != "raw" or not isinstance(paradigm, NSGAN):
        return evaluator.measure(model)
    row = evaluator.measure(model, paradigm.logit)
    if state.step == 0 and not state.diverged and metrics.num_equilibrium and state.cell.has_prediction:
        row |= prediction(state, metrics.num_equilibrium, evaluator.references.generator("equilibrium"))
    return row


def _measure(
    state: TrainState,
    study: str,
    truth: Truth | None,
    evaluator: Evaluator,
    metrics: MetricsConfig,
    settings: Settings,
) -> tuple[Result, bytes]:
    """The final metrics on the test split, the samples, and the weights as model.pt's bytes."""
    cell = state.cell
    flow = make_model(cell).to(settings.device)
    kept = state.weights()
    references = evaluator.references
    rows = []
    for name, weights in kept.items():
        started = time.perf_counter()
        flow.load_state_dict(weights)
        row = evaluator.measure_final(flow)
        step = state.best["step"] if name == "best" else state.step
        rows.append({"weights": name, "step": step, **row, "time_s": time.perf_counter() - started})
    flow.load_state_dict(kept["last"])
    pixels = (
        references.to_pixels(draw(flow, metrics.num_kept, references.generator("kept"))) if metrics.num_kept else None
    )
    shape = (0, *cell.data.shape)
    result = Result(
        attrs=_attrs(state, study, truth, evaluator, kept, settings),
        history=make_table(state.history, HISTORY_COLUMNS),
        eval=make_table(state.evals, EVAL_COLUMNS),
        final=make_table(rows, FINAL_COLUMNS),
        samples=(torch.zeros(shape) if pixels is None else pixels).cpu().numpy(),
    )
    return result, to_bytes({"schema": SCHEMA, "cell": cell.model_dump_json(), "weights": kept})


def _attrs(
    state: TrainState,
    study: str,
    truth: Truth | None,
    evaluator: Evaluator,
    kept: dict[str, dict[str, torch.Tensor]],
    settings: Settings,
) -> dict[str, Any]:
    cell = state.cell
    assert isinstance(state.flow, Model)
    return {
        "cell_id": cell.id,
        "cell": cell.model_dump_json(),
        "study": study,
        "outcome": "diverged" if state.diverged else "done",
        "version": nllgen_version(),
        "code_sha256": code_sha256(),
        "container_sha256": settings.container_sha256,
        "started_at": settings.started_at,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "device": device_name(settings.device),
        "num_threads": torch.get_num_threads(),
        "num_cpus": len(os.sched_getaffinity(0)),
        "num_parameters": state.flow.num_parameters,
        "seconds_per_step": state.train_s / state.step if state.step else float("nan"),
        "attempts": settings.attempts,
        "assets": json.dumps(asset_digests(evaluator) | state.flow.provenance),
        "torch_version": str(torch.__version__),
        "precision": cell.precision,
        "truth_sha256": truth.sha256 if truth else "",
        "model_sha256": _model_sha256(kept),
    }


def _model_sha256(kept: dict[str, dict[str, torch.Tensor]]) -> str:
    return weights_sha256({f"{kind}/{name}": tensor for kind, part in kept.items() for name, tensor in part.items()})


def asset_digests(evaluator: Evaluator) -> dict[str, str]:
    """Extractor → digest of its weights."""
    return {extractor.name: extractor.sha256 for extractor in evaluator.references.extractors}


def device_name(device: torch.device) -> str:
    """What a device is called in a result."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def load_model(folder: TaskDir, cell: Cell) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of model.pt by name (last, best, ema).

    Raises:
        CorruptFileError: it is damaged, another cell's, or not what result.h5 was measured on.
    """
    content = load_tensors(folder.model)
    measured = read_attrs(folder.result)["model_sha256"]
    try:
        if Cell.model_validate_json(content["cell"]).id != cell.id:
            raise ValueError("it is another cell's")
        weights: dict[str, dict[str, torch.Tensor]] = content["weights"]
        if _model_sha256(weights) != measured:
            raise ValueError("its weights are not those that result.h5 was measured on")
        return weights
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFileError(f"{folder.model}: {error}", "remove it with its result.h5 and submit again") from error
