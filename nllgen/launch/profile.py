"""Profiles: what a cluster is like. A YAML file a cluster, with no option of any site in the code."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nllgen.errors import ConfigError
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.config import Resources
from nllgen.study.diagnostics import did_you_mean
from nllgen.study.models import Count, Frozen
from nllgen.study.yaml_documents import read_text, read_yaml

VARIABLE = "NLLGEN_PROFILE"

# sbatch takes a value to the end of its line, and the batch script is read by a shell
Text = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
# what the launcher itself says, by the key of a profile that says it
_OWN_OPTIONS: Mapping[str, str] = {
    "array": "array_parallelism",
    "chdir": "",
    "cpus-per-task": "cpus",
    "dependency": "",
    "error": "",
    "export": "environment",
    "gpus-per-node": "gpus",
    "job-name": "",
    "kill-on-invalid-dep": "",
    "mem": "memory_gb",
    "no-requeue": "",
    "nodes": "",
    "ntasks": "",
    "ntasks-per-node": "",
    "open-mode": "",
    "output": "",
    "parsable": "",
    "requeue": "",
    "signal": "signal_s",
    "time": "time_min",
    "wait": "",
    "wrap": "",
} | {name: name for name in ("partition", "account", "qos", "constraint")}


class Profile(Frozen):
    """A cluster, as ``sbatch`` has to be told of it.

    Attributes:
        partition, account, qos, constraint: sbatch's options of these names; not given where None.
        time_min, memory_gb, cpus, gpus: of a job; where None, the study's ``resources`` count. Memory and processors
            are those of one cell, and a job that runs several at once asks for as many times.
        array_parallelism: cells' elements that run at once; arrays of one submission that are more together run one
            after the other. Truth and data set are jobs of their own.
        max_array_size: elements of one array at most; the cluster's own MaxArraySize where None.
        signal_s: seconds before the time limit at which a job is told to save its state.
        precision: what ``precision: auto`` of a study means on its nodes; the submitting machine's where None.
        container: a SIF that jobs run in.
        binds: further folders to be seen in the container, ``SOURCE[:TARGET]``, read-only.
        environment: variables of every job, by name.
        scratch: node-local folder for temporary files.
        python: the Python on the nodes; the submitting one where None.
        setup: lines of shell before anything else in a job, such as ``module load``.
        sbatch: any further option of sbatch by its name, without dashes; true for one without a value.
    """

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    time_min: Annotated[int, Field(ge=1, le=60 * 24 * 365)] | None = None
    memory_gb: Annotated[float, Field(gt=0, le=16_384)] | None = None
    cpus: Annotated[int, Field(ge=1, le=1024)] | None = None
    gpus: Annotated[int, Field(ge=0, le=64)] | None = None
    array_parallelism: Count = 256
    max_array_size: Count | None = None
    signal_s: Annotated[int, Field(ge=10, le=3600)] = 90
    precision: Literal["bf16", "fp32"] | None = None
    container: Text | None = None
    binds: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    environment: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Text] = Field(default={})
    scratch: Text | None = None
    python: Text | None = None
    setup: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    sbatch: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], Text | int | float | bool] = Field(default={})

    @field_validator("sbatch")
    @classmethod
    def _not_ours(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if name in _OWN_OPTIONS:
                instead = f"; the profile's key for it is {_OWN_OPTIONS[name]}" if _OWN_OPTIONS[name] else ""
                raise ValueError(f"{name} is set by nllgen itself{instead}")
        return options

    @model_validator(mode="after")
    def _has_time_to_save(self) -> Self:
        if self.time_min is not None and self.time_min * 60 < 2 * self.signal_s:
            raise ValueError(
                f"time_min is {self.time_min} min, too short to be told to stop {self.signal_s} s before its end; "
                "allowed: at least twice signal_s"
            )
        return self

    def resources(self, of_study: Resources) -> Resources:
        """What one cell gets: the profile's word where it has one, else the study's.

        Raises:
            ConfigError: the study's time is too short for a job to be told that it ends.
        """
        own = {
            "time_min": self.time_min,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "memory_gb": self.memory_gb,
        }
        found = of_study.model_copy(update={name: value for name, value in own.items() if value is not None})
        if found.time_min * 60 < 2 * self.signal_s:
            raise ConfigError(
                f"the study's time_min, {found.time_min} min, is too short to be told to stop {self.signal_s} s before "
                "its end",
                "allowed: at least twice the profile's signal_s; change either",
            )
        return found


def user_folder() -> Path:
    """Where a user's own profiles lie."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "nllgen" / "profiles"


def find_profile(name: str | None) -> Path:
    """The file of a profile.

    Args:
        name: a path, or a name of the user's own or a built-in profile; $NLLGEN_PROFILE where None.

    Raises:
        ConfigError: there is no such profile, or none was named.
    """
    wanted = name or os.environ.get(VARIABLE)
    known = sorted({path.stem for path in user_folder().glob("*.yaml")} | set(builtin_names("profiles")))
    ways = f"profiles: {', '.join(known) or 'none'}; `nllgen doctor --write NAME` makes one for this cluster"
    if not wanted:
        raise ConfigError("no profile of the cluster is named", f"add --profile NAME, or --local; {ways}")
    path = Path(wanted)
    with contextlib.suppress(OSError):  # a name that no file can have
        if path.is_file():
            return path
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", wanted):
        own = user_folder() / f"{wanted.removesuffix('.yaml')}.yaml"
        found = own if own.is_file() else builtin_path("profiles", wanted)
        if found is not None:
            return found
    raise ConfigError(
        f"profile {wanted[:200]!r} does not exist{did_you_mean(path.stem, known)}", f"give a path or a name; {ways}"
    )


def load_profile(name: str | None) -> Profile:
    """Find and read a profile.

    Raises:
        ConfigError: with everything that is wrong, each with its line.
    """
    path = find_profile(name)
    return parse_profile(read_text(path), str(path))


def parse_profile(text: str, file_name: str) -> Profile:
    """Parse the YAML text of a profile.

    Raises:
        ConfigError: with everything that is wrong, each with its line.
    """
    document = read_yaml(text, file_name)
    profile = document.validate((), document.value, Profile)
    document.diagnostics.check()
    assert profile is not None
    return profile
