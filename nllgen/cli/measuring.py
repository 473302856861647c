"""The commands to what is trained already: ``evaluate``, ``draw`` and ``score``. Imported when one of them is opened."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click

from nllgen.assets import asset_folder
from nllgen.cli.progress_bar import task_display
from nllgen.errors import CellsFailedError, ConfigError, MachineError
from nllgen.storage.study_dir import StudyDir
from nllgen.study.config import Cell, DatasetConfig, MetricGroup, Study
from nllgen.study.diagnostics import did_you_mean, not_allowed
from nllgen.study.run_options import RunOptions

if TYPE_CHECKING:
    from nllgen.worker.evaluate import Evaluated

_MAX_NAMED = 20


def evaluate_study(
    folder: StudyDir, metrics: Sequence[str], cell_ids: Sequence[str], threads: int, device: str
) -> Evaluated:
    """Measure groups of metrics on the finished cells of a study, from their kept weights.

    Raises:
        ConfigError: there is no such metric or cell, or a named cell has no result.
        CellsFailedError: some could not be measured; the others were.
        StoppedError: Ctrl-C; what was measured is kept.
    """
    allowed = get_args(MetricGroup)
    for name in metrics:
        if name not in allowed:
            raise ConfigError(f"--metric: {not_allowed(name, allowed)}")
    study = folder.read_study()
    cells = _cells(folder, study, cell_ids)
    _require_torch()
    from nllgen.launch.stop_signal import StopRequest
    from nllgen.worker.setup import enter_evaluation

    names = list(dict.fromkeys(metrics))
    done = enter_evaluation(folder, names, cells, RunOptions(asset_folder(), device, threads), StopRequest())
    if done.failed:
        more = f"\n  and {len(done.failed) - _MAX_NAMED} more" if len(done.failed) > _MAX_NAMED else ""
        raise CellsFailedError(
            "\n  ".join([f"{len(done.failed)} cells could not be measured:", *done.failed[:_MAX_NAMED]]) + more,
            "the other cells were measured; mend these and run the same command again",
        )
    return done


def _cells(folder: StudyDir, study: Study, cell_ids: Sequence[str]) -> list[Cell]:
    """The cells that were named, ``truth`` among them, or all of the study with its truth."""
    known = {cell.id: cell for cell in study.cells}
    if study.truth is not None and study.trains_truth:
        known |= {"truth": study.truth}
    for cell_id in cell_ids:
        if cell_id not in known:
            raise ConfigError(
                f"study {study.name} has no cell {cell_id!r}{did_you_mean(cell_id, known)}",
                "`nllgen status` lists the ids of its cells",
            )
        task = folder.truth(known[cell_id].id) if cell_id == "truth" else folder.cell(cell_id)
        if not task.result.exists():
            raise ConfigError(f"{cell_id} has no result yet", f"see: nllgen status {folder.path}")
    return [known[cell_id] for cell_id in dict.fromkeys(cell_ids or known)]


def draw(truth: Path, config: DatasetConfig, threads: int) -> Path:
    """Draw the data set of a truth, or what is missing of it, beside its truth.pt.

    Args:
        truth: truth.pt, its folder, or a study's.
        config: how many images.
        threads: of torch.

    Returns:
        truth.pt.

    Raises:
        ConfigError: no truth is there, or the data set that is there was drawn from another.
        StoppedError: Ctrl-C; nothing was written.
    """
    _require_torch()
    from nllgen.launch.stop_signal import StopRequest
    from nllgen.worker.score import find_weights
    from nllgen.worker.setup import enter_drawing

    weights = find_weights(truth)
    enter_drawing(weights, weights.with_name("dataset.h5"), config, threads, StopRequest(), task_display())
    return weights


def score(
    truth: Path,
    samples: Path | None,
    log_probs: Path | None,
    split: str,
    space: Literal["logits", "pixels"],
    device: str,
) -> dict[str, Any]:
    """Score log-densities or samples made elsewhere against a truth.

    Raises:
        ConfigError: neither or both were given, or what was given does not fit the truth.
    """
    if (samples is None) == (log_probs is None):
        raise ConfigError("score takes either --samples or --log-probs", "nllgen score --help tells their layout")
    _require_torch()
    from nllgen.worker.score import find_truth, score_log_probs, score_samples
    from nllgen.worker.setup import device_of

    files = find_truth(truth)
    if log_probs is not None:
        return score_log_probs(files, log_probs, split)
    assert samples is not None
    return score_samples(files, samples, space, device_of(device))


def as_json(scores: dict[str, Any]) -> dict[str, Any]:
    """Numbers that JSON has: infinite and missing ones become null."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in scores.items()}  # fmt: skip


def show_scores(scores: dict[str, Any]) -> None:
    """A line a number, with its standard error where it has one."""
    for name, value in scores.items():
        if name in _errors(scores):
            continue
        if not isinstance(value, float):
            click.echo(f"{name:<28} {value}")
            continue
        error = scores.get(_error_name(name))
        click.echo(f"{name:<28} {value:.6g}" + ("" if error is None else f" ± {error:.2g}"))


def _error_name(name: str) -> str:
    """kl_nats → kl_se_nats, kid_lenet → kid_se_lenet."""
    head, _, tail = name.rpartition("_")
    return f"{head}_se_{tail}"


def _errors(scores: dict[str, Any]) -> set[str]:
    return {_error_name(name) for name in scores} & set(scores)


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise MachineError("torch is not installed, and measuring needs it", "pip install 'nllgen[train]'")
