"""Commands that measure what is finished, here or elsewhere. Parse, call one function, print."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from nllgen.cli.options import DEVICE, IMAGES, JSON, STUDY, cores, echo, folder_at


@click.command()
@STUDY
@click.option("--metric", "metrics", multiple=True, required=True, help="A group of metrics; may be given again.")
@click.option("--cell", "cell_ids", multiple=True, help="An id, or `truth`; may be given again. Default: all.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: every core.")
@DEVICE
def evaluate(
    study_dir: Path, metrics: tuple[str, ...], cell_ids: tuple[str, ...], threads: int | None, device: str
) -> None:
    """Measure a further metric on finished cells, from the weights they kept; nothing is trained."""
    from nllgen.cli.measuring import evaluate_study

    done = evaluate_study(folder_at(study_dir), metrics, cell_ids, threads or cores(), device)
    echo(
        f"{done.measured} measured, {done.there} there before, {done.unmeasurable} that lack what it needs, "
        f"{done.unfinished} without a result"
    )
    echo(f"next: nllgen collect {study_dir}")


@click.command()
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("--num-train", type=IMAGES, default=50_000, show_default=True, help="Images of the training split.")
@click.option("--num-val", type=IMAGES, default=10_000, show_default=True, help="Of the validation split.")
@click.option("--num-test", type=IMAGES, default=10_000, show_default=True, help="Of the test split.")
@click.option("--num-entropy", type=IMAGES, default=50_000, show_default=True, help="Draws behind the entropy.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Default: every core.")
def draw(truth: Path, threads: int | None, **sizes: int) -> None:
    """Draw the data set of a truth.pt, beside it: images with their exact log-densities.

    One that is there is kept, and what it lacks is added.
    """
    from nllgen.cli.measuring import draw as draw_from
    from nllgen.study.config import DatasetConfig

    weights = draw_from(truth.absolute(), DatasetConfig(**sizes), threads or cores())
    echo(f"next: nllgen score --truth {weights} --log-probs FILE")


@click.command()
@click.option("--truth", type=click.Path(path_type=Path), required=True, help="truth.pt, its folder, or a study's.")
@click.option("--samples", type=click.Path(path_type=Path), help=".npz or HDF5 with x or samples/x (n, C, H, W).")
@click.option("--log-probs", type=click.Path(path_type=Path), help=".npz or HDF5 with log_prob (N,), nats.")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Rows of dataset.h5 that the log-densities are of.",
)
@click.option(
    "--space",
    type=click.Choice(["logits", "pixels"]),
    default="logits",
    show_default=True,
    help="What the samples are; pixels lie in [0, 1], or are uint8.",
)
@DEVICE
@JSON
def score(
    truth: Path,
    samples: Path | None,
    log_probs: Path | None,
    split: str,
    space: Literal["logits", "pixels"],
    device: str,
    as_json: bool,
) -> None:
    """Score log-densities or samples made elsewhere against a truth of known density."""
    from nllgen.cli import measuring
    from nllgen.cli.common import print_json

    found = measuring.score(truth.absolute(), samples, log_probs, split, space, device)
    print_json(measuring.as_json(found)) if as_json else measuring.show_scores(found)
