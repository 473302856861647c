"""A first profile of a cluster; a comment on each line names the source of its value."""

from __future__ import annotations

import json
from dataclasses import dataclass

from nllgen.doctor.rules import counts_memory, duration
from nllgen.errors import ConfigError, MachineError
from nllgen.launch.profile import parse_profile
from nllgen.launch.slurm.cluster_info import ClusterInfo, Nodes, Partition
from nllgen.launch.slurm.values import parse_number
from nllgen.study.diagnostics import did_you_mean

_DAY_MIN = 1440  # enough for a job: a stopped cell resumes, and shorter jobs start sooner
_MAX_AT_ONCE = 256
_MAX_CPUS = 4  # a small flow gains nothing from more
_COMMENTED = [
    "",
    "# precision: bf16        # meaning of `precision: auto` on the nodes: bf16 needs AMX, AVX-512 bf16 or a GPU",
    "# container: /shared/nllgen.sif",
    "# scratch: /tmp          # node-local folder for temporary files",
    '# setup: ["module load apptainer"]',
    "# sbatch: {mail-type: FAIL}   # any further option of sbatch, by its name",
]


@dataclass(frozen=True)
class Share:
    """Resources of one cell, such that a node's processors, memory and GPUs are used up alike."""

    cpus: int
    memory_gb: float
    gpus: int
    at_once: int


def profile_text(cluster: ClusterInfo, partition: str | None) -> str:
    """Return YAML that :func:`nllgen.launch.profile.parse_profile` reads.

    Without a name of a partition, it is for the user's default one, or for the largest.

    Raises:
        MachineError: there is no cluster to make a profile of.
        ConfigError: the partition does not exist, or is closed to this user.
    """
    part = choose(cluster, partition)
    lines = [*_head(cluster, part), *_resources(cluster, part), *_limits(cluster, part), *_COMMENTED]
    text = "\n".join(lines) + "\n"
    parse_profile(text, "the profile that was just made")
    return text


def choose(cluster: ClusterInfo, name: str | None) -> Partition:
    """Choose the partition of a profile; see :func:`profile_text`."""
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
    """Divide a node, equal to most of the partition's nodes, among the cells that it can run at once."""
    if not part.nodes:
        return Share(1, 0.0, 0, _MAX_AT_ONCE)
    node = max(part.nodes, key=lambda nodes: nodes.count)
    gpus = 1 if node.gpus else 0
    cpus = max(1, min(node.cpus // node.gpus, _MAX_CPUS * 2)) if node.gpus else 1
    per_node = max(1, node.gpus or node.cpus)
    # rounded down to a tenth of a GB; a twentieth is left to the node
    memory_gb = int(node.memory_mb * 0.95 / per_node / 1024 * 10) / 10
    num_cells = sum(_num_cells(nodes, cpus, memory_gb, gpus) for nodes in part.nodes)
    max_jobs = cluster.limits.max_jobs if cluster.limits else None
    at_once = min(filter(None, (num_cells, _MAX_AT_ONCE, max_jobs)), default=1)
    return Share(cpus, min(memory_gb, 64.0), gpus, max(1, at_once))


def _num_cells(nodes: Nodes, cpus: int, memory_gb: float, gpus: int) -> int:
    by_memory = int(nodes.memory_mb / 1024 / memory_gb) if memory_gb else nodes.cpus
    return nodes.count * min(nodes.cpus // cpus, by_memory, nodes.gpus // gpus if gpus else nodes.cpus)


def _head(cluster: ClusterInfo, part: Partition) -> list[str]:
    name = cluster.config.get("clustername", "a cluster")
    others = [other.name for other in cluster.usable if other.name != part.name]
    lines = [
        f"# {name}, {cluster.version}, written by `nllgen doctor`. Check it, and add what your site asks for.",
        f"partition: {json.dumps(part.name)}" + (f"   # also: {', '.join(others)}" if others else ""),
    ]
    accounts = cluster.limits.accounts if cluster.limits else ()
    if len(accounts) > 1:
        comment = "" if cluster.config.get("accountingstorageenforce", "") else "# "
        lines.append(f"{comment}account: {json.dumps(accounts[0])}   # also: {', '.join(accounts[1:])}")
    return lines


def _time_min(cluster: ClusterInfo, part: Partition) -> tuple[int, str]:
    """Return the time of a job in minutes, and its reason."""
    of_account = cluster.limits.max_minutes if cluster.limits else None
    limit = min(filter(None, (part.max_minutes, of_account)), default=None)
    if not limit:
        return _DAY_MIN, "there is no limit"
    source = "the partition" if limit == part.max_minutes else "your account"
    return min(limit, _DAY_MIN), f"{source} allows {duration(limit)}"


def _resources(cluster: ClusterInfo, part: Partition) -> list[str]:
    cell = share(cluster, part)
    time_min, reason = _time_min(cluster, part)
    lines = [
        "",
        "# of one cell; a cell that needs longer than time_min is saved, requeued and goes on",
        f"time_min: {time_min}   # {reason}",
        f"cpus: {cell.cpus}",
    ]
    if cell.memory_gb:
        comment = "" if counts_memory(cluster) else "# "
        lines.append(f"{comment}memory_gb: {cell.memory_gb}   # a node's memory shared by as many cells as it holds")
    if cell.gpus:
        lines.append(f"gpus: {cell.gpus}")
    return lines


def _limits(cluster: ClusterInfo, part: Partition) -> list[str]:
    at_once = share(cluster, part).at_once
    lines = ["", f"array_parallelism: {at_once}   # elements at once: as many as the partition holds, at most 256"]
    max_submit = cluster.limits.max_submit if cluster.limits else None
    sizes = (parse_number(cluster.config.get("maxarraysize", "")), max_submit)
    if size := min(filter(None, sizes), default=None):
        lines.append(f"max_array_size: {size}   # MaxArraySize, and the jobs that you may have queued")
    signal_s = max(10, min(120, _time_min(cluster, part)[0] * 60 // 5))
    comment = "seconds before its end at which a job saves its state; Slurm may be 60 s early"
    return [*lines, f"signal_s: {signal_s}   # {comment}"]
