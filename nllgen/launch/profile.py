"""Profiles of clusters, one YAML file each. The code knows no options of any site."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from nllgen.errors import ConfigError
from nllgen.study.builtin import builtin_names, builtin_path
from nllgen.study.config import Resources
from nllgen.study.diagnostics import did_you_mean
from nllgen.study.models import Count, Frozen
from nllgen.study.user_directories import user_directory
from nllgen.study.yaml_documents import read_text, read_yaml

VARIABLE = "NLLGEN_PROFILE"

# sbatch reads a value up to the end of its line, and a shell reads the batch script
Text = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
_WITHOUT_KEY = (
    "chdir dependency error job-name kill-on-invalid-dep no-requeue nodes ntasks ntasks-per-node open-mode output "
    "parsable requeue wait wrap"
)
# option of sbatch that the launcher sets → key of the profile for it, if there is one
_OWN_OPTIONS: Mapping[str, str] = dict.fromkeys(_WITHOUT_KEY.split(), "") | {
    "array": "array_parallelism",
    "cpus-per-task": "cpus",
    "export": "environment",
    "gpus-per-node": "gpus",
    "mem": "memory_gb",
    "signal": "signal_s",
    "time": "time_min",
    **{name: name for name in ("partition", "account", "qos", "constraint")},
}


def _check_sbatch_options(options: dict[str, Any]) -> dict[str, Any]:
    for name in options:
        if name in _OWN_OPTIONS:
            instead = f"; the profile's key for it is {_OWN_OPTIONS[name]}" if _OWN_OPTIONS[name] else ""
            raise ValueError(f"{name} is set by nllgen itself{instead}")
    return options


class Profile(Frozen):
    """A cluster: options of ``sbatch``, and the environment of its jobs.

    Attributes:
        partition, account, qos, constraint: sbatch's options of these names; omitted if None.
        clusters: cluster that jobs are sent to, or several, ``a,b``, of which sbatch takes one; all of Slurm's programs
            are asked about them. If None, those of $SBATCH_CLUSTERS or $SLURM_CLUSTERS, else the machine's own.
        time_min, memory_gb, cpus, gpus: resources of a job; the study's ``resources`` if None. Memory and processors
            are those of one cell; a job that runs several cells at once requests a multiple.
        array_parallelism: largest number of array elements of cells that run at once. If a submission has several
            arrays that together exceed it, they run one after the other. Truth and data set are separate jobs.
        max_array_size: largest number of elements of one array; the cluster's MaxArraySize if None.
        signal_s: seconds before the time limit at which a job is asked to save its state.
        precision: meaning of a study's ``precision: auto`` on the nodes; as on the submitting machine if None.
        container: SIF that jobs run in.
        binds: further folders to mount in the container, ``SOURCE[:TARGET]``, read-only.
        environment: environment variables of every job, by name.
        scratch: node-local folder for temporary files.
        python: Python on the nodes; that of the submitting machine if None.
        setup: lines of shell at the start of a job, such as ``module load``.
        sbatch: further options of sbatch, by name without dashes; true for an option without a value.
    """

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    clusters: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(,[A-Za-z0-9_.-]+)*$", max_length=1024)] | None = None
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
    sbatch: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], Text | int | float | bool],
        AfterValidator(_check_sbatch_options),
    ] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _with_one_key_for_clusters(cls, values: Any) -> Any:
        """Take sbatch's option ``clusters`` as the key of that name, so that all programs are asked there."""
        sbatch = values.get("sbatch") if isinstance(values, dict) else None
        if not isinstance(sbatch, dict) or "clusters" not in sbatch:
            return values
        if values.get("clusters") not in (None, sbatch["clusters"]):
            raise ValueError("clusters and sbatch's clusters differ; allowed: one of them")
        others = {name: value for name, value in sbatch.items() if name != "clusters"}
        return {**values, "clusters": sbatch["clusters"], "sbatch": others}

    @model_validator(mode="after")
    def _has_time_to_save(self) -> Self:
        if self.time_min is not None and self.time_min * 60 < 2 * self.signal_s:
            raise ValueError(
                f"time_min is {self.time_min} min, too short for a signal {self.signal_s} s before its end; "
                "allowed: at least twice signal_s"
            )
        return self

    def resources(self, of_study: Resources) -> Resources:
        """Return the resources of one cell: the profile's if it sets them, else the study's.

        Raises:
            ConfigError: the study's time limit is too short for the signal before its end.
        """
        own = self.model_dump(include={"time_min", "cpus", "gpus", "memory_gb"}, exclude_none=True)
        resources = of_study.model_copy(update=own)
        if resources.time_min * 60 < 2 * self.signal_s:
            raise ConfigError(
                f"the study's time_min, {resources.time_min} min, is too short for a signal {self.signal_s} s before "
                "its end",
                "allowed: at least twice the profile's signal_s; change either",
            )
        return resources


def user_folder() -> Path:
    """Return the folder of a user's own profiles."""
    return user_directory("CONFIG") / "profiles"


def find_profile(name: str | None) -> Path:
    """Return the path of a profile by its path or its name; of $NLLGEN_PROFILE if None.

    Raises:
        ConfigError: the profile does not exist, or none was named.
    """
    wanted = name or os.environ.get(VARIABLE)
    known = sorted({path.stem for path in user_folder().glob("*.yaml")} | set(builtin_names("profiles")))
    hint = f"profiles: {', '.join(known) or 'none'}; `nllgen doctor --write NAME` makes one for this cluster"
    if not wanted:
        raise ConfigError("no profile of the cluster is named", f"add --profile NAME, or --local; {hint}")
    path = Path(wanted)
    with contextlib.suppress(OSError):  # the name is not valid for a file
        if path.is_file():
            return path
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", wanted):
        own = user_folder() / f"{wanted.removesuffix('.yaml')}.yaml"
        builtin_or_own = own if own.is_file() else builtin_path("profiles", wanted)
        if builtin_or_own is not None:
            return builtin_or_own
    raise ConfigError(
        f"profile {wanted[:200]!r} does not exist{did_you_mean(path.stem, known)}", f"give a path or a name; {hint}"
    )


def load_profile(name: str | None) -> Profile:
    """Find and read a profile.

    Raises:
        ConfigError: lists every error with its line.
    """
    path = find_profile(name)
    return parse_profile(read_text(path), str(path))


def parse_profile(text: str, file_name: str) -> Profile:
    """Parse the YAML text of a profile.

    Raises:
        ConfigError: lists every error with its line.
    """
    document = read_yaml(text, file_name)
    profile = document.validate((), document.value, Profile)
    document.diagnostics.check()
    assert profile is not None
    return profile
