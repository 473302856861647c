"""Options of sbatch that a profile may pass on as they are, and why others are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nllgen.study.diagnostics import show

_WITHOUT_KEY = (
    "chdir dependency error get-user-env gid help input job-name kill-on-invalid-dep no-requeue nodes ntasks "
    "ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output parsable quiet requeue "
    "test-only uid usage verbose version wait wrap"
)
# option of sbatch that the launcher sets, or that contradicts one of these → key of the profile for it, if there is one
_OWN_OPTIONS: Mapping[str, str] = dict.fromkeys(_WITHOUT_KEY.split(), "") | {
    "array": "array_parallelism",
    "export": "environment",
    "export-file": "environment",
    "signal": "signal_s",
    "time": "time_min",
    "mem": "memory_gb",
    "tres-per-task": "cpus or gpus",
    **dict.fromkeys(("cpus-per-task", "cpus-per-gpu"), "cpus"),
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket"), "gpus"),
    **dict.fromkeys(("mem-per-cpu", "mem-per-gpu"), "memory_gb, with memory_option for this form"),
    **{name: name for name in ("partition", "account", "qos", "constraint")},
}
_SHORT_OPTIONS = dict(
    pair.split("=")
    for pair in [
        "A=account",
        "B=extra-node-info",
        "C=constraint",
        "D=chdir",
        "F=nodefile",
        "G=gpus",
        "H=hold",
        "I=immediate",
        "J=job-name",
        "L=licenses",
        "M=clusters",
        "N=nodes",
        "O=overcommit",
        "Q=quiet",
        "S=core-spec",
        "V=version",
        "W=wait",
        "a=array",
        "b=begin",
        "c=cpus-per-task",
        "d=dependency",
        "e=error",
        "h=help",
        "i=input",
        "k=no-kill",
        "m=distribution",
        "n=ntasks",
        "o=output",
        "p=partition",
        "q=qos",
        "s=oversubscribe",
        "t=time",
        "v=verbose",
        "w=nodelist",
        "x=exclude",
    ]
)
# options that only jobs with GPUs may have
GPU_OPTIONS = frozenset(("gpu-bind", "gpu-freq", "gres-flags", "tres-bind"))


def check_name(name: str) -> str:
    """Return the name of an option that a profile may pass on.

    Raises:
        ValueError: it is not the long name of an option, or nllgen sets the option itself.
    """
    if name in _SHORT_OPTIONS:
        long = _SHORT_OPTIONS[name]
        raise ValueError(f"{name} is short for {long}{_instead(long) or f'; write {long}'}")
    if not re.fullmatch(r"[a-z][a-z0-9-]+", name):
        plain = name.lstrip("-").replace("_", "-").lower()
        hint = f"; write {plain}" if re.fullmatch(r"[a-z][a-z0-9-]+", plain) else ""
        raise ValueError(f"{show(name)} is not allowed; allowed: an option's long name without dashes before it{hint}")
    if name in _OWN_OPTIONS:
        raise ValueError(f"{name} is set by nllgen itself{_instead(name)}")
    # sbatch takes beginnings of names
    if full := next((own for own in _OWN_OPTIONS if own.startswith(name)), None):
        raise ValueError(f"{name} is short for {full}{_instead(full) or ', which is set by nllgen itself'}")
    return name


def _instead(option: str) -> str:
    return f"; the profile's key for it is {_OWN_OPTIONS[option]}" if _OWN_OPTIONS.get(option) else ""


def key_of(option: str) -> str:
    """Return the key of the profile for an option that nllgen sets itself; empty if there is none."""
    return _OWN_OPTIONS.get(option, "")


def check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return options whose values do not contradict other keys of the profile.

    Raises:
        ValueError: ``gres`` asks for GPUs.
    """
    gres = options.get("gres")
    if isinstance(gres, str) and any(name_of(part) == "gpu" for part in split_gres(gres)):
        raise ValueError(
            f"gres: {show(gres)} asks for GPUs; the profile's keys for them are gpus, with a type as in a100:1, and "
            "gpu_option: gres, if the site wants this form; gres is for other resources of one cell"
        )
    return options


def split_gres(gres: str) -> list[str]:
    """Split ``gpu:a100:2(S:0,1),nvme:3500`` into its resources, without what is in parentheses."""
    return [part.strip() for part in re.sub(r"\([^)]*\)", "", gres).split(",") if part.strip()]


def name_of(resource: str) -> str:
    """Return the name of a resource: ``gpu`` of ``gpu:a100:2`` and of ``gres/gpu:2``."""
    return resource.removeprefix("gres/").split(":")[0].split("=")[0]


def multiplied(gres: str, times: int) -> str:
    """Return the resources of several cells: ``nvme:100G,shard`` times 2 is ``nvme:200G,shard:2``."""
    return ",".join(_multiplied(part, times) for part in split_gres(gres))


def _multiplied(resource: str, times: int) -> str:
    if times == 1:
        return resource
    head, colon, last = resource.rpartition(":")
    match = re.fullmatch(r"(\d+)([KMGTPkmgtp]?)", last)
    return f"{head}:{int(match[1]) * times}{match[2]}" if colon and match else f"{resource}:{times}"
