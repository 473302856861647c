"""What Slurm says of itself, as text, read by small functions. Keys that a version lacks are simply not there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_NOTHING = frozenset(("(null)", "N/A", "n/a", "NONE", "None", "none", ""))


def parse_config(text: str) -> dict[str, str]:
    """``scontrol show config`` → key, in small letters, → value; empty where it says ``(null)`` or the like."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Za-z]\w*(\[\d+\])?", key.strip()):
            found.setdefault(key.strip().lower(), _said(value))
    return found


def parse_version(text: str) -> tuple[int, int] | None:
    """``slurm-wlm 22.05.8`` → (22, 5)."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def parse_minutes(text: str) -> int | None:
    """A time as Slurm writes it, in whole minutes; None where there is no limit.

    ``30`` is minutes, ``30:00`` minutes and seconds, ``1:00:00`` hours too, and ``2-12`` or ``2-12:00:00`` days too.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if match is None:
        return None
    days, first, second = (int(part) if part else 0 for part in match.groups()[:3])
    if match[1] is not None:
        return days * 1440 + first * 60 + second
    return first * 60 + second if match[4] is not None else first


def parse_number(text: str) -> int | None:
    """The number that a value begins with (``5 sec``, ``20000``, ``8+``); None for ``UNLIMITED`` and the like."""
    match = re.match(r"\s*(\d+)", text)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind in a partition: how many, and what each has."""

    count: int
    cpus: int
    memory_mb: int
    gpus: int
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Partition:
    """A partition of ``scontrol show partition --oneliner``.

    Attributes:
        name: of it.
        is_default: whether it is taken where none is named.
        is_up: whether jobs start in it.
        max_minutes, default_minutes: of a job; None where there is no limit, or no default.
        preempt_mode: what becomes of its jobs when others need the nodes: ``OFF``, ``REQUEUE``, ``CANCEL`` …;
            empty where the cluster's counts.
        grace_s: seconds that a preempted job has left.
        priority_tier: a job may preempt those of lower tiers.
        max_nodes: of a job; None where there is no limit.
        qos: whose limits hold for all jobs of the partition.
        said: all that was said, by Slurm's own keys.
        nodes: from ``sinfo``.
    """

    name: str
    is_default: bool = False
    is_up: bool = True
    max_minutes: int | None = None
    default_minutes: int | None = None
    preempt_mode: str = ""
    grace_s: int = 0
    priority_tier: int = 1
    max_nodes: int | None = None
    qos: str = ""
    said: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[Nodes, ...] = ()

    @property
    def cpus(self) -> int:
        """All processors."""
        return sum(kind.count * kind.cpus for kind in self.nodes) or parse_number(self.said.get("TotalCPUs", "")) or 0

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return sum(kind.count * kind.gpus for kind in self.nodes)

    def admits(self, groups: Sequence[str], accounts: Sequence[str], *, is_root: bool) -> bool:
        """Whether a user of these groups and accounts may submit to it; unknown accounts are believed."""
        groups_ok = _admitted(self.said.get("AllowGroups", "ALL"), groups)
        accounts_ok = not accounts or _admitted(self.said.get("AllowAccounts", "ALL"), accounts)
        denied = set(self.said.get("DenyAccounts", "").split(",")) & set(accounts)
        rooted = self.said.get("RootOnly", "NO") == "YES" and not is_root
        barred = self.said.get("DisableRootJobs", "NO") == "YES" and is_root
        return groups_ok and accounts_ok and not (denied and denied >= set(accounts)) and not rooted and not barred


def _admitted(allowed: str, mine: Sequence[str]) -> bool:
    return allowed in ("ALL", "(null)") or bool(set(allowed.split(",")) & set(mine))


def _said(text: str) -> str:
    return "" if text.strip() in _NOTHING else text.strip()


def parse_partitions(text: str) -> list[Partition]:
    """``scontrol show partition --oneliner``, in its order. A name may have blanks; keys begin with a capital."""
    found = []
    for line in text.splitlines():
        words = re.split(r" +(?=[A-Z][A-Za-z]+=)", line.strip())
        said = {key: value for key, equals, value in (word.partition("=") for word in words) if equals}
        if "PartitionName" in said:
            found.append(_partition(said))
    return found


def _partition(said: Mapping[str, str]) -> Partition:
    return Partition(
        name=said["PartitionName"],
        is_default=said.get("Default") == "YES",
        is_up=said.get("State", "UP") == "UP",
        max_minutes=parse_minutes(said.get("MaxTime", "UNLIMITED")),
        default_minutes=parse_minutes(said.get("DefaultTime", "NONE")),
        preempt_mode=_said(said.get("PreemptMode", "")),
        grace_s=parse_number(said.get("GraceTime", "0")) or 0,
        priority_tier=parse_number(said.get("PriorityTier", "1")) or 1,
        max_nodes=parse_number(said.get("MaxNodes", "UNLIMITED")),
        qos=_said(said.get("QoS", "")),
        said=said,
    )


SINFO_FORMAT = "%R|%D|%c|%m|%G|%f"  # partition, nodes, CPUs, MB, gres, features


def parse_sinfo(text: str) -> dict[str, tuple[Nodes, ...]]:
    """``sinfo --noheader --exact --format=SINFO_FORMAT`` → partition → its kinds of nodes."""
    found: dict[str, list[Nodes]] = {}
    for line in text.splitlines():
        parts = line.strip().split("|")
        if len(parts) != 6:
            continue
        count, cpus, memory = (parse_number(part) or 0 for part in parts[1:4])
        features = tuple(part for part in _said(parts[5]).split(",") if part)
        found.setdefault(parts[0].rstrip("*"), []).append(Nodes(count, cpus, memory, gpus_of(parts[4]), features))
    return {name: tuple(kinds) for name, kinds in found.items()}


def gpus_of(gres: str) -> int:
    """``gpu:a100:4(S:0-1),nvme:3500`` → 4; ``gpu:2(IDX:0-1)`` → 2; ``gpu`` alone is one."""
    total = 0
    for part in re.sub(r"\([^)]*\)", "", gres).split(","):
        kind, *rest = part.strip().split(":")
        if kind == "gpu":
            total += (parse_number(rest[-1]) or 0) if rest and rest[-1][:1].isdigit() else 1
    return total


@dataclass(frozen=True)
class Limits:
    """What accounting says of this user; None and empty where it sets nothing.

    Attributes:
        accounts: that the user may submit under, the default first where it is known.
        max_submit: jobs that may be queued at once, an array's elements counted one by one.
        max_jobs: jobs that may run at once.
        max_minutes: of a job.
        qos: allowed ones.
    """

    accounts: tuple[str, ...] = ()
    max_submit: int | None = None
    max_jobs: int | None = None
    max_minutes: int | None = None
    qos: tuple[str, ...] = ()


ASSOCIATION_FIELDS = "account,partition,maxsubmitjobs,maxjobs,maxwall,qos,defaultqos"
QOS_FIELDS = "name,maxsubmitjobsperuser,maxjobsperuser,maxwall"


def parse_limits(associations: str, qos: str, default_account: str = "") -> Limits:
    """The tightest of what ``sacctmgr --parsable2 --noheader`` shows of a user's associations and their QOS.

    Args:
        associations: ``show associations format=ASSOCIATION_FIELDS`` of this user and cluster.
        qos: ``show qos format=QOS_FIELDS``.
        default_account: of the user.
    """
    rows = [line.split("|") for line in associations.splitlines() if line.count("|") == 6]
    names = tuple(dict.fromkeys(row[6] or next(iter(row[5].split(",")), "") for row in rows))
    by_qos = [line.split("|") for line in qos.splitlines() if line.count("|") == 3]
    rows_qos = [row for row in by_qos if row[0] in names]
    accounts = dict.fromkeys([*([default_account] if default_account else []), *(row[0] for row in rows)])
    return Limits(
        accounts=tuple(accounts),
        max_submit=_least([row[2] for row in rows] + [row[1] for row in rows_qos]),
        max_jobs=_least([row[3] for row in rows] + [row[2] for row in rows_qos]),
        max_minutes=min(
            filter(None, map(parse_minutes, [row[4] for row in rows] + [row[3] for row in rows_qos])), default=None
        ),
        qos=tuple(dict.fromkeys(name for row in rows for name in row[5].split(",") if name)),
    )


def _least(texts: Sequence[str]) -> int | None:
    return min((number for number in map(parse_number, texts) if number is not None), default=None)
