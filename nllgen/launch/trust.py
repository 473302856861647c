"""The question whether a study may run: one that this user did not submit on this site is data until it is accepted.

Commands of people ask before they run anything. Jobs do not ask: they run what was decided when they were submitted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from nllgen.errors import CorruptFileError, UntrustedError
from nllgen.launch.executables import Executable, of_study, of_submissions, record, record_own
from nllgen.launch.slurm.arrays import submissions
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.untrusted import escape_controls
from nllgen.study.config import Study

_MAX_LINES = 30
_MAX_CHARACTERS = 300


def require_trust(study_dir: StudyDir, study: Study, *, accept: bool, echo: Callable[[str], None]) -> None:
    """Refuse a study that would run something that this user has neither submitted nor accepted on this site.

    Args:
        study_dir: its directory, whose owner and modes were verified.
        study: the study that is frozen there, or will be.
        accept: whether this user accepts what would run, from now on.
        echo: prints a note where that cannot be recorded.

    Raises:
        UntrustedError: it names what would run, and the option that accepts it.
    """
    unknown = [each for each in executables(study_dir, study) if not each.is_trusted]
    if unknown and not accept:
        raise _refusal(study_dir, unknown)
    note = record(*unknown) or record_own(study)
    if unknown and note:
        echo(note)


def executables(study_dir: StudyDir, study: Study) -> Iterator[Executable]:
    """Yield all that a study's directory would run: factories, jobs as last submitted, programs and pickles."""
    if study_dir.is_frozen:
        yield from of_study(study)
    with contextlib.suppress(CorruptFileError):  # nothing is submitted from a damaged record
        for directory, submission in submissions(study_dir)[-1:]:
            yield submission.executable(str(directory.record))
    if study_dir.code.exists() or study_dir.submitit.exists():
        yield of_submissions(study)


def _refusal(study_dir: StudyDir, unknown: list[Executable]) -> UntrustedError:
    lines = [line for each in unknown for line in each.lines]
    shown = [f"  {_shortened(escape_controls(line))}" for line in lines[:_MAX_LINES]]
    more = [f"  … and {len(lines) - _MAX_LINES} lines more"] if len(lines) > _MAX_LINES else []
    head = f"{study_dir.path}: this study was not submitted by you on this site, and holds what can run as you:"
    return UntrustedError(
        "\n".join([head, *shown, *more]),
        "if you accept that, add --trust, once; so it is for a study of your own from an older nllgen, another account "
        "or another site. What runs code: docs/code.md",
    )


def _shortened(line: str) -> str:
    return line if len(line) <= _MAX_CHARACTERS else f"{line[:_MAX_CHARACTERS]}…"
