"""A study's folder is looked over, and closed to others where that was asked for: `nllgen check`."""

from __future__ import annotations

import click

from nllgen.storage.atomic import raise_os_error
from nllgen.storage.ownership import close
from nllgen.storage.study_dir import StudyDir
from nllgen.storage.untrusted import escape_controls

_MAX_NAMED = 20


def check_study(folder: StudyDir, *, repair: bool) -> bool:
    """Print what others could change in a study's folder.

    Args:
        folder: a frozen study.
        repair: take that right from them, where this user may.

    Returns:
        Whether nothing is open to others now.

    Raises:
        ConfigError: it is no study folder.
        MachineError: a mode cannot be set.
    """
    folder.read_study()
    found = list(folder.find_openings(everything=True))
    if not found:
        click.echo(f"{folder.path}: nobody else may write there")
        return True
    for opening in found[:_MAX_NAMED]:
        click.echo(escape_controls(f"{opening.path}: {opening.reason}"))
    if len(found) > _MAX_NAMED:
        click.echo(f"… and {len(found) - _MAX_NAMED} more")
    if not repair:
        click.echo(f"{len(found)} paths that others could change; to close them: nllgen check {folder.path} --repair")
        return False
    for opening in found:
        if opening.can_be_closed:
            try:
                close(opening.path)
            except OSError as error:
                raise_os_error("set the mode of", opening.path, error)
    left = list(folder.find_openings(everything=True))
    click.echo(f"{len(found) - len(left)} closed, {len(left)} left")
    if left:
        click.echo("what another user owns cannot be closed: submit the grid under another --root, or ask them for it")
    return not left
