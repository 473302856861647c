"""The notification at the end of a study: its counts, its verdicts, and the hidden command that sends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import cloup

from nllgen.cli.collecting import up_to_date
from nllgen.cli.options import study_argument
from nllgen.cli.output import echo, warn
from nllgen.errors import NllgenError

if TYPE_CHECKING:
    from nllgen.storage.study_dir import StudyDir


@cloup.command(hidden=True)
@study_argument
@cloup.option("--after", "identities", multiple=True, help="Pid and start time of a process to wait for.")
def notify(study_dir: StudyDir, identities: tuple[str, ...]) -> None:
    """Run the command on standard input with the state of a study in its environment, once its processes have ended."""
    from nllgen.launch.notification import wait_for

    command = sys.stdin.read()
    wait_for(identities)
    send_notification(study_dir, command)


def send_notification(study_dir: StudyDir, command: str) -> None:
    """Run a command with the state of a study in its environment; whatever fails is a warning."""
    from nllgen.launch.notification import Notification, run_command
    from nllgen.launch.status import status

    study = study_dir.read_study()
    verdicts = _verdicts(study_dir)
    notification = Notification(study.name, study_dir.path, status(study_dir, study), verdicts)
    run_command(command, notification, warn)


def _verdicts(study_dir: StudyDir) -> str:
    """Return the decided verdicts, of a study that is collected first; empty where no report can be made."""
    try:
        from nllgen_analysis.claims import judge
        from nllgen_analysis.claims.tables import decided_text
        from nllgen_analysis.frames import load
    except ImportError:  # the analysis is not installed here
        return ""
    try:
        return decided_text(judge(load(up_to_date(study_dir, echo, warn))))
    except Exception as error:  # whatever a study or a library raises, its user is told of the end
        warn(f"no verdicts: {error.message if isinstance(error, NllgenError) else repr(error)}")
        return ""
