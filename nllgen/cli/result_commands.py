"""The commands that collect the results of a study and report on them: collect, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cloup

from nllgen.cli.analysis import importing_analysis
from nllgen.cli.options import COLLECTED, PATH, STUDY_ROOT, example, study_argument
from nllgen.cli.output import echo

if TYPE_CHECKING:
    from nllgen.storage.study_dir import StudyDir

_NUM_PICTURES = 64  # of MNIST, beside the samples of a report


@cloup.command(epilog=example("nllgen collect smoke", "nllgen collect smoke -o smoke.h5 --allow-missing"))
@study_argument
@cloup.option("-o", "--out", type=PATH, help="File to write. [default: study.h5 in the study's directory]")
@cloup.option("--allow-missing", is_flag=True, help="Collect an incomplete study; its missing cells are marked.")
@cloup.option("--force", is_flag=True, help="Replace the file even if it is no older study.h5 of this study.")
def collect(study_dir: StudyDir, out: Path | None, allow_missing: bool, force: bool) -> None:
    """Check that a study is complete; write its results into one file.

    The file is study.h5, and `nllgen report` reads nothing else."""
    from nllgen.assets import asset_folder, mnist_pictures
    from nllgen.storage.collect import collect as collect_results
    from nllgen.storage.find_study import require_replaceable
    from nllgen.storage.states import weightless_note

    study = study_dir.read_study()
    if out is not None and not force:
        require_replaceable(out, study.name)
    size = (study.truth or study.cells[0]).data.image_size
    pictures = mnist_pictures(asset_folder(), _NUM_PICTURES, size)
    reference = {} if pictures is None else {"mnist": pictures}
    path = out or study_dir.path / "study.h5"
    result = collect_results(study_dir, path, allow_missing=allow_missing, reference=reference)
    echo(f"{result.num_done} done, {result.num_diverged} diverged, {len(result.holes)} without a result: {result.path}")
    if note := weightless_note(result.weightless, study_dir.path):
        echo(note)
    echo(f"next: nllgen report {result.path} --out report")


@cloup.command(epilog=example("nllgen report smoke --out report", "nllgen report study.h5 --out report"))
@COLLECTED
@STUDY_ROOT
@cloup.option("--out", type=PATH, required=True, help="Directory for figures, tables and report.html.")
def report(study_h5: Path, out: Path) -> None:
    """Draw figures and tables, and judge the study's claims.

    Writes one report.html.

    Needs neither torch nor a network.
    """
    with importing_analysis():
        from nllgen_analysis.report import write_report
    written = write_report(study_h5, out)
    for line in written.lines:
        echo(line)
    echo()
    for sentence in written.findings:
        echo(f"• {sentence}")
    echo(f"open {written.html}")
