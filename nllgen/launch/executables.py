"""All that a study's directory would run as the user of a command, and the record of what this user has accepted.

Trust is recorded for a digest of what is run, so that it follows neither a name nor a place: a study that is moved, or
grows by its own grid, is not asked for again, and one whose factories or shell lines were changed is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nllgen.errors import MachineError
from nllgen.storage.trusted import is_trusted, record_dir, record_trust
from nllgen.storage.untrusted import parse_untrusted_json
from nllgen.study.config import Study

_SHOWN = ("setup", "container", "python", "environment", "binds", "scratch", "sbatch")  # keys of a profile
_OWN = ("code", "code_sha256")  # the copy of the program is made anew, or compared with the installed one


@dataclass(frozen=True)
class Executable:
    """Something in a study's directory that a command would run.

    Attributes:
        values: all that decides what is run, as plain values.
        lines: a description for people.
    """

    values: Mapping[str, Any]
    lines: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the values as they are read back from a file, 64 hexadecimal digits."""
        values = parse_untrusted_json(json.dumps(self.values))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def is_trusted(self) -> bool:
        """Return whether this user has submitted or accepted it on this site."""
        return is_trusted(self.digest)


def of_study(study: Study) -> Iterator[Executable]:
    """Yield the factories of a study with their options, if it has any."""
    models = [cell.model for cell in study.cells if cell.model is not None]
    factories = sorted({(model.factory, json.dumps(model.options, sort_keys=True)) for model in models})
    plugins = sorted(study.plugins)
    if factories or plugins:
        lines = [f"plugins: {', '.join(plugins) or 'none beside nllgen'}"]
        lines += [f"model.factory: {factory} with options {options}" for factory, options in factories]
        yield Executable({"factories": [[*each] for each in factories], "plugins": plugins}, tuple(lines))


def of_submissions(study: Study) -> Executable:
    """Return the programs and pickles of a study's submissions; its name, truth and first cell never change."""
    first = study.cells[0].id if study.cells else ""
    values = {"name": study.name, "truth": study.truth.id if study.truth else "", "cell": first}
    return Executable(values, (f"code, submitit: programs and pickled jobs of earlier submissions of {study.name}",))


def of_jobs(profile: Mapping[str, Any], setup: Any, place: str = "") -> Executable:
    """Return the jobs that ``retry`` would submit again.

    Args:
        profile: the recorded profile.
        setup: the recorded configuration of the workers; a record may hold anything.
        place: the record's file.
    """
    values = {name: value for name, value in setup.items() if name not in _OWN} if isinstance(setup, dict) else {}
    if isinstance(options := values.get("options"), dict):
        values["options"] = {name: value for name, value in options.items() if name not in _OWN}
    shown = {name: profile.get(name) for name in _SHOWN} | {name: values[name] for name in _SHOWN if values.get(name)}
    lines = [f"  {name}: {_text(item)}" for name, value in shown.items() for item in _items(value)]
    return Executable({"profile": profile, "setup": values}, (f"jobs as they were last submitted, {place}", *lines))


def _items(value: Any) -> list[Any]:
    """Return the lines of a list one by one; nothing for a value that is not set."""
    return (value if isinstance(value, list) else [value]) if value else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def record_own(study: Study) -> str:
    """Record a study that this user submits, as :func:`record`; return its note."""
    return record(*of_study(study), of_submissions(study))


def record(*items: Executable) -> str:
    """Record what this user submits or accepts; return a note where that is impossible, and an empty text otherwise."""
    try:
        for item in items:
            record_trust(item.digest, item.lines[0])  # the others may hold secrets
    except (OSError, MachineError) as error:
        reason = error.message if isinstance(error, MachineError) else error.strerror or str(error)
        return (
            f"cannot record in {record_dir()} that this study is yours ({reason}); later commands ask for --trust, "
            "unless XDG_STATE_HOME names a directory that you can write"
        )
    return ""
