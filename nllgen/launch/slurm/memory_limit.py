"""The largest memory that a job of a partition can have, so that doubling it ends there."""

from __future__ import annotations

from dataclasses import dataclass

from nllgen.errors import MachineError
from nllgen.launch.profile import Profile
from nllgen.launch.slurm.cluster_info import parse_partitions
from nllgen.launch.slurm.clusters import split_names
from nllgen.launch.slurm.commands import nodes_and_partitions
from nllgen.launch.slurm.values import parse_number
from nllgen.study.config import Resources

_MORE = 1.01  # less than this factor more is no other try


@dataclass(frozen=True)
class MemoryLimit:
    """The largest multiple of the profile's memory for one cell or the cells of one pack, and what sets it."""

    factor: float
    reason: str

    def cap(self, previous: float, wanted: float) -> float:
        """Return the multiple of the next attempt after ``previous``; 0 if it cannot be larger, as was wanted."""
        if wanted <= previous:
            return wanted
        capped = min(wanted, self.factor)
        return capped if capped >= previous * _MORE else 0.0


def memory_limit(profile: Profile, of_study: Resources, num_cells: int) -> MemoryLimit | None:
    """Ask for the limit of jobs that run so many cells at once; None if Slurm does not answer or sets none."""
    if profile.memory_option == "none":
        return MemoryLimit(1.0, "its profile asks for no memory (memory_option: none)")
    one = profile.resources(of_study)
    try:
        nodes, partitions = nodes_and_partitions(split_names(profile.clusters or "")[0])
    except MachineError:
        return None
    names = (profile.partition or "").split(",") if profile.partition else _default_partition(nodes)
    limits = [limit for name in names if (limit := _limit_of(name, nodes, partitions, one.cpus * num_cells))]
    if not limits or len(limits) < len(names):
        return None
    megabytes, reason = max(limits)
    return MemoryLimit(megabytes / (1024 * one.memory_gb * num_cells), reason)


def _default_partition(nodes: str) -> list[str]:
    names = [line.partition("|")[0].strip() for line in nodes.splitlines()]
    return list(dict.fromkeys(name.removesuffix("*") for name in names if name.endswith("*")))


def _limit_of(name: str, nodes: str, partitions: str, cpus: int) -> tuple[int, str] | None:
    """Return the megabytes of a job in a partition, and a sentence; None if nothing is known of it."""
    rows = [line.strip().rpartition("|") for line in nodes.splitlines()]
    sizes = [parse_number(size) or 0 for part, _, size in rows if part.strip().removesuffix("*") == name]
    limits = [(max(sizes), f"no node of partition {name} has more than {max(sizes)} MB")] if any(sizes) else []
    for part in parse_partitions(partitions):
        if part.name == name and (per_node := part.max_memory_mb):
            limits.append((per_node, f"partition {name} allows {per_node} MB a node"))
        if part.name == name and (per_cpu := part.max_memory_mb_per_cpu):
            limits.append((per_cpu * cpus, f"partition {name} allows {per_cpu} MB a processor"))
    return min(limits, default=None)
