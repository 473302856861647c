"""The commands that measure what is trained already: evaluate, draw, score."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import cloup

from nllgen.cli.completion import complete_cells, complete_metrics
from nllgen.cli.options import (
    DEVICE,
    JSON,
    NUM_THREADS,
    PATH,
    STUDY_ROOT,
    TRUST,
    TRUTH_ARGUMENT,
    TRUTH_OPTION,
    example,
    study_argument,
)
from nllgen.cli.output import MAX_NAMED, echo, finite, print_json, warn
from nllgen.errors import CellsFailedError, ConfigError
from nllgen.study.metric_groups import METRIC_GROUPS, group_name

if TYPE_CHECKING:
    from nllgen.storage.study_dir import StudyDir
    from nllgen.study.config import DatasetConfig
    from nllgen.worker.evaluate import Evaluated

Space = Literal["logits", "pixels"]


def _count_option(name: str, default: int, text: str) -> Callable[[Any], Any]:
    return cloup.option(name, metavar="N", type=cloup.IntRange(2, 10**6), default=default, show_default=True, help=text)


def _groups(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(group_name, value))


@cloup.command(epilog=example("nllgen evaluate smoke --metric frechet_inf --metric kid"))
@study_argument
@cloup.option(
    "--metric", "metrics", metavar="GROUP", multiple=True, required=True, callback=_groups,
    shell_complete=complete_metrics, help=f"A group of metrics; repeatable. One of {', '.join(METRIC_GROUPS)}.",
)  # fmt: skip
@cloup.option(
    "--cell",
    "cell_ids",
    metavar="CELL",
    multiple=True,
    help="Id of a cell, or truth; repeatable. [default: all]",
    shell_complete=complete_cells,
)
@NUM_THREADS
@TRUST
@DEVICE
def evaluate(
    study_dir: StudyDir, metrics: tuple[str, ...], cell_ids: tuple[str, ...], threads: int | None, trust: bool,
    device: str,
) -> None:  # fmt: skip
    """Measure a further metric on finished cells.

    Reads their stored weights, and trains nothing.
    """
    from nllgen.study.hardware import num_cores

    done = evaluate_study(study_dir, metrics, cell_ids, threads or num_cores(), device, trust=trust)
    echo(
        f"{done.measured} measured, {done.there} measured before, {done.unmeasurable} that lack what it needs, "
        f"{done.unfinished} without a result"
    )
    echo(f"next: nllgen collect {study_dir.path}")


def evaluate_study(
    study_dir: StudyDir,
    metrics: Sequence[str],
    cell_ids: Sequence[str],
    threads: int,
    device: str,
    *,
    trust: bool = False,
) -> Evaluated:
    """Measure groups of metrics on finished cells, and return how many were measured.

    Raises:
        ConfigError: a metric or cell does not exist, or a named cell has no result.
        UntrustedError: this user did not submit the study here, and does not accept what would run.
        CellsFailedError: some cells could not be measured; the others were.
        StoppedError: Ctrl-C; measurements that are complete are kept.
    """
    from nllgen.assets import asset_folder
    from nllgen.cli.progress import task_display
    from nllgen.launch.gpus import require_torch
    from nllgen.launch.stop_signal import StopRequest
    from nllgen.launch.trust import require_trust
    from nllgen.planning.study_plan import cells_to_evaluate
    from nllgen.study.run_options import RunOptions

    cells = cells_to_evaluate(study_dir, metrics, cell_ids)
    study_dir.guard()
    require_trust(study_dir, study_dir.read_study(), accept=trust, echo=warn)
    require_torch("measuring")
    from nllgen.worker.setup import enter_evaluation

    names = list(dict.fromkeys(metrics))
    options = RunOptions(asset_folder(), device, threads)
    done = enter_evaluation(study_dir, names, cells, options, StopRequest(), task_display())
    if failed := done.failed:
        more = [f"and {len(failed) - MAX_NAMED} more"] if len(failed) > MAX_NAMED else []
        raise CellsFailedError(
            "\n  ".join([f"{len(failed)} cells could not be measured:", *failed[:MAX_NAMED], *more]),
            "the other cells were measured; repair these and run the same command again",
        )
    return done


@cloup.command(epilog=example("nllgen draw smoke", "nllgen draw runs/smoke/truths/3f2a0c --num-train 50000"))
@STUDY_ROOT
@TRUTH_ARGUMENT
@_count_option("--num-train", 50_000, "Training images.")
@_count_option("--num-val", 10_000, "Validation images.")
@_count_option("--num-test", 10_000, "Test images.")
@_count_option("--num-entropy", 50_000, "Draws that estimate the entropy.")
@NUM_THREADS
@cloup.option("--yes", is_flag=True, help="Do not ask before drawing more images than the truth's study has.")
@click.pass_context
def draw(
    ctx: click.Context, truth: Path, num_train: int, num_val: int, num_test: int, num_entropy: int,
    threads: int | None, yes: bool,
) -> None:  # fmt: skip
    """Draw images and their exact log-densities from a truth.

    Writes dataset.h5 beside the truth.pt. An existing data set is kept, and only missing images are added. After Ctrl-C
    the same command goes on where it stopped.
    """
    from nllgen.cli.progress import task_display
    from nllgen.launch.gpus import require_torch
    from nllgen.launch.stop_signal import StopRequest
    from nllgen.study.config import DatasetConfig
    from nllgen.study.hardware import num_cores

    require_torch("drawing")
    from nllgen.worker.score import find_weights
    from nllgen.worker.setup import enter_drawing

    config = DatasetConfig(num_train=num_train, num_val=num_val, num_test=num_test, num_entropy=num_entropy)
    weights = find_weights(truth.absolute())
    if not yes and not any(map(partial(_is_typed, ctx), ("num_train", "num_val", "num_test"))):
        _ask_for_more_than_the_study(weights, config)
    path, stop = weights.with_name("dataset.h5"), StopRequest()
    enter_drawing(weights, path, config, threads or num_cores(), stop, task_display())
    echo(f"next: nllgen score --truth {weights} --log-probs FILE")


def _is_typed(ctx: click.Context, option: str) -> bool:
    """Return whether an option is on the command line."""
    return ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def _ask_for_more_than_the_study(weights: Path, config: DatasetConfig) -> None:
    """Ask before more images are drawn than the study of a truth has.

    Raises:
        ConfigError: the answer is no, or there is nobody to ask.
    """
    from nllgen.storage.study_dir import StudyDir

    directory = weights.parent.parent.parent  # of a study, where the weights are its truth's
    study_dir = StudyDir(directory)
    if not study_dir.is_frozen:
        return
    own = study_dir.read_study().dataset
    asked, there = config.num_images, own.num_images
    if asked <= there:
        return
    numbers = f"--num-train {own.num_train} --num-val {own.num_val} --num-test {own.num_test}"
    text = f"{asked:,} images are to be drawn, and the study {study_dir.path.name} has {there:,}"
    if not sys.stdin.isatty() or not click.confirm(f"{text}; draw them?"):
        raise ConfigError(text, f"give the numbers: {numbers}; or --yes for {asked:,}")


@cloup.command(
    epilog=example(
        "nllgen score --truth smoke --log-probs mine.npz",
        "nllgen score --truth truth.pt --samples mine.npz --space pixels --json",
    )
)
@STUDY_ROOT
@TRUTH_OPTION
@cloup.option("--samples", type=PATH, help="Samples to score: .npz or HDF5 with x or samples/x, shape (N, C, H, W).")
@cloup.option("--log-probs", type=PATH, help="Log-densities to score: .npz or HDF5 with log_prob, shape (N,), in nats.")
@cloup.option(
    "--split", type=cloup.Choice(["train", "val", "test"]), default="test", show_default=True,
    help="Split of dataset.h5 that the log-densities belong to.",
)  # fmt: skip
@cloup.option(
    "--space", type=cloup.Choice(["logits", "pixels"]), default="logits", show_default=True,
    help="Space of the samples; pixels lie in [0, 1], or are uint8.",
)  # fmt: skip
@DEVICE
@JSON
def score(
    truth: Path, samples: Path | None, log_probs: Path | None, split: str, space: Space, device: str, as_json: bool
) -> None:
    """Score samples or log-densities of any model against a truth."""
    scores = score_files(truth.absolute(), samples, log_probs, split, space, device)
    print_json({name: finite(value) for name, value in scores.items()}) if as_json else print_scores(scores)


def score_files(
    truth: Path, samples: Path | None, log_probs: Path | None, split: str, space: Space, device: str
) -> dict[str, Any]:
    """Return the scores of a file of samples or of log-densities.

    Raises:
        ConfigError: neither or both files are named, or the file does not fit the truth.
    """
    from nllgen.launch.gpus import require_torch

    if (samples is None) == (log_probs is None):
        raise ConfigError("score takes either --samples or --log-probs", "nllgen score --help describes both files")
    require_torch("scoring")
    from nllgen.worker.score import find_truth, score_log_probs, score_samples
    from nllgen.worker.setup import device_of

    files = find_truth(truth)
    if log_probs is not None:
        return score_log_probs(files, log_probs, split)
    assert samples is not None
    return score_samples(files, samples, space, device_of(device))


def print_scores(scores: dict[str, Any]) -> None:
    """Print a line per score, with its standard error."""
    error_names = {_error_name(name) for name in scores}
    for name in [name for name in scores if name not in error_names]:
        value, error = scores[name], scores.get(_error_name(name))
        number = f"{value:.6g}" if isinstance(value, float) else str(value)
        echo(f"{name:<28} {number}" + ("" if error is None else f" ± {error:.2g}"))


def _error_name(name: str) -> str:
    """Return the name of a score's standard error: kl_nats → kl_se_nats, kid_lenet → kid_se_lenet."""
    head, _, tail = name.rpartition("_")
    return f"{head}_se_{tail}"
