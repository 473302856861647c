"""The commands that change a running study or its directory: cancel, retry, check."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import cloup

from nllgen.cli.completion import complete_cells, complete_failures, complete_profiles
from nllgen.cli.options import NOTIFY, TRUST, example, study_argument
from nllgen.cli.output import MAX_NAMED, echo, shortened, warn
from nllgen.errors import EXIT_CELLS_FAILED, EXIT_ENVIRONMENT

_MANY_ASKED = "cells ran and were asked to save their state"

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nllgen.launch.cancel import CancelResult
    from nllgen.storage.study_dir import StudyDir


_CELLS = cloup.argument(
    "cells",
    nargs=-1,
    metavar="[CELL]...",
    help="Ids of cells, or beginnings of ids. [default: all]",
    shell_complete=complete_cells,
)


@cloup.command(epilog=example("nllgen cancel smoke", "nllgen cancel smoke 3f2a --now"))
@study_argument
@_CELLS
@cloup.option("--now", is_flag=True, help="Also end running jobs through the scheduler.")
def cancel(study_dir: StudyDir, cells: tuple[str, ...], now: bool) -> None:
    """Stop a study, or some of its cells.

    Running cells save their state."""
    from nllgen.launch.cancel import cancel_study, cancel_tasks, raise_trouble
    from nllgen.launch.watch import tasks_named

    study = study_dir.read_study()
    if cells:
        result = cancel_tasks(study_dir, study, tasks_named(study_dir, study, cells), now=now)
    else:
        result = cancel_study(study_dir, study, now=now)
    _print_cancelled(result)
    raise_trouble(result)
    resume = f"nllgen retry {study_dir.path} {' '.join(cells)}" if cells else "the same nllgen submit"
    echo(f"see: nllgen status {study_dir.path}; to resume: {resume}")


def _print_cancelled(result: CancelResult) -> None:
    if result.waiting:
        echo(f"{_elements(result.waiting)} waited and will not start: {_jobs(result.waiting)}")
    if result.killed:
        echo(f"{_elements(result.killed)} ran and will be ended by the scheduler: {_jobs(result.killed)}")
    if result.running:
        itself = "itself" if sum(result.running.values()) == 1 else "themselves"
        echo(f"{_elements(result.running)} ran and will end by {itself}: {_jobs(result.running)}")
    if result.asked:
        asked = "cell ran and was asked to save its state" if len(result.asked) == 1 else _MANY_ASKED
        echo(f"{len(result.asked)} {asked} and stop: {shortened(result.asked)}")
    if not (result.waiting or result.killed or result.running or result.asked or result.trouble):
        echo("nothing waits or runs; a job that starts later will stop at once")


def _elements(counts: Mapping[str, int]) -> str:
    num = sum(counts.values())
    return f"{num} job{'s' * (num != 1)}"


def _jobs(counts: Mapping[str, int]) -> str:
    return shortened(tuple(f"{job} ({num} elements)" if num > 1 else job for job, num in counts.items()))


@cloup.command(epilog=example("nllgen retry smoke --dry-run", "nllgen retry smoke --kind timeout"))
@study_argument
@_CELLS
@cloup.option(
    "--kind",
    "kinds",
    metavar="KIND",
    multiple=True,
    help="A kind of failure, such as timeout; repeatable. [default: all]",
    shell_complete=complete_failures,
)
@cloup.option(
    "--profile",
    metavar="PROFILE",
    help="Profile of another cluster. [default: that of the last submission]",
    shell_complete=complete_profiles,
)
@cloup.option("--local", is_flag=True, help="Run on this machine.")
@cloup.option("--dry-run", is_flag=True, help="Print what would be submitted, and submit nothing.")
@NOTIFY
@TRUST
def retry(
    study_dir: StudyDir, cells: tuple[str, ...], kinds: tuple[str, ...], profile: str | None, local: bool,
    notify: str, dry_run: bool, trust: bool,
) -> None:  # fmt: skip
    """Run cells again that failed or were stopped.

    Their earlier failures no longer count.
    """
    from nllgen.assets import asset_folder
    from nllgen.launch.retry import RetryOptions, retry_study

    options = RetryOptions(asset_folder(), cells, kinds, profile, local, dry_run, trust, notify)
    retry_study(study_dir, options, echo, warn)


@cloup.command(epilog=example("nllgen check smoke", "nllgen check smoke --repair"))
@study_argument
@cloup.option("--repair", is_flag=True, help="Move wrong files aside, and take the right to write from other users.")
def check(study_dir: StudyDir, repair: bool) -> None:
    """Prove a study's files, and find those that others could change.

    Compares weights, truth, data set and extra metrics with the results. Ends with 1 if a file is wrong, with 3 if
    others could change one."""
    from nllgen.storage.atomic import set_aside
    from nllgen.storage.check_results import check_results

    study = study_dir.read_study()
    is_private = _check_permissions(study_dir, repair=repair)
    if repair:
        _set_wrong_copies_aside(study_dir)
    wrong = list(check_results(study_dir, study))
    for file in wrong[:MAX_NAMED]:
        echo(f"{file.path}: {file.reason.removeprefix(f'{file.path}: ')}")
    if not wrong:
        echo(f"{study_dir.path}: every result and what belongs to it is whole")
    elif repair:
        moved = [aside for path in dict.fromkeys(file.counted for file in wrong) if (aside := set_aside(path))]
        echo(f"{len(moved)} moved aside, as <name>.damaged; next: submit the grid again, or nllgen evaluate")
    else:
        echo(f"{len(wrong)} wrong files; nllgen check {study_dir.path} --repair moves them aside, to be made again")
    if not is_private:
        sys.exit(EXIT_ENVIRONMENT)
    if wrong and not repair:
        sys.exit(EXIT_CELLS_FAILED)


def _set_wrong_copies_aside(study_dir: StudyDir) -> None:
    from nllgen.launch.code_snapshot import set_wrong_copies_aside

    for copy in set_wrong_copies_aside(study_dir):
        echo(f"{copy}: not the program that it is named after; moved aside; jobs that were to run it: submit again")


def _check_permissions(study_dir: StudyDir, *, repair: bool) -> bool:
    """Print the paths that others could change, and close them on request; return whether none is left."""
    from nllgen.storage.atomic import raise_os_error
    from nllgen.storage.ownership import close

    openings = list(study_dir.find_openings(everything=True))
    if not openings:
        echo(f"{study_dir.path}: nobody else may write there")
        return True
    for opening in openings[:MAX_NAMED]:
        echo(f"{opening.path}: {opening.reason}")
    if len(openings) > MAX_NAMED:
        echo(f"… and {len(openings) - MAX_NAMED} more")
    if not repair:
        echo(f"{len(openings)} paths that others could change; to close them: nllgen check {study_dir.path} --repair")
        return False
    for opening in openings:
        if opening.can_be_closed:
            try:
                close(opening.path)
            except OSError as error:
                raise_os_error("set the mode of", opening.path, error)
    left = list(study_dir.find_openings(everything=True))
    echo(f"{len(openings) - len(left)} closed, {len(left)} left")
    if any(opening.path.is_relative_to(study_dir.submitit) for opening in openings):
        echo(f"others may have changed what queued jobs run: nllgen cancel {study_dir.path}, then submit again")
    if left:
        echo("a path of another user cannot be closed, nor a link instead of a file: replace it, or use another --root")
    return not left
