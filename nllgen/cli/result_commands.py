"""The commands that collect the results of a study and report on them: collect, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cloup

from nllgen.cli.analysis import importing_analysis
from nllgen.cli.collecting import collect_study, up_to_date
from nllgen.cli.options import COLLECTED, PATH, STUDY_ROOT, example, study_argument
from nllgen.cli.output import echo, warn
from nllgen.errors import EXIT_CELLS_FAILED, CorruptFileError

if TYPE_CHECKING:
    from nllgen.storage.study_dir import StudyDir


@cloup.command(epilog=example("nllgen collect smoke", "nllgen collect smoke -o smoke.h5 --allow-missing"))
@study_argument
@cloup.option("-o", "--out", type=PATH, help="File to write. [default: study.h5 in the study's directory]")
@cloup.option("--allow-missing", is_flag=True, help="Collect an incomplete study; its missing cells are marked.")
@cloup.option("--force", is_flag=True, help="Replace the file even if it is no older study.h5 of this study.")
def collect(study_dir: StudyDir, out: Path | None, allow_missing: bool, force: bool) -> None:
    """Check that a study is complete; write its results into one file.

    The file is study.h5, and `nllgen report` reads nothing else. Ends with 1 if no cell has a result, and without
    --allow-missing if any lacks one."""
    from nllgen.storage.find_study import require_replaceable
    from nllgen.storage.states import weightless_note

    if out is not None and not force:
        require_replaceable(out, study_dir.read_study().name)
    result = collect_study(study_dir, out or study_dir.collected, echo, allow_missing=allow_missing)
    echo(f"{result.num_done} done, {result.num_diverged} diverged, {len(result.holes)} without a result: {result.path}")
    if note := weightless_note(result.weightless, study_dir.path):
        echo(note)
    if not result.num_with_result:
        echo(result.share_text)
        sys.exit(EXIT_CELLS_FAILED)
    echo(f"next: nllgen report {result.path} --out report")


@cloup.command(epilog=example("nllgen report smoke --out report", "nllgen report runs/smoke/study.h5 --out report"))
@COLLECTED
@STUDY_ROOT
@cloup.option("--out", type=PATH, required=True, help="Directory for figures, tables and report.html.")
def report(study: StudyDir | Path, out: Path) -> None:
    """Draw figures and tables, and judge the study's claims.

    Writes one report.html. The study is collected first if its study.h5 is missing or older than a result.

    Needs neither torch nor a network.
    """
    from nllgen.study.path_kinds import PathKind, not_collected, path_kind

    with importing_analysis():
        from nllgen_analysis.report import write_report
    from nllgen.cli.progress import counted
    from nllgen.storage.processes import num_processes

    if isinstance(study, Path):
        study_h5 = study
        _note_newer_results(study_h5)
    else:
        study_h5 = up_to_date(study, echo, warn)
    try:
        with counted("drawing figures", echo) as progress:
            written = write_report(study_h5, out, processes=num_processes(), progress=progress)
    except CorruptFileError as error:
        if path_kind(study_h5) in (PathKind.DATASET_H5, PathKind.METRICS_H5):
            raise not_collected(study_h5, study_h5.absolute().parent) from error
        raise
    for line in written.lines:
        echo(line)
    echo()
    for sentence in written.findings:
        echo(f"• {sentence}")
    echo(f"open {written.html}")


def _note_newer_results(study_h5: Path) -> None:
    """Print that a study.h5 in its study's directory is older than a result there: it is reported as it is."""
    from nllgen.launch.collection import is_behind
    from nllgen.storage.study_dir import StudyDir

    study_dir = StudyDir(study_h5.absolute().parent)
    if study_dir.is_frozen and study_h5.name == study_dir.collected.name and is_behind(study_dir):
        warn(f"{study_h5} is older than some results; nllgen report {study_dir.path} collects them first")
