"""The commands that take results elsewhere: export."""

from __future__ import annotations

from pathlib import Path

import click
import cloup

from nllgen.cli.analysis import importing_analysis
from nllgen.cli.options import PATH, RESULTS, STUDY_ROOT, example
from nllgen.cli.output import echo

_FORMATS = ("csv", "parquet", "tensorboard")


@cloup.command(
    epilog=example("nllgen export smoke --format csv", "nllgen export study.h5 --format parquet --out tables")
)
@RESULTS
@STUDY_ROOT
@cloup.option("--format", "to", type=click.Choice(_FORMATS), required=True, help="Format of the files.")
@cloup.option("--out", type=PATH, help="Directory to write into. [default: <study>-<format>]")
@cloup.option("--force", is_flag=True, help="Replace the files of an earlier export.")
def export(study_path: Path, to: str, out: Path | None, force: bool) -> None:
    """Write a study's results for other programs.

    csv and parquet are one file a table, with the units in `columns`; tensorboard is one directory a run. A study that
    still runs is written as it is now.
    """
    with importing_analysis():
        from nllgen_analysis.export import Format
        from nllgen_analysis.export import export as export_frames
        from nllgen_analysis.frames import load
    frames = load(study_path)
    directory = out or Path(f"{frames.name}-{to}")
    written = export_frames(frames, directory, Format(to), replace=force)
    echo(
        f"{frames.counts_text}: {len(written)} {'runs' if Format(to) is Format.TENSORBOARD else 'files'} in {directory}"
    )
    if Format(to) is Format.TENSORBOARD:
        echo(f"next: tensorboard --logdir {directory}")
