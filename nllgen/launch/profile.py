"""Profiles of clusters, one YAML file each. The code knows no options of any site."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from typing_extensions import override

from nllgen.errors import ConfigError
from nllgen.launch.sbatch_options import check_name, check_options
from nllgen.launch.secrets import check_lines, check_values
from nllgen.study.builtin import builtin_path
from nllgen.study.config import Resources
from nllgen.study.diagnostics import did_you_mean, show
from nllgen.study.models import Count, Frozen
from nllgen.study.path_kinds import PathKind, not_a_profile, path_kind
from nllgen.study.profile_names import profile_names, user_folder
from nllgen.study.quantities import Gibibytes, Minutes, SignalSeconds
from nllgen.study.validation import Contradiction, one_line
from nllgen.study.yaml_documents import YamlDocument, read_text, read_yaml

VARIABLE = "NLLGEN_PROFILE"
_OPTIONS = "sbatch"
_KEYS_OF_OPTIONS = {"clusters": "clusters", "mail-type": "mail_type", "mail-user": "mail_user"}

_MAIL_USER = r"[A-Za-z0-9._%+-]+(@[A-Za-z0-9.-]+)?"

# sbatch reads a value up to the end of its line, and a shell reads the batch script
Text = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _check_gpus(value: Any) -> Any:
    """Return a number of GPUs, or text such as ``a100:1``.

    Raises:
        ValueError: the text has another form.
    """
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9_.-]+:[0-9]{1,2}", value):
        raise ValueError(f"{show(value)} is not allowed; allowed: a number, or a type with a number, such as a100:1")
    return value


# sbatch's own words, in the order of its manual
MailType = Literal[
    "NONE", "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "INVALID_DEPEND", "STAGE_OUT",
    "TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50", "ARRAY_TASKS",
]  # fmt: skip


def _mail_types(value: Any) -> Any:
    """Return the words of a list or of sbatch's own form, ``END,FAIL``, in capitals as Slurm prints them."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list | tuple):
        return value
    return [word.strip().upper() if isinstance(word, str) else word for word in words]


class Profile(Frozen):
    """A cluster: options of ``sbatch``, and the environment of its jobs.

    Attributes:
        partition, account, qos, constraint: sbatch's options of these names; omitted if None.
        clusters: cluster that jobs are sent to, or several, ``a,b``, of which sbatch takes one; all of Slurm's programs
            are asked about them. If None, those of $SBATCH_CLUSTERS or $SLURM_CLUSTERS, else the machine's own.
        time_min, memory_gb, cpus: resources of a job; the study's ``resources`` if None. Memory and processors are
            those of one cell; a job that runs several cells at once requests a multiple.
        gpus: GPUs of a job, as a number or with their type, ``a100:1``; the study's ``resources`` if None. The
            collection asks for none.
        cells_per_gpu: cells that may share a GPU; a job that runs more of them at once requests more GPUs. All cells of
            a job share its GPUs if None.
        memory_option: option of sbatch that asks for the memory; ``none`` asks for no memory, for sites that refuse it.
            Without GPUs, ``mem-per-gpu`` is ``mem-per-cpu``.
        gpu_option: option of sbatch that asks for the GPUs.
        workers: default of ``--workers``: jobs that run one cell after another, for sites that allow fewer jobs than a
            study has cells; a job per cell if None.
        array_parallelism: largest number of array elements of cells that run at once. If a submission has several
            arrays that together exceed it, they run one after the other. Truth and data set are separate jobs.
        max_array_size: largest number of elements of one array; the cluster's MaxArraySize if None.
        signal_s: seconds before the time limit at which a job is asked to save its state.
        precision: meaning of a study's ``precision: auto`` on the nodes; as on the submitting machine if None.
        container: SIF that jobs run in.
        binds: further folders to mount in the container, ``SOURCE[:TARGET]``, read-only.
        mail_type: events of its jobs of which Slurm itself sends mail, such as ``[END, FAIL]``; one mail for each
            array, or with ARRAY_TASKS for each element.
        mail_user: address or user that Slurm sends mail to, or several, ``a,b``; who submits if None.
        environment: environment variables of every job, by name; recorded with each submission.
        pass_environment: names of variables that every job gets from the environment of ``nllgen submit``. Their
            values, such as tokens, are not recorded.
        scratch: node-local folder for temporary files.
        python: Python on the nodes; that of the submitting machine if None.
        setup: lines of shell at the start of a job, such as ``module load``.
        sbatch: further options of sbatch, by their long names without dashes; true for an option without a value.
            Resources of ``gres`` are those of one cell.
    """

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    clusters: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+(,[A-Za-z0-9_.-]+)*$", max_length=1024)] | None = None
    time_min: Minutes | None = None
    memory_gb: Gibibytes | None = None
    cpus: Annotated[int, Field(ge=1, le=1024)] | None = None
    gpus: Annotated[int, Field(ge=0, le=64)] | Annotated[str, BeforeValidator(_check_gpus)] | None = None
    cells_per_gpu: Annotated[int, Field(ge=1, le=256)] | None = None
    memory_option: Literal["mem", "mem-per-cpu", "mem-per-gpu", "none"] = "mem"
    gpu_option: Literal["gpus-per-node", "gres"] = "gpus-per-node"
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    array_parallelism: Count = 256
    max_array_size: Count | None = None
    signal_s: SignalSeconds = 90
    precision: Literal["bf16", "fp32"] | None = None
    container: Text | None = None
    binds: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    mail_type: Annotated[tuple[MailType, ...], BeforeValidator(_mail_types), Field(strict=False)] = ()
    mail_user: Annotated[str, Field(pattern=rf"^{_MAIL_USER}(,{_MAIL_USER})*$", max_length=1024)] | None = None
    environment: Annotated[dict[VariableName, Text], AfterValidator(check_values)] = Field(default={})
    pass_environment: Annotated[tuple[VariableName, ...], Field(strict=False)] = ()
    scratch: Text | None = None
    python: Text | None = None
    setup: Annotated[tuple[Text, ...], Field(strict=False), AfterValidator(check_lines)] = ()
    sbatch: Annotated[
        dict[Annotated[str, AfterValidator(check_name)], Text | int | float | bool],
        AfterValidator(check_options),
    ] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _with_one_key_for_each_option(cls, values: Any) -> Any:
        """Take sbatch's options that have a key of their own as that key, so that it alone is read.

        A ``mail-user`` alone stays sbatch's option: earlier versions accepted it, and a site may add the events.
        """
        sbatch = values.get("sbatch") if isinstance(values, dict) else None
        if not isinstance(sbatch, dict):
            return values
        has_mail = "mail-type" in sbatch or values.get("mail_type") or values.get("mail_user")
        moved = [name for name in _KEYS_OF_OPTIONS if name in sbatch and (name != "mail-user" or has_mail)]
        for option in moved:
            key = _KEYS_OF_OPTIONS[option]
            if values.get(key) not in (None, sbatch[option]):
                raise ValueError(f"{key} and sbatch's {option} differ; allowed: one of them")
            values = values | {key: sbatch[option]}
        others = {name: value for name, value in sbatch.items() if name not in moved}
        return values | {"sbatch": others}

    @override
    def contradictions(self) -> Iterator[Contradiction]:
        """Yield a time limit that leaves no time to save, and somebody who is mailed nothing."""
        if self.time_min is not None and self.time_min * 60 < 2 * self.signal_s:
            text = f"time_min is {self.time_min} min, too short for a signal {self.signal_s} s before its end"
            yield Contradiction(("signal_s", "time_min"), f"{text}; allowed: at least twice signal_s")
        if self.mail_user is not None and not self.mail_type:
            text = "mail_user without mail_type sends nothing; add for example mail_type: [END, FAIL]"
            yield Contradiction(("mail_type", "mail_user"), text)

    @classmethod
    def of_record(cls, values: Mapping[str, Any]) -> Profile:
        """Return the profile of a submission.

        Raises:
            ConfigError: another version wrote it, with options that are refused now.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(
                f"the profile of the last submission cannot be used: {one_line(error)}", "add --profile NAME"
            ) from error

    @property
    def gpu_type(self) -> str:
        """Return the type of the GPUs; empty if any will do."""
        return self.gpus.rpartition(":")[0] if isinstance(self.gpus, str) else ""

    @property
    def num_gpus(self) -> int:
        """Return the number of GPUs of a job that runs one cell; 0 if the profile sets none."""
        return int(str(self.gpus or 0).rpartition(":")[2])

    def gpus_of_job(self, num_gpus: int, num_cells: int) -> int:
        """Return the GPUs of a job that runs several cells at once, from those of a job that runs one."""
        return num_gpus * (-(-num_cells // self.cells_per_gpu) if self.cells_per_gpu else 1)

    def resources(self, of_study: Resources) -> Resources:
        """Return the resources of one cell: the profile's if it sets them, else the study's.

        Raises:
            ConfigError: the study's time limit is too short for the signal before its end.
        """
        own = self.model_dump(include={"time_min", "cpus", "memory_gb"}, exclude_none=True)
        own |= {} if self.gpus is None else {"gpus": self.num_gpus}
        resources = of_study.model_copy(update=own)
        if resources.time_min * 60 < 2 * self.signal_s:
            raise ConfigError(
                f"the study's time_min, {resources.time_min} min, is too short for a signal {self.signal_s} s before "
                "its end",
                "allowed: at least twice the profile's signal_s; change either",
            )
        return resources


def find_profile(name: str | None) -> Path:
    """Return the path of a profile by its path or its name; of $NLLGEN_PROFILE if None.

    Raises:
        ConfigError: the profile does not exist, or none was named.
    """
    wanted = name or os.environ.get(VARIABLE)
    known = profile_names()
    hint = f"profiles: {', '.join(known) or 'none'}; `nllgen doctor --write NAME` makes one for this cluster"
    if not wanted:
        raise ConfigError("no profile of the cluster is named", f"add --profile NAME, or --local; {hint}")
    path = Path(wanted)
    if (kind := path_kind(path)) in (PathKind.PROFILE, PathKind.FILE):
        return path
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", wanted):
        own = user_folder() / f"{wanted.removesuffix('.yaml')}.yaml"
        builtin_or_own = own if own.is_file() else builtin_path("profiles", wanted)
        if builtin_or_own is not None:
            return builtin_or_own
    if kind is not PathKind.MISSING:
        raise not_a_profile(path)
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
    profile = document.validate((), _without_refused_options(document), Profile)
    document.diagnostics.check()
    assert profile is not None
    return profile


def _without_refused_options(document: YamlDocument) -> Any:
    """Return the document without the options that are refused; each is an error of its own line."""
    options = document.value.get(_OPTIONS) if isinstance(document.value, dict) else None
    if not isinstance(options, dict):
        return document.value
    kept: dict[str, Any] = {}
    for name, value in options.items():
        try:
            kept |= check_options({check_name(name): value})
        except ValueError as error:
            document.add_error((_OPTIONS, name), str(error))
    return document.value | {_OPTIONS: kept}
