"""Options of sbatch that a user's shell exports, ``SBATCH_ACCOUNT`` and the like, where the profile is silent.

They become part of the profile: it is recorded, so that what is sent again from a job has the same options. sbatch
itself never reads the variables, which would override the options of a script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from nllgen.errors import ConfigError
from nllgen.launch.profile import Profile
from nllgen.launch.sbatch_options import key_of, name_of, split_gres
from nllgen.launch.slurm.values import parse_minutes
from nllgen.study.diagnostics import show
from nllgen.study.quantities import parse_gibibytes
from nllgen.study.validation import one_line

_PREFIX = "SBATCH_"
_Values = dict[str, Any]  # key of the profile → value; nothing where sbatch's default is meant


def _time(text: str) -> _Values:
    minutes = parse_minutes(text)
    return {"time_min": minutes} if minutes else {}


def _memory(text: str) -> _Values:
    gibibytes = parse_gibibytes(f"{text}M" if text.isdigit() else text)
    return {"memory_gb": gibibytes} if gibibytes else {}


def _gpus(text: str) -> _Values:
    last = text.rpartition(":")[2]
    return {"gpus": int(text) if text.isdigit() else text if last.isdigit() else f"{text}:1"}


def _gres(text: str) -> _Values:
    gpus = [part.partition(":")[2] or "1" for part in split_gres(text) if name_of(part) == "gpu"]
    others = ",".join(part for part in split_gres(text) if name_of(part) != "gpu")
    values = _gpus(gpus[0]) | {"gpu_option": "gres"} if gpus else {}
    return values | ({"sbatch": {"gres": others}} if others else {})


def _same(key: str) -> Callable[[str], _Values]:
    return lambda text: {key: text}


def _option(name: str, *, is_flag: bool = False) -> Callable[[str], _Values]:
    return lambda text: {"sbatch": {name: True if is_flag and text.lower() in _SET else text}}


_SET = ("", "1", "y", "yes", "true", "exclusive")
_FLAGS = "exclusive no-kill overcommit spread-job use-min-nodes"
_OPTIONS = (
    "acctg-freq batch bb bbf container container-id core-spec delay-boot distribution gpu-bind gpu-freq gres-flags "
    "hint network power profile reservation thread-spec tres-bind wait-all-nodes wckey"
)
# variable without its prefix → what it sets in a profile
_VARIABLES: Mapping[str, Callable[[str], _Values]] = {
    **{name: _same(name.lower()) for name in ("ACCOUNT", "PARTITION", "QOS", "CONSTRAINT")},
    **{name.upper().replace("-", "_"): _option(name) for name in _OPTIONS.split()},
    **{name.upper().replace("-", "_"): _option(name, is_flag=True) for name in _FLAGS.split()},
    "REQ_SWITCH": _option("switches"),
    "TIMELIMIT": _time,
    "MEM_PER_NODE": _memory,
    **dict.fromkeys(("GPUS", "GPUS_PER_NODE", "GPUS_PER_TASK"), _gpus),
    "GRES": _gres,
}
# a job sets the variables of its bindings itself; the others are no options of a script
_NOT_NAMED = ("CPU_BIND", "MEM_BIND", "CLUSTERS", "DEBUG", "EXIT_ERROR")


def with_shell_options(profile: Profile, environ: Mapping[str, str]) -> tuple[Profile, tuple[str, ...]]:
    """Return a profile completed by the variables that the user's shell exports, and a line for each of them.

    Raises:
        ConfigError: a value cannot be an option of a batch script.
    """
    completed, notes = profile, []
    for variable, text in sorted(environ.items()):
        name = variable.removeprefix(_PREFIX)
        if not variable.startswith(_PREFIX) or name.startswith(_NOT_NAMED):
            continue
        values = _VARIABLES[name](text) if name in _VARIABLES else {}
        used = dict(_unset(profile, values))
        if used:
            completed = _completed(completed, used, variable, text)
        notes.append(f"{variable}={show(text)}: {_verdict(name, values, used)}")
    return completed, tuple(notes)


def _unset(profile: Profile, values: _Values) -> Iterator[tuple[str, Any]]:
    """Yield what the profile does not set. A form without its number means nothing."""
    for key, value in values.items():
        if key == "sbatch":
            if not set(value) <= set(profile.sbatch):
                yield key, value
        elif key not in profile.model_fields_set and not (key == "gpu_option" and "gpus" in profile.model_fields_set):
            yield key, value


def _completed(profile: Profile, values: _Values, variable: str, text: str) -> Profile:
    own = profile.model_dump(exclude_unset=True)
    if "sbatch" in values:
        values = values | {"sbatch": profile.sbatch | values["sbatch"]}
    try:
        return Profile.model_validate(own | values)
    except ValidationError as error:
        raise ConfigError(
            f"{variable}={text!r} of your shell cannot be used: {one_line(error)}",
            f"unset {variable}, or set it in the profile",
        ) from error


def _verdict(name: str, values: _Values, used: _Values) -> str:
    if used:
        return "used, since the profile does not set it"
    if values:
        return "not used: the profile sets it"
    if name in _VARIABLES:
        return "not used: it has no number"
    key = key_of(name.lower().replace("_", "-"))
    return "not used: nllgen sets its own" + (f"; the profile's key is {key}" if key else "")
