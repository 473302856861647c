"""Asking Slurm's commands for all that the doctor judges, once each."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nllgen.doctor.probe import Answer, ask
from nllgen.doctor.slurm_output import (
    ASSOCIATION_FIELDS,
    QOS_FIELDS,
    SINFO_FORMAT,
    Limits,
    Partition,
    parse_config,
    parse_limits,
    parse_partitions,
    parse_sinfo,
)


@dataclass(frozen=True)
class Facts:
    """What Slurm said.

    Attributes:
        version: of ``sbatch --version``; empty where it is missing.
        error: why Slurm cannot be used; empty where it answers.
        config: see :func:`~nllgen.doctor.slurm_output.parse_config`.
        partitions: with their nodes.
        hosts: names of the nodes' machines.
        limits: this user's; None where accounting does not say.
        accounting: what sacct said.
        user, groups: who asks.
    """

    version: str = ""
    error: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    partitions: tuple[Partition, ...] = ()
    hosts: frozenset[str] = frozenset()
    limits: Limits | None = None
    accounting: Answer = field(default_factory=Answer)
    user: str = ""
    groups: tuple[str, ...] = ()

    @property
    def usable(self) -> list[Partition]:
        """Partitions that this user may send jobs to, the default first, then the largest."""
        accounts = self.limits.accounts if self.limits else ()
        is_root = os.geteuid() == 0
        found = [part for part in self.partitions if part.is_up and part.admits(self.groups, accounts, is_root=is_root)]
        return sorted(found, key=lambda part: (not part.is_default, -part.cpus))


def gather() -> Facts:
    """Ask; the first silence ends it, so that a dead controller is waited for once."""
    user, groups = _identity()
    version = ask(["sbatch", "--version"])
    if version.error:
        return Facts(error=version.error, user=user, groups=groups)
    known = Facts(version=version.text.strip(), user=user, groups=groups)
    config = ask(["scontrol", "show", "config"])
    if config.error:
        return replace(known, error=config.error)
    partitions = ask(["scontrol", "show", "partition", "--oneliner"])
    nodes = ask(["sinfo", "--noheader", "--exact", f"--format={SINFO_FORMAT}"])
    if error := partitions.error or nodes.error:
        return replace(known, error=error, config=parse_config(config.text))
    kinds = parse_sinfo(nodes.text)
    return replace(
        known,
        config=parse_config(config.text),
        partitions=tuple(replace(part, nodes=kinds.get(part.name, ())) for part in parse_partitions(partitions.text)),
        hosts=frozenset(ask(["sinfo", "--noheader", "--Node", "--format=%n"]).text.split()),
        limits=_limits(user, parse_config(config.text).get("clustername", "")),
        accounting=ask(["sacct", "--noheader", "--allocations", "--starttime=now", "--format=JobID"]),
    )


def _limits(user: str, cluster: str) -> Limits | None:
    where = [f"user={user}", *([f"cluster={cluster}"] if cluster else [])]
    associations = ask(["sacctmgr", "-nP", "show", "associations", "where", *where, f"format={ASSOCIATION_FIELDS}"])
    if associations.error:
        return None
    qos = ask(["sacctmgr", "-nP", "show", "qos", f"format={QOS_FIELDS}"])
    default = ask(["sacctmgr", "-nP", "show", "user", user, "format=defaultaccount"])
    return parse_limits(associations.text, qos.text, default.text.strip())


def _identity() -> tuple[str, tuple[str, ...]]:
    """Names of the user and of the groups; a number where one has no name, as in some containers."""
    names = []
    for gid in {os.getegid(), *os.getgroups()}:
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(gid).gr_name)
    try:
        return pwd.getpwuid(os.geteuid()).pw_name, tuple(names)
    except KeyError:
        return str(os.geteuid()), tuple(names)
