"""A first profile of a cluster, from what was found: each line with where it is from."""

from __future__ import annotations

import json
from dataclasses import dataclass

from nllgen.doctor.rules import duration
from nllgen.errors import ConfigError, MachineError
from nllgen.launch.profile import parse_profile
from nllgen.launch.slurm.cluster_info import ClusterInfo, Nodes, Partition
from nllgen.launch.slurm.values import parse_number
from nllgen.study.diagnostics import did_you_mean

_DAY_MIN = 1440  # longer is not asked for: a cell goes on where it was stopped, and shorter jobs start sooner
_MOST_AT_ONCE = 256
_MOST_CPUS = 4  # a small flow gains nothing from more


@dataclass(frozen=True)
class Share:
    """What one cell gets of a node, so that a node's processors, memory and GPUs are used up alike."""

    cpus: int
    memory_gb: float
    gpus: int
    at_once: int


def profile_text(cluster: ClusterInfo, partition: str | None) -> str:
    """YAML that :func:`nllgen.launch.profile.parse_profile` reads.

    Args:
        cluster: of the cluster.
        partition: to use; the default one where None, or the largest that the user may use.

    Raises:
        MachineError: there is no cluster to make a profile of.
        ConfigError: the partition is not there, or not for this user.
    """
    part = choose(cluster, partition)
    lines = [*_head(cluster, part), *_limits(cluster, part), *_commented()]
    text = "\n".join(lines) + "\n"
    parse_profile(text, "the profile that was just made")
    return text


def choose(cluster: ClusterInfo, name: str | None) -> Partition:
    """The partition of a profile; see :func:`profile_text`."""
    if cluster.error or not cluster.usable:
        raise MachineError(
            f"no profile can be made here: {cluster.error or 'there is no partition that you may use'}",
            "run nllgen doctor on a login node of the cluster, or copy one of slurm/profiles",
        )
    if name is None:
        return cluster.usable[0]
    known = [part.name for part in cluster.usable]
    if name not in known:
        raise ConfigError(
            f"partition {name!r} is none that you may use{did_you_mean(name, known)}", f"one of: {', '.join(known)}"
        )
    return next(part for part in cluster.usable if part.name == name)


def share(cluster: ClusterInfo, part: Partition) -> Share:
    """A cell's part of a node; of the kind that most of the partition's nodes are of."""
    if not part.nodes:
        return Share(1, 0.0, 0, _MOST_AT_ONCE)
    kind = max(part.nodes, key=lambda nodes: nodes.count)
    gpus = 1 if kind.gpus else 0
    cpus = max(1, min(kind.cpus // kind.gpus, _MOST_CPUS * 2)) if kind.gpus else 1
    per_node = max(1, kind.gpus or kind.cpus)
    # in tenths of a GB, and never more than there is; a node's own part stays with it
    memory_gb = int(kind.memory_mb * 0.95 / per_node / 1024 * 10) / 10
    slots = sum(_slots(nodes, cpus, memory_gb, gpus) for nodes in part.nodes)
    limits = cluster.limits
    most = min(filter(None, (slots, _MOST_AT_ONCE, limits.max_jobs if limits else None)), default=1)
    return Share(cpus, min(memory_gb, 64.0), gpus, max(1, most))


def _slots(nodes: Nodes, cpus: int, memory_gb: float, gpus: int) -> int:
    by_memory = int(nodes.memory_mb / 1024 / memory_gb) if memory_gb else nodes.cpus
    return nodes.count * min(nodes.cpus // cpus, by_memory, nodes.gpus // gpus if gpus else nodes.cpus)


def _head(cluster: ClusterInfo, part: Partition) -> list[str]:
    name = cluster.config.get("clustername", "a cluster")
    others = [other.name for other in cluster.usable if other.name != part.name]
    lines = [
        f"# {name}, {cluster.version}, as `nllgen doctor` found it. Check it, and fill in what your site asks for.",
        f"partition: {json.dumps(part.name)}" + (f"   # also: {', '.join(others)}" if others else ""),
    ]
    accounts = cluster.limits.accounts if cluster.limits else ()
    enforced = cluster.config.get("accountingstorageenforce", "")
    if len(accounts) > 1:
        lead = "" if enforced else "# "
        lines.append(f"{lead}account: {json.dumps(accounts[0])}   # also: {', '.join(accounts[1:])}")
    return lines


def _limits(cluster: ClusterInfo, part: Partition) -> list[str]:
    cell = share(cluster, part)
    most = min(filter(None, (part.max_minutes, cluster.limits.max_minutes if cluster.limits else None)), default=None)
    time_min = min(most or _DAY_MIN, _DAY_MIN)
    whose = "the partition" if most == part.max_minutes else "your account"
    why = f"{whose} allows {duration(most)}" if most else "there is no limit"
    lines = [
        "",
        "# of one cell; a cell that needs longer than time_min is saved, requeued and goes on",
        f"time_min: {time_min}   # {why}",
        f"cpus: {cell.cpus}",
    ]
    counted = "MEMORY" in cluster.config.get("selecttypeparameters", "").upper()
    if cell.memory_gb:
        lead = "" if counted else "# "
        lines.append(f"{lead}memory_gb: {cell.memory_gb}   # a node's memory shared by as many cells as it holds")
    if cell.gpus:
        lines.append(f"gpus: {cell.gpus}")
    lines += [
        "",
        f"array_parallelism: {cell.at_once}   # elements at once: the partition's slots, at most 256",
    ]
    if size := _array_size(cluster):
        lines.append(f"max_array_size: {size}   # MaxArraySize, and what you may have queued")
    signal_s = max(10, min(120, time_min * 60 // 5))
    lines.append(
        f"signal_s: {signal_s}   # seconds before its end at which a job saves its state; Slurm may be 60 s early"
    )
    return lines


def _array_size(cluster: ClusterInfo) -> int | None:
    limits = cluster.limits
    sizes = (parse_number(cluster.config.get("maxarraysize", "")), limits.max_submit if limits else None)
    return min((size for size in sizes if size), default=None)


def _commented() -> list[str]:
    return [
        "",
        "# precision: bf16        # what `precision: auto` means on the nodes: bf16 needs AMX, AVX-512 bf16 or a GPU",
        "# container: /shared/nllgen.sif",
        "# scratch: /tmp          # node-local folder for temporary files",
        '# setup: ["module load apptainer"]',
        "# sbatch: {mail-type: FAIL}   # any further option of sbatch, by its name",
    ]
