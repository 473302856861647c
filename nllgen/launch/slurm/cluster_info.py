"""A description of the cluster by Slurm's own programs: settings, partitions, nodes and the user's limits."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nllgen.errors import MachineError
from nllgen.launch.slurm.clusters import cluster_options, clusters_of_environment, split_names
from nllgen.launch.slurm.commands import run
from nllgen.launch.slurm.limits import (
    ACCOUNT_FIELDS,
    ASSOCIATION_FIELDS,
    QOS_FIELDS,
    Accounting,
    Limits,
    parse_accounting,
)
from nllgen.launch.slurm.values import (
    parse_config,
    parse_fields,
    parse_gpus,
    parse_minutes,
    parse_number,
    parse_value,
)

_PATIENCE_S = 15.0  # Slurm's programs wait ten for a silent controller
_ASKED_ELSEWHERE = ("scontrol", "sinfo", "sacct")  # programs that are asked about another cluster than the own
_SINFO_FORMAT = "%R|%D|%c|%m|%G"  # partition, nodes, CPUs, MB, gres


def _run(command: Sequence[str]) -> str:
    """Ask the cluster that a user's shell exports, or the first of several, else the machine's own."""
    program, *rest = command
    cluster = split_names(clusters_of_environment())[0] if program in _ASKED_ELSEWHERE else ""
    return run([program, *cluster_options(cluster), *rest], _PATIENCE_S)


@dataclass(frozen=True)
class Nodes:
    """Equal nodes of a partition: their number, and the resources of each."""

    count: int
    cpus: int
    memory_mb: int
    gpus: int  # of all types
    gpu_types: tuple[
        tuple[str, int], ...
    ] = ()  # type of GPU, or MIG profile → number; GPUs without a type are left out

    def num_gpus(self, gpu_type: str) -> int:
        """Return the number of GPUs of a type, of all GPUs if it is empty."""
        return dict(self.gpu_types).get(gpu_type, 0) if gpu_type else self.gpus


@dataclass(frozen=True)
class Partition:
    """A partition of ``scontrol show partition --oneliner``."""

    name: str
    is_default: bool = False  # whether jobs that name no partition go to it
    is_up: bool = True  # whether jobs start in it
    # time of a job; None where there is no limit, or no default
    max_minutes: int | None = None
    default_minutes: int | None = None
    preempt_mode: str = ""  # ``OFF``, ``REQUEUE``, ``CANCEL`` …; empty where the cluster's setting applies
    grace_s: int = 0  # seconds between a preemption and the job's end
    max_nodes: int | None = None  # of a job; None where there is no limit
    fields: Mapping[str, str] = field(default_factory=dict)  # everything that was printed, by Slurm's own keys
    nodes: tuple[Nodes, ...] = ()  # from ``sinfo``

    @property
    def cpus(self) -> int:
        """Count all processors."""
        return (
            sum(nodes.count * nodes.cpus for nodes in self.nodes) or parse_number(self.fields.get("TotalCPUs", "")) or 0
        )

    @property
    def gpus(self) -> int:
        """Count all GPUs."""
        return sum(nodes.count * nodes.gpus for nodes in self.nodes)

    @property
    def gpu_types(self) -> dict[str, int]:
        """Return type of GPU → number of them in all nodes, the most frequent first."""
        counts: Counter[str] = Counter()
        for nodes in self.nodes:
            counts.update({name: nodes.count * number for name, number in nodes.gpu_types})
        return dict(counts.most_common())

    @property
    def max_memory_mb(self) -> int | None:
        """Return the largest memory of a job on a node; None where there is no limit of this form."""
        return parse_number(self.fields.get("MaxMemPerNode", ""))

    @property
    def max_memory_mb_per_cpu(self) -> int | None:
        """Return the largest memory of a job for each of its processors; None where there is no limit of this form."""
        return parse_number(self.fields.get("MaxMemPerCPU", ""))

    @property
    def max_cpus(self) -> int | None:
        """Return the largest number of processors of a node that jobs of this partition may use."""
        return parse_number(self.fields.get("MaxCPUsPerNode", ""))

    @property
    def allow_qos(self) -> str:
        """Return the QOS whose jobs may run in it, with commas between them, or ``ALL``."""
        return self.fields.get("AllowQos", "ALL").replace("(null)", "ALL")

    @property
    def qos(self) -> str:
        """Return the QOS whose limits count for all jobs in it, or empty."""
        return parse_value(self.fields.get("QoS", ""))

    def admits(self, groups: Sequence[str], accounts: Sequence[str], *, is_root: bool) -> bool:
        """Return whether a user of these groups and accounts may submit to it; no accounts means unknown ones."""
        value = self.fields.get
        groups_ok = _is_allowed(value("AllowGroups", "ALL"), groups)
        accounts_ok = not accounts or _is_allowed(value("AllowAccounts", "ALL"), accounts)
        denied = set(value("DenyAccounts", "").split(",")) & set(accounts)
        only_root = value("RootOnly") == "YES" and not is_root
        no_root = value("DisableRootJobs") == "YES" and is_root
        return groups_ok and accounts_ok and not (denied and denied >= set(accounts)) and not only_root and not no_root


def _is_allowed(allowed: str, names: Sequence[str]) -> bool:
    return allowed in ("ALL", "(null)") or bool(set(allowed.split(",")) & set(names))


@dataclass(frozen=True)
class ClusterInfo:
    """Everything that Slurm's programs print about the cluster and this user."""

    version: str = ""  # of ``sbatch --version``; empty where it is missing
    error: str = ""  # why Slurm cannot be used; empty where it answers
    config: Mapping[str, str] = field(default_factory=dict)  # see :func:`~nllgen.launch.slurm.values.parse_config`
    partitions: tuple[Partition, ...] = ()  # with their nodes
    hosts: frozenset[str] = frozenset()  # names of the nodes' machines
    limits: Limits | None = None  # this user's, in no partition; None where accounting does not answer
    accounting: Accounting | None = None  # the records that the limits come from
    accounting_error: str = ""  # why sacct does not work; empty where it does
    user: str = ""
    groups: tuple[str, ...] = ()

    @property
    def usable(self) -> list[Partition]:
        """List the partitions that this user may send jobs to, the default first, then the largest."""
        accounts = self.limits.accounts if self.limits else ()
        is_root = os.geteuid() == 0
        usable = [
            part for part in self.partitions if part.is_up and part.admits(self.groups, accounts, is_root=is_root)
        ]
        if self.accounting is not None:
            usable = [part for part in usable if self.accounting.admits(part.name, part.allow_qos)]
        return sorted(usable, key=lambda part: (not part.is_default, -part.cpus))

    def limits_in(self, part: Partition) -> Limits:
        """Return the limits of this user's jobs in a partition, with those of its QOS."""
        if self.accounting is None:
            return self.limits or Limits()
        return self.accounting.limits(part.name, part.allow_qos, part.qos)

    def qos_to_name(self, part: Partition) -> str:
        """Return the QOS that jobs must name in a partition, or empty."""
        return self.accounting.qos_to_name(part.name, part.allow_qos) if self.accounting else ""


def query_cluster() -> ClusterInfo:
    """Ask Slurm's programs; the first that fails ends it, so that a dead controller is waited for once."""
    info = _identity()
    try:
        info = replace(info, version=_run(["sbatch", "--version"]).strip())
        info = replace(info, config=parse_config(_run(["scontrol", "show", "config"])))
        partitions = parse_partitions(_run(["scontrol", "show", "partition", "--oneliner"]))
        nodes = parse_sinfo(_run(["sinfo", "--noheader", "--exact", f"--format={_SINFO_FORMAT}"]))
    except MachineError as error:
        return replace(info, error=error.message)
    accounting = _accounting(info.user, info.config.get("clustername", ""))
    return replace(
        info,
        partitions=tuple(replace(part, nodes=nodes.get(part.name, ())) for part in partitions),
        hosts=_hosts(),
        limits=accounting.limits() if accounting else None,
        accounting=accounting,
        accounting_error=_accounting_error(),
    )


def _hosts() -> frozenset[str]:
    with contextlib.suppress(MachineError):
        return frozenset(_run(["sinfo", "--noheader", "--Node", "--format=%n"]).split())
    return frozenset()


def _accounting_error() -> str:
    try:
        _run(["sacct", "--noheader", "--allocations", "--starttime=now", "--format=JobID"])
    except MachineError as error:
        return error.message
    return ""


def _accounting(user: str, cluster: str) -> Accounting | None:
    where = [f"cluster={cluster}"] if cluster else []
    show = ["sacctmgr", "--noheader", "--parsable2", "show"]
    associations = [*show, "associations", "where", *where]
    try:
        own = _run([*associations, f"user={user}", f"format={ASSOCIATION_FIELDS}"])
    except MachineError:
        return None
    of_accounts = qos = default_account = ""
    with contextlib.suppress(MachineError):
        of_accounts = _run([*associations, "user=", f"format={ACCOUNT_FIELDS}"])
        qos = _run([*show, "qos", f"format={QOS_FIELDS}"])
        default_account = _run([*show, "user", user, "format=defaultaccount"]).strip()
    return parse_accounting(own, of_accounts, qos, default_account)


def _identity() -> ClusterInfo:
    """Look up the names of the user and of the groups; numbers have none in some containers."""
    groups = []
    for gid in {os.getegid(), *os.getgroups()}:
        with contextlib.suppress(KeyError):
            groups.append(grp.getgrgid(gid).gr_name)
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return ClusterInfo(user=user, groups=tuple(groups))


def parse_partitions(text: str) -> list[Partition]:
    """Read ``scontrol show partition --oneliner``, in its order."""
    return [_partition(fields) for fields in map(parse_fields, text.splitlines()) if "PartitionName" in fields]


def _partition(fields: Mapping[str, str]) -> Partition:
    return Partition(
        name=fields["PartitionName"],
        is_default=fields.get("Default") == "YES",
        is_up=fields.get("State", "UP") == "UP",
        max_minutes=parse_minutes(fields.get("MaxTime", "UNLIMITED")),
        default_minutes=parse_minutes(fields.get("DefaultTime", "NONE")),
        preempt_mode=parse_value(fields.get("PreemptMode", "")),
        grace_s=parse_number(fields.get("GraceTime", "0")) or 0,
        max_nodes=parse_number(fields.get("MaxNodes", "UNLIMITED")),
        fields=fields,
    )


def parse_sinfo(text: str) -> dict[str, tuple[Nodes, ...]]:
    """Read ``sinfo --noheader --exact --format=_SINFO_FORMAT``: partition → its nodes, equal ones together."""
    by_partition: dict[str, list[Nodes]] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 5:
            continue
        count, cpus, memory = (parse_number(part) or 0 for part in parts[1:4])
        gpus = parse_gpus(parts[4])
        types = tuple((name, number) for name, number in gpus if name)
        nodes = Nodes(count, cpus, memory, sum(number for _, number in gpus), types)
        by_partition.setdefault(parts[0].rstrip("*"), []).append(nodes)
    return {name: tuple(nodes) for name, nodes in by_partition.items()}
