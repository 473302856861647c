"""A first profile of a cluster; a comment on each line names the source of its value."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from nllgen.doctor.rules import MANY, counts_memory, duration
from nllgen.errors import ConfigError, MachineError
from nllgen.launch.profile import parse_profile
from nllgen.launch.slurm.arrays import JOBS_BESIDE_CELLS
from nllgen.launch.slurm.cluster_info import ClusterInfo, Nodes, Partition
from nllgen.launch.slurm.limits import Limits
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
    "# mail_type: [END, FAIL]      # mail of Slurm itself, to you or to mail_user",
    "# sbatch: {comment: mine}     # any further option of sbatch, by its name",
]


@dataclass(frozen=True)
class Share:
    """Resources of one cell, such that a node's processors, memory and GPUs are used up alike."""

    cpus: int
    memory_gb: float
    gpus: int
    at_once: int  # cells that run at once
    gpu_type: str = ""  # empty where GPUs have none
    reason: str = "as many as the partition holds, at most 256"  # for the number of cells


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
    limits = cluster.limits_in(part)
    if not part.nodes:
        return _within(limits, Share(1, 0.0, 0, _MAX_AT_ONCE), 0)
    gpu_type = next(iter(part.gpu_types), "")
    node = max(part.nodes, key=lambda nodes: (bool(gpu_type) and nodes.num_gpus(gpu_type) > 0, nodes.count))
    num_gpus = node.num_gpus(gpu_type) if limits.per_job.get("gres/gpu") != 0 else 0
    cpus = max(1, min(node.cpus // num_gpus, _MAX_CPUS * 2)) if num_gpus else 1
    cpus = _smallest(cpus, limits.per_job.get("cpu"), limits.at_once.get("cpu"), part.max_cpus)
    memory_mb = _smallest(
        int(node.memory_mb * 0.95 / max(1, num_gpus or node.cpus)),  # a twentieth is left to the node
        *(limits.per_job.get("mem"), limits.at_once.get("mem"), part.max_memory_mb),
        *(size and size * cpus for size in (part.max_memory_mb_per_cpu, _config(cluster, "maxmempercpu"))),
        _config(cluster, "maxmempernode"),
    )
    memory_gb = int(memory_mb / 1024 * 10) / 10
    gpus = 1 if num_gpus else 0
    num_cells = sum(_num_cells(nodes, cpus, memory_gb, gpus, gpu_type) for nodes in part.nodes)
    one = Share(cpus, min(memory_gb, 64.0), gpus, max(1, min(num_cells, _MAX_AT_ONCE)), gpu_type if gpus else "")
    return _within(limits, one, int(one.memory_gb * 1024))


def _smallest(value: int, *limits: int | None) -> int:
    return max(1, min([value, *(limit for limit in limits if limit)]))


def _config(cluster: ClusterInfo, key: str) -> int | None:
    return parse_number(cluster.config.get(key, ""))


def _within(limits: Limits, cell: Share, memory_mb: int) -> Share:
    """Return a share with no more cells at once than limits on jobs and resources allow."""
    need = {"cpu": cell.cpus, "mem": memory_mb, "gres/gpu": cell.gpus, f"gres/gpu:{cell.gpu_type}": cell.gpus}
    allowed = {"max_jobs": (limits.max_jobs, "running jobs")} if limits.max_jobs is not None else {}
    for name, amount in limits.at_once.items():
        if need.get(name):
            allowed[f"at_once {name}"] = (amount // need[name], f"cells by {name}")
    for name, (number, words) in allowed.items():
        if number is not None and number < cell.at_once:
            source = limits.sources.get(name, "your account")
            cell = replace(cell, at_once=max(1, number), reason=f"{source} allows {number} {words}")
    return cell


def _num_cells(nodes: Nodes, cpus: int, memory_gb: float, gpus: int, gpu_type: str) -> int:
    by_memory = int(nodes.memory_mb / 1024 / memory_gb) if memory_gb else nodes.cpus
    by_gpus = nodes.num_gpus(gpu_type) // gpus if gpus else nodes.cpus
    return nodes.count * min(nodes.cpus // cpus, by_memory, by_gpus)


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
    if qos := cluster.qos_to_name(part):
        lines.append(f"qos: {json.dumps(qos)}   # the partition allows {part.allow_qos}, and your default is another")
    return lines


def _time_min(cluster: ClusterInfo, part: Partition) -> tuple[int, str]:
    """Return the time of a job in minutes, and its reason."""
    limits = cluster.limits_in(part)
    limit = min(filter(None, (part.max_minutes, limits.max_minutes)), default=None)
    if not limit:
        return _DAY_MIN, "there is no limit"
    source = "the partition" if limit == part.max_minutes else limits.sources.get("max_minutes", "your account")
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
        others = [name for name in part.gpu_types if name != cell.gpu_type]
        comment = f"   # also: {', '.join(others)}" if others else ""
        lines.append(f"gpus: {cell.gpu_type}:{cell.gpus}{comment}" if cell.gpu_type else f"gpus: {cell.gpus}")
    return lines


def _limits(cluster: ClusterInfo, part: Partition) -> list[str]:
    cell, limits = share(cluster, part), cluster.limits_in(part)
    lines = ["", f"array_parallelism: {cell.at_once}   # elements at once: {cell.reason}"]
    if limits.max_submit is not None and limits.max_submit < MANY:
        workers = max(1, min(cell.at_once, limits.max_submit - JOBS_BESIDE_CELLS))
        source = limits.sources.get("max_submit", "your account")
        comment = f"jobs of cells: {source} allows {limits.max_submit} queued, of which others need {JOBS_BESIDE_CELLS}"
        lines.append(f"workers: {workers}   # {comment}")
    if size := min(filter(None, (_config(cluster, "maxarraysize"), _max_array_tasks(cluster))), default=None):
        lines.append(f"max_array_size: {size}   # MaxArraySize, or max_array_tasks")
    signal_s = max(10, min(120, _time_min(cluster, part)[0] * 60 // 5))
    comment = "seconds before its end at which a job saves its state; Slurm may be 60 s early"
    return [*lines, f"signal_s: {signal_s}   # {comment}"]


def _max_array_tasks(cluster: ClusterInfo) -> int | None:
    match = re.search(r"\bmax_array_tasks=(\d+)", cluster.config.get("schedulerparameters", ""))
    return int(match[1]) if match else None
